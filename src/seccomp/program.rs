//! What comes of a profile: a program with its flags, or why there is none.

use super::arch::Arch;
pub use super::graph::Instruction;
use super::interpret;

/// What the kernel takes at most: BPF_MAXINSNS.
pub const MOST_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_TSYNC`, for `seccomp(2)`; never set, see [`flags`](super::flags).
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
    /// Whether execve(2) is refused always, by which everything starts that runs under a filter.
    pub refuses_execve: bool,
}

/// A name in the profile that is no system call's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unknown {
    /// Where it stands, as a path into config.json.
    pub place: String,
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
            // A container is not created under a filter that refuses execve(2).
            refuses_execve: false,
        })
    }
}
