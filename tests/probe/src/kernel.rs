//! What the kernel remembers of the process: how it is scheduled, where its memory lies, its network devices.

use crate::Answer;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nameindex;
use std::collections::BTreeMap;
use std::fs;

/// Policy, nice value and real-time priority; proc_pid_stat(5).
pub fn scheduler() -> Answer {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or("none");
    let policies = ["other", "fifo", "rr", "batch", "iso", "idle", "deadline"];
    let policy = field(41).parse::<usize>().ok().and_then(|number| policies.get(number).copied());
    let policy = policy.unwrap_or("unknown");
    Ok(format!("policy={policy} nice={} priority={}", field(19), field(40)))
}

/// What uname(2) shows of it.
pub fn personality() -> Answer {
    Ok(nix::sys::utsname::uname()?.machine().to_string_lossy().into_owned())
}

/// The policy of the first mapping, as numa_maps shows it.
pub fn memory_policy() -> Answer {
    let maps = fs::read_to_string("/proc/self/numa_maps")?;
    Ok(maps.split_whitespace().nth(1).unwrap_or("none").to_owned())
}

/// `name mtu=N mac=… up|down address…`, one line a device.
pub fn links() -> Answer {
    let mut addresses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for found in getifaddrs()? {
        if let (Some(address), Some(mask)) = (found.address, found.netmask) {
            let text = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(four), _) => {
                    let bits = mask.as_sockaddr_in().map_or(0, |mask| mask.ip().to_bits().count_ones());
                    format!("{}/{bits}", four.ip())
                }
                (_, Some(six)) => {
                    let bits = mask.as_sockaddr_in6().map_or(0, |mask| mask.ip().to_bits().count_ones());
                    format!("{}/{bits}", six.ip())
                }
                _ => continue,
            };
            addresses.entry(found.interface_name).or_default().push(text);
        }
    }
    let mut text = String::new();
    for interface in if_nameindex()?.iter() {
        let name = interface.name().to_string_lossy().into_owned();
        let read = |file: &str| {
            fs::read_to_string(format!("/sys/class/net/{name}/{file}")).unwrap_or_default().trim().to_owned()
        };
        let flags = u32::from_str_radix(read("flags").trim_start_matches("0x"), 16).unwrap_or(0);
        let state = if flags & 1 == 1 { "up" } else { "down" };
        let of_device = addresses.get(&name).map(|found| found.join(" ")).unwrap_or_default();
        let line = format!("{name} mtu={} mac={} {state} {of_device}", read("mtu"), read("address"));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(text)
}
