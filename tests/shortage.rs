//! What has run out: descriptors, processes, room. The help is about that. And calls that fail for no reason: it is
//! told where.

use crate::common::{Bundle, Kase, words};
use std::process::Command;

deeds! { what_has_run_out_is_what_the_help_is_about }
// Without the helpers, which get no privilege under strace.
deeds! { bare: no_disk_is_full_where_nothing_is_written_to_one }
deeds! { root: no_error_is_without_a_place, an_init_that_is_killed_is_told }
deeds! { user: a_limit_of_processes_is_named_with_its_value }

fn run(kase: &Kase, bundle: &Bundle) -> Command {
    kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]))
}

/// Whatever the fault's own remedy would be.
fn what_has_run_out_is_what_the_help_is_about(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    for (call, errno, help) in [
        ("mkdirat", "ENOSPC", "free some space or inodes"),
        ("mkdirat", "EDQUOT", "free some of your quota"),
        ("openat:when=1+", "EMFILE", "raise the limit of open files: ulimit -n (now "),
        ("openat:when=1+", "ENFILE", "raise the number of files that the machine may have open"),
    ] {
        let bundle = kase.bundle();
        let run = run(kase, &bundle);
        let config = bundle.path("config.json");
        let mut strace = kase.program("strace");
        let (name, when) = call.split_once(':').map_or((call, ""), |(name, when)| (name, when));
        let inject = format!("inject={name}:error={errno}{}{when}", if when.is_empty() { "" } else { ":" });
        strace.args(["-o", "strace", "-e", &inject]);
        if name == "openat" {
            strace.arg("-P").arg(&config);
        }
        strace.arg("--").arg(run.get_program()).args(run.get_args());
        let outcome = kase.finish(strace);
        assert_eq!(outcome.code, 1, "{outcome}");
        assert!(outcome.help().starts_with(help), "{call} {errno}: {outcome}");
    }
}

fn no_disk_is_full_where_nothing_is_written_to_one(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    for (inject, line, help) in [
        ("pivot_root:error=ENOSPC", "make the rootfs the root", ""),
        ("chdir:error=ENOMEM:when=2+", "process.cwd", "name a directory that the container's user may enter"),
    ] {
        let bundle = kase.bundle();
        let run = run(kase, &bundle);
        let mut strace = kase.program("strace");
        strace.args(["-f", "-qq", "-o", "strace", "-e", &format!("inject={inject}"), "--"]);
        strace.arg(run.get_program()).args(run.get_args());
        let outcome = kase.finish(strace);
        assert!(outcome.err.contains(line), "{inject}: {outcome}");
        assert_eq!(outcome.help(), help, "{inject}: {outcome}");
    }
}

fn a_limit_of_processes_is_named_with_its_value(kase: &Kase) {
    let run = run(kase, &kase.bundle());
    let mut limited = kase.program("prlimit");
    limited.arg("--nproc=0").arg(run.get_program()).args(run.get_args());
    let outcome = kase.finish(limited);
    outcome.refused(&["make the namespaces", "Resource temporarily unavailable"]);
    assert!(outcome.help().contains("ulimit -u (now 0)"), "{outcome}");
}

/// The command under strace, which does this to it and what it makes.
fn injected(kase: &Kase, inject: &str, command: &Command) -> Command {
    let mut strace = kase.program("strace");
    strace.args(["-f", "-o", "strace", "-e", &format!("inject={inject}"), "--"]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

fn no_error_is_without_a_place(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let bundle = kase.bundle();
    for (inject, place) in [
        ("capset:error=EPERM", "step \"user and capabilities\": Operation not permitted"),
        ("socketpair:error=ENFILE", "step \"cgroup\": Too many open files in system"),
    ] {
        let outcome = kase.finish(injected(kase, inject, &run(kase, &bundle)));
        assert!(outcome.code == 1 && outcome.err.contains(place), "{outcome}");
    }
}

fn an_init_that_is_killed_is_told(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let bundle = kase.bundle();
    for call in ["setsid", "mount_setattr", "pivot_root"] {
        let outcome = kase.finish(injected(kase, &format!("{call}:signal=KILL"), &run(kase, &bundle)));
        outcome.refused(&["the container's init ended before it was ready: signal 9 ended it"]);
    }
}
