//! How the process is scheduled: on the processors, for I/O, and on which processors.

use super::number_list::{self, Mask};
use crate::config;
use crate::fault::{Fault, Place};
use crate::kernel::schedule::SchedAttr;

/// `process.scheduler`, as sched_setattr(2) takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduler {
    /// The policy's name.
    pub policy: &'static str,
    /// Everything.
    pub attributes: SchedAttr,
}

impl Scheduler {
    /// Whether a process that is made by one with this scheduler has it too; sched(7).
    pub fn is_inherited(&self) -> bool {
        const RESET_ON_FORK: u64 = 1;
        self.policy != "SCHED_DEADLINE" && self.attributes.flags & RESET_ON_FORK == 0
    }
}

/// `process.ioPriority`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority {
    /// The class's name.
    pub name: &'static str,
    /// The kernel's number of it.
    pub class: u8,
    /// 0 (highest) to 7.
    pub level: u8,
}

/// `process.execCPUAffinity`: where a process that is added to a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Before it is in the container's cgroup; empty leaves it where kase runs.
    pub initial: Mask,
    /// From then on; empty leaves it to the kernel.
    pub last: Mask,
}

const POLICIES: [(&str, libc::c_int); 6] = [
    ("SCHED_OTHER", libc::SCHED_OTHER),
    ("SCHED_FIFO", libc::SCHED_FIFO),
    ("SCHED_RR", libc::SCHED_RR),
    ("SCHED_BATCH", libc::SCHED_BATCH),
    ("SCHED_IDLE", libc::SCHED_IDLE),
    ("SCHED_DEADLINE", libc::SCHED_DEADLINE),
];

/// linux/sched.h.
const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", RECLAIM),
    ("SCHED_FLAG_DL_OVERRUN", DL_OVERRUN),
    ("SCHED_FLAG_KEEP_POLICY", KEEP_POLICY),
    ("SCHED_FLAG_KEEP_PARAMS", KEEP_PARAMS),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
const RECLAIM: u64 = 0x02;
const DL_OVERRUN: u64 = 0x04;
const KEEP_POLICY: u64 = 0x08;
const KEEP_PARAMS: u64 = 0x10;

const CLASSES: [(&str, u8); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// Decides `process.scheduler`.
///
/// # Errors
/// What sched_setattr(2) would refuse whoever asks: an unknown word, a number out of range, a parameter of
/// another policy.
pub fn scheduler(listed: &config::Scheduler) -> Result<Scheduler, Fault> {
    let (policy, number) = policy(&listed.policy)?;
    let mut flags = 0;
    for (index, word) in listed.flags.iter().flatten().enumerate() {
        let known = FLAGS.iter().find(|(name, _)| name == word);
        let (_, bit) = known.ok_or_else(|| {
            let at = Place::nth("process.scheduler.flags", index);
            Fault::at(at, format!("{word:?} is no flag")).remedy(one_of(&FLAGS.map(|(name, _)| name)))
        })?;
        flags |= bit;
    }
    let attributes = SchedAttr {
        policy: number.unsigned_abs(),
        flags,
        nice: nice(listed.nice.unwrap_or(0))?,
        priority: priority(listed.priority.unwrap_or(0), policy, number, flags)?,
        runtime: listed.runtime.unwrap_or(0),
        deadline: listed.deadline.unwrap_or(0),
        period: listed.period.unwrap_or(0),
        ..SchedAttr::default()
    };
    if number == libc::SCHED_DEADLINE {
        deadline(&attributes)?;
    } else {
        no_deadline(&attributes, policy)?;
    }
    Ok(Scheduler { policy, attributes })
}

fn policy(word: &str) -> Result<(&'static str, libc::c_int), Fault> {
    let at = "process.scheduler.policy";
    let known = POLICIES.iter().find(|(name, _)| *name == word);
    known.copied().ok_or_else(|| match word {
        "SCHED_ISO" => Fault::at(at, "SCHED_ISO is a reserved name: no Linux kernel has this policy")
            .remedy("use SCHED_RR for low latency, or SCHED_OTHER with a negative nice value"),
        word => Fault::at(at, format!("{word:?} is no scheduling policy"))
            .remedy(one_of(&POLICIES.map(|(name, _)| name))),
    })
}

fn one_of(words: &[&str]) -> String {
    format!("use one of {}", words.join(", "))
}

fn nice(value: i32) -> Result<i32, Fault> {
    if (-20..=19).contains(&value) {
        return Ok(value);
    }
    Err(Fault::at("process.scheduler.nice", format!("{value} is out of range"))
        .remedy("use a number from -20 (most of the processor) to 19"))
}

fn priority(value: i32, policy: &str, number: libc::c_int, flags: u64) -> Result<u32, Fault> {
    let at = "process.scheduler.priority";
    // The kernel ignores the priority with these flags.
    if flags & (KEEP_POLICY | KEEP_PARAMS) != 0 && value == 0 {
        return Ok(0);
    }
    let real_time = matches!(number, libc::SCHED_FIFO | libc::SCHED_RR);
    match u32::try_from(value) {
        Ok(value @ 1..=99) if real_time => Ok(value),
        Ok(0) if !real_time => Ok(0),
        _ if real_time => Err(Fault::at(at, format!("{value} is no priority of {policy}"))
            .remedy("use a number from 1 to 99 (highest)")),
        _ => Err(Fault::at(at, format!("{policy} has no priorities"))
            .remedy("leave it out, or set policy to SCHED_FIFO or SCHED_RR")),
    }
}

/// The kernel's own rule, runtime <= deadline <= period; sched_setattr(2).
fn deadline(attributes: &SchedAttr) -> Result<(), Fault> {
    /// The kernel counts in units of 1024 ns.
    const SHORTEST: u64 = 1024;
    /// The top bit is the kernel's.
    const LONGEST: u64 = i64::MAX as u64;
    if attributes.flags & KEEP_PARAMS != 0 {
        return Ok(());
    }
    let period = if attributes.period == 0 { attributes.deadline } else { attributes.period };
    let order = [
        ("runtime", SHORTEST, attributes.runtime, attributes.deadline),
        ("deadline", attributes.runtime, attributes.deadline, period),
        ("period", attributes.deadline, period, LONGEST),
    ];
    for (field, least, value, most) in order {
        if value < least || value > most {
            let at = format!("process.scheduler.{field}");
            return Err(Fault::at(at, format!("{value} is out of range"))
                .remedy("for SCHED_DEADLINE give 1024 <= runtime <= deadline <= period, in nanoseconds"));
        }
    }
    Ok(())
}

fn no_deadline(attributes: &SchedAttr, policy: &str) -> Result<(), Fault> {
    let numbers =
        [("runtime", attributes.runtime), ("deadline", attributes.deadline), ("period", attributes.period)];
    let field = numbers.into_iter().find(|(_, value)| *value != 0).map(|(field, _)| field);
    let flag = attributes.flags & (RECLAIM | DL_OVERRUN) != 0 && attributes.flags & KEEP_POLICY == 0;
    let Some(field) = field.or(flag.then_some("flags")) else { return Ok(()) };
    Err(Fault::at(format!("process.scheduler.{field}"), format!("means nothing to {policy}"))
        .remedy("set policy to SCHED_DEADLINE, or leave out runtime, deadline, period, SCHED_FLAG_RECLAIM and SCHED_FLAG_DL_OVERRUN"))
}

/// Decides `process.ioPriority`.
///
/// # Errors
/// An unknown class, a priority beyond 7.
pub fn io_priority(listed: &config::IoPriority) -> Result<IoPriority, Fault> {
    let known = CLASSES.iter().find(|(name, _)| *name == listed.class);
    let (name, class) = known.copied().ok_or_else(|| {
        Fault::at("process.ioPriority.class", format!("{:?} is no I/O scheduling class", listed.class))
            .remedy(one_of(&CLASSES.map(|(name, _)| name)))
    })?;
    let level = u8::try_from(listed.priority).ok().filter(|level| *level <= 7).ok_or_else(|| {
        Fault::at("process.ioPriority.priority", format!("{} is out of range", listed.priority))
            .remedy("use a number from 0 (highest) to 7")
    })?;
    Ok(IoPriority { name, class, level })
}

/// Decides `process.execCPUAffinity`.
pub fn affinity(listed: &config::ExecCpuAffinity) -> Result<Affinity, Fault> {
    let read = |list: &Option<String>, at: &'static str| {
        let list = list.as_deref().unwrap_or_default();
        let mask = Mask::parse(list).and_then(|mask| match mask.is_empty() && !list.is_empty() {
            true => Err("has no processor in it"),
            false => Ok(mask),
        });
        mask.map_err(|flaw| Fault::at(at, format!("{list:?} {flaw}")).remedy(number_list::FORM))
    };
    Ok(Affinity {
        initial: read(&listed.initial, "process.execCPUAffinity.initial")?,
        last: read(&listed.last, "process.execCPUAffinity.final")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn decide(value: Value) -> Result<Scheduler, String> {
        scheduler(&serde_json::from_value(value).unwrap()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn every_policy_is_taken_with_what_belongs_to_it() {
        for (policy, number) in [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)] {
            let attributes = decide(json!({"policy": policy, "nice": 19})).unwrap().attributes;
            assert_eq!((attributes.policy, attributes.nice), (number, 19));
        }
        for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
            let attributes = decide(json!({"policy": policy, "priority": 99})).unwrap().attributes;
            assert_eq!((attributes.policy, attributes.priority), (number, 99));
        }
        let deadline = decide(json!({
            "policy": "SCHED_DEADLINE", "nice": 19, "priority": 0,
            "runtime": 42000, "deadline": 100_000, "period": 1_000_000,
        }));
        assert_eq!(deadline.unwrap().attributes.policy, 6);
    }

    #[test]
    fn flags_are_the_kernels_bits() {
        let words: Vec<_> = FLAGS.iter().map(|(name, _)| *name).collect();
        let every = decide(json!({
            "policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024, "flags": words,
        }));
        assert_eq!(every.unwrap().attributes.flags, 0x7f);
    }

    #[test]
    fn what_no_kernel_takes_is_refused_with_its_place() {
        let table = [
            (json!({"policy": "SCHED_FAST"}), "process.scheduler.policy: \"SCHED_FAST\""),
            (json!({"policy": "SCHED_ISO"}), "process.scheduler.policy: SCHED_ISO is a reserved"),
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "process.scheduler.nice: 20"),
            (json!({"policy": "SCHED_OTHER", "nice": -21}), "process.scheduler.nice: -21"),
            (json!({"policy": "SCHED_OTHER", "priority": 1}), "process.scheduler.priority"),
            (json!({"policy": "SCHED_FIFO"}), "process.scheduler.priority: 0"),
            (json!({"policy": "SCHED_RR", "priority": 100}), "process.scheduler.priority: 100"),
            (json!({"policy": "SCHED_RR", "priority": -1}), "process.scheduler.priority: -1"),
            (json!({"policy": "SCHED_BATCH", "runtime": 1}), "process.scheduler.runtime"),
            (json!({"policy": "SCHED_BATCH", "deadline": 1}), "process.scheduler.deadline"),
            (json!({"policy": "SCHED_BATCH", "period": 1}), "process.scheduler.period"),
            (json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RECLAIM"]}), "process.scheduler.flags"),
            (json!({"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_FUN"]}), "process.scheduler.flags[0]"),
            (json!({"policy": "SCHED_DEADLINE"}), "process.scheduler.runtime: 0"),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 4096, "deadline": 2048}),
                "process.scheduler.runtime: 4096",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 2048, "deadline": 4096, "period": 2048}),
                "process.scheduler.deadline: 4096",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 2048, "deadline": 4096, "period": u64::MAX}),
                "process.scheduler.period",
            ),
        ];
        for (value, expected) in table {
            let fault = decide(value.clone()).unwrap_err();
            assert!(fault.starts_with(expected), "{value}: {fault}");
        }
    }

    #[test]
    fn io_classes_are_the_kernels_numbers() {
        let decide = |class: &str, priority| {
            let listed = config::IoPriority { class: class.into(), priority };
            io_priority(&listed).map(|found| (found.class, found.level)).map_err(|fault| fault.to_string())
        };
        assert_eq!(decide("IOPRIO_CLASS_RT", 0), Ok((1, 0)));
        assert_eq!(decide("IOPRIO_CLASS_BE", 7), Ok((2, 7)));
        assert_eq!(decide("IOPRIO_CLASS_IDLE", 4), Ok((3, 4)));
        assert!(decide("IOPRIO_CLASS_NONE", 0).unwrap_err().starts_with("process.ioPriority.class"));
        for priority in [-1, 8, 256] {
            assert!(
                decide("IOPRIO_CLASS_BE", priority).unwrap_err().starts_with("process.ioPriority.priority")
            );
        }
    }

    #[test]
    fn affinity_is_read_from_both_lists() {
        let decide = |initial: Option<&str>, last: Option<&str>| {
            let listed =
                config::ExecCpuAffinity { initial: initial.map(String::from), last: last.map(String::from) };
            affinity(&listed).map_err(|fault| fault.to_string())
        };
        let found = decide(Some("0-1,3"), None).unwrap();
        assert_eq!((found.initial.words(), found.last.is_empty()), ([0b1011].as_slice(), true));
        assert_eq!(decide(None, Some("")).unwrap(), Affinity::default());
        assert!(decide(Some("x"), None).unwrap_err().starts_with("process.execCPUAffinity.initial: \"x\""));
        assert!(decide(None, Some("3-1")).unwrap_err().starts_with("process.execCPUAffinity.final"));
        assert!(decide(None, Some(",")).unwrap_err().starts_with("process.execCPUAffinity.final"));
    }
}
