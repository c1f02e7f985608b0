//! Any profile is refused in words or becomes a program that the kernel would take; and any bytes that
//! are read back as a program are written as the same bytes.

use crate::seccomp::interpret::{self, Data};
use crate::seccomp::{self, Arch, Program};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

pub fn execute(bytes: &[u8]) {
    if let Some(program) = Program::from_bytes(bytes) {
        assert_eq!(program.to_bytes(), bytes);
    }
    if let Ok(profile) = serde_json::from_slice::<LinuxSeccomp>(bytes) {
        check(&profile);
    }
    check(&Bytes(bytes).profile());
}

pub fn seeds(text: &[u8]) -> Vec<Vec<u8>> {
    let whole: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let profile = whole.pointer("/linux/seccomp");
    profile.into_iter().map(|profile| profile.to_string().into_bytes()).collect()
}

fn check(profile: &LinuxSeccomp) {
    for native in Arch::ALL {
        let program = match seccomp::compile(profile, native) {
            Ok(program) => program.instructions,
            Err(refusal) => {
                assert!(refusal.place.starts_with("linux.seccomp."), "{refusal:?}");
                continue;
            }
        };
        assert!(interpret::is_sound(&program));
        for number in [0, 1, 102, 4000, 0x0f_0002, 0x4000_0003, u32::MAX] {
            for value in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
                let data = Data { number, audit: native.audit(), args: [value; 6] };
                interpret::run(&program, &data, native.is_big_endian());
            }
        }
    }
}

/// A profile made of bytes, so that changing one changes one thing.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first)
    }

    fn profile(&mut self) -> LinuxSeccomp {
        let default = self.action();
        let mut entries = Vec::new();
        while !self.0.is_empty() {
            entries.push(self.entry());
        }
        let built = LinuxSeccompBuilder::default().default_action(default).syscalls(entries).build();
        built.expect("every field has a default")
    }

    fn entry(&mut self) -> LinuxSyscall {
        let known: Vec<&str> = seccomp::names().collect();
        let names: Vec<String> = (0..1 + self.next() % 4)
            .map(|_| known[(self.next() << 8 | self.next()) % known.len()].into())
            .collect();
        let args: Vec<LinuxSeccompArg> = (0..self.next() % 8).map(|_| self.arg()).collect();
        let built = LinuxSyscallBuilder::default().names(names).action(self.action()).args(args).build();
        built.expect("every field has a default")
    }

    fn arg(&mut self) -> LinuxSeccompArg {
        use LinuxSeccompOperator as Operator;
        let operators = [
            Operator::ScmpCmpNe,
            Operator::ScmpCmpLt,
            Operator::ScmpCmpLe,
            Operator::ScmpCmpEq,
            Operator::ScmpCmpGe,
            Operator::ScmpCmpGt,
            Operator::ScmpCmpMaskedEq,
        ];
        let built = LinuxSeccompArgBuilder::default()
            .index(self.next() % 7)
            .op(operators[self.next() % operators.len()])
            .value(self.value())
            .value_two(self.value())
            .build();
        built.expect("every field has a default")
    }

    fn value(&mut self) -> u64 {
        let byte = self.next() as u64;
        [byte, byte << 28, !byte, byte << 32 | byte][self.next() % 4]
    }

    fn action(&mut self) -> LinuxSeccompAction {
        use LinuxSeccompAction as Action;
        let actions = [
            Action::ScmpActKillThread,
            Action::ScmpActKillProcess,
            Action::ScmpActTrap,
            Action::ScmpActErrno,
            Action::ScmpActTrace,
            Action::ScmpActLog,
            Action::ScmpActAllow,
        ];
        actions[self.next() % actions.len()]
    }
}
