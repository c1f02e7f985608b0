//! What the profile says: its actions, its architectures, and for each call of each architecture the
//! rules that apply.
//!
//! Of the rules for one call, the first without conditions decides alone; else the ones with
//! conditions are asked in the order of `conditions::sort`, and the default action is what is left.

use super::answers::{Answer, Answers, Slots};
use super::arch::Arch;
use super::calls::{ARM_PRIVATE, Call};
use super::conditions::{self, Condition, Rule};
use super::program::{MOST_INSTRUCTIONS, Refusal, Unknown};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

// include/uapi/linux/seccomp.h: SECCOMP_RET_*, with 16 bits of data in the lower half.
pub(super) const KILL_THREAD: u32 = 0x0000_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
/// SECCOMP_RET_ACTION_FULL: what is no data.
const ACTION: u32 = 0xffff_0000;

/// What a call gets that is newer than the profile, so that the C library tries an older one.
pub(super) const NO_SUCH_CALL: u32 = ERRNO | 38;

const EPERM: u32 = 1;
/// The kernel makes every greater errno this one: MAX_ERRNO.
const MOST_ERRNO: u32 = 4095;

/// A profile, read and checked.
pub(super) struct Rules {
    /// The host's architecture first, each once.
    pub architectures: Vec<Arch>,
    pub default: u32,
    pub unknown: Vec<Unknown>,
    entries: Vec<Entry>,
    /// The entries' calls, in the order of the profile.
    mentions: Vec<(Call, usize)>,
    /// Does a call that is newer than the profile get ENOSYS? Where the default lets calls through, a newer one is let
    /// through too.
    refuses_newer: bool,
}

/// An entry of `linux.seccomp.syscalls`.
struct Entry {
    action: u32,
    when: When,
}

/// When an entry applies.
enum When {
    Always,
    /// If all hold; sorted by argument.
    All(Vec<Condition>),
    /// If one holds: what runc makes of an entry with two conditions on one argument.
    Any(Vec<Condition>),
}

impl Rules {
    /// Read the profile for a host of architecture `native`.
    pub fn read(profile: &LinuxSeccomp, native: Arch) -> Result<Self, Refusal> {
        let default = action(profile.default_action(), profile.default_errno_ret(), &|| {
            let place = |field| format!("linux.seccomp.{field}");
            (place("defaultAction"), place("defaultErrnoRet"))
        })?;
        if default == NOTIFY {
            // Init could not send the listener's descriptor to kase any more.
            return Err(Refusal {
                place: "linux.seccomp.defaultAction".into(),
                what: "SCMP_ACT_NOTIFY cannot be used as default action: the process could not hand \
                       over the fd that answers it"
                    .into(),
                remedy: "notify for the calls that the agent answers, and take another default".into(),
            });
        }
        let mut rules = Self {
            architectures: architectures(profile, native)?,
            default,
            unknown: Vec::new(),
            entries: Vec::new(),
            mentions: Vec::with_capacity(512),
            refuses_newer: !matches!(default & ACTION, ALLOW | LOG | TRACE),
        };
        for (at, entry) in profile.syscalls().iter().flatten().enumerate() {
            rules.read_entry(at, entry)?;
        }
        Ok(rules)
    }

    /// Whether execve(2) is refused always.
    pub fn refuses_execve(&self) -> bool {
        let passes = |action: u32| matches!(action & ACTION, ALLOW | LOG | TRACE | NOTIFY);
        let call = Call::named("execve");
        let named = self.mentions.iter().filter(|(named, _)| Some(*named) == call);
        let entries: Vec<&Entry> = named.map(|(_, at)| &self.entries[*at]).collect();
        let decided = entries.iter().any(|entry| matches!(entry.when, When::Always));
        !entries.iter().any(|entry| passes(entry.action)) && (decided || !passes(self.default))
    }

    fn read_entry(&mut self, at: usize, listed: &LinuxSyscall) -> Result<(), Refusal> {
        let place = |field: &str| format!("linux.seccomp.syscalls[{at}].{field}");
        self.entries.push(Entry {
            action: action(listed.action(), listed.errno_ret(), &|| (place("action"), place("errnoRet")))?,
            when: When::read(listed, &place)?,
        });
        for (index, name) in listed.names().iter().enumerate() {
            if let Some(call) = Call::named(name) {
                self.mentions.push((call, at));
            } else if name.is_empty() {
                return Err(Refusal {
                    place: place(&format!("names[{index}]")),
                    what: "is empty".into(),
                    remedy: "name a system call".into(),
                });
            } else {
                self.unknown.push(Unknown { place: place(&format!("names[{index}]")), name: name.clone() });
            }
            if name == "write" && listed.action() == LinuxSeccompAction::ScmpActNotify {
                // The words are runc's, which its users may look for.
                return Err(Refusal {
                    place: place(&format!("names[{index}]")),
                    what: "SCMP_ACT_NOTIFY cannot be used for the write syscall: the process writes \
                           to hand over the fd that answers it"
                        .into(),
                    remedy: "leave out write, or notify for the calls that open what is written to".into(),
                });
            }
        }
        Ok(())
    }

    /// What `arch` answers.
    pub fn answers(&self, arch: Arch) -> Result<Answers, Refusal> {
        let mut slots = Slots::new(arch);
        let mut highest = None;
        for &(call, at) in &self.mentions {
            let entry = &self.entries[at];
            let number = call.number(arch);
            // arm's private calls are far above the newest of the kernel's.
            highest = highest.max(number.filter(|&number| arch != Arch::Arm || number < ARM_PRIVATE));
            if entry.action == self.default {
                continue;
            }
            if let Some(number) = number {
                entry.apply(at, &mut slots, number, arch, None);
            }
            if let Some((shared, selector)) = call.multiplexed(arch) {
                entry.apply(at, &mut slots, shared, arch, Some(selector));
            }
        }
        let shared = Call::that_stand_for_many(arch).map(|number| number.map(|number| *slots.at(number)));
        for (index, answer) in slots.answers.iter_mut().enumerate() {
            if let Answer::Rules(rules) = answer {
                conditions::sort(rules);
                if !shared.iter().flatten().any(|shared| usize::from(*shared) == index) {
                    self.refuse_contradiction(rules)?;
                }
            }
        }
        let newer_from = highest.filter(|_| self.refuses_newer).map(|number| number + 1);
        if newer_from.is_some() && arch.passes_calls_through_setup() {
            let answer = slots.action(NO_SUCH_CALL);
            *slots.at(0) = answer;
        }
        Ok(Answers { slots, newer_from })
    }

    /// Two rules with the same conditions and different actions: runc fails at them too, and whichever
    /// was meant, the other one was not.
    fn refuse_contradiction(&self, sorted: &[Rule]) -> Result<(), Refusal> {
        for pair in sorted.windows(2) {
            let (first, second) = (pair[0].entry, pair[1].entry);
            let same = self.entries[first].when.conditions().eq(self.entries[second].when.conditions());
            if first != second
                && pair[0].conditions == pair[1].conditions
                && same
                && pair[0].action != pair[1].action
            {
                let (earlier, later) = (first.min(second), first.max(second));
                return Err(Refusal {
                    place: format!("linux.seccomp.syscalls[{later}].action"),
                    what: format!(
                        "is another than that of syscalls[{earlier}], which has the same call and \
                         the same args"
                    ),
                    remedy: "leave out one of the two".into(),
                });
            }
        }
        Ok(())
    }

    /// Name the entries that make a program too long.
    pub fn too_long(&self, length: usize) -> Refusal {
        let mut conditions = vec![0; self.entries.len()];
        for &(_, at) in &self.mentions {
            conditions[at] += self.entries[at].when.conditions().count();
        }
        let most = (0..conditions.len()).max_by_key(|&at| conditions[at]);
        Refusal {
            place: most.map_or("linux.seccomp.syscalls".into(), |at| format!("linux.seccomp.syscalls[{at}]")),
            what: format!(
                "the filter has {length} instructions and the kernel takes {MOST_INSTRUCTIONS}; no \
                 entry adds more conditions than this one"
            ),
            remedy: "merge rules: one comparison of a range or under a mask for many of single \
                     values"
                .into(),
        }
    }
}

impl When {
    fn read(listed: &LinuxSyscall, place: &dyn Fn(&str) -> String) -> Result<Self, Refusal> {
        let Some(args) = listed.args().as_ref().filter(|args| !args.is_empty()) else {
            return Ok(Self::Always);
        };
        let mut seen = [0; 6];
        for (at, arg) in args.iter().enumerate() {
            match seen.get_mut(arg.index()) {
                Some(seen) => *seen += 1,
                None => {
                    return Err(Refusal {
                        place: place(&format!("args[{at}].index")),
                        what: format!("is {}, and a system call has 6 arguments", arg.index()),
                        remedy: "count them from 0 to 5".into(),
                    });
                }
            }
        }
        let mut conditions: Vec<Condition> = args.iter().map(Condition::from).collect();
        if seen.iter().any(|&times| times > 1) {
            return Ok(Self::Any(conditions));
        }
        conditions.sort_by_key(|condition| condition.index);
        Ok(Self::All(conditions))
    }

    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        match self {
            Self::Always => [].iter(),
            Self::All(conditions) | Self::Any(conditions) => conditions.iter(),
        }
    }
}

impl Entry {
    /// Add this entry to what is known of the call `number`. With a `selector`, the call is one that stands
    /// for many, and its first argument says which.
    fn apply(&self, at: usize, slots: &mut Slots, number: u32, arch: Arch, selector: Option<Condition>) {
        if let (When::Always, None) = (&self.when, selector) {
            return slots.decide(number, self.action);
        }
        let mut add = |conditions: &[Condition]| {
            // The call that stands for many has the other arguments in memory, where no filter sees
            // them. libseccomp, and so every runtime, keeps asking the registers all the same, but
            // for the first one.
            let conditions: Vec<Condition> = selector
                .into_iter()
                .chain(
                    conditions.iter().copied().filter(|condition| selector.is_none() || condition.index > 0),
                )
                .filter_map(|condition| condition.narrowed(arch.width()))
                .collect();
            slots.add(number, Rule { conditions, action: self.action, entry: at });
        };
        match &self.when {
            When::Always => add(&[]),
            When::All(conditions) => add(conditions),
            When::Any(conditions) => conditions.chunks(1).for_each(add),
        }
    }
}

/// The architectures that the filter is for: the host's own, and those the profile lists.
fn architectures(profile: &LinuxSeccomp, native: Arch) -> Result<Vec<Arch>, Refusal> {
    // Docker's profile does not always list the host's own.
    let mut architectures = vec![native];
    for (at, &word) in profile.architectures().iter().flatten().enumerate() {
        let place = || format!("linux.seccomp.architectures[{at}]");
        let Some(arch) = Arch::named(word, native) else {
            return Err(Refusal {
                place: place(),
                what: format!("kase has no table of the system calls of {word}"),
                remedy: "leave it out: no host that kase runs on has such processes".into(),
            });
        };
        if arch.endian() != native.endian() {
            return Err(Refusal {
                place: place(),
                what: format!("{word} has another order of bytes than this host"),
                remedy: "leave it out: this host has no such processes".into(),
            });
        }
        if !architectures.contains(&arch) {
            architectures.push(arch);
        }
    }
    Ok(architectures)
}

/// An action as the kernel writes it. `places` gives that of the action and that of the errno.
fn action(
    word: LinuxSeccompAction,
    errno: Option<u32>,
    places: &dyn Fn() -> (String, String),
) -> Result<u32, Refusal> {
    let most = match word {
        LinuxSeccompAction::ScmpActErrno => MOST_ERRNO,
        LinuxSeccompAction::ScmpActTrace => u32::from(u16::MAX),
        _ if errno.is_none() => 0,
        _ => {
            let (action_place, place) = places();
            return Err(Refusal {
                place,
                what: format!("is set, and {word} in {action_place} gives no errno"),
                remedy: "leave it out, or take SCMP_ACT_ERRNO or SCMP_ACT_TRACE".into(),
            });
        }
    };
    let errno = errno.unwrap_or(EPERM);
    if most > 0 && errno > most {
        return Err(Refusal {
            place: places().1,
            what: format!("is {errno}, and with {word} the kernel takes {most} at most"),
            remedy: "take an errno of errno(3)".into(),
        });
    }
    Ok(match word {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => ERRNO | errno,
        LinuxSeccompAction::ScmpActNotify => NOTIFY,
        LinuxSeccompAction::ScmpActTrace => TRACE | errno,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
    })
}
