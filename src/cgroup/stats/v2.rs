//! From the files of cgroup v2, in v1's units and names.

use super::super::directory::{self, Reach, keyed};
use super::{Parts, entry, number, page_sizes, pairs, pressure, set, text, value_of};
use serde_json::{Map, Value, json};
use std::path::Path;

const MICROSECOND: u64 = 1000;

pub(super) fn parts(path: &Path) -> Parts {
    Parts {
        cpu: cpu(path),
        cpuset: Map::new(),
        memory: memory(path),
        pids: pids(path),
        blkio: blkio(path),
        hugetlb: hugetlb(path),
    }
}

fn psi(map: &mut Map<String, Value>, path: &Path, file: &str) {
    set(map, "psi", text(path, file).map_or(Value::Null, |text| pressure(&text)));
}

fn cpu(path: &Path) -> Map<String, Value> {
    let stat = text(path, "cpu.stat").unwrap_or_default();
    let nanoseconds = |key| value_of(&stat, key).saturating_mul(MICROSECOND);
    let mut usage = Map::new();
    set(&mut usage, "total", nanoseconds("usage_usec"));
    usage.insert("kernel".into(), nanoseconds("system_usec").into());
    usage.insert("user".into(), nanoseconds("user_usec").into());
    let mut throttling = Map::new();
    set(&mut throttling, "periods", value_of(&stat, "nr_periods"));
    set(&mut throttling, "throttledPeriods", value_of(&stat, "nr_throttled"));
    set(&mut throttling, "throttledTime", nanoseconds("throttled_usec"));
    let mut cpu = Map::new();
    set(&mut cpu, "usage", usage);
    set(&mut cpu, "throttling", throttling);
    psi(&mut cpu, path, "cpu.pressure");
    cpu
}

fn memory(path: &Path) -> Map<String, Value> {
    let mut memory = Map::new();
    let Some(stat) = text(path, "memory.stat") else { return memory };
    let value = |file| number(path, file).unwrap_or_default();
    let (usage, limit) = (value("memory.current"), value("memory.max"));
    set(&mut memory, "cache", value_of(&stat, "file"));
    set(&mut memory, "usage", entry(limit, usage, value("memory.peak"), 0));
    if let Some(swap) = number(path, "memory.swap.current") {
        // v1 counts memory and swap together, and so do those who read this.
        let swap_limit = value("memory.swap.max");
        let together = if swap_limit == u64::MAX { u64::MAX } else { swap_limit.saturating_add(limit) };
        set(&mut memory, "swap", entry(together, swap + usage, 0, 0));
    }
    let raw: Map<String, Value> = pairs(&stat).map(|(key, value)| (key.to_string(), value.into())).collect();
    set(&mut memory, "raw", raw);
    psi(&mut memory, path, "memory.pressure");
    memory
}

fn pids(path: &Path) -> Map<String, Value> {
    if number(path, "pids.current").is_some() {
        return super::pids(path);
    }
    let mut pids = Map::new();
    set(&mut pids, "current", directory::pids(path, Reach::Own).unwrap_or_default().len());
    pids
}

fn blkio(path: &Path) -> Map<String, Value> {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text(path, "io.stat").unwrap_or_default().lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>()) else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, operation) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                _ => continue,
            };
            list.push(device(major, minor, operation, value.parse().unwrap_or_default()));
        }
    }
    let mut blkio = Map::new();
    set(&mut blkio, "ioServiceBytesRecursive", bytes);
    set(&mut blkio, "ioServicedRecursive", operations);
    psi(&mut blkio, path, "io.pressure");
    blkio
}

/// An entry about a device.
pub(super) fn device(major: u64, minor: u64, operation: &str, value: u64) -> Value {
    let mut entry = Map::new();
    set(&mut entry, "major", major);
    set(&mut entry, "minor", minor);
    if !operation.is_empty() {
        entry.insert("op".into(), operation.into());
    }
    set(&mut entry, "value", value);
    entry.into()
}

fn hugetlb(path: &Path) -> Map<String, Value> {
    let mut all = Map::new();
    for size in page_sizes() {
        let used = number(path, &format!("hugetlb.{size}.rsvd.current"))
            .or_else(|| number(path, &format!("hugetlb.{size}.current")));
        let Some(used) = used else { continue };
        let failed = keyed(&path.join(format!("hugetlb.{size}.events")), "max").ok().flatten();
        let mut one = Map::new();
        set(&mut one, "usage", used);
        one.insert("failcnt".into(), json!(failed.unwrap_or_default()));
        all.insert(size, one.into());
    }
    all
}
