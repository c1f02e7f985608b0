//! The processes of a container, as a table and as JSON.

use crate::common::{Container, Kase, Outcome, Value, is_ours};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

deeds! {
    json_lists_the_process_ids,
    json_lists_what_exec_added_too,
    the_table_has_the_usual_columns,
    the_hosts_ps_is_asked_when_options_are_given,
    options_of_ps_without_a_pid_column_are_refused,
    a_ps_that_fails_is_told,
    a_process_cannot_hide_nor_forge_a_row,
    a_stopped_container_has_no_processes,
    a_missing_container_has_no_processes,
    a_container_that_waits_for_its_start_has_one,
}
deeds! { root: a_container_in_the_hosts_pid_namespace_does_not_show_the_host }

fn sleeper(kase: &Kase) -> Container<'_> {
    kase.run_detached(&kase.bundle().args(["/probe", "sleep"]))
}

fn pids(outcome: &Outcome) -> Vec<i64> {
    let listed: Value = serde_json::from_str(outcome.stdout()).unwrap();
    listed.as_array().unwrap().iter().map(|pid| pid.as_i64().unwrap()).collect()
}

fn json_lists_the_process_ids(kase: &Kase) {
    let container = sleeper(kase);
    let expected = [i64::from(container.pid())];
    assert_eq!(pids(&kase.call(["ps", "--format", "json", &container.id])), expected);
    if is_ours() {
        assert_eq!(pids(&kase.call(["ps", &container.id, "-f", "json"])), expected, "after the id too");
    }
}

fn json_lists_what_exec_added_too(kase: &Kase) {
    let container = sleeper(kase);
    kase.call(["exec", "-d", "--pid-file", "added", &container.id, "/probe", "sleep"]).succeeded();
    let added: i64 = fs::read_to_string(kase.path("added")).unwrap().parse().unwrap();
    let mut expected = vec![i64::from(container.pid()), added];
    expected.sort_unstable();
    let mut seen = pids(&kase.call(["ps", "--format", "json", &container.id]));
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

fn the_table_has_the_usual_columns(kase: &Kase) {
    let container = sleeper(kase);
    let outcome = container.call("ps", []);
    let lines: Vec<Vec<&str>> =
        outcome.stdout().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(lines.len(), 2, "{outcome}");
    assert_eq!(lines[1][1], container.pid().to_string());
    let stat = container.proc("stat");
    assert_eq!(lines[1][2], stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap());
    assert_eq!(lines[1][4].len(), "12:34".len(), "{outcome}");
    assert_eq!(lines[1][5..], ["?", "00:00:00", "/probe", "sleep"]);
    if is_ours() {
        assert_eq!(lines[1][0], kase.identity.name);
    }
}

fn the_hosts_ps_is_asked_when_options_are_given(kase: &Kase) {
    let container = sleeper(kase);
    let pid = container.pid().to_string();
    for options in [vec!["-e", "-o", "pid,comm"], vec!["-e", "-x"], vec!["-ef"], vec!["axo", "user,pid"]] {
        let words = ["ps", container.id.as_str()].into_iter().chain(options);
        let outcome = kase.call(words);
        if outcome.code != 0 && outcome.err.contains("install ps") {
            skip!("this host has no ps");
        }
        assert_eq!(outcome.stdout().lines().count(), 2, "{outcome}");
        assert!(outcome.out.lines().next().unwrap().contains("PID"), "{outcome}");
        assert!(outcome.out.lines().nth(1).unwrap().split_whitespace().any(|word| word == pid), "{outcome}");
    }
    assert_eq!(kase.call(["ps", &container.id, "--", "-ef"]).stdout().lines().count(), 2);
}

fn options_of_ps_without_a_pid_column_are_refused(kase: &Kase) {
    let container = sleeper(kase);
    kase.call(["ps", &container.id, "-e", "-o", "comm"]).refused(&["PID"]);
}

fn a_ps_that_fails_is_told(kase: &Kase) {
    let container = sleeper(kase);
    kase.call(["ps", &container.id, "--no-such-option"]).refused(&["ps", "no-such-option"]);
    let mut command = kase.command(["ps", &container.id, "-ef"]);
    command.env("PATH", "/no/such/directory");
    kase.finish(command).refused(&["ps"]);
    // An empty entry of PATH stands for the working directory, where anything may lie.
    let stray = kase.file("ps", "#!/bin/sh\necho PID\n");
    fs::set_permissions(stray, Permissions::from_mode(0o755)).unwrap();
    let mut command = kase.command(["ps", &container.id, "-ef"]);
    command.env("PATH", ":/no/such/directory");
    kase.finish(command).refused(&["ps"]);
}

/// A name that is no text, and one that would be a row of its own; both are the process's own choice.
fn a_process_cannot_hide_nor_forge_a_row(kase: &Kase) {
    let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
    else {
        skip!("needs a static busybox");
    };
    let script = "echo -ne '\\xff\\nfor\\e[2J' >/proc/self/comm; echo renamed; /busybox sleep 1000; :";
    let bundle = kase.bundle().program("busybox", &busybox).args(["/busybox", "sh", "-c", script]);
    let container = kase.run_detached(&bundle);
    container.says("renamed");
    let outcome = container.call("ps", []);
    let rows: Vec<&str> = outcome.stdout().lines().collect();
    assert!(rows.iter().any(|row| row.contains("sh -c")), "{outcome}");
    assert!(!outcome.out.contains(|c: char| c.is_control() && c != '\n'), "{outcome}");
    assert!(!rows.iter().any(|row| row.starts_with("for")), "{outcome}");
}

fn a_stopped_container_has_no_processes(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle());
    container.becomes("stopped");
    assert_eq!(container.call("ps", []).stdout().lines().count(), 1);
    if is_ours() {
        assert_eq!(kase.call(["ps", "--format", "json", &container.id]).stdout(), "[]\n");
    }
}

fn a_missing_container_has_no_processes(kase: &Kase) {
    kase.call(["ps", "nobody"]).refused(&["nobody", "does not exist"]);
}

fn a_container_that_waits_for_its_start_has_one(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    let listed = kase.call(["ps", "--format", "json", &container.id]);
    assert_eq!(pids(&listed), [i64::from(container.pid())]);
}

fn a_container_in_the_hosts_pid_namespace_does_not_show_the_host(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]).without_namespace("pid");
    let container = kase.run_detached(&bundle);
    let listed = kase.call(["ps", "--format", "json", &container.id]);
    assert_eq!(pids(&listed), [i64::from(container.pid())]);
}
