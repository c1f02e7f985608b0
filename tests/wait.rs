//! `wait`: the exit code of a container, for whoever asks and whenever they begin to.

use crate::common::{Bundle, Container, Kase, Running, Value, is_ours, wait_until, words};
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;

deeds! {
    a_detached_container_is_waited_for,
    a_signal_is_128_and_its_number,
    a_created_container_is_waited_for_beyond_its_start,
    several_wait_at_once,
    the_code_stays_in_the_state,
    a_kept_run_has_its_code_without_a_wait,
    a_foreground_run_is_waited_for,
    an_end_that_nobody_saw_is_unknown,
    whoever_looks_too_late_still_learns_it,
    a_container_deleted_meanwhile_was_killed,
    waiting_for_nobody_is_an_error,
    a_creator_that_hangs_is_looked_at_now_and_then,
    a_creator_that_is_gone_is_not_waited_for,
}

/// A `wait` that has begun: it holds its descriptor, and nothing but the end of init moves it.
fn begin(container: &Container<'_>) -> Running {
    let waiting = container.kase.spawn(container.kase.command(["wait", &container.id]));
    polls(&waiting);
    waiting
}

/// As proc_pid_syscall(5) shows it: poll(2) of x86_64 or of 32 bits' tables, ppoll(2) elsewhere.
fn polls(waiting: &Running) {
    is_in_call(waiting, &["7 ", "73 ", "271 "]);
}

/// Waits until it is in a call with one of these numbers.
fn is_in_call(waiting: &Running, numbers: &[&str]) {
    let file = format!("/proc/{}/syscall", waiting.child.id());
    wait_until("wait to wait", || {
        std::fs::read_to_string(&file).is_ok_and(|call| numbers.iter().any(|number| call.starts_with(number)))
    });
}

fn exits(kase: &Kase, code: &str) -> Bundle {
    kase.bundle().args(["/probe", "wait", "/go", "--", "exit", code]).writable()
}

fn let_go(bundle: &Bundle) {
    std::fs::write(bundle.rootfs("go"), "").unwrap();
}

fn a_detached_container_is_waited_for(kase: &Kase) {
    let bundle = exits(kase, "42");
    let container = kase.run_detached(&bundle);
    let mut waiting = begin(&container);
    assert!(waiting.child.try_wait().unwrap().is_none(), "it runs still");
    let_go(&bundle);
    let outcome = waiting.finish();
    outcome.exited(42);
    assert_eq!(outcome.out, "42\n");
}

fn a_signal_is_128_and_its_number(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let waiting = begin(&container);
    container.call("kill", ["KILL"]).succeeded();
    let outcome = waiting.finish();
    outcome.exited(137);
    assert_eq!(outcome.out, "137\n");
}

fn a_created_container_is_waited_for_beyond_its_start(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "exit", "7"]));
    let waiting = begin(&container);
    container.start();
    waiting.finish().exited(7);
}

fn several_wait_at_once(kase: &Kase) {
    let bundle = exits(kase, "5");
    let container = kase.run_detached(&bundle);
    let waiting: Vec<Running> = (0..5).map(|_| begin(&container)).collect();
    let_go(&bundle);
    for one in waiting {
        one.finish().exited(5);
    }
    // Whatever each of them has written down, the record can be read.
    container.call("wait", []).exited(5);
}

fn the_code_stays_in_the_state(kase: &Kase) {
    let bundle = exits(kase, "9");
    let container = kase.run_detached(&bundle);
    assert_eq!(container.state().get("exitCode"), None);
    let waiting = begin(&container);
    let_go(&bundle);
    waiting.finish().exited(9);
    assert_eq!(container.status(), "stopped");
    assert_eq!(container.state()["exitCode"], 9);
    let list: Value = serde_json::from_str(kase.call(["list", "-f", "json"]).stdout()).unwrap();
    assert_eq!(list[0]["exitCode"], 9);
    container.call("wait", []).exited(9);
    container.delete();
}

fn a_kept_run_has_its_code_without_a_wait(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "exit", "3"]);
    let id = kase.id();
    kase.call(words(["run", "--keep", "-b"], bundle.dir(), [id.as_str()])).exited(3);
    assert!(kase.call(["state", &id]).stdout().contains("\"exitCode\": 3"));
    kase.call(["wait", &id]).exited(3);
    kase.call(["delete", &id]).succeeded();
}

fn a_foreground_run_is_waited_for(kase: &Kase) {
    let bundle = exits(kase, "6");
    let id = kase.id();
    let running = kase.spawn(kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()])));
    wait_until("the container to run", || kase.call(["state", &id]).out.contains("\"running\""));
    let waiting = kase.spawn(kase.command(["wait", &id]));
    polls(&waiting);
    let_go(&bundle);
    running.finish().exited(6);
    waiting.finish().exited(6);
}

/// As after a run that was killed before it could write the code down.
fn an_end_that_nobody_saw_is_unknown(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "exit", "8"]);
    let id = kase.id();
    kase.call(words(["run", "--keep", "-b"], bundle.dir(), [id.as_str()])).exited(8);
    let record = kase.state_dir().join(&id).join("record");
    let text = std::fs::read_to_string(&record).unwrap();
    let (before, exit) = text.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(exit, "{\"exit\":8}");
    std::fs::write(&record, format!("{before}\n")).unwrap();
    let outcome = kase.call(["wait", &id]);
    assert_eq!((outcome.code, outcome.out.as_str()), (254, ""), "{outcome}");
    assert!(outcome.err.contains("its code is unknown"), "{outcome}");
    assert!(!kase.call(["state", &id]).stdout().contains("exitCode"));
    kase.call(["delete", &id]).succeeded();
}

/// The kernel keeps the code for whoever held a descriptor, long after the process is gone.
fn whoever_looks_too_late_still_learns_it(kase: &Kase) {
    if !keeps_exit_codes() {
        skip!("needs Linux 6.15, which keeps exit codes");
    }
    let bundle = exits(kase, "11");
    let id = kase.id();
    let running = kase.spawn(kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()])));
    wait_until("the container to run", || kase.call(["state", &id]).out.contains("\"running\""));
    let waiting = kase.spawn(kase.command(["wait", &id]));
    polls(&waiting);
    waiting.signal(Signal::SIGSTOP);
    let_go(&bundle);
    running.finish().exited(11);
    waiting.signal(Signal::SIGCONT);
    let outcome = waiting.finish();
    outcome.exited(11);
    assert_eq!(outcome.out, "11\n");
}

fn keeps_exit_codes() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn a_container_deleted_meanwhile_was_killed(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let waiting = begin(&container);
    container.call("delete", ["--force"]).succeeded();
    waiting.finish().exited(137);
}

fn waiting_for_nobody_is_an_error(kase: &Kase) {
    let outcome = kase.call(["wait", "nobody"]);
    assert_eq!((outcome.code, outcome.out.as_str()), (255, ""), "{outcome}");
    assert!(!is_ours() || outcome.err.contains("does not exist"), "{outcome}");
    // A signal to the one who waits is no end of the container.
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let mut waiting = begin(&container);
    waiting.signal(Signal::SIGTERM);
    assert_eq!(waiting.child.wait().unwrap().signal(), Some(15));
    assert_eq!(container.status(), "running");
}

/// Stopped before it has come to its init.
fn a_creator_that_hangs_is_looked_at_now_and_then(kase: &Kase) {
    let (bundle, id) = (kase.bundle(), kase.id());
    let create = kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    let creating = kase.held("before", &[libc::SYS_clone3], None, &create);
    let waiting = kase.spawn(kase.command(["wait", &id]));
    let slept = || -> u32 {
        let usage = std::fs::read_to_string(format!("/proc/{}/status", waiting.child.id())).unwrap();
        let slept = usage.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        slept.unwrap().trim().parse().unwrap()
    };
    // nanosleep and clock_nanosleep of the two processors: it has begun to look.
    is_in_call(&waiting, &["35 ", "230 ", "101 ", "115 "]);
    let before = slept();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let looks = slept() - before;
    assert!(looks < 50, "{looks}");
    creating.goes_on().finish().succeeded();
    polls(&waiting);
    kase.call(["delete", "--force", &id]).succeeded();
    waiting.finish().exited(137);
}

/// Killed before it could write down who init is, and init hangs.
fn a_creator_that_is_gone_is_not_waited_for(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let record = kase.state_dir().join(&container.id).join("record");
    let text = std::fs::read_to_string(&record).unwrap();
    let facts = text.lines().next().unwrap();
    std::fs::write(&record, format!("{facts}\n")).unwrap();
    assert_eq!(container.status(), "stopped");
    let outcome = kase.call(["wait", &container.id]);
    std::fs::write(&record, text).unwrap();
    assert_eq!((outcome.code, outcome.out.as_str()), (254, ""), "{outcome}");
    container.call("delete", ["--force"]).succeeded();
}
