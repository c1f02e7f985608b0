//! From the files of cgroup v2, in v1's units and names.

use crate::cgroup::directory::{self, Reach};
use crate::cgroup::stats::{
    self, Files, Parts, device, entry, number, page_sizes, pairs, pressure, set, text, value_of,
};
use serde_json::{Map, Value, json};

const MICROSECOND: u64 = 1000;

pub fn parts(files: &Files<'_>) -> Parts {
    Parts {
        cpu: cpu(files),
        cpuset: Map::new(),
        memory: memory(files),
        pids: pids(files),
        blkio: blkio(files),
        hugetlb: hugetlb(files),
    }
}

fn psi(map: &mut Map<String, Value>, files: &Files<'_>, file: &str) {
    set(map, "psi", text(files, file).map_or(Value::Null, |text| pressure(&text)));
}

fn cpu(files: &Files<'_>) -> Map<String, Value> {
    let stat = text(files, "cpu.stat").unwrap_or_default();
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
    psi(&mut cpu, files, "cpu.pressure");
    cpu
}

fn memory(files: &Files<'_>) -> Map<String, Value> {
    let mut memory = Map::new();
    let Some(stat) = text(files, "memory.stat") else { return memory };
    let value = |file| number(files, file).unwrap_or_default();
    let (usage, limit) = (value("memory.current"), value("memory.max"));
    set(&mut memory, "cache", value_of(&stat, "file"));
    set(&mut memory, "usage", entry(limit, usage, value("memory.peak"), 0));
    if let Some(swap) = number(files, "memory.swap.current") {
        // v1 counts memory and swap together, and so do those who read this.
        let swap_limit = value("memory.swap.max");
        let together = if swap_limit == u64::MAX { u64::MAX } else { swap_limit.saturating_add(limit) };
        set(&mut memory, "swap", entry(together, swap + usage, 0, 0));
    }
    let raw: Map<String, Value> = pairs(&stat).map(|(key, value)| (key.to_string(), value.into())).collect();
    set(&mut memory, "raw", raw);
    psi(&mut memory, files, "memory.pressure");
    memory
}

fn pids(files: &Files<'_>) -> Map<String, Value> {
    if number(files, "pids.current").is_some() {
        return stats::pids(files);
    }
    let mut pids = Map::new();
    let own = files.found("cgroup.procs", directory::pids(files.directory, Reach::Own));
    set(&mut pids, "current", own.unwrap_or_default().len());
    pids
}

fn blkio(files: &Files<'_>) -> Map<String, Value> {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text(files, "io.stat").unwrap_or_default().lines() {
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
    psi(&mut blkio, files, "io.pressure");
    blkio
}

fn hugetlb(files: &Files<'_>) -> Map<String, Value> {
    let mut all = Map::new();
    for size in page_sizes() {
        let used = number(files, &format!("hugetlb.{size}.rsvd.current"))
            .or_else(|| number(files, &format!("hugetlb.{size}.current")));
        let Some(used) = used else { continue };
        let events = text(files, &format!("hugetlb.{size}.events"));
        let failed = events.map(|events| value_of(&events, "max"));
        let mut one = Map::new();
        set(&mut one, "usage", used);
        one.insert("failcnt".into(), json!(failed.unwrap_or_default()));
        all.insert(size, one.into());
    }
    all
}
