//! Whole profiles: what they answer, what small ones look like, and what is refused.

use super::interpret::{self, Data};
use super::*;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

const KILL: u32 = 0;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

fn profile(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn program(json: &str) -> Program {
    let program = compile(&profile(json), Arch::X86_64).unwrap();
    assert!(interpret::is_sound(&program.instructions));
    program
}

fn refusal(json: &str) -> Refusal {
    compile(&profile(json), Arch::X86_64).unwrap_err()
}

fn answer(program: &Program, audit: u32, number: u32, args: &[u64]) -> u32 {
    let mut data = Data::new(number, audit);
    data.args[..args.len()].copy_from_slice(args);
    interpret::run(&program.instructions, &data, false).answer
}

const ALLOW_READ: &str = r#"{"defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;

#[test]
fn a_profile_of_one_call_is_ten_instructions() {
    let text = interpret::text(&program(ALLOW_READ).instructions);
    assert_eq!(
        text,
        "  0 load 4
  1 if == 0xc000003e 2 else 9
  2 load 0
  3 if >= 0x1 4 else 6
  4 if >= 0x40000000 5 else 7
  5 if >= 0xffffffff 8 else 9
  6 answer 0x7fff0000
  7 answer 0x50026
  8 answer 0x50001
  9 answer 0x0
"
    );
}

#[test]
fn rules_on_one_argument_share_its_words() {
    let text = interpret::text(
        &program(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["personality"], "action": "SCMP_ACT_KILL_PROCESS", "args":
                    [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args":
                    [{"index": 0, "value": 32, "op": "SCMP_CMP_GT"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args":
                    [{"index": 0, "value": 4, "op": "SCMP_CMP_LE"}]}]}"#,
        )
        .instructions,
    );
    assert_eq!(
        text,
        "  0 load 4
  1 if == 0xc000003e 2 else 17
  2 load 0
  3 if >= 0x88 4 else 6
  4 if >= 0x40000000 5 else 16
  5 if >= 0xffffffff 16 else 17
  6 if >= 0x87 7 else 16
  7 load 20
  8 if == 0x0 9 else 13
  9 load 16
 10 if == 0x8 15 else 11
 11 if > 0x4 12 else 14
 12 if > 0x20 13 else 16
 13 answer 0x50001
 14 answer 0x50016
 15 answer 0x80000000
 16 answer 0x7fff0000
 17 answer 0x0
"
    );
}

#[test]
fn a_mask_is_one_test_where_the_bits_must_be_clear() {
    let text = interpret::text(
        &program(
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
                {"names": ["unshare"], "action": "SCMP_ACT_LOG", "args":
                    [{"index": 0, "value": 2114060288, "op": "SCMP_CMP_MASKED_EQ"}]}]}"#,
        )
        .instructions,
    );
    assert_eq!(
        text,
        "  0 load 4
  1 if == 0xc000003e 2 else 7
  2 load 0
  3 if >= 0x110 4 else 13
  4 if >= 0x111 5 else 10
  5 if >= 0x40000000 6 else 13
  6 if >= 0xffffffff 13 else 14
  7 if == 0x40000003 8 else 14
  8 load 0
  9 if == 0x136 10 else 13
 10 load 16
 11 if & 0x7e020000 13 else 12
 12 answer 0x7ffc0000
 13 answer 0x7fff0000
 14 answer 0x0
"
    );
}

#[test]
fn a_call_newer_than_the_profile_does_not_exist() {
    let listed = program(
        r#"{"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [{"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW"},
                         {"names": ["statx"], "action": "SCMP_ACT_KILL"}]}"#,
    );
    for (audit, newest) in [(X86_64, 332), (X86, 383), (X86_64, 332 | X32_BIT)] {
        // The newest counts although it only says the default.
        assert_eq!(answer(&listed, audit, newest, &[]), KILL);
        assert_eq!(answer(&listed, audit, newest + 1, &[]), ERRNO | ENOSYS);
        assert_eq!(answer(&listed, audit, newest + 5000, &[]), ERRNO | ENOSYS);
    }
    for default in ["ALLOW", "LOG", "TRACE"] {
        let open = program(&format!(
            r#"{{"defaultAction": "SCMP_ACT_{default}",
                 "syscalls": [{{"names": ["read"], "action": "SCMP_ACT_KILL"}}]}}"#
        ));
        assert_ne!(answer(&open, X86_64, 400, &[]), ERRNO | ENOSYS, "{default}");
    }
    let empty = program(r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#);
    assert_eq!(answer(&empty, X86_64, 400, &[]), ERRNO | EPERM);
}

#[test]
fn s390_passes_calls_it_does_not_know_through_setup() {
    for (native, audit) in [(Arch::S390x, 0x8000_0016), (Arch::S390, 22)] {
        let program = compile(&profile(ALLOW_READ), native).unwrap();
        let answer = |number| {
            let data = Data::new(number, audit);
            interpret::run(&program.instructions, &data, true).answer
        };
        assert_eq!((answer(0), answer(1), answer(3)), (ERRNO | ENOSYS, ERRNO | EPERM, ALLOW));
    }
}

#[test]
fn arms_private_calls_are_no_newer_than_the_others() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["set_tls", "read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let program = compile(&profile(json), Arch::Arm).unwrap();
    let arm = 0x4000_0028;
    assert_eq!(answer(&program, arm, 0x0f_0005, &[]), ALLOW);
    assert_eq!(answer(&program, arm, 3, &[]), ALLOW);
    assert_eq!(answer(&program, arm, 400, &[]), ERRNO | ENOSYS);
}

#[test]
fn x32_is_a_foreign_architecture_until_it_is_listed() {
    let unlisted = program(ALLOW_READ);
    assert_eq!(answer(&unlisted, X86_64, 0, &[]), ALLOW);
    assert_eq!(answer(&unlisted, X86_64, X32_BIT, &[]), KILL);
    assert_eq!(answer(&unlisted, X86, 3, &[]), KILL);
    // A tracer's way to skip a call.
    assert_eq!(answer(&unlisted, X86_64, u32::MAX, &[]), ERRNO | EPERM);
    let listed =
        program(&ALLOW_READ.replace(
            "\"syscalls\"",
            "\"architectures\": [\"SCMP_ARCH_X32\", \"SCMP_ARCH_X86\"], \"syscalls\"",
        ));
    assert_eq!(answer(&listed, X86_64, 0, &[]), ALLOW);
    assert_eq!(answer(&listed, X86_64, X32_BIT, &[]), ALLOW);
    assert_eq!(answer(&listed, X86, 3, &[]), ALLOW);
    assert_eq!(answer(&listed, X86, 0, &[]), ERRNO | EPERM);
}

#[test]
fn the_first_rule_without_conditions_decides_alone() {
    let program = program(
        r#"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args":
                [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}"#,
    );
    assert_eq!(answer(&program, X86_64, 0, &[1]), ALLOW);
    assert_eq!(answer(&program, X86_64, 0, &[2]), ALLOW);
}

#[test]
fn of_two_rules_that_hold_the_narrower_one_decides() {
    let program = program(
        r#"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args":
                [{"index": 0, "value": 4, "op": "SCMP_CMP_GT"}]},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args":
                [{"index": 0, "value": 8, "op": "SCMP_CMP_GT"}]},
            {"names": ["read"], "action": "SCMP_ACT_TRAP", "args":
                [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args":
                [{"index": 2, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    let answers = [4, 5, 9, 16, 1 << 32].map(|arg| answer(&program, X86_64, 0, &[arg]));
    assert_eq!(answers, [KILL, ALLOW, ERRNO | EPERM, 0x0003_0000, ERRNO | EPERM]);
    assert_eq!(answer(&program, X86_64, 0, &[16, 0, 1]), 0x7ffc_0000);
}

#[test]
fn two_conditions_on_one_argument_are_two_rules_as_in_runc() {
    let program = program(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args":
                [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                 {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
                 {"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    for (args, allowed) in [([1, 0], true), ([2, 0], true), ([0, 7], true), ([0, 0], false)] {
        assert_eq!(answer(&program, X86_64, 0, &args) == ALLOW, allowed, "{args:?}");
    }
}

#[test]
fn a_socket_call_is_allowed_through_socketcall_too() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let program = compile(&profile(json), Arch::X86).unwrap();
    assert_eq!(answer(&program, X86, 359, &[]), ALLOW);
    assert_eq!(answer(&program, X86, 102, &[1]), ALLOW);
    assert_eq!(answer(&program, X86, 102, &[2]), ERRNO | EPERM);
}

#[test]
fn flags_are_those_that_runc_sets() {
    let flags = |flags: &str| {
        let json = r#"{"defaultAction": "SCMP_ACT_ALLOW" FLAGS}"#.replace("FLAGS", flags);
        program(&json).flags
    };
    assert_eq!(flags(""), FLAG_SPEC_ALLOW);
    assert_eq!(flags(r#", "flags": []"#), 0);
    assert_eq!(flags(r#", "flags": ["SECCOMP_FILTER_FLAG_TSYNC"]"#), 0);
    assert_eq!(flags(r#", "flags": ["SECCOMP_FILTER_FLAG_LOG"]"#), FLAG_LOG);
}

#[test]
fn a_rule_that_notifies_asks_for_a_listener() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#;
    let notifying = program(json);
    assert!(notifying.notifies());
    assert_eq!(notifying.flags, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
    assert_eq!(answer(&notifying, X86_64, 83, &[]), 0x7fc0_0000);

    let place = |from: &str, to: &str| refusal(&json.replace(from, to)).place;
    assert_eq!(place("/run/agent", ""), "linux.seccomp.listenerPath");
    assert_eq!(place("ACT_NOTIFY", "ACT_TRAP"), "linux.seccomp.flags[0]");
    assert_eq!(place("mkdir", "write"), "linux.seccomp.syscalls[0].names[0]");
    assert_eq!(place("ACT_ALLOW", "ACT_NOTIFY"), "linux.seccomp.defaultAction");
}

#[test]
fn names_that_no_architecture_has_are_passed_over_with_their_places() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "raed", "socketcall"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let unknown = Unknown { place: "linux.seccomp.syscalls[0].names[1]".into(), name: "raed".into() };
    assert_eq!(program(json).unknown, [unknown]);
}

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    let refused = |before: &str, entry: &str| {
        let json = r#"{"defaultAction": "SCMP_ACT_ERRNO" BEFORE, "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["mount"] ENTRY}]}"#;
        let refusal = refusal(&json.replace("BEFORE", before).replace("ENTRY", entry));
        println!("{}: {}\n  help: {}", refusal.place, refusal.what, refusal.remedy);
        refusal.place
    };
    let allow = r#", "action": "SCMP_ACT_ALLOW""#;
    let entry = "linux.seccomp.syscalls[1]";
    assert_eq!(refused("", r#", "action": "SCMP_ACT_ERRNO", "errnoRet": 4096"#), format!("{entry}.errnoRet"));
    assert_eq!(
        refused("", r#", "action": "SCMP_ACT_TRACE", "errnoRet": 65536"#),
        format!("{entry}.errnoRet")
    );
    assert_eq!(refused("", r#", "action": "SCMP_ACT_KILL", "errnoRet": 1"#), format!("{entry}.errnoRet"));
    assert_eq!(refused(r#", "defaultErrnoRet": 70000"#, allow), "linux.seccomp.defaultErrnoRet");
    let sixth = r#", "action": "SCMP_ACT_ALLOW", "args":
        [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
         {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]"#;
    assert_eq!(refused("", sixth), format!("{entry}.args[1].index"));
    for arch in ["S390X", "PARISC"] {
        let listed = format!(r#", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_{arch}"]"#);
        assert_eq!(refused(&listed, allow), "linux.seccomp.architectures[1]");
    }
    let contradiction = r#", "action": "SCMP_ACT_ALLOW", "args":
        [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        {"names": ["mount"], "action": "SCMP_ACT_KILL", "args":
        [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#;
    assert_eq!(refused("", contradiction), "linux.seccomp.syscalls[2].action");
}

#[test]
fn rules_that_another_takes_over_contradict_nobody() {
    let when = r#""args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]"#;
    let rule = |names: &str, errno: u32, rest: &str| {
        format!(r#"{{"names": ["{names}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {errno}{rest}}}"#)
    };
    let conditional = |errno| rule("getpriority", errno, &format!(", {when}"));
    for entries in [
        [conditional(1), conditional(2), rule("getpriority", 3, "")],
        // On x86, the first two are conditions of the third.
        [rule("bind", 1, ""), rule("bind", 2, ""), rule("socketcall", 3, "")],
    ] {
        program(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{}]}}"#,
            entries.join(", ")
        ));
    }
}

/// A profile with many rules: the arguments of `read` that are allowed.
fn long(values: u64) -> LinuxSeccomp {
    let args: Vec<String> = (0..values)
        .map(|value| format!(r#"{{"index": 1, "value": {}, "op": "SCMP_CMP_EQ"}}"#, value * 3))
        .collect();
    profile(&format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            {{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}},
            {{"names": ["mount"], "action": "SCMP_ACT_TRAP", "args": [{}]}}]}}"#,
        args.join(",")
    ))
}

#[test]
fn jumps_reach_over_long_programs() {
    let program = compile(&long(2000), Arch::X86_64).unwrap();
    assert!(interpret::is_sound(&program.instructions));
    assert!(program.instructions.len() > 2000);
    for (audit, mount) in [(X86_64, 165), (X86, 21)] {
        for value in 0..6100 {
            let held = value % 3 == 0 && value < 6000;
            let expected = if held { 0x0003_0000 } else { ERRNO | EPERM };
            assert_eq!(answer(&program, audit, mount, &[0, value]), expected, "{value}");
        }
    }
    assert_eq!(answer(&program, X86_64, 0, &[]), ALLOW);
    assert_eq!(answer(&program, X86, 4, &[]), ALLOW);
    assert_eq!(answer(&program, 1, 0, &[]), KILL);
}

#[test]
fn a_program_that_the_kernel_would_not_take_is_refused_with_the_entry_to_shorten() {
    let refusal = compile(&long(5000), Arch::X86_64).unwrap_err();
    assert_eq!(refusal.place, "linux.seccomp.syscalls[1]");
    assert!(refusal.what.contains("4096"), "{}", refusal.what);
}

#[test]
fn a_kept_program_is_the_same_when_read() {
    let program = Program { refuses_execve: false, ..program(ALLOW_READ) };
    let bytes = program.to_bytes();
    assert_eq!(Program::from_bytes(&bytes), Some(program));
    for wrong in [&bytes[..4], &bytes[..bytes.len() - 1], &[]] {
        assert_eq!(Program::from_bytes(wrong), None);
    }
}

#[test]
fn every_architecture_compiles_the_engines_profiles() {
    for file in std::fs::read_dir("tests/seccomp/profiles").unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let mut listed = profile(&text);
        listed.set_architectures(None);
        for native in Arch::ALL {
            let program = compile(&listed, native).unwrap();
            assert!(interpret::is_sound(&program.instructions), "{native:?}");
            let read = Data::new(number("read", native).unwrap(), native.audit());
            let outcome = interpret::run(&program.instructions, &read, native.is_big_endian());
            assert_eq!(outcome.answer, ALLOW, "{native:?}");
            // Else the kernel would ask the program at every read.
            assert!(!outcome.looked, "{native:?}");
        }
    }
}

#[test]
fn execve_is_refused_where_no_rule_lets_it_through() {
    let is_refused = |default: &str, rules: &str| {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_{default}", "syscalls": [{rules}]}}"#);
        program(&text).refuses_execve
    };
    let rule = |action: &str, args: &str| {
        format!(r#"{{"names": ["execve"], "action": "SCMP_ACT_{action}", "args": [{args}]}}"#)
    };
    let some = r#"{"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}"#;
    assert!(is_refused("ERRNO", ""));
    assert!(!is_refused("ALLOW", ""));
    assert!(is_refused("ALLOW", &rule("KILL", "")));
    assert!(!is_refused("ALLOW", &rule("KILL", some)));
    assert!(is_refused("ERRNO", &rule("KILL", some)));
    let passing = ["ALLOW", "LOG", "TRACE"];
    assert_eq!(passing.map(|action| is_refused("ERRNO", &rule(action, some))), [false; 3]);
}
