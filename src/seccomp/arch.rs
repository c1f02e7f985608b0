//! The architectures that a profile can name, and what the compiler must know of each.

use oci_spec::runtime::Arch as SpecArch;

/// An architecture whose system calls a filter can tell apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[allow(missing_docs)] // Each is the spec's name without SCMP_ARCH_.
pub enum Arch {
    X86,
    X86_64,
    X32,
    Arm,
    Aarch64,
    Loongarch64,
    Mips,
    Mips64,
    Mips64n32,
    Mipsel,
    Mipsel64,
    Mipsel64n32,
    Ppc,
    Ppc64,
    Ppc64le,
    Riscv64,
    S390,
    S390x,
}

/// How wide a register is: what a filter must look at to compare an argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Width {
    /// The upper half of the argument is not looked at, nor that of the value to compare with, so that
    /// a negative number written with 64 bits is the one meant.
    Bits32,
    Bits64,
}

/// The order of an argument's two halves in `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Endian {
    Little,
    Big,
}

/// x32's calls are x86_64's with this bit set, under the same audit number.
pub(super) const X32_BIT: u32 = 0x4000_0000;

// include/uapi/linux/audit.h: the ELF machine, and these marks.
const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LITTLE: u32 = 0x4000_0000;
const AUDIT_N32: u32 = 0x2000_0000;

impl Arch {
    /// Every architecture, for tests and for what `features` prints.
    pub const ALL: [Self; 18] = [
        Self::X86,
        Self::X86_64,
        Self::X32,
        Self::Arm,
        Self::Aarch64,
        Self::Loongarch64,
        Self::Mips,
        Self::Mips64,
        Self::Mips64n32,
        Self::Mipsel,
        Self::Mipsel64,
        Self::Mipsel64n32,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Riscv64,
        Self::S390,
        Self::S390x,
    ];

    /// The architecture that this binary was compiled for, `None` where there is no table for it.
    pub const fn native() -> Option<Self> {
        let little = cfg!(target_endian = "little");
        let narrow = cfg!(target_pointer_width = "32");
        Some(if cfg!(target_arch = "x86_64") {
            if narrow { Self::X32 } else { Self::X86_64 }
        } else if cfg!(target_arch = "x86") {
            Self::X86
        } else if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else if cfg!(target_arch = "arm") {
            Self::Arm
        } else if cfg!(target_arch = "loongarch64") {
            Self::Loongarch64
        } else if cfg!(target_arch = "riscv64") {
            Self::Riscv64
        } else if cfg!(target_arch = "s390x") {
            Self::S390x
        } else if cfg!(target_arch = "powerpc64") {
            if little { Self::Ppc64le } else { Self::Ppc64 }
        } else if cfg!(target_arch = "powerpc") {
            Self::Ppc
        } else if cfg!(target_arch = "mips64") {
            match (little, narrow) {
                (true, true) => Self::Mipsel64n32,
                (true, false) => Self::Mipsel64,
                (false, true) => Self::Mips64n32,
                (false, false) => Self::Mips64,
            }
        } else if cfg!(target_arch = "mips") {
            if little { Self::Mipsel } else { Self::Mips }
        } else {
            return None;
        })
    }

    /// The architecture that the spec's word means on a host of `native`, `None` where there is no
    /// table for it.
    pub(super) fn named(word: SpecArch, native: Self) -> Option<Self> {
        let word = word.to_string();
        match word.as_str() {
            "SCMP_ARCH_NATIVE" => Some(native),
            word => Self::ALL.into_iter().find(|arch| arch.word() == word),
        }
    }

    /// The spec's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::X86 => "SCMP_ARCH_X86",
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            Self::Mips => "SCMP_ARCH_MIPS",
            Self::Mips64 => "SCMP_ARCH_MIPS64",
            Self::Mips64n32 => "SCMP_ARCH_MIPS64N32",
            Self::Mipsel => "SCMP_ARCH_MIPSEL",
            Self::Mipsel64 => "SCMP_ARCH_MIPSEL64",
            Self::Mipsel64n32 => "SCMP_ARCH_MIPSEL64N32",
            Self::Ppc => "SCMP_ARCH_PPC",
            Self::Ppc64 => "SCMP_ARCH_PPC64",
            Self::Ppc64le => "SCMP_ARCH_PPC64LE",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
            Self::S390 => "SCMP_ARCH_S390",
            Self::S390x => "SCMP_ARCH_S390X",
        }
    }

    /// The kernel's name for it in `seccomp_data.arch`. x32 has x86_64's.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86 => 3 | AUDIT_LITTLE,
            Self::X86_64 | Self::X32 => 62 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::Arm => 40 | AUDIT_LITTLE,
            Self::Aarch64 => 183 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::Loongarch64 => 258 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::Mips => 8,
            Self::Mips64 => 8 | AUDIT_64BIT,
            Self::Mips64n32 => 8 | AUDIT_64BIT | AUDIT_N32,
            Self::Mipsel => 8 | AUDIT_LITTLE,
            Self::Mipsel64 => 8 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::Mipsel64n32 => 8 | AUDIT_64BIT | AUDIT_LITTLE | AUDIT_N32,
            Self::Ppc => 20,
            Self::Ppc64 => 21 | AUDIT_64BIT,
            Self::Ppc64le => 21 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::Riscv64 => 243 | AUDIT_64BIT | AUDIT_LITTLE,
            Self::S390 => 22,
            Self::S390x => 22 | AUDIT_64BIT,
        }
    }

    pub(super) fn width(self) -> Width {
        let audit = self.audit();
        // x32 and n32 are narrow, although their machines are wide.
        match self == Self::X32 || audit & AUDIT_N32 != 0 || audit & AUDIT_64BIT == 0 {
            true => Width::Bits32,
            false => Width::Bits64,
        }
    }

    /// Does this architecture keep the upper half of an argument first?
    #[cfg(any(test, fuzzing))]
    pub fn is_big_endian(self) -> bool {
        self.endian() == Endian::Big
    }

    pub(super) const fn endian(self) -> Endian {
        if self.audit() & AUDIT_LITTLE == 0 { Endian::Big } else { Endian::Little }
    }

    /// Where the numbers of its calls begin.
    pub(super) const fn first_number(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            Self::Mips | Self::Mipsel => 4000,
            Self::Mips64 | Self::Mipsel64 => 5000,
            Self::Mips64n32 | Self::Mipsel64n32 => 6000,
            _ => 0,
        }
    }

    /// Does this architecture pass calls beyond its range through call 0, `setup`, as s390 does? The
    /// number stays 0 when the kernel does not know the call.
    pub(super) const fn passes_calls_through_setup(self) -> bool {
        matches!(self, Self::S390 | Self::S390x)
    }

    /// Where the table has its numbers.
    pub(super) const fn column(self) -> usize {
        match self {
            Self::X86 => 0,
            Self::X86_64 => 1,
            Self::X32 => 2,
            Self::Arm => 3,
            Self::Aarch64 => 4,
            Self::Loongarch64 => 5,
            Self::Mips | Self::Mipsel => 6,
            Self::Mips64 | Self::Mipsel64 => 7,
            Self::Mips64n32 | Self::Mipsel64n32 => 8,
            Self::Ppc => 9,
            Self::Ppc64 | Self::Ppc64le => 10,
            Self::Riscv64 => 11,
            Self::S390 => 12,
            Self::S390x => 13,
        }
    }
}
