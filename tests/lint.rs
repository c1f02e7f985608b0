//! `kase lint`, and `--strict`: what is said of a config.json, where, and what it stops.

use crate::common::{Bundle, Kase, Outcome, Value, assert_fits, is_ours, json, words};

deeds! {
    findings_have_line_and_column_and_a_remedy,
    the_shape_is_the_schemas,
    unknown_fields_stop_only_a_strict_run,
    what_kase_writes_itself_has_no_error,
    json_that_is_none_is_a_finding,
    a_missing_file_is_refused,
    what_a_terminal_obeys_is_shown_not_done,
}

fn lint<const N: usize>(kase: &Kase, bundle: &Bundle, options: [&str; N]) -> Outcome {
    kase.call(words(["lint", "-b"], bundle.dir(), options))
}

fn slips(kase: &Kase) -> Bundle {
    kase.bundle().edit(|spec| {
        spec["process"]["evn"] = json!(["A=b"]);
        spec["linux"]["maskedPaths"][1] = json!("/proc/kcroe");
    })
}

fn findings_have_line_and_column_and_a_remedy(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    let bundle = slips(kase);
    let outcome = lint(kase, &bundle, []);
    outcome.exited(1);
    let text = std::fs::read_to_string(bundle.path("config.json")).unwrap();
    let line = text.lines().position(|line| line.contains("\"evn\"")).unwrap() + 1;
    let column = text.lines().nth(line - 1).unwrap().find('"').unwrap() + 1;
    let file = bundle.path("config.json");
    let expected = format!(
        "{}:{line}:{column}: error: process.evn: the specification has no such field\n  help: did you mean env?\n",
        file.display()
    );
    assert!(outcome.out.contains(&expected), "{expected}{outcome}");
    assert!(outcome.out.contains("linux.maskedPaths[1]: nothing is at /proc/kcroe"), "{outcome}");
    assert!(outcome.out.contains("warning: linux.seccomp: is not set"), "{outcome}");
    assert!(!outcome.out.contains('\x1b'), "no colours in a pipe: {outcome}");
    assert_eq!(outcome.err, "");
}

fn the_shape_is_the_schemas(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    for (bundle, errors, code) in [(slips(kase), 2, 1), (kase.bundle(), 0, 0)] {
        let outcome = lint(kase, &bundle, ["--format", "json"]);
        outcome.exited(code);
        let document: Value = serde_json::from_str(&outcome.out).unwrap();
        assert_fits(&document, "lint");
        assert_eq!(document["errors"], errors, "{outcome}");
        let found = document["findings"].as_array().unwrap();
        let counted = found.iter().filter(|finding| finding["level"] == "error").count();
        assert_eq!(counted, errors, "{outcome}");
    }
}

fn unknown_fields_stop_only_a_strict_run(kase: &Kase) {
    if !is_ours() {
        skip!("an option of kase's own");
    }
    let bundle = kase.bundle().args(["/probe", "hostname"]).edit(|spec| spec["process"]["evn"] = json!(1));
    assert_eq!(kase.run(&bundle).stdout(), "kase\n");
    for verb in ["run", "create"] {
        let id = kase.id();
        let outcome = kase.call(words([verb, "--strict", "-b"], bundle.dir(), [id.as_str()]));
        outcome.refused(&["process.evn", "the specification has no such field", "line "]);
        assert_eq!(outcome.help(), "did you mean env?");
        kase.call(["state", &id]).refused(&["does not exist"]);
    }
    // A warning is no error.
    let good = kase.bundle().args(["/probe", "hostname"]);
    assert_eq!(kase.run_with(&good, ["--strict"]).stdout(), "kase\n");
}

fn what_kase_writes_itself_has_no_error(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    for option in [None, Some("--rootless")] {
        let directory = kase.directory(option.unwrap_or("plain"));
        kase.call(words(["spec", "-b"], &directory, option)).succeeded();
        let outcome = kase.call(words(["lint", "-b"], &directory, []));
        assert!(outcome.stdout().contains("no errors, "), "{outcome}");
    }
}

fn json_that_is_none_is_a_finding(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    let outcome =
        lint(kase, &kase.bundle().config("{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": }\n"), []);
    outcome.exited(1);
    assert!(outcome.out.contains("config.json:3:14: error: "), "{outcome}");
}

fn a_missing_file_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    lint(kase, &kase.bundle(), ["-f", "nowhere.json"]).refused(&["nowhere.json", "No such file"]);
}

/// A config.json is somebody else's text, wherever it is told of.
fn what_a_terminal_obeys_is_shown_not_done(kase: &Kase) {
    if !is_ours() {
        skip!("a command of kase's own");
    }
    let field = kase.bundle().edit(|spec| spec["linux"]["a\u{1b}[31mb"] = json!(1));
    let linted = lint(kase, &field, []);
    assert!(linted.out.contains("linux.a\\u{1b}[31mb") || linted.out.contains("\\u{1b}[31mb"), "{linted}");
    let program = kase.bundle().args(["/absent\u{1b}[31m"]);
    let outcome = kase.run(&program);
    outcome.exited(1);
    assert!(outcome.err.contains("/absent\\u{1b}[31m"), "{outcome}");
    for text in [&linted.out, &outcome.err] {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
