//! The seccomp compiler against libseccomp: the same answer for every call of every architecture, with
//! every argument that a rule could tell apart.
//!
//! Needs libseccomp-dev: `cargo test --features differential`.
#![cfg(all(feature = "differential", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

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
            compare(&profile, layout, Numbers::All)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        // The same rules for architectures that this host does not have.
        let mut foreign = profile.clone();
        let all = ARCHITECTURES.map(|(arch, _)| arch).to_vec();
        foreign.set_architectures(Some(all));
        compare(&foreign, Layout::Linear, Numbers::All)
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
    // How many cases says PROPTEST_CASES.
    #![proptest_config(ProptestConfig { max_shrink_iters: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_profiles_are_answered_as_by_libseccomp(profile in profile(tame_value), tree: bool) {
        let layout = if tree { Layout::Tree } else { Layout::Linear };
        compare(&profile, layout, Numbers::NearThoseNamed).map_err(TestCaseError::fail)?;
    }

    // libseccomp gets some comparisons with values above 32 bits wrong: of `< 0` and `< 0x1_0000_0001`
    // on one argument, neither holds for 1.
    #[test]
    fn random_profiles_with_wide_values_are_answered_as_they_read(profile in profile(wide_value)) {
        let both = Programs { ours: compiled(&profile)?, theirs: None };
        both.compare(&profile, Numbers::NearThoseNamed).map_err(TestCaseError::fail)?;
    }
}

fn compiled(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, TestCaseError> {
    match seccomp::compile(profile, Arch::X86_64) {
        Ok(program) => Ok(program.instructions),
        Err(refusal) if refusal.what.starts_with("is another than") => {
            Err(TestCaseError::reject("contradiction"))
        }
        Err(refusal) => Err(TestCaseError::fail(format!("{refusal:?}"))),
    }
}

/// Compare the two programs of a profile on every call that could make a difference.
fn compare(profile: &LinuxSeccomp, layout: Layout, numbers: Numbers) -> Result<(), String> {
    let listed = profile.architectures().iter().flatten().copied();
    let everywhere: Vec<SpecArch> = match numbers {
        // A call that one of the architectures does not have can make libseccomp leave out the load of
        // the call number there.
        Numbers::NearThoseNamed => listed.chain([SpecArch::ScmpArchX86_64]).collect(),
        Numbers::All => Vec::new(),
    };
    let profile = known_to_both(profile, &everywhere);
    let theirs = match libseccomp::compile(&profile, layout) {
        Ok(program) => program,
        Err(Failure::Contradiction) => return Ok(()),
        Err(other) => return Err(format!("{other:?}")),
    };
    let ours = seccomp::compile(&profile, Arch::X86_64).map_err(|refusal| format!("{refusal:?}"))?;
    Programs { ours: ours.instructions, theirs: Some(theirs) }.compare(&profile, numbers)
}

struct Programs {
    ours: Vec<Instruction>,
    theirs: Option<Vec<Instruction>>,
}

impl Programs {
    fn compare(&self, profile: &LinuxSeccomp, which: Numbers) -> Result<(), String> {
        if !interpret::is_sound(&self.ours) {
            return Err(format!("not sound:\n{}", interpret::text(&self.ours)));
        }
        let readings = ARCHITECTURES.map(|(arch, _)| (arch, Reading::new(profile, arch)));
        for (listed, audit) in ARCHITECTURES {
            let reading = &readings.iter().find(|reading| reading.0 == listed).unwrap().1;
            for number in numbers(listed, reading, which) {
                // x86_64's numbers end where x32's begin.
                let arch = match audit {
                    0xc000_003e if number >= X32_BIT => SpecArch::ScmpArchX32,
                    0xc000_003e => SpecArch::ScmpArchX86_64,
                    _ => listed,
                };
                let reading = &readings.iter().find(|reading| reading.0 == arch).unwrap().1;
                let rules = reading.rules(number);
                for args in arguments(rules) {
                    let right = reading.answers(number, &args);
                    let data = Data { number, audit, args };
                    self.check(&right, &data, are_tame(rules))?;
                }
            }
        }
        self.check(&[0], &Data::new(0, 0x1234), true)
    }

    /// Where rules of different actions hold for one call, libseccomp does not always take the same
    /// one; ours is one of them. Everywhere else, there is one answer.
    fn check(&self, right: &[u32], data: &Data, tame: bool) -> Result<(), String> {
        let ours = interpret::run(&self.ours, data, false).answer;
        let theirs = self.theirs.as_ref().map(|theirs| interpret::run(theirs, data, false).answer);
        let newer = ours == NO_SUCH_CALL && right == [NO_SUCH_CALL];
        let same = theirs.is_none_or(|theirs| theirs == ours || right.len() > 1 || newer || !tame);
        if same && right.contains(&ours) {
            return Ok(());
        }
        Err(format!("{data:x?}: {ours:#x}, libseccomp {theirs:#x?}, by the profile {right:#x?}"))
    }
}

/// Does libseccomp get these rules right? With several rules on one call it keeps the accumulator in mind
/// wrongly where they look at different arguments: of `a1 != 0xffffffff && a0 < 1` and `a0 >= 2`, it
/// finds that one holds for a0 = 0, a1 = 0xffffffff.
fn are_tame(rules: &[Rule]) -> bool {
    let indices: BTreeSet<usize> = rules.iter().flat_map(Rule::indices).collect();
    rules.len() <= 1 || indices.len() <= 1
}

/// A rule of the profile for one call.
struct Rule<'a> {
    action: u32,
    conditions: Vec<&'a LinuxSeccompArg>,
    /// The first argument under which a call that stands for many is this one.
    selector: Option<u64>,
}

impl Rule<'_> {
    fn own(&self) -> impl Iterator<Item = &LinuxSeccompArg> {
        let own = self.conditions.iter().copied();
        own.filter(|arg| self.selector.is_none() || arg.index() > 0)
    }

    fn indices(&self) -> Vec<usize> {
        self.own().map(LinuxSeccompArg::index).chain(self.selector.map(|_| 0)).collect()
    }
}

/// A profile as a person reads it: slowly, and without a program.
struct Reading<'a> {
    default: u32,
    calls: BTreeMap<u32, Vec<Rule<'a>>>,
    newest: Option<u32>,
    /// The bits of an argument that count.
    seen: u64,
    known: bool,
    /// The number of a call that a tracer skips, which is no x32 call although it looks like one.
    skipped: Option<u32>,
}

impl<'a> Reading<'a> {
    fn new(profile: &'a LinuxSeccomp, arch: SpecArch) -> Self {
        use SpecArch::{ScmpArchArm, ScmpArchX32, ScmpArchX86, ScmpArchX86_64};
        let listed = profile.architectures().iter().flatten();
        let mut reading = Self {
            default: profile.default_action().as_u32(profile.default_errno_ret()),
            calls: BTreeMap::new(),
            newest: newest(profile, arch),
            skipped: (arch == ScmpArchX32).then_some(u32::MAX),
            seen: match arch {
                ScmpArchX86 | ScmpArchX32 | ScmpArchArm => u64::from(u32::MAX),
                _ => u64::MAX,
            },
            known: listed.copied().chain([ScmpArchX86_64]).any(|listed| listed == arch),
        };
        for entry in profile.syscalls().iter().flatten() {
            let action = entry.action().as_u32(entry.errno_ret());
            if action == reading.default {
                continue;
            }
            for name in entry.names() {
                let own = number_of(arch, name).map(|number| (number, None));
                for (number, selector) in own.into_iter().chain(selector(arch, name)) {
                    reading.add(number, selector, action, entry);
                }
            }
        }
        reading
    }

    fn add(&mut self, number: u32, selector: Option<u64>, action: u32, entry: &'a LinuxSyscall) {
        let args: Vec<&LinuxSeccompArg> = entry.args().iter().flatten().collect();
        let repeated = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
        let size = if repeated { 1 } else { args.len().max(1) };
        let mut chunks: Vec<&[&LinuxSeccompArg]> = args.chunks(size).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let rules = self.calls.entry(number).or_default();
        rules.extend(chunks.into_iter().map(|conditions| Rule {
            action,
            conditions: conditions.to_vec(),
            selector,
        }));
    }

    fn rules(&self, number: u32) -> &[Rule<'a>] {
        self.calls.get(&number).map_or(&[], Vec::as_slice)
    }

    /// The actions of all rules that hold, or of the first one without conditions, or the default.
    fn answers(&self, number: u32, args: &[u64; 6]) -> Vec<u32> {
        if !self.known {
            return vec![if self.skipped == Some(number) { self.default } else { 0 }];
        }
        let counts = |arg: &&LinuxSeccompArg| {
            arg.op() != LinuxSeccompOperator::ScmpCmpMaskedEq || arg.value() & self.seen != 0
        };
        let mut held = Vec::new();
        for rule in self.rules(number) {
            if rule.selector.is_none() && rule.own().filter(counts).count() == 0 {
                return vec![rule.action];
            }
            let selected = rule.selector.is_none_or(|selector| args[0] & self.seen == selector);
            let all = rule.own().filter(counts).all(|arg| holds(arg, args[arg.index()], self.seen));
            if selected && all {
                held.push(rule.action);
            }
        }
        held.sort_unstable();
        held.dedup();
        match held.as_slice() {
            [] if !self.calls.contains_key(&number) && self.newest.is_some_and(|newest| number > newest) => {
                vec![NO_SUCH_CALL]
            }
            [] => vec![self.default],
            _ => held,
        }
    }
}

fn holds(arg: &LinuxSeccompArg, value: u64, seen: u64) -> bool {
    let (value, wanted) = (value & seen, arg.value() & seen);
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => value != wanted,
        LinuxSeccompOperator::ScmpCmpLt => value < wanted,
        LinuxSeccompOperator::ScmpCmpLe => value <= wanted,
        LinuxSeccompOperator::ScmpCmpEq => value == wanted,
        LinuxSeccompOperator::ScmpCmpGe => value >= wanted,
        LinuxSeccompOperator::ScmpCmpGt => value > wanted,
        LinuxSeccompOperator::ScmpCmpMaskedEq => value & wanted == arg.value_two().unwrap_or(0) & wanted,
    }
}

/// The number that stands for the call on this architecture, and under which first argument, if one does.
fn selector(arch: SpecArch, name: &str) -> Option<(u32, Option<u64>)> {
    let pseudo = libseccomp::number(arch, name);
    let (shared, base) = match pseudo {
        -120..=-101 => ("socketcall", 100),
        -224..=-201 => ("ipc", 200),
        _ => return None,
    };
    Some((number_of(arch, shared)?, Some(u64::from((-pseudo - base) as u32))))
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
        .filter(|number| !(0x0f_0000..X32_BIT).contains(number))
        .max()
}

/// The profile without the names that only one of the two has a number for, or that are not calls
/// `everywhere`.
fn known_to_both(profile: &LinuxSeccomp, everywhere: &[SpecArch]) -> LinuxSeccomp {
    let mut profile = profile.clone();
    let mut entries = profile.syscalls().clone().unwrap_or_default();
    for entry in &mut entries {
        let names = entry.names().iter().filter(|name| {
            // libseccomp does not find this one's number by way of the host's own architecture.
            *name != "sys_debug_setcontext"
                && everywhere
                    .iter()
                    .all(|&arch| number_of(arch, name).is_some() || selector(arch, name).is_some())
                && libseccomp::knows(name)
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
    seccomp::names().collect()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Numbers {
    All,
    NearThoseNamed,
}

/// Numbers that an architecture could have, and those at the borders.
fn numbers(arch: SpecArch, reading: &Reading, which: Numbers) -> BTreeSet<u32> {
    let first = match arch {
        SpecArch::ScmpArchX32 => X32_BIT,
        SpecArch::ScmpArchMipsel64 => 5000,
        _ => 0,
    };
    let mut numbers = BTreeSet::from([0, 1, X32_BIT - 1, X32_BIT, 0x0f_0000, 0x0f_0001, 0x0f_0007]);
    numbers.insert(u32::MAX);
    if arch != SpecArch::ScmpArchX86_64 && arch != SpecArch::ScmpArchX32 {
        numbers.extend([X32_BIT + 1, 0x8000_0000]);
    }
    let named = reading.calls.keys().chain(&reading.newest);
    numbers.extend(named.flat_map(|&number| number.saturating_sub(1)..=number + 1));
    if which == Numbers::All {
        numbers.extend(first..first + 700);
    }
    numbers
}

/// Values of the arguments that the rules for a call could tell apart.
fn arguments(rules: &[Rule]) -> Vec<[u64; 6]> {
    let mut values: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for rule in rules {
        if rule.selector.is_some() {
            values.entry(0).or_default().extend(0..26);
        }
        for arg in rule.own() {
            values.entry(arg.index()).or_default().extend(interesting(arg));
        }
    }
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for (index, values) in values {
        // Every value of this argument with some of those of the earlier ones.
        let step = all.len() / 16 + 1;
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

fn profile<V: Strategy<Value = u64> + 'static>(value: fn() -> V) -> impl Strategy<Value = LinuxSeccomp> {
    let architectures = prop::sample::subsequence(ARCHITECTURES.map(|(arch, _)| arch).to_vec(), 0..=8);
    (action(), architectures, prop::collection::vec(entry(value), 0..12)).prop_map(
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

fn entry<V: Strategy<Value = u64> + 'static>(value: fn() -> V) -> impl Strategy<Value = LinuxSyscall> {
    let few = vec!["clone", "socket", "personality", "semctl", "ioctl", "sendmsg", "socketcall"];
    let names = prop_oneof![
        prop::collection::vec(prop::sample::select(names()), 1..40),
        prop::collection::vec(prop::sample::select(few), 1..3),
    ];
    (names, action(), prop::collection::vec(arg(value), 0..4)).prop_map(|(names, (action, errno), args)| {
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        let mut entry =
            LinuxSyscallBuilder::default().names(names).action(action).args(args).build().unwrap();
        entry.set_errno_ret(errno);
        entry
    })
}

fn arg<V: Strategy<Value = u64> + 'static>(value: fn() -> V) -> impl Strategy<Value = LinuxSeccompArg> {
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
    (0_usize..3, operator, value(), value()).prop_map(|(index, op, value, value_two)| {
        LinuxSeccompArgBuilder::default()
            .index(index)
            .op(op)
            .value(value)
            .value_two(value_two)
            .build()
            .unwrap()
    })
}

fn tame_value() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..4, Just(u64::from(u32::MAX)), any::<u32>().prop_map(u64::from)]
}

fn wide_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        Just(u64::MAX),
        (0_u64..3, 0_u64..3).prop_map(|(upper, lower)| upper << 32 | lower),
        any::<u64>(),
    ]
}
