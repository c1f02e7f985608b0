//! Limits as properties of a systemd unit, so that `systemctl show` tells them and a reload keeps them.
//!
//! They come from the same list of files and values that is written: what has no property is in the file
//! alone. systemd leaves such files as they are, but for memory.oom.group: see [`OOM_POLICY_SINCE`].

use super::limits::{Limits, Value};
use super::unit::Property;
use crate::plan::number_list::Mask;

/// What systemd counts in: percents of a processor, so hundredths of a second per second.
const GRAIN: u64 = 10_000;
const SECOND: u64 = 1_000_000;
const USUAL_PERIOD: u64 = 100_000;

/// The systemd from which on a scope has an OOMPolicy, which memory.oom.group follows when systemd reloads.
/// An earlier one sets the file back.
pub const OOM_POLICY_SINCE: u32 = 253;

/// The OOMPolicy that stands for a value of memory.oom.group.
pub fn oom_policy(value: &str) -> Option<&'static str> {
    match value.trim() {
        "0" => Some("continue"),
        "1" => Some("kill"),
        _ => None,
    }
}

/// The property, or the properties, for a file of cgroup v2 and its value.
pub fn of(file: &str, value: &str) -> Vec<(String, Property)> {
    let value = value.trim();
    let one = |name: &str, property: Property| vec![(name.to_string(), property)];
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.high" => "MemoryHigh",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        "io.weight" | "io.bfq.weight" => return weight(value, file == "io.bfq.weight"),
        "cpu.max" => return quota(value),
        "cpuset.cpus" => return bits(value).map_or_else(Vec::new, |bits| one("AllowedCPUs", bits)),
        "cpuset.mems" => return bits(value).map_or_else(Vec::new, |bits| one("AllowedMemoryNodes", bits)),
        _ => return Vec::new(),
    };
    match value {
        "max" => one(name, Property::Uint64(u64::MAX)),
        value => value.parse().map_or_else(|_| Vec::new(), |number| one(name, Property::Uint64(number))),
    }
}

/// The list of devices with weights of their own, which may be set once for each.
pub const OF_DEVICES: &str = "IODeviceWeight";

/// `WEIGHT`, `default WEIGHT`, or `MAJOR:MINOR WEIGHT`. systemd has to know a device's own: the kernel forgets it
/// when the general one is written.
fn weight(value: &str, is_bfq: bool) -> Vec<(String, Property)> {
    let (whose, number) = value.rsplit_once(' ').unwrap_or(("default", value));
    let Ok(number) = number.parse() else { return Vec::new() };
    let number = if is_bfq { of_bfq(number) } else { number };
    vec![match whose {
        "default" => ("IOWeight".to_string(), Property::Uint64(number)),
        device => (OF_DEVICES.to_string(), Property::Numbers(vec![(format!("/dev/block/{device}"), number)])),
    }]
}

/// The IOWeight that systemd writes into io.bfq.weight as this: from 100 up, nine of BFQ's are 99 of its own.
fn of_bfq(weight: u64) -> u64 {
    if weight <= 100 { weight } else { (100 + (weight - 100) * 11).min(10_000) }
}

/// `QUOTA`, or `QUOTA PERIOD`.
fn quota(value: &str) -> Vec<(String, Property)> {
    let mut words = value.split_whitespace();
    let (Some(quota), period) = (words.next(), words.next()) else { return Vec::new() };
    let Some(period) = period.map_or(Some(None), |period| period.parse::<u64>().ok().map(Some)) else {
        return Vec::new();
    };
    let mut properties = Vec::new();
    if let Some(period) = period {
        properties.push(("CPUQuotaPeriodUSec".to_string(), Property::Uint64(period)));
    }
    let a_second = match quota.parse::<u64>() {
        Ok(quota) => per_second(quota, period.unwrap_or(USUAL_PERIOD)),
        Err(_) => Some(u64::MAX),
    };
    if let Some(a_second) = a_second {
        properties.push(("CPUQuotaPerSecUSec".to_string(), Property::Uint64(a_second)));
    }
    properties
}

fn per_second(quota: u64, period: u64) -> Option<u64> {
    quota.checked_mul(SECOND)?.checked_div(period)?.checked_next_multiple_of(GRAIN)
}

/// Rounds quotas up to what systemd can remember, lest a reload changes them.
pub fn round(limits: &mut Limits) {
    for write in limits.writes.iter_mut().filter(|write| write.file == "cpu.max") {
        let Value::Text(text) = &mut write.value else { continue };
        let mut words = text.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(quota)), period) = (words.next(), words.next()) else { continue };
        let Ok(period) = period.unwrap_or(Ok(USUAL_PERIOD)) else { continue };
        if let Some(quota) = per_second(quota, period).and_then(|second| second.checked_mul(period)) {
            let with_period = text.contains(' ');
            *text = (quota / SECOND).to_string();
            if with_period {
                *text += &format!(" {period}");
            }
        }
    }
}

fn bits(list: &str) -> Option<Property> {
    let mask = Mask::parse(list).ok()?;
    let mut bytes: Vec<u8> = mask.words().iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Some(Property::Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::cgroup::Version;
    use crate::plan::cgroup::limits::{Occasion, decide};
    use crate::plan::notes::Notes;
    use serde_json::json;

    fn number(file: &str, value: &str) -> Vec<(String, u64)> {
        let number = |(name, property)| match property {
            Property::Uint64(number) => (name, number),
            other => panic!("{other:?}"),
        };
        of(file, value).into_iter().map(number).collect()
    }

    #[test]
    fn files_have_properties() {
        assert_eq!(number("memory.max", "100"), [("MemoryMax".into(), 100)]);
        assert_eq!(number("pids.max", "max"), [("TasksMax".into(), u64::MAX)]);
        let half = [("CPUQuotaPeriodUSec".into(), 100_000), ("CPUQuotaPerSecUSec".into(), 500_000)];
        assert_eq!(number("cpu.max", "50000 100000"), half);
        assert_eq!(number("cpu.max", "50000"), half[1..]);
        assert_eq!(number("cpu.max", "max"), [("CPUQuotaPerSecUSec".into(), u64::MAX)]);
        assert_eq!(of("cpuset.cpus", "0-1,9"), [("AllowedCPUs".into(), Property::Bytes(vec![3, 2]))]);
        assert_eq!(number("io.weight", "default 300"), [("IOWeight".into(), 300)]);
        for (bfq, weight) in [("10", 10), ("100", 100), ("500", 4500), ("1000", 10_000)] {
            assert_eq!(number("io.bfq.weight", bfq), [("IOWeight".into(), weight)]);
        }
        let own = Property::Numbers(vec![("/dev/block/8:0".into(), 4500)]);
        assert_eq!(of("io.bfq.weight", "8:0 500"), [("IODeviceWeight".into(), own)]);
        assert_eq!(of("hugetlb.2MB.max", "1"), []);
        assert_eq!(of("cpu.max", "5 0"), [("CPUQuotaPeriodUSec".into(), Property::Uint64(0))]);
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_percents() {
        let resources = json!({"cpu": {"quota": 4999, "period": 100_000}});
        let resources = serde_json::from_value(resources).unwrap();
        let mut limits = decide(&resources, Version::V2, Occasion::Create, &mut Notes::default()).unwrap();
        round(&mut limits);
        assert_eq!(limits.writes[0].value, Value::Text("5000 100000".into()));
    }
}
