//! Processor time and the processors themselves.

use super::{At, Missing, Occasion, Sheet, Value, Write};
use crate::fault::{Fault, Place};
use crate::plan::cgroup::Version;
use crate::plan::number_list::{self, Mask};
use oci_spec::runtime::LinuxCpu;

const SHARES: Place = Place::of("linux.resources.cpu.shares");
const QUOTA: Place = Place::of("linux.resources.cpu.quota");
const PERIOD: Place = Place::of("linux.resources.cpu.period");
const BURST: Place = Place::of("linux.resources.cpu.burst");
const IDLE: Place = Place::of("linux.resources.cpu.idle");

/// What v1's cpu.shares takes.
const SHARES_RANGE: (u64, u64) = (2, 262_144);

pub(super) fn decide(cpu: &LinuxCpu, sheet: &mut Sheet<'_>) -> Result<(), Fault> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    if let Some(quota) = quota.filter(|quota| *quota < -1) {
        return Err(super::negative(QUOTA, quota));
    }
    let period = cpu.period().filter(|period| *period != 0);
    if let Some(idle) = cpu.idle() {
        if !(0..=1).contains(&idle) {
            return Err(Fault::at(IDLE, format!("{idle} is neither 0 nor 1"))
                .remedy("use 1 for a cgroup that runs only when nothing else does, else 0"));
        }
        sheet.write(IDLE, "cpu.idle", idle);
    }
    let shares = cpu.shares().filter(|shares| *shares != 0);
    match sheet.version {
        Version::V2 => v2(cpu, shares, quota, period, sheet),
        Version::V1 => v1(cpu, shares, quota, period, sheet)?,
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
            sheet.write(at, file, list);
        }
    }
    Ok(())
}

/// An idle cgroup has no weight: the kernel refuses to set one, and whoever wants one wants it to be idle no more.
pub(super) fn idle_or_weight(sheet: &mut Sheet<'_>) {
    let is_weight = |write: &Write| matches!(&*write.file, "cpu.shares" | "cpu.weight" | "cpu.weight.nice");
    let Some(first) = sheet.writes.iter().position(is_weight) else { return };
    let at = sheet.writes[first].at.clone();
    match sheet.writes.iter().rev().find(|write| write.file == "cpu.idle") {
        Some(write) if write.value == Value::Text("1".to_string()) => {
            sheet.notes.warn(format!("{at}: left out, unable to apply both this and {}", write.at));
            sheet.writes.retain(|write| !is_weight(write));
        }
        None if sheet.occasion == Occasion::Update => {
            // Since 5.15.
            sheet.add(at, "cpu.idle".into(), Value::Text("0".to_string())).missing = Missing::Skip;
            sheet.writes[first..].rotate_right(1);
        }
        _ => {}
    }
}

fn v2(cpu: &LinuxCpu, shares: Option<u64>, quota: Option<i64>, period: Option<u64>, sheet: &mut Sheet<'_>) {
    if let Some(shares) = shares {
        sheet.write(SHARES, "cpu.weight", weight(shares));
    }
    if let Some(burst) = cpu.burst() {
        sheet.write(BURST, "cpu.max.burst", burst);
    }
    let quota_word = quota.map(|quota| if quota > 0 { quota.to_string() } else { "max".to_string() });
    match (quota_word, period) {
        (Some(quota), Some(period)) => {
            sheet.write(QUOTA, "cpu.max", format!("{quota} {period}"));
        }
        // The kernel leaves the period as it is.
        (Some(quota), None) => {
            sheet.write(QUOTA, "cpu.max", quota);
        }
        (None, Some(period)) => {
            sheet.add(At::Place(PERIOD), "cpu.max".into(), Value::AfterFirstWord(period.to_string()));
        }
        (None, None) => {}
    }
    let realtime = |value: bool, at: Place, sheet: &mut Sheet<'_>| {
        if value {
            sheet.left_out(at);
        }
    };
    realtime(cpu.realtime_runtime().unwrap_or(0) != 0, REALTIME_RUNTIME, sheet);
    realtime(cpu.realtime_period().unwrap_or(0) != 0, REALTIME_PERIOD, sheet);
}

const REALTIME_RUNTIME: Place = Place::of("linux.resources.cpu.realtimeRuntime");
const REALTIME_PERIOD: Place = Place::of("linux.resources.cpu.realtimePeriod");

/// Each of the pairs depends on the other: whichever the kernel refuses is tried again after the other.
fn v1(
    cpu: &LinuxCpu,
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    sheet: &mut Sheet<'_>,
) -> Result<(), Fault> {
    if let Some(shares) = shares {
        let (least, most) = SHARES_RANGE;
        if shares < least {
            return Err(Fault::at(SHARES, format!("the minimum allowed cpu-shares is {least}"))
                .remedy("use a larger number; 1024 is the usual share"));
        }
        if shares > most {
            return Err(Fault::at(SHARES, format!("the maximum allowed cpu-shares is {most}"))
                .remedy("use a smaller number; 1024 is the usual share"));
        }
        sheet.write(SHARES, "cpu.shares", shares);
    }
    if let Some(period) = period {
        sheet.write(PERIOD, "cpu.cfs_period_us", period);
    }
    if let Some(burst) = cpu.burst() {
        // Since 5.14.
        sheet.write(BURST, "cpu.cfs_burst_us", burst).missing = Missing::Skip;
    }
    if let Some(quota) = quota {
        sheet.write(QUOTA, "cpu.cfs_quota_us", quota);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        sheet.write(REALTIME_PERIOD, "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        sheet.write(REALTIME_RUNTIME, "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// v1's shares as v2's weight: a curve through the least, the usual and the most of both, 2 → 1,
/// 1024 → 100, 262144 → 10000, as in runc 1.5. On the straight line that was used before, 1024 shares came out
/// as 39, well below what systemd gives its services.
pub fn weight(shares: u64) -> u64 {
    let (least, most) = SHARES_RANGE;
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
