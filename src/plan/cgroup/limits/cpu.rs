//! Processor time and the processors themselves.

use super::writes::{At, Missing, Occasion, Value, Write, Writes, negative};
use crate::fault::{Fault, Place};
use crate::plan::cgroup::Version;
use crate::plan::cgroup::v1::{self, SHARES};
use crate::plan::number_list::{self, Mask};
use oci_spec::runtime::LinuxCpu;

const WEIGHT: Place = Place::of("linux.resources.cpu.shares");
const QUOTA: Place = Place::of("linux.resources.cpu.quota");
const PERIOD: Place = Place::of("linux.resources.cpu.period");
const BURST: Place = Place::of("linux.resources.cpu.burst");
const IDLE: Place = Place::of("linux.resources.cpu.idle");

pub(super) fn decide(cpu: &LinuxCpu, writes: &mut Writes<'_>) -> Result<(), Fault> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if let Some(quota) = quota.filter(|quota| *quota < -1) {
        return Err(negative(QUOTA, quota));
    }
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(idle) = cpu.idle() {
        if !(0..=1).contains(&idle) {
            return Err(Fault::at(IDLE, format!("{idle} is neither 0 nor 1"))
                .remedy("use 1 for a cgroup that runs only when nothing else does, else 0"));
        }
        writes.write(IDLE, "cpu.idle", idle);
    }
    let shares = cpu.shares().filter(|shares| *shares != 0);
    match writes.version {
        Version::V2 => v2(cpu, shares, quota, period, writes),
        Version::V1 => v1::cpu(cpu, shares, quota, period, writes)?,
    }
    for (list, at, file) in [
        (cpu.cpus(), Place::of("linux.resources.cpu.cpus"), "cpuset.cpus"),
        (cpu.mems(), Place::of("linux.resources.cpu.mems"), "cpuset.mems"),
    ] {
        if let Some(list) = list.as_deref().filter(|list| !list.is_empty()) {
            let mask = Mask::parse(list).and_then(|mask| match mask.is_empty() {
                true => Err("has no number in it"),
                false => Ok(mask),
            });
            mask.map_err(|flaw| Fault::at(at, format!("{list:?} {flaw}")).remedy(number_list::FORM))?;
            writes.write(at, file, list);
        }
    }
    Ok(())
}

/// An idle cgroup has no weight: the kernel refuses to set one, and whoever wants one wants it to be idle no more.
pub(super) fn idle_or_weight(writes: &mut Writes<'_>) {
    let is_weight = |write: &Write| matches!(&*write.file, "cpu.shares" | "cpu.weight" | "cpu.weight.nice");
    let Some(first) = writes.list.iter().position(is_weight) else { return };
    let at = writes.list[first].at.clone();
    match writes.list.iter().rev().find(|write| write.file == "cpu.idle") {
        Some(write) if write.value == Value::Text("1".to_string()) => {
            writes.notes.warn(format!("{at}: left out, unable to apply both this and {}", write.at));
            writes.list.retain(|write| !is_weight(write));
        }
        None if writes.occasion == Occasion::Update => {
            // Since 5.15.
            writes.add(at, "cpu.idle".into(), Value::Text("0".to_string())).missing = Missing::Skip;
            writes.list[first..].rotate_right(1);
        }
        _ => {}
    }
}

fn v2(cpu: &LinuxCpu, shares: Option<u64>, quota: Option<i64>, period: Option<u64>, writes: &mut Writes<'_>) {
    if let Some(shares) = shares {
        writes.write(WEIGHT, "cpu.weight", weight(shares));
    }
    if let Some(burst) = cpu.burst() {
        writes.write(BURST, "cpu.max.burst", burst);
    }
    let quota_word = quota.map(|quota| if quota > 0 { quota.to_string() } else { "max".to_string() });
    match (quota_word, period) {
        (Some(quota), Some(period)) => {
            writes.write(QUOTA, "cpu.max", format!("{quota} {period}"));
        }
        // The kernel leaves the period as it is.
        (Some(quota), None) => {
            writes.write(QUOTA, "cpu.max", quota);
        }
        (None, Some(period)) => {
            writes.add(At::Place(PERIOD), "cpu.max".into(), Value::AfterFirstWord(period.to_string()));
        }
        (None, None) => {}
    }
    if cpu.realtime_runtime().is_some_and(|runtime| runtime != 0) {
        writes.left_out(Place::of("linux.resources.cpu.realtimeRuntime"));
    }
    if cpu.realtime_period().is_some_and(|period| period != 0) {
        writes.left_out(Place::of("linux.resources.cpu.realtimePeriod"));
    }
}

/// v1's shares as v2's weight: a curve through the least, the usual and the most of both, 2 → 1,
/// 1024 → 100, 262144 → 10000, as in runc 1.5. On the straight line that was used before, 1024 shares came out
/// as 39, well below what systemd gives its services.
pub fn weight(shares: u64) -> u64 {
    let (least, most) = SHARES;
    if shares <= least {
        return 1;
    }
    if shares >= most {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}
