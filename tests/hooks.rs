//! Hooks: when they run, where, with what on their standard input, and what their failure does.

use crate::common::{Bundle, Kase, Outcome, Value, is_ours, json, wait_until, words};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;

deeds! {
    hooks_run_in_the_order_of_the_containers_life,
    a_hook_hears_the_containers_state,
    a_hook_has_its_own_environment_only,
    every_kind_of_hook_has_its_arguments_and_environment,
    every_kind_of_hook_has_its_time,
    the_hooks_of_the_runtime_see_the_hosts_root,
    create_container_hooks_run_in_the_rootfs,
    start_container_hooks_run_inside,
    a_start_container_hook_without_an_environment_has_the_containers,
    a_failing_hook_before_the_start_stops_the_creation,
    a_failing_poststart_hook_deletes_the_container,
    a_failing_poststop_hook_is_only_a_warning,
    poststop_hooks_follow_a_failure_too,
    poststop_hooks_need_no_bundle,
    the_container_runs_when_poststart_hooks_do,
    a_hook_that_takes_too_long_is_killed,
    a_hook_that_never_reads_has_its_time_too,
    a_hook_that_reads_nothing_does_not_matter,
    a_relative_path_is_refused,
    hooks_of_the_host_have_kases_environment,
    hooks_in_the_container_see_no_variable_of_the_images,
    hooks_inherit_no_descriptor_and_no_blocked_signal,
    hooks_have_the_mask_of_the_caller,
    a_hook_ends_with_kase,
    of_what_a_hook_says_the_last_lines_are_shown,
    a_hook_with_line_ends_of_dos_is_told_so,
}

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A bundle with a hook of the host's `sh`, and with it inside as well, for startContainer.
fn with_hook(kase: &Kase, kind: &str, script: &str) -> Bundle {
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
    kase.bundle().args(["/probe", "sleep"]).edit(|spec| spec["hooks"][kind] = json!([hook]))
}

fn hooks_run_in_the_order_of_the_containers_life(kase: &Kase) {
    let log = kase.file("log", "");
    let mut bundle = kase.bundle().args(["/probe", "sleep"]);
    for kind in KINDS.into_iter().filter(|kind| *kind != "startContainer") {
        let script = format!("echo {kind} >> {}", log.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
        bundle = bundle.edit(|spec| spec["hooks"][kind] = json!([hook]));
    }
    let said = || fs::read_to_string(&log).unwrap();
    let container = kase.create(&bundle);
    assert_eq!(said(), "prestart\ncreateRuntime\ncreateContainer\n");
    container.start();
    assert_eq!(said(), "prestart\ncreateRuntime\ncreateContainer\npoststart\n");
    container.call("delete", ["--force"]).succeeded();
    assert_eq!(said(), "prestart\ncreateRuntime\ncreateContainer\npoststart\npoststop\n");
}

fn a_hook_hears_the_containers_state(kase: &Kase) {
    for (kind, status) in [("createRuntime", "created"), ("poststart", "running"), ("poststop", "stopped")] {
        let state = kase.file("state.json", "");
        let bundle = with_hook(kase, kind, &format!("cat > {}", state.display()))
            .edit(|spec| spec["annotations"]["org.example.key"] = json!("value"));
        let container = kase.create(&bundle);
        let pid = container.pid();
        container.start();
        container.call("delete", ["--force"]).succeeded();
        let heard: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
        assert_eq!(heard["status"], status, "{kind}");
        assert_eq!(heard["id"], container.id.as_str());
        assert_eq!(heard["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(heard["annotations"]["org.example.key"], "value");
        assert_eq!(heard["pid"].as_i64(), (kind != "poststop").then_some(pid.into()), "{kind}");
    }
}

fn a_hook_has_its_own_environment_only(kase: &Kase) {
    let log = kase.file("log", "");
    let container = kase.create(&with_hook(kase, "createRuntime", &format!("env > {}", log.display())));
    container.call("delete", ["--force"]).succeeded();
    let seen = fs::read_to_string(log).unwrap();
    assert!(seen.contains("PATH=/usr/bin:/bin\n"), "{seen}");
    assert!(!seen.contains("KASE_TEST") && !seen.contains("HOME="), "{seen}");
}

/// A hook is the host's `sh`, or the probe inside.
fn hook_of(kind: &str, script: &str, inside: &[&str]) -> Value {
    let args: Vec<&str> = match kind {
        "startContainer" => ["probe"].iter().chain(inside).copied().collect(),
        _ => vec!["zero", "-c", script],
    };
    let path = if kind == "startContainer" { "/probe" } else { "/bin/sh" };
    json!({"path": path, "args": args, "env": ["PATH=/usr/bin:/bin", format!("KIND={kind}")]})
}

fn every_kind_of_hook_has_its_arguments_and_environment(kase: &Kase) {
    for kind in KINDS {
        let log = kase.file("log", "");
        let script = format!("echo $0 $KIND > {}; exit 1", log.display());
        let hook = hook_of(kind, &script, &["env", "--", "args", "zero", "--", "exit", "1"]);
        let bundle = kase.bundle().edit(|spec| spec["hooks"][kind] = json!([hook]));
        let outcome = kase.run(&bundle);
        let said = fs::read_to_string(&log).unwrap();
        if kind == "startContainer" {
            assert!(outcome.err.contains("KIND=startContainer") && outcome.err.contains("zero"), "{outcome}");
        } else {
            assert_eq!(said, format!("zero {kind}\n"), "{outcome}");
        }
    }
}

fn every_kind_of_hook_has_its_time(kase: &Kase) {
    for kind in KINDS {
        let mut hook = hook_of(kind, "exec sleep 60", &["sleep"]);
        hook["timeout"] = json!(1);
        let bundle = kase.bundle().edit(|spec| spec["hooks"][kind] = json!([hook]));
        let outcome = kase.run(&bundle);
        assert!(outcome.err.contains("timeout"), "{kind}: {outcome}");
        // After the container's end it is too late for more than a warning.
        assert_eq!(outcome.code == 0, kind == "poststop", "{kind}: {outcome}");
    }
}

fn the_hooks_of_the_runtime_see_the_hosts_root(kase: &Kase) {
    let log = kase.file("log", "");
    let script = format!("test -d /proc/1 && pwd > {}", log.display());
    let bundle = with_hook(kase, "createRuntime", &script);
    kase.create(&bundle).call("delete", ["--force"]).succeeded();
    assert_eq!(fs::read_to_string(log).unwrap().trim_end(), bundle.dir().to_str().unwrap());
}

fn create_container_hooks_run_in_the_rootfs(kase: &Kase) {
    let script = "test -x ./probe && test -e ./proc/1/stat && test -d /proc/1 && ! test -e /probe";
    kase.create(&with_hook(kase, "createContainer", script)).call("delete", ["--force"]).succeeded();
}

fn a_start_container_hook_without_an_environment_has_the_containers(kase: &Kase) {
    let seen = |environment: &[&str]| {
        let hook = json!({"path": "/probe", "args": ["probe", "env", "--", "exit", "1"]});
        let bundle = kase.bundle().args(["/probe", "true"]).edit(|spec| {
            spec["process"]["env"].as_array_mut().unwrap().push(json!("MARK=container's"));
            spec["hooks"]["startContainer"] = json!([hook]);
            if !environment.is_empty() {
                spec["hooks"]["startContainer"][0]["env"] = json!(environment);
            }
        });
        kase.run(&bundle).err
    };
    assert!(seen(&[]).contains("MARK=container's"), "{}", seen(&[]));
    assert!(seen(&[]).contains("HOME="), "{}", seen(&[]));
    let own = seen(&["MARK=own"]);
    assert!(own.contains("MARK=own") && !own.contains("HOME="), "{own}");
}

fn start_container_hooks_run_inside(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "sleep"]).writable().edit(|spec| {
        spec["hooks"]["startContainer"] =
            json!([{"path": "/probe", "args": ["probe", "write", "/inside", "x"]}]);
    });
    let container = kase.create(&bundle);
    assert!(!bundle.rootfs("inside").exists(), "not before the start");
    container.start();
    assert!(bundle.rootfs("inside").exists());
}

fn a_failing_hook_before_the_start_stops_the_creation(kase: &Kase) {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle = with_hook(kase, kind, "echo what is wrong >&2; exit 3");
        let outcome = kase.run(&bundle);
        outcome.refused(&[
            &format!("hooks.{kind}[0]"),
            &format!("error running {kind} hook #0"),
            "what is wrong",
        ]);
    }
}

fn a_failing_poststart_hook_deletes_the_container(kase: &Kase) {
    let state = kase.file("state.json", "");
    let after = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >> {}", state.display())]}]);
    let bundle = with_hook(kase, "poststart", "exit 1").edit(|spec| spec["hooks"]["poststop"] = after);
    let container = kase.create(&bundle);
    let init = format!("/proc/{}/cmdline", container.pid());
    container.call("start", []).refused(&["hooks.poststart[0]"]);
    // Its new parent may not have waited for it yet.
    assert!(fs::read(&init).unwrap_or_default().is_empty(), "its init runs on");
    container.call("state", []).refused(&["does not exist"]);
    let heard: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!(heard["status"], "stopped");
}

fn a_failing_poststop_hook_is_only_a_warning(kase: &Kase) {
    let log = kase.file("log", "");
    let hook = |script: &str| json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    let bundle = kase.bundle().args(["/probe", "sleep"]).edit(|spec| {
        spec["hooks"]["poststop"] =
            json!([hook("true"), hook("exit 1"), hook(&format!("echo last > {}", log.display()))]);
    });
    let container = kase.create(&bundle);
    let outcome = container.call("delete", ["--force"]);
    outcome.succeeded();
    assert!(outcome.err.contains("hooks.poststop[1]: error running poststop hook #1"), "{outcome}");
    assert_eq!(fs::read_to_string(log).unwrap(), "last\n");
}

/// What earlier hooks have set up, they take down.
fn poststop_hooks_follow_a_failure_too(kase: &Kase) {
    let run = |kind: &str, script: &str, program: &str| {
        let state = kase.file("state.json", "");
        let after = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >> {}", state.display())]}]);
        let bundle = with_hook(kase, kind, script).edit(|spec| {
            spec["hooks"]["poststop"] = after;
            spec["process"]["args"] = json!([program]);
        });
        let id = kase.id();
        kase.call(words(["run", "-b"], bundle.dir(), [id.as_str()])).refused(&[]);
        kase.call(["state", &id]).refused(&["does not exist"]);
        let heard: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).expect(kind);
        assert_eq!((&heard["id"], &heard["status"]), (&json!(id), &json!("stopped")));
    };
    run("createRuntime", "exit 1", "/true");
    run("createContainer", "exit 1", "/true");
    run("poststart", "exit 1", "/true");
    run("createRuntime", "true", "/nothing-there");
}

fn poststop_hooks_need_no_bundle(kase: &Kase) {
    let log = kase.file("log", "");
    let bundle = with_hook(kase, "poststop", &format!("echo down > {}", log.display()));
    let container = kase.create(&bundle);
    fs::remove_dir_all(bundle.dir()).unwrap();
    let deleted = container.call("delete", ["--force"]);
    assert_eq!((deleted.code, deleted.err.as_str()), (0, ""), "{deleted}");
    assert_eq!(fs::read_to_string(log).unwrap(), "down\n");
}

fn the_container_runs_when_poststart_hooks_do(kase: &Kase) {
    let (id, state) = (kase.id(), kase.file("state.json", ""));
    let look = kase.command(["state", &id]);
    let look: Vec<_> = [look.get_program()].into_iter().chain(look.get_args()).collect();
    let look = look.join(std::ffi::OsStr::new(" ")).into_string().unwrap();
    let run = kase.path("run").display().to_string();
    let bundle = with_hook(kase, "poststart", &format!("{look} > {}", state.display()))
        .edit(|spec| spec["hooks"]["poststart"][0]["env"] = json!([format!("XDG_RUNTIME_DIR={run}")]))
        .args(["/probe", "sleep", "500"]);
    kase.call(words(["run", "-b"], bundle.dir(), [id.as_str()])).exited(0);
    let seen: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!(seen["status"], "running", "{seen}");
}

fn a_hook_that_takes_too_long_is_killed(kase: &Kase) {
    let bundle = with_hook(kase, "createRuntime", "sleep 60")
        .edit(|spec| spec["hooks"]["createRuntime"][0]["timeout"] = json!(1));
    kase.run(&bundle).refused(&["hooks.createRuntime[0]", "timeout"]);
}

/// More than a pipe takes.
fn a_hook_that_never_reads_has_its_time_too(kase: &Kase) {
    let bundle = with_hook(kase, "createRuntime", "sleep 60").edit(|spec| {
        spec["hooks"]["createRuntime"][0]["timeout"] = json!(1);
        spec["annotations"]["org.example.long"] = json!("x".repeat(200_000));
    });
    kase.run(&bundle).refused(&["hooks.createRuntime[0]", "timeout"]);
}

fn a_hook_that_reads_nothing_does_not_matter(kase: &Kase) {
    let hook = json!({"path": "/bin/true", "args": ["true"]});
    let bundle =
        kase.bundle().args(["/probe", "true"]).edit(|spec| spec["hooks"]["createRuntime"] = json!([hook]));
    kase.run(&bundle).exited(0);
}

fn a_relative_path_is_refused(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["hooks"]["poststop"] = json!([{"path": "sh"}]));
    kase.run(&bundle).refused(&["hooks.poststop[0].path"]);
}

/// The kinds whose hooks are the host's.
const OF_HOST: [&str; 5] = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

/// Runs a bundle to its end, by a shell that does `before` first.
fn run_after(kase: &Kase, before: &str, options: &[&str], bundle: &Bundle) -> Outcome {
    let id = kase.id();
    let words =
        kase.command(words(["run", "-b"], bundle.dir(), options.iter().copied().chain([id.as_str()])));
    let mut shell = kase.program("sh");
    shell
        .args(["-c", &format!("{before}; exec \"$@\""), "sh"])
        .arg(words.get_program())
        .args(words.get_args());
    kase.finish(shell)
}

/// What this script of a hook's prints, for each of `kinds`.
fn said_by<'a>(
    kase: &Kase,
    kinds: &[&'a str],
    script: &str,
    run: impl Fn(&Bundle) -> Outcome,
) -> Vec<(&'a str, String)> {
    let said = |kind: &&'a str| {
        let log = kase.file("log", "");
        let script = format!("exec 1>>{}; {script}", log.display());
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        run(&kase.bundle().edit(|spec| {
            spec["hooks"][*kind] = json!([hook]);
            spec["process"]["env"].as_array_mut().unwrap().push(json!("MARK=container's"));
        }))
        .succeeded();
        (*kind, fs::read_to_string(&log).unwrap())
    };
    kinds.iter().map(said).collect()
}

fn hooks_of_the_host_have_kases_environment(kase: &Kase) {
    let kinds = ["prestart", "createRuntime", "poststart", "poststop"];
    let run = |bundle: &Bundle| run_after(kase, "export CALLER=1", &[], bundle);
    for (kind, said) in said_by(kase, &kinds, "env", run) {
        let has = |variable: &str| said.lines().any(|line| line.starts_with(variable));
        assert!(has("CALLER=1") && has("PATH=") && !has("MARK="), "{kind}: {said}");
    }
}

fn hooks_in_the_container_see_no_variable_of_the_images(kase: &Kase) {
    for (kind, said) in said_by(kase, &["createContainer"], "env", |bundle| kase.run(bundle)) {
        assert!(!said.contains("MARK=") && !said.contains("TERM="), "{kind}: {said}");
    }
}

fn hooks_inherit_no_descriptor_and_no_blocked_signal(kase: &Kase) {
    let look = "for fd in /proc/self/fd/*; do readlink $fd; done; grep SigBlk /proc/self/status";
    for options in [&[][..], &["--preserve-fds", "2"]] {
        let run = |bundle: &Bundle| run_after(kase, "exec 3</dev/zero 4<&3", options, bundle);
        for (kind, said) in said_by(kase, &OF_HOST, look, run) {
            assert!(!said.contains("/dev/zero"), "{kind}: {said}");
            assert!(said.contains("SigBlk:\t0000000000000000"), "{kind}: {said}");
        }
    }
}

fn hooks_have_the_mask_of_the_caller(kase: &Kase) {
    for mask in ["0022", "0027"] {
        let run = |bundle: &Bundle| run_after(kase, &format!("umask {mask}"), &[], bundle);
        for (kind, said) in said_by(kase, &OF_HOST, "umask", run) {
            assert_eq!(said.trim_end(), mask, "{kind}");
        }
    }
}

fn a_hook_ends_with_kase(kase: &Kase) {
    if !is_ours() {
        skip!("others let it run on");
    }
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let log = kase.file("log", "");
        let bundle = with_hook(kase, kind, &format!("echo $$ >{}; exec sleep 600", log.display()))
            .edit(|spec| spec["hooks"][kind][0]["env"] = json!(["PATH=/usr/bin:/bin", kase.marker()]));
        let id = kase.id();
        let mut running = kase.spawn(kase.command(words(["create", "-b"], bundle.dir(), [id.as_str()])));
        let pid = || fs::read_to_string(&log).unwrap().trim_end().to_owned();
        // In a pid namespace of its own it is told another number.
        wait_until("the hook to run", || pid().parse::<u32>().is_ok());
        let sleeps = || {
            let mark = kase.marker();
            let of_ours = |entry: fs::DirEntry| {
                let file = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
                file("cmdline").starts_with(b"sleep\x00600")
                    && file("environ").split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
            };
            fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(of_ours)
        };
        wait_until("the hook to sleep", sleeps);
        running.signal(Signal::SIGKILL);
        running.child.wait().unwrap();
        wait_until(&format!("the {kind} hook to end"), || !sleeps());
        kase.call(["delete", "--force", &id]).succeeded();
    }
}

fn of_what_a_hook_says_the_last_lines_are_shown(kase: &Kase) {
    let script = "yes much | head -c 6000000; printf 'what is \\033[31mwrong\\n'; exit 3";
    for kind in ["createRuntime", "createContainer", "poststop"] {
        let outcome = kase.run(&with_hook(kase, kind, script).args(["/true"]));
        let shown = outcome.err.len();
        assert!(outcome.err.contains("much, what is \\u{1b}[31mwrong") && shown < 2000, "{shown} bytes");
    }
}

fn a_hook_with_line_ends_of_dos_is_told_so(kase: &Kase) {
    let script = kase.file("hook.sh", "#!/bin/sh\r\nexit 0\r\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    for kind in ["createRuntime", "createContainer"] {
        let bundle = kase.bundle().edit(|spec| spec["hooks"][kind] = json!([{"path": script}]));
        let outcome = kase.run(&bundle);
        outcome.refused(&[
            &format!("hooks.{kind}[0]"),
            "no such file or directory",
            "its interpreter /bin/sh\\r is missing",
            "DOS",
        ]);
        let remedy = outcome.help().split_once(": ").unwrap().1;
        assert!(kase.program("sh").args(["-c", remedy]).status().unwrap().success(), "{outcome}");
        kase.run(&bundle).succeeded();
        fs::write(&script, "#!/bin/sh\r\nexit 0\r\n").unwrap();
    }
}
