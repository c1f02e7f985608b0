//! The command line: help, versions, global options, logs.

use crate::common::{Bundle, Container, Kase, Outcome, Value, is_ours, words};
use std::fs;

deeds! {
    version_is_printed,
    every_command_has_help,
    help_is_a_command_too,
    debug_without_a_log_looks_like_one,
    an_unknown_command_is_refused,
    an_unknown_flag_is_refused,
    a_command_without_its_id_is_refused,
    no_command_at_all_leads_to_the_help,
    the_spelling_of_an_older_kase_still_works,
    create_takes_what_run_takes,
    the_last_of_an_option_counts,
    a_file_with_an_empty_name_is_none,
    the_cgroup_option_is_accepted,
    the_last_line_of_a_text_log_is_the_error,
    the_last_line_of_a_json_log_is_the_error,
    a_log_grows_and_is_not_overwritten,
    a_log_level_hides_what_is_below,
    every_log_level_of_other_runtimes_is_taken,
    debug_tells_more_than_the_usual_level,
    an_unknown_log_format_is_refused,
    a_log_that_cannot_be_opened_is_refused,
}

const COMMANDS: [&str; 15] = [
    "create", "start", "run", "state", "list", "kill", "delete", "spec", "features", "ps", "exec", "pause",
    "resume", "events", "update",
];

fn version_is_printed(kase: &Kase) {
    for option in ["--version", "-v"] {
        let outcome = kase.call([option]);
        assert!(outcome.stdout().starts_with(&crate::common::peer()), "{outcome}");
        assert!(outcome.out.contains("\nspec: 1.3.0\n") || !is_ours(), "{outcome}");
        assert!(outcome.out.contains("\ncommit: "), "{outcome}");
    }
}

fn every_command_has_help(kase: &Kase) {
    let help = kase.call(["--help"]);
    for command in COMMANDS {
        assert!(help.stdout().contains(&format!("  {command}")), "{command}: {help}");
        let own = kase.call([command, "--help"]);
        assert!(own.stdout().to_lowercase().contains("usage"), "{own}");
    }
}

fn help_is_a_command_too(kase: &Kase) {
    let same = |words: &[&str], as_this: &[&str]| {
        assert_eq!(kase.call(words).stdout(), kase.call(as_this).stdout());
    };
    same(&["help"], &["--help"]);
    same(&["-h"], &["--help"]);
    same(&["help", "run"], &["run", "--help"]);
    same(&["run", "-h"], &["run", "--help"]);
    kase.call(["help", "dance"]).refused(&["dance"]);
}

fn an_unknown_command_is_refused(kase: &Kase) {
    if is_ours() {
        kase.call(["dance"]).refused(&["dance"]);
    }
}

fn an_unknown_flag_is_refused(kase: &Kase) {
    kase.call(["--dance", "list"]).refused(&["--dance"]);
    for command in COMMANDS {
        kase.call([command, "--dance"]).refused(&["--dance"]);
    }
}

fn a_command_without_its_id_is_refused(kase: &Kase) {
    for command in ["create", "start", "run", "state", "kill", "delete"] {
        kase.call([command]).refused(&[]);
    }
}

fn no_command_at_all_leads_to_the_help(kase: &Kase) {
    let outcome = kase.call::<&str>([]);
    assert!((outcome.out + &outcome.err).to_lowercase().contains("usage"));
}

fn the_spelling_of_an_older_kase_still_works(kase: &Kase) {
    if !is_ours() {
        skip!("only kase has these spellings");
    }
    let id = kase.id();
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    kase.call(words(["run", "--detatch", "-b"], bundle.dir(), [id.as_str()])).succeeded();
    kase.call(["delete", "--force", &id]).succeeded();
    assert!(!kase.call(["run", "--help"]).stdout().contains("detatch"), "hidden");
}

fn create_takes_what_run_takes(kase: &Kase) {
    if !is_ours() {
        skip!("runc has no --no-subreaper");
    }
    let bundle = kase.bundle();
    let container = Container::create(kase, &bundle, &["--no-subreaper", "--no-new-keyring"]);
    assert_eq!(container.status(), "created");
}

fn the_last_of_an_option_counts(kase: &Kase) {
    let log = |name: &str| kase.path(name).to_str().unwrap().to_string();
    let (first, last) = (log("first"), log("last"));
    let options = ["--log", &first, "--log", &last, "--log-format", "text", "--log-format", "json"];
    kase.call(options.into_iter().chain(["--systemd-cgroup", "--systemd-cgroup", "state", "none"]))
        .refused(&["none"]);
    assert!(fs::read_to_string(&last).unwrap().starts_with('{') && !fs::exists(&first).unwrap());
}

fn a_file_with_an_empty_name_is_none(kase: &Kase) {
    let (bundle, id) = (kase.bundle().args(["/probe", "hostname"]), kase.id());
    let options = ["--config", "", "--pid-file", "", "--console-socket", "", "--pidfd-socket", "", &id];
    let outcome = kase.call(words(["--log", "", "run", "-b"], bundle.dir(), options));
    assert_eq!(outcome.stdout(), "kase\n");
}

fn the_cgroup_option_is_accepted(kase: &Kase) {
    kase.call(["--systemd-cgroup", "list"]).succeeded();
}

/// A run that fails and logs, with these global options.
fn fail<const N: usize>(kase: &Kase, options: [&str; N]) -> (Outcome, String) {
    let log = kase.path("log");
    let bundle: Bundle = kase.bundle().args(["/no/such/program"]);
    let id = kase.id();
    let before = ["--log", log.to_str().unwrap()].into_iter().chain(options).chain(["run", "-b"]);
    let outcome = kase.call(words(before, bundle.dir(), [id.as_str()]));
    outcome.refused(&["/no/such/program"]);
    (outcome, fs::read_to_string(&log).unwrap())
}

fn the_last_line_of_a_text_log_is_the_error(kase: &Kase) {
    let (_, log) = fail(kase, ["--log-format", "text"]);
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("time=\"") && last.contains(" level=error msg=\""), "{log}");
    assert!(last.contains("/no/such/program"), "{log}");
}

fn the_last_line_of_a_json_log_is_the_error(kase: &Kase) {
    let (outcome, log) = fail(kase, ["--log-format", "json"]);
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["level"], "error");
    let message = last["msg"].as_str().unwrap();
    assert!(message.contains("/no/such/program"), "{log}");
    if is_ours() {
        let shown = outcome.err.lines().find(|line| line.starts_with("kase: ")).unwrap();
        assert_eq!(shown.trim_start_matches("kase: "), message.lines().next().unwrap());
    }
    assert!(last["time"].as_str().unwrap().contains('T'), "{log}");
}

fn a_log_grows_and_is_not_overwritten(kase: &Kase) {
    let (_, one) = fail(kase, ["--log-format", "json"]);
    let (_, both) = fail(kase, ["--log-format", "json"]);
    assert!(both.starts_with(&one) && both.len() > one.len());
}

fn a_log_level_hides_what_is_below(kase: &Kase) {
    if !is_ours() {
        skip!("only kase has --log-level");
    }
    let (_, log) = fail(kase, ["--log-level", "error"]);
    assert_eq!(log.matches("level=").count(), 1, "{log}");
}

fn every_log_level_of_other_runtimes_is_taken(kase: &Kase) {
    if !is_ours() {
        skip!("only kase has --log-level");
    }
    for level in ["trace", "debug", "info", "warn", "warning", "error", "DEBUG"] {
        kase.call(["--log-level", level, "list"]).succeeded();
    }
    kase.call(["--log-level", "loud", "list"]).refused(&["loud"]);
}

fn debug_tells_more_than_the_usual_level(kase: &Kase) {
    let (_, usual) = fail(kase, ["--log-format", "text"]);
    let (_, all) = fail(kase, ["--debug", "--log-format", "text"]);
    assert!(!usual.contains("level=debug") && all.contains("level=debug"), "{all}");
}

fn debug_without_a_log_looks_like_one(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let said = |options: [&str; 2]| {
        let words = ["--debug"].into_iter().chain(options).chain(["exec", &container.id, "/probe", "true"]);
        let outcome = kase.call(words);
        outcome.succeeded();
        outcome.err
    };
    let text = said(["--log-format", "text"]);
    assert!(
        text.lines().any(|line| line.starts_with("time=\"") && line.contains(" level=debug msg=\"")),
        "{text}"
    );
    let json = said(["--log-format", "json"]);
    assert!(json.lines().any(|line| line.starts_with('{') && line.contains("\"level\":\"debug\"")), "{json}");
}

fn an_unknown_log_format_is_refused(kase: &Kase) {
    kase.call(["--log-format", "poem", "list"]).refused(&["poem"]);
}

fn a_log_that_cannot_be_opened_is_refused(kase: &Kase) {
    let path = kase.path("no/such/log");
    kase.call(["--log", path.to_str().unwrap(), "list"]).refused(&[path.to_str().unwrap()]);
}
