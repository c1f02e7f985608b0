//! What cgroup v1 has for `linux.resources`: other files than v2, and another form of device rules.

use super::devices::{Answer, Kind, Rule};
use super::limits::writes::{Missing, Writes, bytes, is_set};
use crate::fault::{Fault, Place};
use oci_spec::runtime::{LinuxCpu, LinuxInterfacePriority, LinuxMemory};

/// What cpu.shares takes.
pub const SHARES: (u64, u64) = (2, 262_144);

/// Memory and swap.
pub fn memory(
    memory: &LinuxMemory,
    limit: Option<i64>,
    swap: Option<i64>,
    writes: &mut Writes<'_>,
) -> Result<(), Fault> {
    const LIMIT: Place = Place::of("linux.resources.memory.limit");
    // Neither may cross the other on the way: whichever the kernel refuses is tried again after the other.
    if let Some(value) = bytes(limit, LIMIT, "-1")? {
        writes.write(LIMIT, "memory.limit_in_bytes", value);
    }
    const TOGETHER: &str = "memory.memsw.limit_in_bytes";
    if let Some(value) = bytes(swap, Place::of("linux.resources.memory.swap"), "-1")? {
        writes.write(Place::of("linux.resources.memory.swap"), TOGETHER, value);
    } else if limit == Some(-1) {
        writes.write(LIMIT, TOGETHER, -1).missing = Missing::Skip;
    }
    if let Some(value) = bytes(memory.reservation(), Place::of("linux.resources.memory.reservation"), "-1")? {
        writes.write(Place::of("linux.resources.memory.reservation"), "memory.soft_limit_in_bytes", value);
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.write(Place::of("linux.resources.memory.disableOOMKiller"), "memory.oom_control", 1);
    }
    if let Some(swappiness) = memory.swappiness().filter(|value| is_set(*value)) {
        writes.write(Place::of("linux.resources.memory.swappiness"), "memory.swappiness", swappiness);
    }
    Ok(())
}

/// Processor time. Each of the pairs depends on the other: whichever the kernel refuses is tried again after the other.
pub fn cpu(
    cpu: &LinuxCpu,
    shares: Option<u64>,
    quota: Option<i64>,
    period: Option<u64>,
    writes: &mut Writes<'_>,
) -> Result<(), Fault> {
    if let Some(shares) = shares {
        let (at, (least, most)) = (Place::of("linux.resources.cpu.shares"), SHARES);
        if shares < least {
            return Err(Fault::at(at, format!("the minimum allowed cpu-shares is {least}"))
                .remedy("use a larger number; 1024 is the usual share"));
        }
        if shares > most {
            return Err(Fault::at(at, format!("the maximum allowed cpu-shares is {most}"))
                .remedy("use a smaller number; 1024 is the usual share"));
        }
        writes.write(at, "cpu.shares", shares);
    }
    if let Some(period) = period {
        writes.write(Place::of("linux.resources.cpu.period"), "cpu.cfs_period_us", period);
    }
    if let Some(burst) = cpu.burst() {
        // Since 5.14.
        writes.write(Place::of("linux.resources.cpu.burst"), "cpu.cfs_burst_us", burst).missing =
            Missing::Skip;
    }
    if let Some(quota) = quota {
        writes.write(Place::of("linux.resources.cpu.quota"), "cpu.cfs_quota_us", quota);
    }
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        writes.write(Place::of("linux.resources.cpu.realtimePeriod"), "cpu.rt_period_us", period);
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|runtime| *runtime != 0) {
        writes.write(Place::of("linux.resources.cpu.realtimeRuntime"), "cpu.rt_runtime_us", runtime);
    }
    Ok(())
}

/// The classes and priorities of packets, which v2 has no files for.
pub fn network(class: Option<u32>, priorities: &[LinuxInterfacePriority], writes: &mut Writes<'_>) {
    if let Some(class) = class {
        writes.write(Place::of("linux.resources.network.classID"), "net_cls.classid", class);
    }
    for (index, entry) in priorities.iter().enumerate() {
        let at = Place::nth("linux.resources.network.priorities", index);
        writes.write(at, "net_prio.ifpriomap", format!("{} {}", entry.name(), entry.priority()));
    }
}

/// The lines for v1's `devices.allow` and `devices.deny`, in their order.
///
/// v1 keeps a default and exceptions from it. A rule that takes away a part of an exception (allow c 1:*,
/// deny c 1:3) has no such form, and the kernel would overlook it.
pub fn devices(rules: &[Rule]) -> Result<Vec<(&'static str, String)>, Fault> {
    let mut default = Answer::Deny;
    let mut exceptions: Vec<Rule> = Vec::new();
    for rule in rules {
        if rule.is_total() {
            default = rule.answer;
            exceptions.clear();
            continue;
        }
        // The kernel knows `a` as a reset only.
        let kinds = match rule.kind {
            Some(kind) => vec![kind],
            None => vec![Kind::Character, Kind::Block],
        };
        for kind in kinds {
            let rule = Rule { kind: Some(kind), ..*rule };
            if rule.answer == default {
                take_away(&mut exceptions, &rule)?;
            } else {
                exceptions.push(rule);
            }
        }
    }
    let (reset, except) = match default {
        Answer::Deny => ("devices.deny", "devices.allow"),
        Answer::Allow => ("devices.allow", "devices.deny"),
    };
    let lines = exceptions.iter().map(|rule| (except, line(rule)));
    Ok([(reset, "a".to_string())].into_iter().chain(lines).collect())
}

fn take_away(exceptions: &mut Vec<Rule>, rule: &Rule) -> Result<(), Fault> {
    for exception in exceptions.iter_mut() {
        if rule.covers(exception) {
            exception.access.0 &= !rule.access.0;
        } else if rule.meets(exception) && exception.access.0 & rule.access.0 != 0 {
            // What a default rule cannot add to a listed one, it does not.
            let Some(at) = rule.at else { continue };
            let fault =
                format!("cgroup v1 cannot take {} out of the rule for {}", line(rule), line(exception));
            return Err(Fault::at(at, fault).remedy("list what is allowed by its numbers, or use cgroup v2"));
        }
    }
    exceptions.retain(|exception| exception.access.0 != 0);
    Ok(())
}

fn line(rule: &Rule) -> String {
    let kind = match rule.kind {
        None => "a",
        Some(Kind::Character) => "c",
        Some(Kind::Block) => "b",
    };
    let number = |number: Option<u32>| number.map_or("*".to_string(), |number| number.to_string());
    [kind, " ", &number(rule.major), ":", &number(rule.minor), " ", &rule.access.letters()].concat()
}
