//! What a cgroup has used, as the `data` of runc's stats event.
//!
//! The names are runc's and so is what is left out: in Go, a field with `omitempty` that is zero, unless it is a
//! struct. A file that is not there, because its controller is not, leaves its part empty.

use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The first file that is there and cannot be read.
pub type Unreadable = RefCell<Option<(PathBuf, io::Error)>>;

/// The parts in runc's shape.
pub fn read(parts: impl FnOnce(&Unreadable) -> Parts) -> anyhow::Result<Value> {
    let unreadable = Unreadable::default();
    let parts = parts(&unreadable);
    match unreadable.into_inner() {
        None => Ok(shape(parts)),
        Some((path, error)) => Err(error).or_fault(|| Fault::doing(format!("read {}", path.display()))),
    }
}

/// The files of a cgroup's directory, and the first of all that could not be read.
pub struct Files<'a> {
    /// The directory.
    pub directory: &'a Path,
    /// Of all that is read.
    pub unreadable: &'a Unreadable,
}

impl Files<'_> {
    /// Nothing where there is no such file, the kernel does not support it, or the cgroup has gone meanwhile.
    pub fn found<T>(&self, file: &str, read: io::Result<T>) -> Option<T> {
        const GONE: [i32; 2] = [libc::ENODEV, libc::EOPNOTSUPP];
        let error = match read {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let is_absent =
            matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidData)
                || error.raw_os_error().is_some_and(|errno| GONE.contains(&errno));
        if !is_absent {
            self.unreadable.borrow_mut().get_or_insert((self.directory.join(file), error));
        }
        None
    }
}

/// What differs between the versions.
#[derive(Debug, Default)]
pub struct Parts {
    pub(super) cpu: Map<String, Value>,
    pub(super) cpuset: Map<String, Value>,
    pub(super) memory: Map<String, Value>,
    pub(super) pids: Map<String, Value>,
    pub(super) blkio: Map<String, Value>,
    pub(super) hugetlb: Map<String, Value>,
}

/// The numbers of v1's cpuset, which are files there and 0 on v2.
pub const CPUSET: [&str; 9] = [
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
];

/// The entries about memory.
const MEMORY: [&str; 4] = ["usage", "swap", "kernel", "kernelTCP"];

fn shape(mut parts: Parts) -> Value {
    for name in CPUSET {
        parts.cpuset.entry(name).or_insert(json!(0));
    }
    for name in MEMORY {
        parts.memory.entry(name).or_insert(entry(0, 0, 0, 0).into());
    }
    parts.cpu.entry("usage").or_insert(json!({ "kernel": 0, "user": 0 }));
    parts.cpu.entry("throttling").or_insert(json!({}));
    json!({
        "cpu": parts.cpu,
        "cpuset": parts.cpuset,
        "memory": parts.memory,
        "pids": parts.pids,
        "blkio": parts.blkio,
        "hugetlb": parts.hugetlb,
        "intel_rdt": {},
        // runc's own field for interfaces that a runtime made, which neither of us does.
        "network_interfaces": null,
    })
}

/// Sets a field unless it is zero or empty.
pub fn set(map: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Null => true,
        Value::Bool(_) | Value::String(_) => false,
    };
    if !empty {
        map.insert(name.to_string(), value);
    }
}

/// What a file has.
pub fn text(files: &Files<'_>, file: &str) -> Option<String> {
    files.found(file, read_text(files.directory.join(file)))
}

/// The number in a file; `max` is the largest.
pub fn number(files: &Files<'_>, file: &str) -> Option<u64> {
    files.found(file, super::directory::number(&files.directory.join(file)))
}

/// Lines `KEY VALUE`.
pub fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// Of such lines, the value of this key, or 0.
pub fn value_of(text: &str, key: &str) -> u64 {
    pairs(text).find(|(name, _)| *name == key).map_or(0, |(_, value)| value)
}

/// A memory entry.
pub fn entry(limit: u64, usage: u64, max: u64, failcnt: u64) -> Map<String, Value> {
    let mut entry = Map::new();
    entry.insert("limit".into(), limit.into());
    set(&mut entry, "usage", usage);
    set(&mut entry, "max", max);
    entry.insert("failcnt".into(), failcnt.into());
    entry
}

/// Of the pids controller, which has the same files in both versions.
pub fn pids(files: &Files<'_>) -> Map<String, Value> {
    let mut pids = Map::new();
    set(&mut pids, "current", number(files, "pids.current").unwrap_or_default());
    // No limit is 0.
    set(&mut pids, "limit", number(files, "pids.max").filter(|limit| *limit != u64::MAX).unwrap_or_default());
    pids
}

/// An entry about a device.
pub fn device(major: u64, minor: u64, operation: &str, value: u64) -> Value {
    let mut entry = Map::new();
    set(&mut entry, "major", major);
    set(&mut entry, "minor", minor);
    if !operation.is_empty() {
        entry.insert("op".into(), operation.into());
    }
    set(&mut entry, "value", value);
    entry.into()
}

/// The sizes of huge pages, as cgroup files have them: 2MB.
pub fn page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| {
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            Some(match kilobytes {
                0..1024 => format!("{kilobytes}KB"),
                1024..1_048_576 => format!("{}MB", kilobytes >> 10),
                _ => format!("{}GB", kilobytes >> 20),
            })
        })
        .collect()
}

/// Whether this machine's memory, disks or processors are what processes wait for; Documentation/accounting/psi.
pub fn pressure(text: &str) -> Value {
    let mut all = Map::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(kind @ ("some" | "full")) = words.next() else { continue };
        let mut one = Map::new();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let value = match key {
                "total" => value.parse::<u64>().ok().map(Value::from),
                _ => value.parse::<f64>().ok().map(Value::from),
            };
            one.extend(value.map(|value| (key.to_string(), value)));
        }
        all.insert(kind.to_string(), one.into());
    }
    all.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_cgroup_the_shape_is_still_runcs() {
        let stats = read(|_| Parts::default()).unwrap();
        assert_eq!(stats["hugetlb"], json!({}));
        assert_eq!(stats["cpuset"]["sched_relax_domain_level"], 0);
        assert_eq!(stats["network_interfaces"], Value::Null);
        assert_eq!(stats["cpu"], json!({"usage": {"kernel": 0, "user": 0}, "throttling": {}}));
        for kind in MEMORY {
            assert_eq!(stats["memory"][kind], json!({"limit": 0, "failcnt": 0}));
        }
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let psi = pressure(text);
        assert_eq!(psi["some"], json!({"avg10": 1.5, "avg60": 0.0, "avg300": 0.0, "total": 77}));
        assert_eq!(psi["full"]["total"], 0);
    }

    #[test]
    fn an_entry_has_its_limit_and_failures_always() {
        assert_eq!(Value::from(entry(5, 0, 0, 0)), json!({"limit": 5, "failcnt": 0}));
    }
}
