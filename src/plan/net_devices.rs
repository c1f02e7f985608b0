//! Network devices of the host's that become the container's: `linux.netDevices`.

use super::namespaces::{Kind, Namespaces};
use crate::fault::Fault;
use oci_spec::runtime::LinuxNetDevice;
use rootless::caller::Standing;
use std::collections::HashMap;

/// One device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetDevice<'spec> {
    /// Its name on the host.
    pub name: &'spec str,
    /// Its name in the container; a `%d` in it is a number that the kernel chooses.
    pub inside: &'spec str,
}

impl NetDevice<'_> {
    /// The place in config.json.
    pub fn at(&self) -> String {
        at(self.name)
    }
}

fn at(name: &str) -> String {
    format!("linux.netDevices[{name:?}]")
}

/// Decides `linux.netDevices`, sorted by name.
///
/// # Errors
/// Names that no device can have, two devices of one name, a container that shares the host's network
/// namespace, an ordinary user, who may take nothing from the host.
pub fn decide<'spec>(
    listed: Option<&'spec HashMap<String, LinuxNetDevice>>,
    namespaces: &Namespaces<'_>,
    standing: Standing,
) -> Result<Vec<NetDevice<'spec>>, Fault> {
    let mut devices: Vec<_> = listed
        .into_iter()
        .flatten()
        .map(|(name, device)| {
            let inside = device.name().as_deref().filter(|inside| !inside.is_empty()).unwrap_or(name);
            NetDevice { name, inside }
        })
        .collect();
    if devices.is_empty() {
        return Ok(devices);
    }
    if !namespaces.has(Kind::Network) {
        return Err(Fault::at(
            "linux.netDevices",
            "unable to move network devices without a network namespace",
        )
        .remedy("add {\"type\": \"network\"} to linux.namespaces"));
    }
    if standing == Standing::User {
        return Err(Fault::at(
            "linux.netDevices",
            "network devices are not supported for rootless containers",
        )
        .remedy("run as root: the kernel asks for CAP_NET_ADMIN in the host's network namespace"));
    }
    devices.sort_by_key(|device| device.name);
    for (index, device) in devices.iter().enumerate() {
        check(device.name, &at(device.name))?;
        let inside = format!("{}.name", device.at());
        check(device.inside, &inside)?;
        template(device.inside, &inside)?;
        let same = |other: &&NetDevice<'_>| other.inside == device.inside && !device.inside.contains('%');
        if let Some(other) = devices[..index].iter().find(same) {
            return Err(Fault::at(
                inside,
                format!("{:?} is the name of {:?} too", device.inside, other.name),
            )
            .remedy("give each device a name of its own"));
        }
    }
    Ok(devices)
}

/// The kernel's own rule, dev_valid_name().
fn check(name: &str, at: &str) -> Result<(), Fault> {
    /// IFNAMSIZ, without the NUL byte at its end.
    const LONGEST: usize = 15;
    let strange = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b':' | 0 | 0x0b);
    if (1..=LONGEST).contains(&name.len()) && !matches!(name, "." | "..") && !name.bytes().any(strange) {
        return Ok(());
    }
    Err(Fault::at(at, format!("invalid network device name {name:?}"))
        .remedy("use 1 to 15 bytes without blanks, slashes and colons (`ip link` lists the host's devices)"))
}

/// The kernel takes one `%d` and no other `%`.
fn template(name: &str, at: &str) -> Result<(), Fault> {
    if name.matches('%').count() == name.matches("%d").count() && name.matches('%').count() < 2 {
        return Ok(());
    }
    Err(Fault::at(at, format!("{name:?} is no name and no template"))
        .remedy("use one %d, which becomes a number, and no other %"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn decided(value: Value, standing: Standing) -> Result<Vec<(String, String)>, String> {
        let listed: HashMap<_, _> = serde_json::from_value(value).unwrap();
        let mut namespaces = Namespaces::default();
        namespaces.add(Kind::Network);
        let names = |device: &NetDevice<'_>| (device.name.to_string(), device.inside.to_string());
        decide(Some(&listed), &namespaces, standing)
            .map(|devices| devices.iter().map(names).collect())
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_device_keeps_its_name_or_gets_another() {
        let found = decided(
            json!({"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": "net%d"}}),
            Standing::Root,
        );
        let pairs = [("eth0", "eth0"), ("eth1", "net%d"), ("eth2", "net%d")];
        assert_eq!(found.unwrap(), pairs.map(|(name, inside)| (name.to_string(), inside.to_string())));
    }

    #[test]
    fn names_that_no_device_has_are_refused_with_their_place() {
        for name in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-bytes-16"] {
            let fault = decided(json!({ name: {} }), Standing::Root).unwrap_err();
            assert!(fault.starts_with(&format!("linux.netDevices[{name:?}]: invalid")), "{fault}");
        }
        for name in ["a/b", "%d%d", "%s", "sixteen-bytes-16"] {
            let fault = decided(json!({"eth0": {"name": name}}), Standing::Root).unwrap_err();
            assert!(fault.starts_with("linux.netDevices[\"eth0\"].name: "), "{fault}");
        }
    }

    #[test]
    fn two_devices_cannot_have_one_name() {
        let fault = decided(json!({"eth0": {}, "eth1": {"name": "eth0"}}), Standing::Root).unwrap_err();
        assert!(fault.starts_with("linux.netDevices[\"eth1\"].name: \"eth0\" is the name of"), "{fault}");
    }

    #[test]
    fn an_ordinary_user_and_a_shared_namespace_are_refused() {
        assert!(decided(json!({"eth0": {}}), Standing::User).unwrap_err().contains("rootless"));
        assert_eq!(decided(json!({}), Standing::User), Ok(Vec::new()));
        let listed = serde_json::from_value(json!({"eth0": {}})).unwrap();
        assert!(decide(Some(&listed), &Namespaces::default(), Standing::Root).is_err());
    }
}
