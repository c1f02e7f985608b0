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
mod rules;
mod search;
mod table;

pub mod interpret;

pub use arch::Arch;
pub use graph::Instruction;

use graph::Graph;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};
use rules::Rules;

/// What the kernel takes at most: BPF_MAXINSNS.
pub const MOST_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_TSYNC`, for `seccomp(2)`; never set, see [`flags`].
pub const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`, for `seccomp(2)`.
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, for `seccomp(2)`.
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`, for `seccomp(2)`: its answer is then the listener's fd.
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, for `seccomp(2)`.
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A filter, ready for `seccomp(2)`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// At most [`MOST_INSTRUCTIONS`].
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`, with `NEW_LISTENER` where a rule notifies.
    pub flags: u32,
    /// Names that no architecture has, each with its place: passed over.
    pub unknown: Vec<Unknown>,
    /// What becomes of execve(2).
    pub execve: Execve,
}

/// What becomes of execve(2), by which everything starts that runs under a filter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Execve {
    /// It may go through, if only for some arguments or when somebody else says so.
    #[default]
    MayPass,
    /// It is refused always.
    Refused,
}

/// A name in the profile that is no system call's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unknown {
    /// Where it stands, as a path into config.json.
    pub place: String,
    /// The name.
    pub name: String,
}

/// Why a profile cannot become a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// A path into config.json, like `linux.seccomp.syscalls[3].args[0].index`.
    pub place: String,
    /// What stands there and why it cannot be, without a full stop.
    pub what: String,
    /// What to do about it, starting with a verb.
    pub remedy: String,
}

impl Program {
    /// Does the filter ask an agent, so that `seccomp(2)` gives a listener that has to reach it?
    pub fn notifies(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }

    /// Whether the filter lets a call of this machine's own architecture through, whoever looks on. One that is not sound
    /// lets nothing through.
    pub fn allows(&self, number: u32, args: [u64; 6]) -> bool {
        const ALLOW: u32 = 0x7fff_0000;
        const LOG: u32 = 0x7ffc_0000;
        let Some(native) = Arch::native() else { return false };
        let data = interpret::Data { number, audit: native.audit(), args };
        let answer = || interpret::run(&self.instructions, &data, cfg!(target_endian = "big")).answer;
        interpret::is_sound(&self.instructions) && [ALLOW, LOG].contains(&answer())
    }

    /// The program as it is kept beside a container's record, in the host's order of bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.instructions.len());
        bytes.extend(self.flags.to_ne_bytes());
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jt, instruction.jf]);
            bytes.extend(instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// The program that [`to_bytes`](Self::to_bytes) wrote, `None` for anything that it cannot have
    /// written. Only the kernel's own check, when it goes in, says that it is sound.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first_chunk()?;
        let (chunks, odd) = rest.as_chunks::<8>();
        let fits = (1..=MOST_INSTRUCTIONS).contains(&chunks.len()) && odd.is_empty();
        fits.then(|| Self {
            instructions: chunks
                .iter()
                .map(|&[c0, c1, jt, jf, k0, k1, k2, k3]| Instruction {
                    code: u16::from_ne_bytes([c0, c1]),
                    jt,
                    jf,
                    k: u32::from_ne_bytes([k0, k1, k2, k3]),
                })
                .collect(),
            flags: u32::from_ne_bytes(*flags),
            unknown: Vec::new(),
            // No container would have been made with another.
            execve: Execve::MayPass,
        })
    }
}

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
    Ok(Program { instructions, flags, execve: rules.execve(), unknown: rules.unknown })
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
