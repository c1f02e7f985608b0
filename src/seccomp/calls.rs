//! System calls by name: the number of each on every architecture, out of the generated table.

use super::arch::{Arch, X32_BIT};
use super::conditions::Condition;
use super::table::{ABSENT, CALLS};
use oci_spec::runtime::LinuxSeccompOperator;

/// The number of the first of arm's private calls.
pub(super) const ARM_PRIVATE: u32 = 0x0f_0000;
/// The table has 16 bits for a number, and keeps arm's private calls from this one on.
const ARM_PRIVATE_KEPT: u16 = 0xf000;

/// A system call by its name, on whatever architecture: a row of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Call(u16);

impl Call {
    /// The call of this name, `None` if no architecture has it.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        let mut place = place(name);
        loop {
            match PLACES[place] {
                ABSENT => return None,
                row if text(usize::from(row)) == name => return Some(Self(row)),
                _ => place = (place + 1) % PLACES.len(),
            }
        }
    }

    /// The number in `seccomp_data.nr`, `None` if the architecture does not have the call.
    pub fn number(self, arch: Arch) -> Option<u32> {
        match NUMBERS[usize::from(self.0)][arch.column()] {
            ABSENT => None,
            kept if kept >= ARM_PRIVATE_KEPT => Some(u32::from(kept - ARM_PRIVATE_KEPT) + ARM_PRIVATE),
            number if arch == Arch::X32 => Some(u32::from(number) | X32_BIT),
            number => Some(u32::from(number)),
        }
    }

    /// The call that stands for this one where an architecture has such, by number, and the condition
    /// under which it does: older architectures pass all socket calls through `socketcall` and all
    /// calls of System V IPC through `ipc`. Where newer kernels have the call itself too, it is both.
    pub fn multiplexed(self, arch: Arch) -> Option<(u32, Condition)> {
        let selector = u64::from(SELECTORS[usize::from(self.0)]);
        let (shared, selector) = match selector {
            0 => return None,
            1..IPC_MARK => (SOCKETCALL, selector),
            _ => (IPC, selector - IPC_MARK),
        };
        let condition = Condition {
            index: 0,
            operator: LinuxSeccompOperator::ScmpCmpEq,
            value: selector,
            mask: u64::MAX,
        };
        Some((shared.number(arch)?, condition))
    }

    /// The numbers of the calls that stand for many.
    pub fn that_stand_for_many(arch: Arch) -> [Option<u32>; 2] {
        [SOCKETCALL, IPC].map(|call| call.number(arch))
    }

    #[cfg(any(test, fuzzing))]
    pub fn all() -> impl Iterator<Item = (Self, &'static str)> {
        (0..).map(Self).zip(CALLS.map(|(name, _)| name))
    }
}

/// Every name, sorted.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    (0..CALLS.len()).filter_map(|row| std::str::from_utf8(text(row)).ok())
}

/// The name in a row. The names lie end to end in one piece of text: an array of `&str` would be three times the
/// size, and each of its pointers would be relocated whenever kase starts.
fn text(row: usize) -> &'static [u8] {
    &TEXT[usize::from(STARTS[row])..usize::from(STARTS[row + 1])]
}

const IPC_MARK: u64 = 0x80;

/// `SYS_*` of `<linux/net.h>` for the socket calls, the call numbers of `<linux/ipc.h>` for the others.
const MULTIPLEXED: [(&str, u64); 32] = [
    ("socket", 1),
    ("bind", 2),
    ("connect", 3),
    ("listen", 4),
    ("accept", 5),
    ("getsockname", 6),
    ("getpeername", 7),
    ("socketpair", 8),
    ("send", 9),
    ("recv", 10),
    ("sendto", 11),
    ("recvfrom", 12),
    ("shutdown", 13),
    ("setsockopt", 14),
    ("getsockopt", 15),
    ("sendmsg", 16),
    ("recvmsg", 17),
    ("accept4", 18),
    ("recvmmsg", 19),
    ("sendmmsg", 20),
    ("semop", IPC_MARK + 1),
    ("semget", IPC_MARK + 2),
    ("semctl", IPC_MARK + 3),
    ("semtimedop", IPC_MARK + 4),
    ("msgsnd", IPC_MARK + 11),
    ("msgrcv", IPC_MARK + 12),
    ("msgget", IPC_MARK + 13),
    ("msgctl", IPC_MARK + 14),
    ("shmat", IPC_MARK + 21),
    ("shmdt", IPC_MARK + 22),
    ("shmget", IPC_MARK + 23),
    ("shmctl", IPC_MARK + 24),
];

const SOCKETCALL: Call = Call(row("socketcall"));
const IPC: Call = Call(row("ipc"));

static SELECTORS: [u8; CALLS.len()] = {
    let mut selectors = [0; CALLS.len()];
    let mut at = 0;
    while at < MULTIPLEXED.len() {
        selectors[row(MULTIPLEXED[at].0) as usize] = MULTIPLEXED[at].1 as u8;
        at += 1;
    }
    selectors
};

/// The row of a name that is in the table; any other fails to compile.
const fn row(name: &str) -> u16 {
    let name = name.as_bytes();
    let mut row = 0;
    loop {
        let here = CALLS[row].0.as_bytes();
        let mut same = 0;
        while same < name.len() && same < here.len() && here[same] == name[same] {
            same += 1;
        }
        if same == name.len() && same == here.len() {
            return row as u16;
        }
        row += 1;
    }
}

/// Where a name is looked for: here, or at the next places up to one that is empty. Docker's profile has 430 names.
const fn place(name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    let mut byte = 0;
    while byte < name.len() {
        hash = (hash ^ name[byte] as u32).wrapping_mul(0x0100_0193);
        byte += 1;
    }
    (hash ^ hash >> 15) as usize % PLACES.len()
}

/// The rows by the places of their names, half of which are empty.
static PLACES: [u16; 1024] = {
    let mut places = [ABSENT; 1024];
    let mut row = 0;
    while row < CALLS.len() {
        let mut at = place(CALLS[row].0.as_bytes());
        while places[at] != ABSENT {
            at = (at + 1) % places.len();
        }
        places[at] = row as u16;
        row += 1;
    }
    places
};

static NUMBERS: [[u16; CALLS[0].1.len()]; CALLS.len()] = {
    let mut numbers = [[0; CALLS[0].1.len()]; CALLS.len()];
    let mut row = 0;
    while row < CALLS.len() {
        numbers[row] = CALLS[row].1;
        row += 1;
    }
    numbers
};

static STARTS: [u16; CALLS.len() + 1] = {
    let mut starts = [0; CALLS.len() + 1];
    let mut row = 0;
    while row < CALLS.len() {
        starts[row + 1] = starts[row] + CALLS[row].0.len() as u16;
        row += 1;
    }
    starts
};

static TEXT: [u8; STARTS[CALLS.len()] as usize] = {
    let mut text = [0; STARTS[CALLS.len()] as usize];
    let (mut row, mut at) = (0, 0);
    while row < CALLS.len() {
        let name = CALLS[row].0.as_bytes();
        let mut byte = 0;
        while byte < name.len() {
            text[at] = name[byte];
            at += 1;
            byte += 1;
        }
        row += 1;
    }
    text
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_the_table_is_in_order() {
        assert!(CALLS.is_sorted_by(|a, b| a.0 < b.0));
        for (call, name) in Call::all() {
            assert_eq!(Call::named(name), Some(call), "{name}");
        }
        for name in ["", "a", "reax", "zzz", "writev\0"] {
            assert_eq!(Call::named(name), None, "{name}");
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let number = |name, arch| Call::named(name).and_then(|call| call.number(arch));
        assert_eq!(number("openat", Arch::X86_64), Some(257));
        assert_eq!(number("openat", Arch::X32), Some(257 | X32_BIT));
        assert_eq!(number("ioctl", Arch::X32), Some(514 | X32_BIT));
        assert_eq!(number("openat", Arch::X86), Some(295));
        assert_eq!(number("openat", Arch::Mipsel64), Some(5247));
        assert_eq!(number("set_tls", Arch::Arm), Some(0x0f_0005));
        assert_eq!(number("open", Arch::Aarch64), None);
        assert_eq!(number("socketcall", Arch::S390x), Some(102));
        assert_eq!(number("socketcall", Arch::X86_64), None);
    }

    #[test]
    fn this_binary_knows_its_own_architecture() {
        let read = Arch::native().and_then(|native| Call::named("read")?.number(native));
        assert_eq!(read, u32::try_from(libc::SYS_read).ok());
    }
}
