//! A container types into the terminal of whoever runs it, with TIOCSTI and TIOCLINUX, or has kase show what its screen
//! obeys: escape sequences and lines of their own from ids, paths, annotations and the names of processes
//! (CVE-2017-5226, CVE-2023-28100).

use crate::common::{Bundle, Kase, Outcome, Terminal, json, programs, wait_until, words};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! {
    a_container_types_nothing_into_its_callers_terminal,
    nothing_that_a_screen_obeys_is_in_what_is_shown_of_a_container,
    nothing_that_a_screen_obeys_is_in_an_error,
}

/// What the shell would run next.
const TYPED: &str = "type=evil\n";

fn with_attacker(kase: &Kase) -> Bundle {
    kase.bundle().program("inject", &fs::read(programs::inject()).unwrap())
}

/// The line that a shell reads once the command has ended: `end`, unless somebody has typed before.
fn line_after(kase: &Kase, command: &Command) -> String {
    let mut terminal = Terminal::new(120, 30);
    let mut shell = kase.program("sh");
    shell.args(["-c", "\"$@\"; echo ended; read line; echo \"read: $line.\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    let mut child = terminal.lead(kase, &shell);
    terminal.shows("ended");
    terminal.types("end\n");
    let screen = terminal.shows("read: ");
    wait_until("the shell's end", || child.try_wait().unwrap().is_some());
    assert!(screen.contains("descriptor 0: taken"), "nobody tried: {screen}");
    screen.lines().find_map(|line| line.strip_prefix("read: ")).unwrap().to_owned()
}

fn a_container_types_nothing_into_its_callers_terminal(kase: &Kase) {
    let mut capabilities = vec![json!(["CAP_KILL"])];
    if !kase.is_root() {
        // Over the container's own namespaces.
        capabilities.push(json!(["CAP_SYS_ADMIN", "CAP_SYS_TTY_CONFIG"]));
    }
    for capabilities in capabilities {
        let victim = || {
            with_attacker(kase).edit(|spec| {
                for set in ["bounding", "permitted", "effective"] {
                    spec["process"]["capabilities"][set] = capabilities.clone();
                }
            })
        };
        for has_terminal in [false, true] {
            let bundle = victim().args(["/inject", TYPED]);
            let bundle = bundle.edit(|spec| spec["process"]["terminal"] = json!(has_terminal));
            let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
            assert_eq!(line_after(kase, &run), "end.", "run, terminal {has_terminal}, {capabilities}");
        }
        let container = kase.run_detached(&victim().args(["/probe", "sleep"]));
        for options in [&["exec"][..], &["exec", "--tty"]] {
            let exec = options.iter().copied().chain([container.id.as_str(), "/inject", TYPED]);
            assert_eq!(line_after(kase, &kase.command(exec)), "end.", "{options:?}, {capabilities}");
        }
    }
    let legacy = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or("1".into());
    if legacy.trim() != "1" && !kase.is_root() {
        skip!("here the kernel keeps everybody from typing for others");
    }
    // A program of the same session.
    let mut victim = kase.program(programs::inject().to_str().unwrap());
    victim.arg(TYPED);
    assert_eq!(line_after(kase, &victim), "evil.", "the attack works on nobody");
}

/// A title, a cleared screen, a line of its own, a return to the line's begin, and the sequences that one character
/// begins.
const EVIL: &str = "a\u{1b}]0;evil\u{7}\u{1b}[2J\nforged\r\u{9b}31m\u{7f}\u{8}z";

fn is_harmless(text: &str) -> bool {
    !text.chars().any(|letter| letter.is_control() && letter != '\n')
        && !text.lines().any(|line| line.starts_with("forged"))
}

/// Everything that came out of a command, and its log.
fn check(what: &str, outcome: &Outcome, log: &Path) {
    assert!(is_harmless(&outcome.out) && is_harmless(&outcome.err), "{what} shows: {outcome:?}");
    let log = fs::read_to_string(log).unwrap_or_default();
    assert!(is_harmless(&log), "{what} logs: {log:?}");
}

/// A container with such names wherever an image or a pod's author may give them.
fn named_evilly(kase: &Kase) -> (Bundle, PathBuf) {
    let program = fs::read(programs::probe()).unwrap();
    let bundle = kase.bundle().program(EVIL, &program).edit(|spec| {
        spec["process"]["args"] = json!([format!("/{EVIL}"), "sleep"]);
        spec["annotations"] = json!({EVIL: EVIL, "org.example.key": EVIL});
        spec["hostname"] = json!(EVIL);
    });
    let moved = kase.path(EVIL);
    fs::rename(bundle.dir(), &moved).unwrap();
    (bundle, moved)
}

fn nothing_that_a_screen_obeys_is_in_what_is_shown_of_a_container(kase: &Kase) {
    let (bundle, moved) = named_evilly(kase);
    let id = kase.id();
    let run = kase.spawn(kase.command(words(["run", "-d", "-b"], &moved, [id.as_str()])));
    run.finish().succeeded();
    let log = kase.path("log");
    let in_bundle = moved.to_str().unwrap();
    let shows: &[&[&str]] = &[
        &["list"],
        &["list", "--format", "json"],
        &["list", "-q"],
        &["state", &id],
        &["ps", &id],
        &["ps", "--format", "json", &id],
        &["ps", &id, "-ef"],
        &["ps", &id, "-e", "-o", "pid,comm,args"],
        &["gc", "--dry-run"],
        &["events", "--stats", &id],
        &["explain", "-b", in_bundle],
        &["explain", "-b", in_bundle, "--format", "json"],
        &["lint", "-b", in_bundle],
        &["lint", "-b", in_bundle, "--format", "json"],
        &["doctor", "-b", in_bundle],
        &["exec", &id, EVIL],
        &["exec", "--cwd", EVIL, &id, "/true"],
        &["exec", "--user", EVIL, &id, "/true"],
        &["exec", "--user", &format!("0:{EVIL}"), &id, "/true"],
        &["exec", "--env", EVIL, &id, "/true"],
        &["exec", "--cap", EVIL, &id, "/true"],
        &["exec", "--process", EVIL, &id],
        &["kill", &id, EVIL],
        &["update", "--resources", EVIL, &id],
        &["update", "--cpuset-cpus", EVIL, &id],
        &["--debug", "state", &id],
        &["--log-level", "info", "start", &id],
    ];
    for words in shows {
        for options in [&[][..], &["--log-format", "text", "--log"], &["--log-format", "json", "--log"]] {
            let _ = fs::remove_file(&log);
            let file = Some(log.to_str().unwrap()).filter(|_| !options.is_empty());
            let words = options.iter().copied().chain(file).chain(words.iter().copied());
            let words: Vec<&str> = words.collect();
            check(&format!("{words:?}"), &kase.call(&words), &log);
        }
    }
    // What is shown as it is, of the same process.
    let pid = state(kase, &id)["pid"].to_string();
    let mut victim = kase.program("cat");
    victim.arg(format!("/proc/{pid}/cmdline"));
    let shown = kase.finish(victim);
    assert!(
        !is_harmless(shown.stdout()) && shown.out.contains("\nforged"),
        "the attack works on nobody: {shown:?}"
    );
    kase.call(["delete", "--force", &id]).succeeded();
    fs::rename(moved, bundle.dir()).unwrap();
}

fn state(kase: &Kase, id: &str) -> crate::common::Value {
    serde_json::from_str(kase.call(["state", id]).stdout()).unwrap()
}

fn nothing_that_a_screen_obeys_is_in_an_error(kase: &Kase) {
    let (log, id) = (kase.path("log"), kase.id());
    let words: &[&[&str]] = &[
        &["state", EVIL],
        &["delete", EVIL],
        &["kill", EVIL],
        &["create", "-b", ".", EVIL],
        &["run", "-b", EVIL, &id],
        &["run", "--config", EVIL, &id],
        &["list", "--format", EVIL],
        &["--log-format", EVIL, "list"],
        &["--root", EVIL, "list"],
        &["--no-such-option-as", EVIL],
        &[EVIL],
    ];
    for words in words {
        check(&format!("{words:?}"), &kase.call(*words), &log);
    }
    for (pointer, value) in fields() {
        for with_log in [false, true] {
            let _ = fs::remove_file(&log);
            let bundle = kase.bundle().args(["/true"]).edit(|spec| put(spec, pointer, value.clone()));
            let before = if with_log { vec!["--log", "log", "--log-format", "json"] } else { vec![] };
            let run = words_of(&before, &bundle, &kase.id());
            let outcome = kase.call(&run);
            check(pointer, &outcome, &log);
        }
    }
    // No JSON at all, and one with a field that nobody has.
    for text in [format!("{{\"{EVIL}"), EVIL.to_owned(), format!("{{\"process\": {}}}", json!(EVIL))] {
        let bundle = kase.bundle().config(&text);
        let outcome = kase.run(&bundle);
        outcome.exited(1);
        check("config.json", &outcome, &log);
    }
    // What a shell says of the same name.
    let mut victim = kase.program("ls");
    victim.args(["--show-control-chars", EVIL]);
    let said = kase.finish(victim);
    let stated = kase.finish({
        let mut victim = kase.program("printf");
        victim.args(["%s: no such file\n", EVIL]);
        victim
    });
    assert_ne!(said.code, 0);
    assert!(!is_harmless(&stated.out), "the attack works on nobody: {stated:?}");
}

fn words_of<'a>(before: &[&'a str], bundle: &'a Bundle, id: &str) -> Vec<std::ffi::OsString> {
    let after = words(["run", "-b"], bundle.dir(), []);
    let before = before.iter().map(OsStr::new).chain(after);
    before.map(OsStr::to_owned).chain([id.into()]).collect()
}

/// Puts a value at a place of the configuration, with all that leads there.
fn put(spec: &mut crate::common::Value, pointer: &str, value: crate::common::Value) {
    let mut place = spec;
    for name in pointer.split('.') {
        place = &mut place[name];
    }
    *place = value;
}

/// Places of the configuration whose value an error names.
fn fields() -> Vec<(&'static str, crate::common::Value)> {
    let hook = json!([{"path": format!("/{EVIL}")}]);
    vec![
        ("ociVersion", json!(EVIL)),
        ("process.args", json!([EVIL])),
        ("process.args", json!([format!("/{EVIL}")])),
        ("process.cwd", json!(format!("/proc/{EVIL}"))),
        ("process.cwd", json!(EVIL)),
        ("process.env", json!([EVIL])),
        ("process.capabilities.permitted", json!([EVIL])),
        ("process.rlimits", json!([{"type": EVIL, "soft": 1, "hard": 1}])),
        ("process.apparmorProfile", json!(EVIL)),
        ("process.selinuxLabel", json!(EVIL)),
        ("process.scheduler.policy", json!(EVIL)),
        ("process.user", json!(EVIL)),
        ("root.path", json!(EVIL)),
        ("hooks.prestart", hook.clone()),
        ("hooks.createContainer", hook.clone()),
        ("hooks.startContainer", hook.clone()),
        ("hooks.poststart", hook.clone()),
        ("hooks.poststop", hook),
        ("mounts", json!([{"destination": format!("/proc/{EVIL}"), "type": "tmpfs", "source": EVIL}])),
        ("mounts", json!([{"destination": "/mnt", "type": EVIL, "source": EVIL}])),
        ("mounts", json!([{"destination": "/mnt", "type": "bind", "source": EVIL, "options": ["bind"]}])),
        ("mounts", json!([{"destination": "/mnt", "type": "tmpfs", "source": "x", "options": [EVIL]}])),
        ("linux.namespaces", json!([{"type": EVIL}])),
        ("linux.namespaces", json!([{"type": "network", "path": format!("/{EVIL}")}])),
        ("linux.sysctl", json!({EVIL: EVIL})),
        ("linux.sysctl", json!({"kernel.domainname": EVIL, "net.nothing": EVIL})),
        ("linux.devices", json!([{"path": EVIL, "type": "c", "major": 1, "minor": 3}])),
        ("linux.devices", json!([{"path": "/dev/x", "type": EVIL}])),
        ("linux.cgroupsPath", json!(format!("../{EVIL}"))),
        ("linux.rootfsPropagation", json!(EVIL)),
        ("linux.maskedPaths", json!([EVIL])),
        ("linux.readonlyPaths", json!([EVIL])),
        ("linux.mountLabel", json!(EVIL)),
        ("linux.personality", json!({"domain": EVIL})),
        ("linux.seccomp", json!({"defaultAction": EVIL})),
        ("linux.seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": format!("/{EVIL}")})),
        ("linux.seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [EVIL]})),
        (
            "linux.seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [EVIL], "action": "SCMP_ACT_ERRNO"}]}),
        ),
        ("linux.resources.cpu", json!({"cpus": EVIL})),
        ("linux.intelRdt", json!({"closID": EVIL})),
        ("annotations", json!({"run.oci.hooks.stdout": format!("/{EVIL}")})),
        ("annotations", json!({"kase.overlay": EVIL})),
        ("annotations", json!({"kase.fake-root": EVIL})),
        ("annotations", json!({"run.oci.pidfd_receiver": EVIL})),
        ("annotations", json!({"run.oci.mount_context_type": EVIL})),
        ("annotations", json!({"org.systemd.property.Evil": EVIL})),
    ]
}
