//! System call filters: each action, condition and flag seen to work in a container, and what is refused.

mod agent;
mod notify;
mod refused;

use crate::common::{Bundle, Kase, Value, json};
use std::fs;
use std::path::Path;

deeds! {
    a_call_fails_with_the_rules_errno,
    a_call_that_no_rule_names_fails_with_the_default_errno,
    a_process_is_killed,
    a_thread_is_killed_alone,
    a_trap_is_a_sigsys,
    a_call_that_is_logged_or_allowed_goes_on,
    a_traced_call_without_a_tracer_does_not_exist,
    conditions_on_arguments_hold_in_all_64_bits,
    all_conditions_of_a_rule_and_any_rule_of_a_call_count,
    a_tight_profile_allows_kase_nothing_but_the_exec,
    a_tight_profile_that_kills_kills_no_kase,
    limits_need_no_call_of_the_profiles,
    who_may_not_even_exit_ends_all_the_same,
    a_call_newer_than_the_profile_does_not_exist,
    a_name_that_no_architecture_has_is_passed_over,
    an_annotation_makes_an_unknown_name_an_error,
    flags_reach_the_kernel,
    an_added_process_is_under_the_same_filter,
    start_container_hooks_are_under_it,
    the_engines_profiles_let_a_static_program_start,
    the_engines_profiles_let_a_dynamic_program_start,
}

/// What the probe needs to start, to answer and to end.
const NEEDED: [&str; 24] = [
    "execve",
    "exit_group",
    "write",
    "read",
    "openat",
    "close",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "arch_prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "readlink",
    "readlinkat",
    "getrandom",
    "poll",
    "rt_sigaction",
    "sigaltstack",
    "sched_getaffinity",
    "newfstatat",
    "gettid",
];

const MKDIR: [&str; 3] = ["syscall", "mkdir", "/dev/shm/made"];

/// A bundle with this `linux.seccomp`, and without core dumps of those that it kills.
fn filtered(kase: &Kase, profile: &Value) -> Bundle {
    kase.bundle().edit(|spec| {
        spec["linux"]["seccomp"] = profile.clone();
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    })
}

/// Everything goes on but mkdir, which has this rule's fields.
fn about_mkdir(fields: Value) -> Value {
    let mut rule = json!({"names": ["mkdir", "mkdirat"]});
    rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})
}

fn sees<const N: usize>(kase: &Kase, profile: &Value, args: [&str; N]) -> String {
    kase.sees(filtered(kase, profile), args)
}

/// The exit code of the probe with these words.
fn ends<const N: usize>(kase: &Kase, profile: &Value, args: [&str; N]) -> i32 {
    let args: Vec<&str> = ["/probe"].into_iter().chain(args).collect();
    kase.run(&filtered(kase, profile).edit(|spec| spec["process"]["args"] = json!(args))).code
}

/// 128 and SIGSYS.
const BAD_CALL: i32 = 128 + 31;

fn a_call_fails_with_the_rules_errno(kase: &Kase) {
    let rule = |fields| sees(kase, &about_mkdir(fields), MKDIR);
    assert_eq!(rule(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 100})), "ENETDOWN\n");
    assert_eq!(rule(json!({"action": "SCMP_ACT_ERRNO"})), "EPERM\n");
}

fn a_call_that_no_rule_names_fails_with_the_default_errno(kase: &Kase) {
    let profile = |errno: Value| {
        let mut profile = allowing(&NEEDED);
        if errno.is_number() {
            profile["defaultErrnoRet"] = errno;
        }
        profile
    };
    assert_eq!(sees(kase, &profile(json!(6)), MKDIR), "ENXIO\n");
    assert_eq!(sees(kase, &profile(Value::Null), MKDIR), "EPERM\n");
}

fn a_process_is_killed(kase: &Kase) {
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL"] {
        let profile = about_mkdir(json!({"action": action}));
        assert_eq!(ends(kase, &profile, MKDIR), BAD_CALL, "{action}");
    }
    let profile = about_mkdir(json!({"action": "SCMP_ACT_KILL_PROCESS"}));
    assert_eq!(ends(kase, &profile, ["thread", "syscall", "mkdir", "/dev/shm/made"]), BAD_CALL);
}

fn a_thread_is_killed_alone(kase: &Kase) {
    for action in ["SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL"] {
        let profile = about_mkdir(json!({"action": action}));
        let seen = sees(kase, &profile, ["thread", "syscall", "mkdir", "/dev/shm/made"]);
        assert_eq!(seen, "killed\n", "{action}");
    }
}

fn a_trap_is_a_sigsys(kase: &Kase) {
    assert_eq!(ends(kase, &about_mkdir(json!({"action": "SCMP_ACT_TRAP"})), MKDIR), BAD_CALL);
}

fn a_call_that_is_logged_or_allowed_goes_on(kase: &Kase) {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        assert_eq!(sees(kase, &about_mkdir(json!({"action": action})), MKDIR), "ok\n", "{action}");
    }
}

fn a_traced_call_without_a_tracer_does_not_exist(kase: &Kase) {
    let profile = about_mkdir(json!({"action": "SCMP_ACT_TRACE", "errnoRet": 7}));
    assert_eq!(sees(kase, &profile, MKDIR), "ENOSYS\n");
}

fn conditions_on_arguments_hold_in_all_64_bits(kase: &Kase) {
    const HIGH: u64 = 0x1_0000_0005;
    for (operator, value, second, hit, missed) in [
        ("SCMP_CMP_EQ", HIGH, 0_u64, [HIGH, HIGH], [5, 0x2_0000_0005]),
        ("SCMP_CMP_NE", HIGH, 0, [5, 0x2_0000_0005], [HIGH, HIGH]),
        ("SCMP_CMP_LT", HIGH, 0, [9, HIGH - 1], [HIGH, 0x2_0000_0000]),
        ("SCMP_CMP_LE", HIGH, 0, [9, HIGH], [HIGH + 1, 0x2_0000_0000]),
        ("SCMP_CMP_GE", HIGH, 0, [HIGH, 0x2_0000_0000], [9, HIGH - 1]),
        ("SCMP_CMP_GT", HIGH, 0, [HIGH + 1, 0x2_0000_0000], [9, HIGH]),
        ("SCMP_CMP_MASKED_EQ", 0x1_0000_00f0, 0x1_0000_0050, [0x1_0000_0057, 0x3_0000_0f50], [0x50, HIGH]),
    ] {
        let arg = json!({"index": 1, "value": value, "valueTwo": second, "op": operator});
        let rule = json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [arg]});
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        let words = [hit, missed].as_flattened().iter().map(u64::to_string).collect::<Vec<_>>();
        let [a, b, c, d] = words.as_slice() else { unreachable!("four") };
        let seen = sees(
            kase,
            &profile,
            [
                "syscall", "lseek", a, "--", "syscall", "lseek", b, "--", "syscall", "lseek", c, "--",
                "syscall", "lseek", d,
            ],
        );
        assert_eq!(seen, "EBADFD\nEBADFD\nok\nok\n", "{operator} {value:#x} {second:#x} of {words:?}");
    }
}

fn all_conditions_of_a_rule_and_any_rule_of_a_call_count(kase: &Kase) {
    let is = |index: u32, value: u64| json!({"index": index, "value": value, "op": "SCMP_CMP_EQ"});
    let rule = |args: Value, errno: u32| json!({"names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    // Of lseek, argument 1 is the offset, and 2 is SEEK_SET, 0.
    let rules = [
        rule(json!([is(1, 5), is(2, 0)]), 77),
        rule(json!([is(1, 6), is(2, 9)]), 77),
        rule(json!([is(1, 7)]), 77),
    ];
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let seen = sees(
        kase,
        &profile,
        ["syscall", "lseek", "5", "--", "syscall", "lseek", "6", "--", "syscall", "lseek", "7"],
    );
    assert_eq!(seen, "EBADFD\nok\nEBADFD\n");
}

/// Nothing but these calls.
fn allowing(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    })
}

fn privileges(bundle: Bundle, none_new: bool) -> Bundle {
    bundle.edit(|spec| spec["process"]["noNewPrivileges"] = json!(none_new))
}

fn a_tight_profile_allows_kase_nothing_but_the_exec(kase: &Kase) {
    let bundle = |names: &[&str], none_new| {
        privileges(kase.bundle().edit(|spec| spec["linux"]["seccomp"] = allowing(names)), none_new)
    };
    let answer = ["args", "hello", "--", "syscall", "mkdir", "/dev/shm/made"];
    assert_eq!(kase.sees(bundle(&NEEDED, true), answer), "hello\nEPERM\n");
    // Without it kase gives up, under the filter, the capability that installed it.
    let more = [NEEDED.as_slice(), &["capset"]].concat();
    assert_eq!(kase.sees(bundle(&more, false), answer), "hello\nEPERM\n");
    let ambient = bundle(&[more.as_slice(), &["prctl"]].concat(), false).edit(|spec| {
        for set in ["inheritable", "ambient"] {
            spec["process"]["capabilities"][set] = json!(["CAP_KILL"]);
        }
    });
    assert_eq!(kase.sees(ambient, answer), "hello\nEPERM\n");
    let seen = kase.sees(bundle(&more, false), ["args", "hello", "--", "status", "Seccomp", "NoNewPrivs"]);
    assert_eq!(seen, "hello\nSeccomp: 2\nNoNewPrivs: 0\n");
}

/// Where a call of kase's own would end it.
fn a_tight_profile_that_kills_kills_no_kase(kase: &Kase) {
    let mut profile = allowing(&NEEDED);
    profile["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS");
    let bundle = || privileges(filtered(kase, &profile), true).args(["/probe", "args", "hello"]);
    assert_eq!(kase.run(&bundle()).stdout(), "hello\n");
    let container = kase.create(&bundle());
    container.start();
    container.says("hello");
}

fn limits_need_no_call_of_the_profiles(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["prlimit64", "setrlimit"], "action": "SCMP_ACT_ERRNO"}],
        });
        spec["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 100}]);
    });
    let sees = kase.sees(bundle.args(["/probe", "sleep"]), ["read", "/proc/self/limits"]);
    let line = sees.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["99", "100"]);
}

/// The program is none, and its filter allows neither to say so nor to exit.
fn who_may_not_even_exit_ends_all_the_same(kase: &Kase) {
    let bundle = filtered(kase, &allowing(&["execve"])).program("odd", b"\x7fELF?").args(["/odd"]);
    kase.run(&bundle).exited(128 + libc::SIGILL);
    let container = kase.create(&bundle);
    container.start();
    container.becomes("stopped");
}

fn a_call_newer_than_the_profile_does_not_exist(kase: &Kase) {
    let seen =
        sees(kase, &allowing(&NEEDED), ["syscall", "openat2", "/", "--", "syscall", "mkdir", "/mnt/a"]);
    assert_eq!(seen, "ENOSYS\nEPERM\n", "openat2 is newer than all the profile has, and mkdir is older");
    let newer = [NEEDED.as_slice(), &["faccessat2"]].concat();
    assert_eq!(sees(kase, &allowing(&newer), ["syscall", "openat2", "/"]), "EPERM\n");
}

fn a_name_that_no_architecture_has_is_passed_over(kase: &Kase) {
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    profile["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("levitate"));
    assert_eq!(sees(kase, &profile, MKDIR), "EPERM\n");
    let bundle = filtered(kase, &profile);
    let outcome = kase.call(["--debug", "run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    outcome.succeeded();
    assert!(outcome.err.contains("linux.seccomp.syscalls[0].names[2]"), "{outcome}");
    assert!(outcome.err.contains("levitate"), "{outcome}");
}

fn an_annotation_makes_an_unknown_name_an_error(kase: &Kase) {
    let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
    let strict = |profile: &Value| {
        let annotations = json!({"run.oci.seccomp_fail_unknown_syscall": "1"});
        filtered(kase, profile).edit(|spec| spec["annotations"] = annotations)
    };
    assert_eq!(kase.sees(strict(&profile), MKDIR), "EPERM\n");
    profile["syscalls"][0]["names"].as_array_mut().unwrap().push(json!("levitate"));
    kase.run(&strict(&profile)).refused(&["linux.seccomp.syscalls[0].names[2]", "levitate"]);
}

fn flags_reach_the_kernel(kase: &Kase) {
    const LOG: &str = "SECCOMP_FILTER_FLAG_LOG";
    const SPEC_ALLOW: &str = "SECCOMP_FILTER_FLAG_SPEC_ALLOW";
    const TSYNC: &str = "SECCOMP_FILTER_FLAG_TSYNC";
    for (flags, number) in [
        // As runc does where the profile says nothing of them.
        (Value::Null, 4),
        (json!([]), 0),
        (json!([TSYNC]), 0),
        (json!([LOG]), 2),
        (json!([SPEC_ALLOW]), 4),
        (json!([TSYNC, LOG, SPEC_ALLOW]), 6),
    ] {
        let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
        if flags.is_array() {
            profile["flags"] = flags.clone();
        }
        let bundle = filtered(kase, &profile).args(["/probe", "syscall", "mkdir", "/dev/shm/made"]);
        let outcome = kase.call(["--debug", "run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
        assert_eq!(outcome.stdout(), "EPERM\n");
        assert!(outcome.err.contains(&format!("\"seccomp filter flags: {number}\"")), "{flags}: {outcome}");
    }
    // SPEC_ALLOW is the one that a process sees of itself.
    let seen = |flags: Value| {
        let mut profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO"}));
        profile["flags"] = flags;
        sees(kase, &profile, ["status", "Speculation_Store_Bypass"])
    };
    let (open, closed) = (seen(json!([SPEC_ALLOW])), seen(json!([])));
    assert!(!open.contains("force mitigated"), "{open}");
    assert!(open == closed || closed.contains("mitigated"), "{open}, {closed}");
}

fn an_added_process_is_under_the_same_filter(kase: &Kase) {
    for none_new in [true, false] {
        let profile = about_mkdir(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 100}));
        let bundle = privileges(filtered(kase, &profile), none_new).args(["/probe", "sleep"]);
        let container = kase.run_detached(&bundle);
        // What it was created with counts, not what stands there now.
        fs::write(bundle.path("config.json"), "{}").unwrap();
        let outcome = kase.call(["exec", &container.id, "/probe", "syscall", "mkdir", "/dev/shm/made"]);
        assert_eq!(outcome.stdout(), "ENETDOWN\n", "noNewPrivileges {none_new}");
    }
}

fn start_container_hooks_are_under_it(kase: &Kase) {
    let hook = json!({"path": "/probe", "args": ["probe", "syscall", "mkdir", "/dev/shm/made"]});
    let bundle = |action: &str| {
        filtered(kase, &about_mkdir(json!({"action": action})))
            .edit(|spec| spec["hooks"]["startContainer"] = json!([hook]))
    };
    kase.run(&bundle("SCMP_ACT_ALLOW")).succeeded();
    kase.run(&bundle("SCMP_ACT_KILL_PROCESS")).refused(&["hooks.startContainer[0]", "bad system call"]);
}

/// The default profiles of Docker, Podman and the others as they reach a runtime.
fn engines() -> impl Iterator<Item = (String, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/profiles");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    // A user's own, which denies what the tests do.
    let names = names.filter(|name| name != "docker-custom.json");
    names.map(move |name| {
        let text = fs::read(Path::new(folder).join(&name)).unwrap();
        (name, serde_json::from_slice(&text).unwrap())
    })
}

fn the_engines_profiles_let_a_static_program_start(kase: &Kase) {
    for (name, profile) in engines() {
        let seen = sees(
            kase,
            &profile,
            [
                "hostname",
                "--",
                "syscall",
                "mkdir",
                "/dev/shm/made",
                "--",
                "thread",
                "syscall",
                "lseek",
                "5",
                "--",
                "can",
                "unshare",
                "uts",
                "--",
                "syscall",
                "personality",
                "0x20000",
                "--",
                "syscall",
                "personality",
                "0x1234",
            ],
        );
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..3], ["kase", "ok", "ok"], "{name}: {seen}");
        assert!(lines[4] == "ok" && lines[5] != "ok", "{name}: {seen}");
        assert_ne!(lines[3], "ok", "{name}: {seen}");
    }
}

fn the_engines_profiles_let_a_dynamic_program_start(kase: &Kase) {
    if !Path::new("/usr/bin/sort").exists() || !Path::new("/usr/lib").exists() {
        skip!("the host has no /usr with programs to run");
    }
    for (name, profile) in engines() {
        let mut bundle = filtered(kase, &profile).directory("usr");
        for link in ["bin", "sbin", "lib", "lib64"] {
            bundle = bundle.link(link, &format!("usr/{link}"));
        }
        let mount =
            json!({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]});
        // A shell, a pipe and a program that starts threads.
        let script = "printf 'b\\na\\n' | sort --parallel=2 && mkdir /dev/shm/made && ls /dev/shm";
        let bundle = bundle.mount(mount).args(["/usr/bin/sh", "-c", script]);
        assert_eq!(kase.run(&bundle).stdout(), "a\nb\nmade\n", "{name}");
    }
}
