//! Signals: sent by `kill`, and passed on by `run`.

use crate::common::{Kase, Running, is_ours};
use nix::sys::signal::Signal;

// An ordinary user has no cgroup here that the others could be found by.
deeds! { root: a_container_in_the_hosts_pid_namespace_is_killed }
deeds! {
    kill_takes_names_and_numbers,
    kill_sends_term_by_default,
    an_unknown_signal_is_refused,
    kill_on_a_stopped_container_is_refused,
    kill_on_a_created_container_ends_it,
    whoever_asks_a_created_container_to_end_is_heard,
    kill_all_ends_every_process,
    kill_all_on_a_stopped_container_is_content,
    kill_takes_a_regular_expression,
    delete_takes_a_regular_expression,
    a_regular_expression_that_is_none_is_refused,
    run_passes_signals_on,
    run_passes_on_signals_that_a_c_library_may_keep,
    orphans_do_not_outlive_the_first_process,
}
// Without a cgroup of the container's own nobody knows what init has left.
deeds! { root: kill_ends_what_an_init_without_a_pid_namespace_has_left }

fn kill_takes_names_and_numbers(kase: &Kase) {
    for (word, heard) in [("HUP", "SIGHUP"), ("SIGUSR1", "SIGUSR1"), ("12", "SIGUSR2"), ("term", "SIGTERM")] {
        let container = kase.run_detached(&kase.bundle().args(["/probe", "signal"]));
        container.says("waiting");
        container.call("kill", [word]).succeeded();
        container.says(heard);
    }
}

fn kill_sends_term_by_default(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "signal"]));
    container.says("waiting");
    container.call("kill", []).succeeded();
    container.says("SIGTERM");
}

fn an_unknown_signal_is_refused(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    container.call("kill", ["SIGNOTHING"]).refused(&["SIGNOTHING"]);
    container.call("kill", ["4711"]).refused(&["4711"]);
}

fn kill_on_a_stopped_container_is_refused(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle());
    container.becomes("stopped");
    container.call("kill", ["KILL"]).refused(&["container not running"]);
}

fn kill_on_a_created_container_ends_it(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    container.call("kill", ["KILL"]).succeeded();
    container.becomes("stopped");
    container.delete();
}

fn whoever_asks_a_created_container_to_end_is_heard(kase: &Kase) {
    for signal in ["TERM", "INT", "HUP"] {
        let container = kase.create(&kase.bundle());
        container.call("kill", [signal]).succeeded();
        container.becomes("stopped");
        container.delete();
    }
}

fn kill_all_ends_every_process(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "orphan", "--", "sleep"]));
    container.says("orphaned");
    kase.call(["kill", "--all", &container.id, "KILL"]).succeeded();
    container.becomes("stopped");
}

fn kill_all_on_a_stopped_container_is_content(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle());
    container.becomes("stopped");
    kase.call(["kill", "--all", &container.id, "KILL"]).succeeded();
}

fn run_in_the_foreground(kase: &Kase) -> Running {
    let bundle = kase.bundle().args(["/probe", "signal", "--", "exit", "9"]);
    let running = kase.spawn(kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]));
    running.says("waiting");
    running
}

fn kill_ends_what_an_init_without_a_pid_namespace_has_left(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("pid").args(["/probe", "orphan", "--", "sleep"]);
    let container = kase.run_detached(&bundle);
    container.says("orphaned");
    let init = nix::unistd::Pid::from_raw(container.pid());
    nix::sys::signal::kill(init, Signal::SIGKILL).unwrap();
    container.becomes("stopped");
    container.call("kill", ["KILL"]).succeeded();
    crate::common::wait_until("the orphan to end", || container.call("kill", ["KILL"]).code != 0);
    container.call("kill", ["KILL"]).refused(&["container not running"]);
}

fn run_passes_signals_on(kase: &Kase) {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGQUIT] {
        let running = run_in_the_foreground(kase);
        running.signal(signal);
        let outcome = running.finish();
        outcome.exited(9);
        assert_eq!(outcome.out, format!("waiting\n{signal}\n"));
    }
}

/// The first of the real-time signals: 34, which musl has for itself and glibc leaves to programs.
fn run_passes_on_signals_that_a_c_library_may_keep(kase: &Kase) {
    // As the first process of a pid namespace it would be spared the signal's default.
    let bundle = kase.bundle().without_namespace("pid").args(["/probe", "hostname", "--", "sleep"]);
    let running = kase.spawn(kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]));
    running.says("kase");
    let mut kill = kase.program("sh");
    kill.args(["-c", &format!("kill -34 {}", running.child.id())]);
    kase.finish(kill).succeeded();
    running.finish().exited(128 + 34);
}

fn orphans_do_not_outlive_the_first_process(kase: &Kase) {
    assert_eq!(kase.sees(kase.bundle(), ["orphan"]), "orphaned\n");
}

fn kill_takes_a_regular_expression(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let (one, two, other) =
        (kase.run_detached(&bundle), kase.run_detached(&bundle), kase.run_detached(&bundle));
    let either = format!("^({}|{})$", one.id, two.id);
    kase.call(["kill", "--regex", &either, "KILL"]).succeeded();
    one.becomes("stopped");
    two.becomes("stopped");
    assert_eq!(other.status(), "running");
    // One of them that cannot be is a warning, and the others have their turn.
    let outcome = kase.call(["kill", "-r", ".", "KILL"]);
    outcome.succeeded();
    assert_eq!(outcome.err.matches("container not running").count(), 2, "{outcome}");
    other.becomes("stopped");
}

fn delete_takes_a_regular_expression(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let (one, other) = (kase.run_detached(&bundle), kase.run_detached(&bundle));
    let outcome = kase.call(["delete", "--regex", "."]);
    outcome.succeeded();
    assert_eq!(outcome.err.matches("not stopped").count(), 2, "{outcome}");
    kase.call(["delete", "--force", "--regex", &format!("{}$", one.id)]).succeeded();
    kase.call(["state", &one.id]).refused(&["does not exist"]);
    assert_eq!(other.status(), "running");
    kase.call(["delete", "--force", "--regex", "^none"]).succeeded();
}

fn a_regular_expression_that_is_none_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("only crun has it too");
    }
    for verb in ["kill", "delete"] {
        kase.call([verb, "--regex", "(web"]).refused(&["invalid regular expression", "(web"]);
    }
}

/// The signal goes to all of its cgroup, and must not take init's end by it for a container that was not running.
fn a_container_in_the_hosts_pid_namespace_is_killed(kase: &Kase) {
    for _ in 0..20 {
        let container = kase.run_detached(
            &kase
                .bundle()
                .without_namespace("pid")
                .args(["/probe", "orphan", "--", "orphan", "--", "orphan", "--", "sleep"]),
        );
        container.says("orphaned\norphaned\norphaned");
        container.call("kill", ["KILL"]).succeeded();
        container.becomes("stopped");
    }
}
