//! Logs that go to a daemon: the systemd journal, and the system log.

use crate::common::{Kase, Outcome, is_ours};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

deeds! {
    the_journal_hears_of_an_error,
    the_system_log_hears_of_an_error,
    a_daemon_that_does_not_run_is_refused,
    a_file_may_be_named_as_one,
}

/// A daemon's socket in the test's directory.
fn daemon(kase: &Kase) -> UnixDatagram {
    let socket = UnixDatagram::bind(kase.path("daemon")).unwrap();
    kase.identity.own(&kase.path("daemon"));
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// `state nobody`, logged there, on a host where `place` leads to the daemon; nothing where that cannot be made.
fn fails_on_such_a_host(kase: &Kase, log: &str, place: &str) -> Option<Outcome> {
    let parent = Path::new(place).parent().unwrap().to_str().unwrap();
    let top = format!("/{}", place.split('/').nth(1).unwrap());
    let script = format!(
        "mount -t tmpfs tmpfs {top} && mkdir -p {parent} && ln -s {} {place} || exit 99; exec \"$@\"",
        kase.path("daemon").display()
    );
    let mut unshare = kase.program("unshare");
    unshare.args(if kase.is_root() { ["-m", "--"] } else { ["-rm", "--"] });
    unshare.args(["sh", "-c", &script, "sh", &crate::common::program()]);
    unshare.args(["--root", kase.path("state").to_str().unwrap(), "--log", log, "state", "nobody"]);
    let outcome = kase.finish(unshare);
    (outcome.err.contains("kase: ")).then_some(outcome)
}

fn hears(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

fn the_journal_hears_of_an_error(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    let socket = daemon(kase);
    let Some(outcome) = fails_on_such_a_host(kase, "journald:pod", "/run/systemd/journal/socket") else {
        skip!("no private /run can be made here");
    };
    outcome.refused(&["does not exist"]);
    let heard = hears(&socket);
    let message = "MESSAGE=state nobody: container \"nobody\" does not exist";
    for field in ["PRIORITY=3", "SYSLOG_IDENTIFIER=pod", "ID=nobody", message] {
        assert!(heard.lines().any(|line| line == field), "{field}: {heard}");
    }
}

fn the_system_log_hears_of_an_error(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    let socket = daemon(kase);
    let Some(outcome) = fails_on_such_a_host(kase, "syslog:pod", "/dev/log") else {
        skip!("no private /dev can be made here");
    };
    outcome.refused(&["does not exist"]);
    let heard = hears(&socket);
    assert!(heard.starts_with("<11>pod[") && heard.contains("]: state nobody: container"), "{heard}");
}

fn a_daemon_that_does_not_run_is_refused(kase: &Kase) {
    for (log, place) in [("journald:", "/run/systemd/journal/socket"), ("syslog:", "/dev/log")] {
        if Path::new(place).exists() {
            skip!("{place} is there on this host");
        }
        kase.call(["--log", log, "list"]).refused(&[place]);
    }
}

fn a_file_may_be_named_as_one(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    kase.call(["--log", "file:journald:x", "state", "nobody"]).refused(&["nobody"]);
    let log = std::fs::read_to_string(kase.path("journald:x")).unwrap();
    assert!(log.contains("level=error"), "{log}");
}
