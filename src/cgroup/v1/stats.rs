//! From the files of cgroup v1's controllers.

use super::paths::{Paths, directory_of};
use crate::cgroup::stats::{
    self, CPUSET, Files, Parts, Unreadable, device, entry, number, page_sizes, pairs, set, text, value_of,
};
use crate::plan::number_list::Mask;
use serde_json::{Map, Value, json};

/// cpuacct.stat counts in hundredths of a second, on every architecture (USER_HZ).
const TICK: u64 = 10_000_000;

pub fn parts(paths: &Paths, unreadable: &Unreadable) -> Parts {
    let of = |controller: &str, read: fn(&Files<'_>) -> Map<String, Value>| {
        let directory = directory_of(paths, controller);
        directory.map_or_else(Map::new, |directory| read(&Files { directory, unreadable }))
    };
    let mut cpu = Map::new();
    set(&mut cpu, "usage", of("cpuacct", usage));
    set(&mut cpu, "throttling", of("cpu", throttling));
    Parts {
        cpu,
        cpuset: of("cpuset", cpuset),
        memory: of("memory", memory),
        pids: of("pids", stats::pids),
        blkio: of("blkio", blkio),
        hugetlb: of("hugetlb", hugetlb),
    }
}

fn usage(files: &Files<'_>) -> Map<String, Value> {
    let stat = text(files, "cpuacct.stat").unwrap_or_default();
    let mut usage = Map::new();
    set(&mut usage, "total", number(files, "cpuacct.usage").unwrap_or_default());
    let each = text(files, "cpuacct.usage_percpu").unwrap_or_default();
    set(&mut usage, "percpu", numbers(each.split_whitespace()));
    // `cpu user system`, then a line for each processor.
    let all = text(files, "cpuacct.usage_all").unwrap_or_default();
    let column = |index| numbers(all.lines().skip(1).filter_map(|line| line.split(' ').nth(index)));
    set(&mut usage, "percpu_kernel", column(2));
    set(&mut usage, "percpu_user", column(1));
    usage.insert("kernel".into(), value_of(&stat, "system").saturating_mul(TICK).into());
    usage.insert("user".into(), value_of(&stat, "user").saturating_mul(TICK).into());
    usage
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u64> {
    words.filter_map(|word| word.parse().ok()).collect()
}

fn throttling(files: &Files<'_>) -> Map<String, Value> {
    let stat = text(files, "cpu.stat").unwrap_or_default();
    let mut throttling = Map::new();
    set(&mut throttling, "periods", value_of(&stat, "nr_periods"));
    set(&mut throttling, "throttledPeriods", value_of(&stat, "nr_throttled"));
    set(&mut throttling, "throttledTime", value_of(&stat, "throttled_time"));
    throttling
}

fn cpuset(files: &Files<'_>) -> Map<String, Value> {
    let list = |file| {
        let text = text(files, file).unwrap_or_default();
        Mask::parse(text.trim()).unwrap_or_default().numbers().collect::<Vec<_>>()
    };
    let mut cpuset = Map::new();
    set(&mut cpuset, "cpus", list("cpuset.cpus"));
    set(&mut cpuset, "mems", list("cpuset.mems"));
    for name in CPUSET {
        // The last of them may be -1.
        let value = text(files, &format!("cpuset.{name}")).and_then(|text| text.trim().parse::<i64>().ok());
        cpuset.extend(value.map(|value| (name.to_string(), json!(value))));
    }
    cpuset
}

fn memory(files: &Files<'_>) -> Map<String, Value> {
    let mut memory = Map::new();
    let Some(stat) = text(files, "memory.stat") else { return memory };
    let one = |kind: &str| {
        let value = |file: &str| number(files, &format!("{kind}.{file}")).unwrap_or_default();
        entry(value("limit_in_bytes"), value("usage_in_bytes"), value("max_usage_in_bytes"), value("failcnt"))
    };
    set(&mut memory, "cache", value_of(&stat, "cache"));
    for (name, kind) in [
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ] {
        set(&mut memory, name, one(kind));
    }
    let raw: Map<String, Value> = pairs(&stat).map(|(key, value)| (key.to_string(), value.into())).collect();
    set(&mut memory, "raw", raw);
    memory
}

/// Lines `MAJOR:MINOR OPERATION VALUE` or `MAJOR:MINOR VALUE`, and a total.
fn devices(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = words.next()?.split_once(':')?;
            let (first, second) = (words.next()?, words.next());
            let (operation, value) = second.map_or(("", first), |value| (first, value));
            Some(device(major.parse().ok()?, minor.parse().ok()?, operation, value.parse().ok()?))
        })
        .collect()
}

fn blkio(files: &Files<'_>) -> Map<String, Value> {
    let mut blkio = Map::new();
    for (name, file) in [
        ("ioServiceBytesRecursive", "io_service_bytes_recursive"),
        ("ioServicedRecursive", "io_serviced_recursive"),
        ("ioQueueRecursive", "io_queued_recursive"),
        ("ioServiceTimeRecursive", "io_service_time_recursive"),
        ("ioWaitTimeRecursive", "io_wait_time_recursive"),
        ("ioMergedRecursive", "io_merged_recursive"),
        ("ioTimeRecursive", "time_recursive"),
        ("sectorsRecursive", "sectors_recursive"),
    ] {
        // BFQ's, CFQ's (before Linux 5.0), or without a scheduler what was counted against throttling.
        let throttle = format!("blkio.throttle.{}", file.trim_end_matches("_recursive"));
        let throttle_recursive = format!("blkio.throttle.{file}");
        let found = [format!("blkio.bfq.{file}"), format!("blkio.{file}"), throttle_recursive, throttle]
            .iter()
            .map(|file| devices(&text(files, file).unwrap_or_default()))
            .find(|list| !list.is_empty());
        set(&mut blkio, name, found.unwrap_or_default());
    }
    blkio
}

fn hugetlb(files: &Files<'_>) -> Map<String, Value> {
    let mut all = Map::new();
    for size in page_sizes() {
        let rsvd = format!("hugetlb.{size}.rsvd");
        let kind = if number(files, &format!("{rsvd}.usage_in_bytes")).is_some() {
            rsvd
        } else {
            format!("hugetlb.{size}")
        };
        let Some(used) = number(files, &format!("{kind}.usage_in_bytes")) else { continue };
        let value = |file: &str| number(files, &format!("{kind}.{file}")).unwrap_or_default();
        let mut one = Map::new();
        set(&mut one, "usage", used);
        set(&mut one, "max", value("max_usage_in_bytes"));
        one.insert("failcnt".into(), value("failcnt").into());
        all.insert(size, one.into());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_devices_are_read_with_and_without_an_operation() {
        let found = devices("8:0 Read 5\n8:16 7\nTotal 12\n");
        assert_eq!(
            found,
            [json!({"major": 8, "op": "Read", "value": 5}), json!({"major": 8, "minor": 16, "value": 7}),]
        );
    }
}
