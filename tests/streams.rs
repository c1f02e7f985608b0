//! Standard streams that fail, and what goes wrong around them: kase ends with a code of its own, never by a signal.

use crate::common::{Bundle, Kase, Outcome, Surroundings, is_ours, json, words};
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

deeds! {
    an_error_that_cannot_be_told_keeps_its_code,
    what_cannot_be_shown_is_an_error,
    a_limit_of_file_sizes_ends_nothing,
    a_log_on_a_full_disk_stops_no_container,
    without_room_for_standard_streams_there_is_a_line,
    without_memory_there_is_a_line,
    without_room_for_the_stack_there_is_a_line,
    a_caller_who_ignores_its_children_is_none_the_wiser,
    a_lock_that_cannot_be_let_go_stops_no_start,
    control_characters_do_not_reach_the_terminal,
}

/// Where `full` is a directory on a full disk, and `4` of the shell a pipe without a reader.
fn broken(kase: &Kase) -> Surroundings<'_> {
    kase.directory("full");
    let before = "mount -t tmpfs -o size=4k,mode=777 tmpfs full && head -c 4096 /dev/zero >full/all
                  mkfifo pipe && exec 3<>pipe 4>pipe 3<&-";
    match kase.is_root() {
        true => Surroundings::mounts(kase, before),
        false => Surroundings::user_namespace(kase, before),
    }
}

/// A shell that does this with kase and the words of `command`.
fn shell(kase: &Kase, script: &str, command: &Command) -> Outcome {
    let mut shell = kase.program("sh");
    shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
    kase.finish(shell)
}

fn run(kase: &Kase, bundle: &Bundle) -> Command {
    kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()])
}

fn an_error_that_cannot_be_told_keeps_its_code(kase: &Kase) {
    let codes = "as \"$@\" 2>full/err; echo disk $?; as \"$@\" 2>&4; echo pipe $?";
    for (words, code) in
        [(&["state", "nothere"][..], 1), (&["--nosuch"], 1), (&["exec", "nothere", "x"], 255)]
    {
        let outcome = broken(kase).run(codes, &kase.command(words));
        assert_eq!(outcome.stdout(), format!("disk {code}\npipe {code}\n"), "{outcome}");
        fs::remove_file(kase.path("pipe")).unwrap();
    }
}

fn what_cannot_be_shown_is_an_error(kase: &Kase) {
    let id = kase.id();
    let kept = kase.bundle().args(["/probe", "exit", "7"]);
    kase.call(words(["run", "--keep", "-b"], kept.dir(), [id.as_str()])).exited(7);
    let shown = "as \"$@\" >full/out; echo disk $?; as \"$@\" >&4; echo pipe $?";
    for (words, code) in [
        (&["--help"][..], 1),
        (&["--version"], 1),
        (&[], 1),
        (&["list", "--help"], 1),
        (&["features"], 1),
        (&["list"], 1),
        (&["list", "--format", "json"], 1),
        (&["gc", "--dry-run"], 1),
        (&["state", &id], 1),
        (&["wait", &id], 255),
    ] {
        let outcome = broken(kase).run(shown, &kase.command(words));
        assert_eq!(outcome.stdout(), format!("disk {code}\npipe {code}\n"), "{outcome}");
        for why in ["No space left on device", "Broken pipe"] {
            assert!(outcome.err.contains(&format!("kase: write to standard output: {why}")), "{outcome}");
        }
        assert!(outcome.help().contains("file"), "{outcome}");
        fs::remove_file(kase.path("pipe")).unwrap();
    }
    kase.call(["delete", &id]).succeeded();
}

fn a_limit_of_file_sizes_ends_nothing(kase: &Kase) {
    // Standard error is a file too.
    let limited = "( ulimit -f 0; \"$@\" >out; echo code $? ) 2>&1 | cat";
    let bundle = kase.bundle().args(["/probe", "rlimits"]);
    let logged = ["--debug", "--log", "log", "state", "nothere"];
    let create = ["create", "-b", bundle.dir().to_str().unwrap(), &kase.id()];
    for (words, why) in [
        (&["features"][..], "kase: write to standard output: File too large"),
        (&logged, "kase: state nothere"),
        (&create, "File too large"),
    ] {
        let outcome = shell(kase, limited, &kase.command(words));
        assert!(outcome.out.contains(why) && outcome.out.ends_with("code 1\n"), "{outcome}");
    }
}

/// Neither in kase nor in init, which logs as well.
fn a_log_on_a_full_disk_stops_no_container(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "exit", "5"]).edit(|spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN", "CAP_NOSUCH"]);
        }
    });
    let mut command = kase.command(["--debug", "run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let outcome =
        broken(kase).run("as \"$@\" 2>full/err; echo disk $?; as \"$@\" 2>&4; echo pipe $?", &command);
    assert_eq!(outcome.stdout(), "disk 5\npipe 5\n", "{outcome}");
    fs::remove_file(kase.path("pipe")).unwrap();
    // Init itself tells what kase has not got. As the first of a pid namespace it survives any signal.
    let bundle = kase.bundle();
    let bundle = if kase.is_root() { bundle.without_namespace("pid") } else { bundle };
    let bundle = bundle.args(["/probe", "exit", "5"]).edit(|spec| {
        for set in ["bounding", "effective", "permitted"] {
            spec["process"]["capabilities"][set] = json!(["CAP_SYS_TIME"]);
        }
    });
    let command = run(kase, &bundle);
    let outcome = broken(kase).run("setpriv --bounding-set=-sys_time \"$@\"", &command);
    assert!(outcome.code == 5 && outcome.err.contains("is left out"), "{outcome}");
    fs::remove_file(kase.path("pipe")).unwrap();
    let outcome = broken(kase).run("setpriv --bounding-set=-sys_time \"$@\" 2>&4; echo pipe $?", &command);
    assert_eq!(outcome.stdout(), "pipe 5\n", "{outcome}");
}

fn without_room_for_standard_streams_there_is_a_line(kase: &Kase) {
    for (script, why) in [
        ("ulimit -n 2; exec \"$@\"", "(os error 24)"),
        ("exec <&-; ulimit -n 2; exec \"$@\"", "(os error 24)"),
        ("exec >&- <&-; ulimit -n 3; exec \"$@\"", ""),
    ] {
        let outcome = shell(kase, script, &kase.command(["state", "nothere"]));
        outcome.fails(&[why]);
        assert!(why.is_empty() || outcome.help().contains("ulimit -n"), "{outcome}");
    }
    let outcome = shell(kase, "exec >&- <&- 2>&-; ulimit -n 1; exec \"$@\"", &kase.command(["list"]));
    assert_eq!(outcome.code, 1, "{outcome}");
}

fn without_memory_there_is_a_line(kase: &Kase) {
    let long = "0123456789".repeat(3_000_000);
    let bundle = kase.bundle().edit(|spec| spec["annotations"] = json!({"long": long}));
    let outcome = shell(kase, "ulimit -v 80000; exec \"$@\"", &run(kase, &bundle));
    outcome.refused(&["memory"]);
    assert!(outcome.help().contains("memory"), "{outcome}");
}

/// The container may have as little as it wants, while kase prepares it too.
fn without_room_for_the_stack_there_is_a_line(kase: &Kase) {
    let Some(busybox) = ["/usr/bin/busybox", "/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
    else {
        skip!("needs a static busybox");
    };
    let hook = json!([{"path": "/busybox", "args": ["busybox", "true"]}]);
    let bundle = kase.bundle().program("busybox", &busybox).args(["/busybox", "sh", "-c", "exit 5"]);
    let bundle = bundle.edit(|spec| {
        spec["hooks"] = json!({ "startContainer": hook });
        spec["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    });
    let outcome = shell(kase, "ulimit -s 16; exec \"$@\"", &run(kase, &bundle));
    outcome.refused(&["stack"]);
    assert!(outcome.help().contains("ulimit -s"), "{outcome}");
    let limits = json!([{"type": "RLIMIT_STACK", "soft": 16384, "hard": 16384}]);
    kase.run(&bundle.edit(|spec| spec["process"]["rlimits"] = limits)).exited(5);
}

/// Whoever ignores SIGCHLD has children that nobody can wait for, and what it starts inherits that.
fn a_caller_who_ignores_its_children_is_none_the_wiser(kase: &Kase) {
    let ignoring = |command: &Command| {
        let mut env = kase.program("env");
        env.arg("--ignore-signal=CHLD").arg(command.get_program()).args(command.get_args());
        kase.finish(env)
    };
    let hook = json!([{"path": "/bin/true"}]);
    let bundle = kase.bundle().args(["/probe", "exit", "5"]);
    let bundle = bundle.edit(|spec| spec["hooks"] = json!({"prestart": hook, "poststop": hook}));
    ignoring(&run(kase, &bundle)).exited(5);
    let id = kase.id();
    let sleeper = bundle.args(["/probe", "sleep"]);
    let command = kase.command(words(["run", "-d", "-b"], sleeper.dir(), [id.as_str()]));
    ignoring(&command).succeeded();
    ignoring(&kase.command(["exec", &id, "/probe", "exit", "6"])).exited(6);
    ignoring(&kase.command(["delete", "--force", &id])).succeeded();
}

fn a_lock_that_cannot_be_let_go_stops_no_start(kase: &Kase) {
    let container = kase.create(&kase.bundle().args(["/probe", "sleep"]));
    let mut strace = kase.program("strace");
    strace.args(["-o", "strace", "-e", "inject=flock:error=ENOLCK:when=2+", "--"]);
    let start = kase.command(["start", &container.id]);
    kase.finish({
        strace.arg(start.get_program()).args(start.get_args());
        strace
    })
    .succeeded();
    container.becomes("running");
}

/// The names are the bundle's, the container's and its processes': a bundle's directory, a host's name, an argument.
fn control_characters_do_not_reach_the_terminal(kase: &Kase) {
    if !is_ours() {
        skip!("what kase's own tables are like");
    }
    let evil = "\u{1b}[2J\u{9b}1mred\nroot 1";
    let plain = kase.bundle();
    let bundle = plain.link("re\u{1b}d", "/probe").args(["/re\u{1b}d", "sleep"]);
    let bundle = bundle.edit(|spec| {
        spec["hostname"] = json!(evil);
        spec["mounts"].as_array_mut().unwrap().push(json!({"destination": "/mnt/\u{1b}x", "type": "tmpfs"}));
    });
    let directory: PathBuf = kase.path(format!("bundle {evil}"));
    fs::rename(bundle.dir(), &directory).unwrap();
    let id = kase.id();
    kase.call(words(["run", "-d", "-b"], &directory, [id.as_str()])).succeeded();
    let bundle: [&OsStr; 2] = ["-b".as_ref(), directory.as_os_str()];
    let of = |verb: &'static str| [&[OsStr::new(verb)], &bundle[..]].concat();
    let texts = [
        kase.call(["list"]),
        kase.call(["ps", &id]),
        kase.call(["ps", &id, "-ef"]),
        kase.call(of("explain")),
        kase.call(of("doctor")),
        kase.call(of("lint")),
    ];
    for text in &texts {
        let shown = format!("{}{}", text.out, text.err);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
    assert!(texts[0].out.contains("bundle \\u{1b}[2J\\u{9b}1mred root 1 "), "{}", texts[0]);
    assert!(texts[1].out.contains("d sleep\n"), "{}", texts[1]);
    // JSON has a way of its own to say them, and says them all.
    let listed: serde_json::Value = serde_json::from_str(kase.call(["list", "-f", "json"]).stdout()).unwrap();
    assert_eq!(listed[0]["bundle"], directory.to_str().unwrap());
    kase.call(["delete", "--force", &id]).succeeded();
}
