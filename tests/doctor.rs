//! `kase doctor`: it says of a host what a run on it says afterwards, and leaves nothing behind.

use crate::common::{
    Bundle, Caller, Kase, Outcome, Surroundings, Terminal, Value, assert_fits, is_ours, is_root, json, words,
};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

deeds! { all:
    the_shape_is_the_schemas,
    a_host_on_which_the_tests_run_has_no_failure,
    a_bundle_that_runs_is_told_with_what_is_adapted,
    a_bundle_that_cannot_run_is_told_as_run_tells_it,
    a_bundle_may_be_called_like_an_option,
    colours_are_for_terminals,
    a_program_of_the_working_directory_is_not_the_hosts,
}
deeds! { user:
    a_host_without_user_namespaces_fails_with_the_remedy_of_run,
    a_bus_where_nobody_answers_is_told,
    a_runtime_directory_of_another_user_is_told,
    helpers_without_power_are_told_before_they_are_needed,
}
deeds! { bare: its_remedies_alone_lead_to_a_container_with_more_ids }

fn doctor<const N: usize>(kase: &Kase, options: [&str; N]) -> Outcome {
    kase.call(["doctor"].into_iter().chain(options))
}

fn document(outcome: &Outcome) -> Value {
    let document: Value =
        serde_json::from_str(&outcome.out).unwrap_or_else(|error| panic!("{error}: {outcome}"));
    assert_fits(&document, "doctor");
    document
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let found = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {document:#}"))
}

fn of_bundle(kase: &Kase, bundle: &Bundle) -> (Outcome, Value) {
    let outcome = kase.call(words(["doctor", "--format", "json", "-b"], bundle.dir(), []));
    let document = document(&outcome);
    (outcome, document)
}

macro_rules! is_of_ours {
    () => {
        if !is_ours() {
            skip!("a command of kase's own");
        }
    };
}

/// An empty entry of PATH stands for it, and whoever made the bundle may have made that.
fn a_program_of_the_working_directory_is_not_the_hosts(kase: &Kase) {
    is_of_ours!();
    for name in ["crun", "fuse-overlayfs"] {
        fs::set_permissions(kase.file(name, "#!/bin/sh\n"), Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = kase.command(["doctor", "--format", "json"]);
    command.env("PATH", ":/no/such:.");
    let document = document(&kase.finish(command));
    assert_eq!(check(&document, "engines")["found"], "none in PATH; kase needs none");
    let overlay = check(&document, "fuse-overlayfs")["found"].as_str().unwrap();
    assert!(overlay.contains("not installed"), "{overlay}");
}

fn the_shape_is_the_schemas(kase: &Kase) {
    is_of_ours!();
    let document = document(&doctor(kase, ["--format", "json"]));
    for name in
        ["kernel", "user namespaces", "id maps", "proc", "overlay", "subordinate ids", "seccomp", "keys"]
    {
        check(&document, name);
    }
    for check in document["checks"].as_array().unwrap() {
        assert_eq!(check["level"] == "ok", check.get("remedy").is_none(), "{check}");
    }
}

fn a_host_on_which_the_tests_run_has_no_failure(kase: &Kase) {
    is_of_ours!();
    let outcome = doctor(kase, []);
    assert!(outcome.stdout().contains("\nno failures, "), "{outcome}");
    let expected = match kase.caller {
        Caller::Root => "root may map any id",
        Caller::User => "65536 uids",
        Caller::Bare => "has no range in /etc/subuid and /etc/subgid",
    };
    assert!(outcome.out.contains(expected), "{outcome}");
}

fn a_bundle_that_runs_is_told_with_what_is_adapted(kase: &Kase) {
    is_of_ours!();
    let bundle = kase.bundle().without_namespace("network");
    let (outcome, document) = of_bundle(kase, &bundle);
    outcome.succeeded();
    assert_eq!(document["bundle"]["runs"], true, "{outcome}");
    let told = document["bundle"]["adaptations"].to_string();
    let rootless = !kase.is_root();
    assert_eq!(told.contains("config.json has no user namespace: kase made one"), rootless, "{told}");
    assert_eq!(told.contains("sysfs needs a network namespace of its own"), rootless, "{told}");
    assert_eq!(kase.call(["list", "-q"]).stdout(), "", "nothing is made");
}

fn a_bundle_that_cannot_run_is_told_as_run_tells_it(kase: &Kase) {
    is_of_ours!();
    let bundle = kase.bundle().edit(|spec| spec["root"]["path"] = json!("nowhere"));
    let (outcome, document) = of_bundle(kase, &bundle);
    outcome.exited(1);
    let run = kase.run(&bundle);
    let fault = document["bundle"]["fault"].as_str().unwrap();
    assert!(
        run.err.contains(&format!(": {fault}\n  help: {}", document["bundle"]["remedy"].as_str().unwrap())),
        "{run}"
    );
    assert_eq!((&document["ok"], &document["bundle"]["runs"]), (&json!(false), &json!(false)));

    // A limit, for a caller who may have none.
    let limited = kase.bundle().edit(|spec| {
        spec["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}});
    });
    let (_, document) = of_bundle(kase, &limited);
    let run = kase.run(&limited);
    assert_eq!(document["bundle"]["runs"], run.code == 0, "{document:#}{run}");
    if run.code != 0 {
        let remedy = document["bundle"]["remedy"].as_str().unwrap();
        assert_eq!(remedy, run.help(), "{run}");
    }
}

fn a_bundle_may_be_called_like_an_option(kase: &Kase) {
    is_of_ours!();
    let bundle = kase.bundle();
    std::os::unix::fs::symlink(bundle.dir(), kase.path("-d")).unwrap();
    let outcome = doctor(kase, ["--format", "json", "--bundle=-d"]);
    let document = document(&outcome);
    assert_eq!((&document["bundle"]["runs"], &document["bundle"]["path"]), (&json!(true), &json!("-d")));
    let outcome = doctor(kase, ["--bundle=-e"]);
    outcome.exited(1);
    assert!(outcome.out.contains("-e/config.json") && outcome.err.is_empty(), "{outcome}");
}

fn colours_are_for_terminals(kase: &Kase) {
    is_of_ours!();
    assert!(!doctor(kase, []).out.contains('\x1b'));
    let mut terminal = Terminal::new(200, 50);
    let mut child = terminal.spawn(kase, &["doctor"]);
    terminal.shows("warning");
    let shown = terminal.bytes();
    child.wait().unwrap();
    assert!(shown.contains("\x1b[32mok      \x1b[0m kernel"), "{shown:?}");
    let mut plain = kase.program("env");
    plain.arg("NO_COLOR=1").arg(crate::common::program()).arg("doctor");
    let mut terminal = Terminal::new(200, 50);
    let mut child = terminal.lead(kase, &plain);
    terminal.shows("warning");
    let shown = terminal.bytes();
    child.wait().unwrap();
    assert!(shown.contains("ok       kernel") && !shown.contains('\x1b'), "{shown:?}");
}

fn a_host_without_user_namespaces_fails_with_the_remedy_of_run(kase: &Kase) {
    is_of_ours!();
    let host = Surroundings::user_namespace(kase, "echo 0 >/proc/sys/user/max_user_namespaces");
    let outcome = host.once(&kase.command(["doctor", "--format", "json"]));
    outcome.exited(1);
    let document = document(&outcome);
    let found = check(&document, "user namespaces");
    assert_eq!((&found["level"], &document["ok"]), (&json!("failure"), &json!(false)), "{outcome}");
    let bundle = kase.bundle().namespace(json!({"type": "user"}));
    let run = host.once(&kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()])));
    assert_eq!(found["remedy"], run.help(), "{run}");
    let (repaired, followed) = host.followed(&kase.command(["doctor"]));
    // What it says goes to standard output.
    assert_eq!((followed.as_str(), repaired.code), ("", 1));
}

fn a_bus_where_nobody_answers_is_told(kase: &Kase) {
    is_of_ours!();
    let path = kase.path("run/bus");
    drop(UnixListener::bind(&path).unwrap());
    let (document, dead) = (document(&doctor(kase, ["--format", "json"])), "session bus");
    let found = check(&document, dead);
    assert_eq!(found["level"], "warning", "{found}");
    assert!(
        found["found"].as_str().unwrap().starts_with(&format!("nobody answers at {}", path.display())),
        "{found}"
    );
    assert!(found["remedy"].as_str().unwrap().contains("systemctl restart user@"), "{found}");
}

fn a_runtime_directory_of_another_user_is_told(kase: &Kase) {
    is_of_ours!();
    let mut command = kase.command(["doctor", "--format", "json"]);
    command.env("XDG_RUNTIME_DIR", "/etc");
    let outcome = kase.finish(command);
    let document = document(&outcome);
    let found = check(&document, "state directory");
    assert_eq!(found["level"], "warning", "{found}");
    assert!(found["found"].as_str().unwrap().starts_with("XDG_RUNTIME_DIR=/etc belongs to uid 0"), "{found}");
}

fn helpers_without_power_are_told_before_they_are_needed(kase: &Kase) {
    is_of_ours!();
    if !is_root() || !Path::new("/usr/bin/newuidmap").exists() {
        skip!("needs root, and newuidmap to break");
    }
    let copy = kase.path("newuidmap");
    let before = format!(
        "cat /usr/bin/newuidmap >{0}; chmod 755 {0}; mount --bind {0} /usr/bin/newuidmap",
        copy.display()
    );
    let outcome = Surroundings::mounts(kase, &before).once(&kase.command(["doctor", "--format", "json"]));
    outcome.exited(1);
    let document = document(&outcome);
    for name in ["id map helpers", "id maps"] {
        let found = check(&document, name);
        assert_eq!(found["level"], "failure", "{found}");
        let remedy = "run as root: chown root /usr/bin/newuidmap && chmod u+s /usr/bin/newuidmap";
        assert_eq!(found["remedy"], remedy, "{found}");
    }
}

/// As a new user would: what doctor says is done, command by command, in an /etc of the test's own.
fn its_remedies_alone_lead_to_a_container_with_more_ids(kase: &Kase) {
    is_of_ours!();
    if !is_root() || !Path::new("/usr/bin/newuidmap").exists() {
        skip!("needs root, and newuidmap");
    }
    let private = format!("cp -a /etc {0} && mount --bind {0} /etc", kase.path("etc").display());
    let bundle = kase.bundle().args(["/probe", "id"]).edit(|spec| {
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let script = format!(
        "as \"$@\" && echo too early; as \"$1\" doctor >out
         sed -n '/subordinate ids/{{n; s/^ *help: run as root: //p}}' out >remedy
         sh -c \"$(cat remedy)\" && as \"$@\"; code=$?; rm -rf {}; exit $code",
        kase.path("etc").display()
    );
    for name in ["out", "remedy"] {
        kase.file(name, "");
    }
    let outcome = Surroundings::mounts(kase, &private).run(&script, &run);
    assert!(outcome.stdout().starts_with("Uid: 1000 1000 1000 1000\n"), "{outcome}");
    assert!(outcome.err.contains("process.user.uid: 1000 is not mapped"), "{outcome}");
    let remedy = fs::read_to_string(kase.path("remedy")).unwrap();
    assert!(remedy.starts_with("usermod --add-subuids "), "{remedy}");
}
