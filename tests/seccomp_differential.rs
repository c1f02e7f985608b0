//! The seccomp compiler against libseccomp: the same answer for every call of every architecture, with
//! every argument that a rule could tell apart.
//!
//! Needs libseccomp-dev: `cargo test --features differential`.
#![cfg(all(feature = "differential", target_arch = "x86_64"))]

#[allow(dead_code)]
#[path = "seccomp/libseccomp.rs"]
mod libseccomp;
#[allow(dead_code)]
#[path = "../src/seccomp/mod.rs"]
mod seccomp;

use libseccomp::{Failure, Layout};
use oci_spec::runtime::{
    Arch as SpecArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use proptest::prelude::*;
use seccomp::interpret::{self, Data};
use seccomp::{Arch, Instruction};
use std::collections::{BTreeMap, BTreeSet};

const X32_BIT: u32 = 0x4000_0000;
const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;

/// The little-endian architectures that libseccomp 2.5 knows, with their audit numbers: it refuses to
/// mix them with big-endian ones.
const ARCHITECTURES: [(SpecArch, u32); 8] = [
    (SpecArch::ScmpArchX86_64, 0xc000_003e),
    (SpecArch::ScmpArchX86, 0x4000_0003),
    (SpecArch::ScmpArchX32, 0xc000_003e),
    (SpecArch::ScmpArchArm, 0x4000_0028),
    (SpecArch::ScmpArchAarch64, 0xc000_00b7),
    (SpecArch::ScmpArchPpc64le, 0xc000_0015),
    (SpecArch::ScmpArchRiscv64, 0xc000_00f3),
    (SpecArch::ScmpArchMipsel64, 0xc000_0008),
];

#[test]
fn the_engines_profiles_are_answered_as_by_libseccomp() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/profiles");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let profile: LinuxSeccomp = serde_json::from_slice(&text).unwrap();
        for layout in [Layout::Linear, Layout::Tree] {
            compare(&profile, layout).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        // The same rules for architectures that this host does not have.
        let mut foreign = profile.clone();
        let all = ARCHITECTURES.map(|(arch, _)| arch).to_vec();
        foreign.set_architectures(Some(all));
        compare(&foreign, Layout::Linear)
            .unwrap_or_else(|error| panic!("{} everywhere: {error}", path.display()));
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn the_tables_numbers_are_libseccomps() {
    let mut compared = 0;
    for name in names() {
        for (arch, _) in ARCHITECTURES {
            let theirs = libseccomp::number(arch, name);
            let ours = number_of(arch, name);
            if theirs >= 0 {
                assert_eq!(ours, Some(theirs as u32), "{name} on {arch}");
                compared += 1;
            }
        }
    }
    assert!(compared > 2500, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_profiles_are_answered_as_by_libseccomp(profile in profile(), tree: bool) {
        let layout = if tree { Layout::Tree } else { Layout::Linear };
        compare(&profile, layout).map_err(TestCaseError::fail)?;
    }
}

/// Compare the two programs of a profile on every call that could make a difference.
fn compare(profile: &LinuxSeccomp, layout: Layout) -> Result<(), String> {
    let profile = known_to_both(profile);
    let theirs = match libseccomp::compile(&profile, layout) {
        Ok(program) => program,
        // Contradictions that are ours to solve are in the unit tests.
        Err(Failure::Contradiction) => return Ok(()),
        Err(other) => return Err(format!("{other:?}")),
    };
    let program = seccomp::compile(&profile, Arch::X86_64).map_err(|refusal| format!("{refusal:?}"))?;
    let ours = program.instructions;
    if !interpret::is_sound(&ours) {
        return Err(format!("not sound:\n{}", interpret::text(&ours)));
    }
    let listed: Vec<SpecArch> = profile.architectures().iter().flatten().copied().collect();
    for (arch, audit) in ARCHITECTURES {
        let newest_of = |arch| {
            let native = arch == SpecArch::ScmpArchX86_64;
            (listed.contains(&arch) || native).then(|| newest(&profile, arch)).flatten()
        };
        let (x86_64, x32) = (newest_of(SpecArch::ScmpArchX86_64), newest_of(SpecArch::ScmpArchX32));
        let own = newest_of(arch);
        for number in numbers(arch) {
            for args in arguments(&profile, arch, number) {
                let data = Data { number, audit, args };
                let newest = match audit {
                    0xc000_003e if number >= X32_BIT => x32,
                    0xc000_003e => x86_64,
                    _ => own,
                };
                let newer = newest.is_some_and(|newest| number > newest);
                check(&ours, &theirs, &data, newer)?;
            }
        }
    }
    check(&ours, &theirs, &Data::new(0, 0x1234), false)
}

fn check(ours: &[Instruction], theirs: &[Instruction], data: &Data, newer: bool) -> Result<(), String> {
    let ours = interpret::run(ours, data, false).answer;
    let theirs = if newer { NO_SUCH_CALL } else { interpret::run(theirs, data, false).answer };
    if ours == theirs {
        return Ok(());
    }
    Err(format!("{data:x?}: {ours:#x}, and libseccomp says {theirs:#x}"))
}

/// The highest number that the profile names, if runc answers ENOSYS beyond it.
fn newest(profile: &LinuxSeccomp, arch: SpecArch) -> Option<u32> {
    use LinuxSeccompAction as Action;
    if matches!(profile.default_action(), Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace) {
        return None;
    }
    let listed = profile.syscalls().iter().flatten();
    listed
        .flat_map(LinuxSyscall::names)
        .filter_map(|name| number_of(arch, name))
        .filter(|&number| number < 0x0f_0000 || number >= X32_BIT)
        .max()
}

/// The profile without the names that only one of the two has a number for.
fn known_to_both(profile: &LinuxSeccomp) -> LinuxSeccomp {
    let mut profile = profile.clone();
    let mut entries = profile.syscalls().clone().unwrap_or_default();
    for entry in &mut entries {
        let names = entry.names().iter().filter(|name| {
            libseccomp::knows(name)
                && ARCHITECTURES.iter().all(|&(arch, _)| {
                    let theirs = libseccomp::number(arch, name);
                    number_of(arch, name) == u32::try_from(theirs).ok() || (-224..=-100).contains(&theirs)
                })
        });
        entry.set_names(names.cloned().collect());
    }
    profile.set_syscalls(Some(entries));
    profile
}

fn number_of(arch: SpecArch, name: &str) -> Option<u32> {
    let arch = match arch {
        SpecArch::ScmpArchX86_64 => Arch::X86_64,
        SpecArch::ScmpArchX86 => Arch::X86,
        SpecArch::ScmpArchX32 => Arch::X32,
        SpecArch::ScmpArchArm => Arch::Arm,
        SpecArch::ScmpArchAarch64 => Arch::Aarch64,
        SpecArch::ScmpArchPpc64le => Arch::Ppc64le,
        SpecArch::ScmpArchRiscv64 => Arch::Riscv64,
        SpecArch::ScmpArchMipsel64 => Arch::Mipsel64,
        other => panic!("{other}"),
    };
    seccomp::number(name, arch)
}

fn names() -> Vec<&'static str> {
    seccomp::names()
}

/// Every number that an architecture could have, and those at the borders.
fn numbers(arch: SpecArch) -> impl Iterator<Item = u32> {
    let first = match arch {
        SpecArch::ScmpArchX32 => X32_BIT,
        SpecArch::ScmpArchMipsel64 => 5000,
        _ => 0,
    };
    let mut borders = vec![0, 1, X32_BIT - 1, X32_BIT, 0x0f_0000, 0x0f_0001, 0x0f_0002, 0x0f_0005, 0x0f_0007];
    if arch != SpecArch::ScmpArchX86_64 && arch != SpecArch::ScmpArchX32 {
        borders.extend([X32_BIT + 1, 0x8000_0000]);
    }
    (first..first + 700).chain(borders)
}

/// Values of the arguments that the rules for a call could tell apart.
fn arguments(profile: &LinuxSeccomp, arch: SpecArch, number: u32) -> Vec<[u64; 6]> {
    let mut values: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    let shared = ["socketcall", "ipc"].iter().any(|name| number_of(arch, name) == Some(number));
    for entry in profile.syscalls().iter().flatten() {
        let args = entry.args().as_deref().unwrap_or_default();
        let this = entry.names().iter().any(|name| number_of(arch, name) == Some(number));
        if !this && !shared {
            continue;
        }
        for arg in args {
            values.entry(arg.index()).or_default().extend(interesting(arg));
        }
    }
    if shared {
        values.entry(0).or_default().extend(0..26);
    }
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for (index, values) in values {
        // Every value of this argument with a few of those of the earlier ones.
        let step = all.len() / 300 + 1;
        let earlier: Vec<[u64; 6]> = all.iter().step_by(step).copied().collect();
        for value in values {
            for mut args in earlier.iter().copied() {
                args[index] = value;
                all.push(args);
            }
        }
    }
    all
}

fn interesting(arg: &LinuxSeccompArg) -> Vec<u64> {
    let other = arg.value_two().unwrap_or(0);
    let mut values = vec![0, 1, u64::MAX, u64::from(u32::MAX), 1 << 32];
    for value in [arg.value(), other, other & arg.value(), other & arg.value() | !arg.value()] {
        let upper = 1 << 32;
        values.extend([value, value.wrapping_add(1), value.wrapping_sub(1)]);
        values.extend([value ^ upper, value.wrapping_add(upper), value.wrapping_sub(upper)]);
        values.extend([value & 0xffff_ffff, value | 0xffff_ffff_0000_0000, value ^ 1]);
    }
    values
}

fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    let architectures = prop::sample::subsequence(ARCHITECTURES.map(|(arch, _)| arch).to_vec(), 0..=8);
    (action(), architectures, prop::collection::vec(entry(), 0..12)).prop_map(
        |((default, errno), architectures, entries)| {
            let mut profile = LinuxSeccompBuilder::default()
                .default_action(default)
                .architectures(architectures)
                .syscalls(entries)
                .build()
                .unwrap();
            profile.set_default_errno_ret(errno);
            profile
        },
    )
}

fn action() -> impl Strategy<Value = (LinuxSeccompAction, Option<u32>)> {
    use LinuxSeccompAction as Action;
    prop_oneof![
        Just((Action::ScmpActAllow, None)),
        Just((Action::ScmpActErrno, None)),
        Just((Action::ScmpActErrno, Some(38))),
        (0_u32..4096).prop_map(|errno| (Action::ScmpActErrno, Some(errno))),
        Just((Action::ScmpActKill, None)),
        Just((Action::ScmpActKillProcess, None)),
        Just((Action::ScmpActTrap, None)),
        Just((Action::ScmpActLog, None)),
        (0_u32..65536).prop_map(|data| (Action::ScmpActTrace, Some(data))),
    ]
}

fn entry() -> impl Strategy<Value = LinuxSyscall> {
    let few = vec!["clone", "socket", "personality", "semctl", "ioctl", "sendmsg", "socketcall"];
    let names = prop_oneof![
        prop::collection::vec(prop::sample::select(names()), 1..40),
        prop::collection::vec(prop::sample::select(few), 1..3),
    ];
    (names, action(), prop::collection::vec(arg(), 0..4)).prop_map(|(names, (action, errno), args)| {
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        let mut entry = LinuxSyscallBuilder::default().names(names).action(action).args(args).build().unwrap();
        entry.set_errno_ret(errno);
        entry
    })
}

fn arg() -> impl Strategy<Value = LinuxSeccompArg> {
    use LinuxSeccompOperator as Operator;
    let operator = prop::sample::select(vec![
        Operator::ScmpCmpNe,
        Operator::ScmpCmpLt,
        Operator::ScmpCmpLe,
        Operator::ScmpCmpEq,
        Operator::ScmpCmpGe,
        Operator::ScmpCmpGt,
        Operator::ScmpCmpMaskedEq,
    ]);
    let value = || {
        prop_oneof![
            0_u64..4,
            Just(u64::from(u32::MAX)),
            (0_u64..3).prop_map(|value| value << 31 | 1),
            any::<u32>().prop_map(u64::from),
        ]
    };
    (0_usize..3, operator, value(), value()).prop_map(|(index, op, value, value_two)| {
        LinuxSeccompArgBuilder::default().index(index).op(op).value(value).value_two(value_two).build().unwrap()
    })
}
