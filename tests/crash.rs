//! kase killed in the middle of things: everything can be cleared away, and the id used again.

use crate::common::{Bundle, Kase, words};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

deeds! {
    killed_at_any_moment_create_leaves_nothing_that_delete_cannot_clear,
    killed_at_any_system_call_create_leaves_nothing_that_delete_cannot_clear,
    killed_at_any_moment_delete_can_be_repeated,
    the_end_of_a_foreground_run_by_kill_leaves_a_container_that_can_be_deleted,
    a_record_that_is_damaged_keeps_nobody_from_delete,
    a_word_that_the_kernel_does_not_take_leaves_nobody_waiting,
    the_end_of_a_run_leaves_a_later_container_of_its_id_alone,
}

/// After a crash: `delete --force` succeeds, the id is free, and a whole life with it works.
fn recovers(kase: &Kase, id: &str, when: &str) {
    let deleted = kase.call(["delete", "--force", id]);
    assert_eq!(deleted.code, 0, "killed {when}: {deleted}");
    assert_ne!(kase.call(["state", id]).code, 0, "killed {when}: there is a state after delete --force");
    assert_eq!(kase.call(["list", "-q"]).stdout(), "", "killed {when}");
}

/// The id works again.
fn lives_again(kase: &Kase, bundle: &Bundle, id: &str, when: &str) {
    let created = kase.call(words(["create", "-b"], bundle.dir(), [id]));
    assert_eq!(created.code, 0, "killed {when}, then created again: {created}");
    kase.call(["delete", "--force", id]).succeeded();
}

fn killed_at_any_moment_create_leaves_nothing_that_delete_cannot_clear(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for step in 0..40_u64 {
        let id = kase.id();
        let when = format!("after {} µs", step * 250);
        let mut running = kase.spawn(kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()])));
        std::thread::sleep(Duration::from_micros(step * 250));
        let _ = running.child.kill();
        running.child.wait().unwrap();
        recovers(kase, &id, &when);
        lives_again(kase, &bundle, &id, &when);
    }
}

/// As for want of memory, or with too many descriptors of the same user on their way: init waits for the word then.
fn a_word_that_the_kernel_does_not_take_leaves_nobody_waiting(kase: &Kase) {
    if std::process::Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.run_detached(&bundle);
    for error in ["ENOBUFS", "ETOOMANYREFS", "EINTR"] {
        let id = kase.id();
        for command in [
            kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()])),
            kase.command(["exec", container.id.as_str(), "/true"]),
        ] {
            let mut strace = kase.program("strace");
            strace.args(["-o", "strace", "-e", &format!("inject=sendmsg:error={error}:when=1"), "--"]);
            strace.arg(command.get_program()).args(command.get_args());
            // newuidmap(1) keeps its rights: without -f only kase itself is traced.
            let outcome = kase.finish(strace);
            assert!(outcome.code != 0 || error == "EINTR", "{outcome}");
        }
        kase.call(["delete", "--force", &id]).succeeded();
    }
}

/// strace kills kase as it enters its n-th system call, for every n until create gets through.
fn killed_at_any_system_call_create_leaves_nothing_that_delete_cannot_clear(kase: &Kase) {
    let Ok(output) = std::process::Command::new("strace").arg("--version").output() else {
        skip!("needs strace");
    };
    assert!(output.status.success());
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for call in 1..2000 {
        let id = kase.id();
        let create = kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()]));
        let (status, running) = kase.killed_at("all", call, &create);
        if status.signal() != Some(9) {
            assert!(call > 20, "strace did not kill: {}", running.finish());
            kase.call(["delete", "--force", &id]).succeeded();
            return;
        }
        let when = format!("at system call {call}");
        recovers(kase, &id, &when);
        // A whole second life at each call would take minutes.
        if call % 10 == 0 {
            lives_again(kase, &bundle, &id, &when);
        }
    }
    panic!("create never got through");
}

fn killed_at_any_moment_delete_can_be_repeated(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    for step in 0..15_u64 {
        let id = kase.id();
        kase.call(words(["run", "-d", "-b"], bundle.dir(), [id.as_str()])).succeeded();
        let mut running = kase.spawn(kase.command(["delete", "--force", &id]));
        std::thread::sleep(Duration::from_micros(step * 100));
        let _ = running.child.kill();
        running.child.wait().unwrap();
        let when = format!("{} µs into its delete", step * 100);
        recovers(kase, &id, &when);
        lives_again(kase, &bundle, &id, &when);
    }
}

fn the_end_of_a_foreground_run_by_kill_leaves_a_container_that_can_be_deleted(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "signal"]);
    let id = kase.id();
    let mut running = kase.spawn(kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()])));
    running.says("waiting");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    recovers(kase, &id, "while it waited");
    lives_again(kase, &bundle, &id, "while it waited");
}

/// As by a disk that was full in the middle of a line.
fn a_record_that_is_damaged_keeps_nobody_from_delete(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let record = kase.state_dir().join(&container.id).join("record");
    let mut record = std::fs::OpenOptions::new().append(true).open(record).unwrap();
    record.write_all(b"{\"exit\":{\"exit\":0}\n").unwrap();
    let refused = container.call("state", []);
    refused.refused(&["parse the container's record"]);
    assert!(refused.help().contains("kase delete --force"), "{refused}");
    container.call("delete", ["--force"]).succeeded();
    container.call("state", []).refused(&["does not exist"]);
}

fn the_end_of_a_run_leaves_a_later_container_of_its_id_alone(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "signal"]);
    let id = kase.id();
    let mut first = kase.spawn(kase.command(words(["run", "-b"], bundle.dir(), [id.as_str()])));
    first.says("waiting");
    let run = Pid::from_raw(first.child.id().cast_signed());
    kill(run, Signal::SIGSTOP).unwrap();
    kase.call(["delete", "--force", &id]).succeeded();
    let second = kase.spawn(kase.command(words(["run", "-d", "-b"], bundle.dir(), [id.as_str()])));
    second.says("waiting");
    kill(run, Signal::SIGCONT).unwrap();
    first.child.wait().unwrap();
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]).succeeded();
    assert!(state.stdout().contains("\"running\""), "{state}");
}
