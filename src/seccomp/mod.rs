//! The compiler from `linux.seccomp` to the BPF program that the kernel runs at every system call.
//!
//! ```text
//! LinuxSeccomp ─ rules ─▶ an answer per call number ─ search ─▶ a tree of comparisons ─┐
//!                  └─ conditions ─▶ comparisons of arguments ──────────────────────────┴─ graph ─▶ BPF
//! ```
//!
//! Pure: no system call, file, clock or environment. What a program costs is when it goes in: the
//! kernel runs it once for every call number, to find out which calls it need never ask about, and
//! translates it to machine code. So numbers with equal answers are runs, the runs are found by a
//! search weighted by the numbers in them, and equal ends are shared.
//!
//! The answers are those of libseccomp 2.5 as runc drives it, with runc's ENOSYS for calls that are
//! newer than the profile.

mod answers;
mod arch;
mod calls;
mod conditions;
mod graph;
pub mod known;
mod program;
mod rules;
mod search;
mod table;

pub mod interpret;

pub use arch::Arch;
pub use program::*;

use graph::Graph;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use rules::Rules;

/// Compile a profile for a host whose own architecture is `native`.
///
/// # Errors
///
/// Everything that the profile itself makes impossible: an architecture without a table, an argument
/// index over 5, an errno out of range or for an action that takes none, two rules that contradict each
/// other, a notification that would never be heard, a program longer than the kernel takes.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Refusal> {
    let rules = Rules::read(profile, native)?;
    let flags = flags(profile)?;
    let mut graph = Graph::new();
    let root = search::dispatch(&mut graph, &rules)?;
    let instructions = graph.assemble(root);
    if instructions.len() > MOST_INSTRUCTIONS {
        return Err(rules.too_long(instructions.len()));
    }
    Ok(Program { instructions, flags, refuses_execve: rules.refuses_execve(), unknown: rules.unknown })
}

/// The number of a call on an architecture, `None` if it does not have it.
#[cfg(any(test, fuzzing))]
pub fn number(name: &str, arch: Arch) -> Option<u32> {
    calls::Call::named(name)?.number(arch)
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, Refusal> {
    let listed = profile.syscalls().iter().flatten();
    let notifies = listed
        .filter(|entry| entry.action() == LinuxSeccompAction::ScmpActNotify)
        .any(|entry| !entry.names().is_empty());
    let mut flags = if notifies {
        listener(profile)?;
        FLAG_NEW_LISTENER
    } else {
        0
    };
    let Some(words) = profile.flags() else {
        // As runc does: without it the kernel slows down every process under the filter, against a
        // leak that the container's engine has not asked to be kept from (Spectre v4).
        return Ok(flags | FLAG_SPEC_ALLOW);
    };
    for (at, word) in words.iter().enumerate() {
        flags |= match word {
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            // The filter goes into a process of one thread, and the kernel refuses this flag
            // together with a listener.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => FLAG_WAIT_KILLABLE_RECV,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return Err(Refusal {
                    place: format!("linux.seccomp.flags[{at}]"),
                    what: "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is about waiting for an agent, \
                           and no rule has SCMP_ACT_NOTIFY"
                        .into(),
                    remedy: "leave out the flag, or add the rule that notifies".into(),
                });
            }
        };
    }
    Ok(flags)
}

/// A profile that notifies must say who listens.
fn listener(profile: &LinuxSeccomp) -> Result<(), Refusal> {
    if profile.listener_path().as_ref().is_some_and(|path| !path.as_os_str().is_empty()) {
        return Ok(());
    }
    Err(Refusal {
        place: "linux.seccomp.listenerPath".into(),
        what: "not set, and a rule has SCMP_ACT_NOTIFY: nobody would answer".into(),
        remedy: "set it to the socket that the seccomp agent listens on".into(),
    })
}

/// Every name that the tables know, sorted.
#[allow(dead_code)] // by the differential tests and the fuzzer, which include this file
pub fn names() -> impl Iterator<Item = &'static str> {
    calls::names()
}

#[cfg(test)]
mod tests;
