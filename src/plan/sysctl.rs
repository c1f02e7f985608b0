//! Kernel parameters, and whether they are the container's to set.

use super::namespaces::{Kind, Namespaces};
use crate::fault::Fault;
use std::collections::HashMap;
use std::path::Path;

/// One parameter.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameter<'spec> {
    /// With dots or slashes, as given.
    pub name: &'spec str,
    /// What is written.
    pub value: &'spec str,
    /// The namespace that it belongs to.
    pub kind: Kind,
}

impl Parameter<'_> {
    /// The file below /proc/sys. As in sysctl(8): if the first separator is a slash, dots are part of the
    /// names (`net/ipv4/conf/eth0.100/…`); otherwise dots and slashes change places.
    pub fn file(&self) -> String {
        file(self.name)
    }

    /// The fault of a parameter whose namespace, joined at this path, is our own.
    pub fn is_hosts(&self, path: &Path) -> Fault {
        let word = self.kind.word();
        Fault::at(at(self.name), format!("{} is the host's own {word} namespace", path.display()))
            .remedy(format!("leave the path of the {word} namespace out to get a new one, or the parameter"))
    }
}

fn at(name: &str) -> String {
    format!("linux.sysctl[{name:?}]")
}

fn file(name: &str) -> String {
    if name.find(['.', '/']).is_some_and(|first| name.as_bytes()[first] == b'/') {
        return name.to_string();
    }
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// The parameters of an ipc namespace, below /proc/sys.
const IPC: [&str; 7] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
];

/// `linux.sysctl`, sorted by name.
///
/// # Errors
/// A parameter that would change the host, because its namespace is not the container's own or because it
/// belongs to none.
pub fn decide<'spec>(
    listed: Option<&'spec HashMap<String, String>>,
    namespaces: &Namespaces<'_>,
) -> Result<Vec<Parameter<'spec>>, Fault> {
    let mut listed: Vec<_> = listed.into_iter().flatten().collect();
    listed.sort();
    listed
        .into_iter()
        .map(|(name, value)| Ok(Parameter { name, value, kind: kind(name, namespaces)? }))
        .collect()
}

fn kind(name: &str, namespaces: &Namespaces<'_>) -> Result<Kind, Fault> {
    let at = || at(name);
    let file = file(name);
    let kind = if file.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(
            Fault::at(at(), "is no name of a kernel parameter").remedy("write it as in net.ipv4.ip_forward")
        );
    } else if file.starts_with("net/") {
        Kind::Network
    } else if IPC.contains(&file.as_str())
        || file.starts_with("kernel/shm_")
        || file.starts_with("fs/mqueue/")
    {
        Kind::Ipc
    } else if file == "kernel/domainname" || file == "kernel/hostname" {
        Kind::Uts
    } else {
        return Err(Fault::at(at(), "belongs to no namespace, so it would change the host")
            .remedy("set it on the host with sysctl(8), or leave it out"));
    };
    if file == "kernel/hostname" {
        return Err(Fault::at(at(), "conflicts with the hostname of config.json").remedy("use hostname"));
    }
    if namespaces.has(kind) {
        return Ok(kind);
    }
    Err(Fault::at(
        at(),
        format!("belongs to the {} namespace, which the container shares with the host", kind.word()),
    )
    .remedy(format!("add {{\"type\": \"{}\"}} to linux.namespaces", kind.word())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_change_places_unless_a_slash_comes_first() {
        assert_eq!(file("net.ipv4.conf.eth0/100.forwarding"), "net/ipv4/conf/eth0.100/forwarding");
        assert_eq!(file("net/ipv4/conf/eth0.100/forwarding"), "net/ipv4/conf/eth0.100/forwarding");
    }

    #[test]
    fn a_parameter_of_the_host_is_refused() {
        let mut own = Namespaces::default();
        own.add(Kind::Network);
        let refused = |name: &str| {
            let listed = HashMap::from([(name.to_string(), "1".to_string())]);
            decide(Some(&listed), &own).is_err()
        };
        assert!(!refused("net.ipv4.ip_forward"));
        assert!(refused("kernel.shmmax"), "no ipc namespace");
        assert!(refused("vm.swappiness"), "no namespace at all");
        assert!(refused("net/../vm/swappiness"), "a way out");
    }
}
