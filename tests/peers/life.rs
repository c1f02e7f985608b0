//! What the commands answer, and how they end.

use super::{agree, bundle, side_with};
use crate::common::{Container, Kase, words};
use std::fmt::Write as _;

deeds! {
    a_programs_end_is_the_exit_code,
    what_cannot_be_started_has_its_code,
    the_state_has_the_same_keys,
    a_command_out_of_turn_is_taken_or_refused,
    a_command_on_nothing_is_refused,
    an_added_process_ends_likewise,
    what_cannot_be_added_has_its_code,
}

const EXEC: &str = "crun ends an exec that fails with 1, as if the program had";

fn a_programs_end_is_the_exit_code(kase: &Kase) {
    agree(kase, |kase| {
        let exit = kase.run(&bundle(kase).args(["/probe", "exit", "7"])).code;
        format!(
            "{:?}",
            [kase.run(&bundle(kase)).code, exit, kase.run(&bundle(kase).args(["/probe", "abort"])).code]
        )
    });
}

fn what_cannot_be_started_has_its_code(kase: &Kase) {
    agree(kase, |kase| {
        ["", "/none", "none", "/mnt", "/plain"].iter().fold(String::new(), |mut text, program| {
            let bundle = bundle(kase).file("plain", "").args([program]);
            let run = kase.run(&bundle).code;
            let id = kase.id();
            let create = kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()])).code;
            let start = kase.call(["start", &id]).code;
            kase.call(["delete", "--force", &id]).succeeded();
            let _ = writeln!(text, "{program:?}: run {run}, create {create}, start {start}");
            text
        })
    });
}

/// The state's status and keys.
fn state(container: &Container) -> String {
    let state = container.state();
    let keys: Vec<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
    format!("{}: {}\n", state["status"], keys.join(" "))
}

fn the_state_has_the_same_keys(kase: &Kase) {
    side_with(kase, "runc", "crun adds systemd-scope, a key of its own", |kase| {
        let container = kase.create(&bundle(kase).args(["/probe", "sleep"]));
        let created = state(&container);
        container.start();
        let running = state(&container);
        kase.call(["kill", &container.id, "KILL"]).succeeded();
        container.becomes("stopped");
        created + &running + &state(&container)
    });
}

/// The exit code of a command on a container that is created, running or stopped.
fn code(kase: &Kase, command: &str, turn: &str) -> String {
    let container = kase.create(&bundle(kase).args(["/probe", "sleep"]));
    if turn != "created" {
        container.start();
    }
    if turn == "stopped" {
        kase.call(["kill", &container.id, "KILL"]).succeeded();
        container.becomes("stopped");
    }
    let words = command.split(' ').map(|word| if word == "ID" { &container.id } else { word });
    format!("{command}, {turn}: {}", kase.call(words).code)
}

fn a_command_out_of_turn_is_taken_or_refused(kase: &Kase) {
    for (command, turns) in [
        ("start ID", &["running", "stopped"][..]),
        ("kill ID TERM", &["created", "running", "stopped"]),
        ("delete ID", &["created", "running", "stopped"]),
        ("delete --force ID", &["created", "running", "stopped"]),
        ("exec ID /probe exit 3", &["running"]),
        ("pause ID", &["stopped"]),
        ("resume ID", &["stopped"]),
    ] {
        turns.iter().for_each(|turn| agree(kase, |kase| code(kase, command, turn)));
    }
    side_with(kase, "runc", "crun lets no user into what has not started", |kase| {
        code(kase, "exec ID /probe exit 3", "created")
    });
    side_with(kase, "runc", EXEC, |kase| code(kase, "exec ID /probe exit 3", "stopped"));
    for turn in ["created", "running"] {
        side_with(kase, "runc", "crun resumes what is not paused", |kase| code(kase, "resume ID", turn));
    }
}

fn a_command_on_nothing_is_refused(kase: &Kase) {
    for command in ["start", "delete", "delete --force", "state", "pause", "resume"] {
        agree(kase, |kase| format!("{command}: {}", kase.call(command.split(' ').chain(["none"])).code));
    }
    agree(kase, |kase| kase.call(["kill", "none", "KILL"]).code.to_string());
    side_with(kase, "runc", EXEC, |kase| kase.call(["exec", "none", "/probe"]).code.to_string());
}

/// The exit codes of `exec` with each of these programs.
fn added<const N: usize>(kase: &Kase, programs: [&str; N]) -> String {
    let container = kase.run_detached(&bundle(kase).file("plain", "").args(["/probe", "sleep"]));
    let code = |program: &str| kase.call(["exec", &container.id].into_iter().chain(program.split(' '))).code;
    format!("{:?}", programs.map(|program| (program, code(program))))
}

fn an_added_process_ends_likewise(kase: &Kase) {
    agree(kase, |kase| added(kase, ["/probe true", "/probe exit 7", "/probe abort"]));
}

fn what_cannot_be_added_has_its_code(kase: &Kase) {
    side_with(kase, "runc", EXEC, |kase| added(kase, ["/none", "none", "/mnt", "/plain"]));
}
