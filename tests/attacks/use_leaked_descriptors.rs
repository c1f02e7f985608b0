//! Descriptors of the host's, of kase's own and of those that its caller leaks, as a way out: an image names its
//! program, its working directory or its hooks by their numbers, in the configuration or through symlinks
//! (CVE-2024-21626).

use crate::common::{Before, Bundle, Kase, Outcome, is_root, json, programs, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! {
    no_descriptor_is_a_way_to_a_program_of_the_hosts,
    no_descriptor_is_a_working_directory_of_the_hosts,
    no_process_of_the_container_has_a_descriptor_of_the_hosts,
}
deeds! { user: no_helper_has_a_descriptor_of_the_callers }

/// The descriptors that the caller leaks, as an engine may that forgot to close them on exec. kase has those between
/// them, and the next.
const LEAKED: [u32; 10] = [3, 5, 7, 9, 11, 13, 15, 17, 19, 30];
/// The numbers that are tried.
const NUMBERS: std::ops::Range<u32> = 0..36;

/// A directory of the host's with a program and a secret.
fn outside(kase: &Kase) -> PathBuf {
    let directory = kase.directory("outside");
    programs::copy_to(programs::probe(), &directory.join("escape"));
    fs::set_permissions(directory.join("escape"), fs::Permissions::from_mode(0o755)).unwrap();
    kase.file("outside/secret", "of the host");
    directory
}

/// In bash, since other shells have no numbers above 9.
fn opened(directory: &Path) -> String {
    LEAKED.iter().map(|number| format!("exec {number}<{}\n", directory.display())).collect()
}

/// The command, started by a caller that leaks.
fn leaking(kase: &Kase, directory: &Path, command: &Command) -> Command {
    let mut bash = kase.program("bash");
    bash.args(["-c", &format!("{}exec \"$@\"", opened(directory)), "bash"]);
    bash.arg(command.get_program()).args(command.get_args());
    bash
}

/// `run` with these options, by a caller that leaks.
fn run(kase: &Kase, directory: &Path, bundle: &Bundle, options: &[&str]) -> Outcome {
    let id = kase.id();
    let words = words(["run", "-b"], bundle.dir(), options.iter().copied().chain([id.as_str()]));
    kase.finish(leaking(kase, directory, &kase.command(words)))
}

fn no_descriptor_is_a_way_to_a_program_of_the_hosts(kase: &Kase) {
    let directory = outside(kase);
    let ways: Vec<String> = NUMBERS
        .flat_map(|number| {
            ["", "/outside", "/..", "/../..", "/../outside", "/../../outside"]
                .map(|way| format!("/proc/self/fd/{number}{way}"))
        })
        .collect();
    let path = format!("PATH={}", ways.join(":"));
    let bundle = kase.bundle().edit(|spec| spec["process"]["env"].as_array_mut().unwrap().push(json!(path)));
    let overlay = format!("--overlay={}", kase.directory("overlay").display());
    let named = bundle.args(["escape", "args", "escaped"]);
    for options in [&[][..], &[overlay.as_str()]] {
        run(kase, &directory, &named, options).refused(&["executable file not found in $PATH"]);
    }
    let container = kase.run_detached(&named.args(["/probe", "sleep"]));
    let exec = kase.command(["exec", &container.id, "escape", "args", "escaped"]);
    let added = kase.finish(leaking(kase, &directory, &exec));
    assert_eq!(added.code, 255, "{added}");
    assert!(added.err.contains("executable file not found in $PATH"), "{added}");
    // Nor a hook of the container's, which has no path to be looked up by.
    for number in NUMBERS {
        let hook = json!([{"path": format!("/proc/self/fd/{number}/escape"), "args": ["escape", "args", "escaped"]}]);
        let bundle = kase.bundle().args(["/true"]).edit(|spec| spec["hooks"]["startContainer"] = hook);
        let outcome = run(kase, &directory, &bundle, &[]);
        outcome.refused(&["hooks.startContainer[0]"]);
        assert!(!outcome.err.contains("escaped"), "{outcome}");
    }
    // A victim that hands the caller's descriptors down.
    let bundle = kase.bundle().edit(|spec| spec["process"]["env"].as_array_mut().unwrap().push(json!(path)));
    let bundle = bundle.args(["escape", "args", "escaped"]);
    let outcome = run(kase, &directory, &bundle, &["--preserve-fds", "1"]);
    assert_eq!(outcome.stdout(), "escaped\n", "the attack works on nobody: {outcome}");
}

/// The secret, from a working directory that may be any on the way to it.
const LOOKS: [&str; 12] = [
    "/probe",
    "read",
    "secret",
    "--",
    "read",
    "outside/secret",
    "--",
    "read",
    "../secret",
    "--",
    "read",
    "../outside/secret",
];

fn no_descriptor_is_a_working_directory_of_the_hosts(kase: &Kase) {
    let directory = outside(kase);
    let mut image = kase.bundle().args(LOOKS);
    for number in NUMBERS {
        image = image.link(&format!("way-{number}"), &format!("/proc/self/fd/{number}"));
        image = image.link(&format!("up-{number}"), &format!("/proc/self/fd/{number}/.."));
    }
    let sleeper = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.run_detached(&sleeper);
    for number in NUMBERS {
        let direct = format!("/proc/self/fd/{number}");
        for way in [direct.clone(), format!("/way-{number}"), format!("/up-{number}")] {
            image = image.edit(|spec| spec["process"]["cwd"] = json!(way));
            let outcome = run(kase, &directory, &image, &[]);
            assert!(!outcome.out.contains("of the host"), "{way}: {outcome}");
        }
        let exec = ["exec", "--cwd", &direct, &container.id].into_iter().chain(LOOKS);
        let outcome = kase.finish(leaking(kase, &directory, &kase.command(exec)));
        assert!(!outcome.out.contains("of the host"), "{number}: {outcome}");
    }
    // What is handed down on purpose is no working directory either.
    let image = image.edit(|spec| spec["process"]["cwd"] = json!("/way-3"));
    let refused = run(kase, &directory, &image, &["--preserve-fds", "1"]);
    refused.refused(&["process.cwd", "outside of the container's root"]);
    assert_eq!(refused.help(), "name a directory of the rootfs");
    control(kase, &directory, container.pid());
}

/// nsenter(1) closes nothing.
fn control(kase: &Kase, directory: &Path, pid: i32) {
    let mut victim = kase.program("nsenter");
    victim.args(["--target", &pid.to_string(), "--mount", "--pid"]);
    if !kase.is_root() {
        victim.args(["--user", "--preserve-credentials"]);
    }
    victim.args(["/probe", "read", "/proc/self/fd/7/secret"]);
    let outcome = kase.finish(leaking(kase, directory, &victim));
    assert_eq!(outcome.stdout(), "of the host\n", "the attack works on nobody: {outcome}");
}

fn no_process_of_the_container_has_a_descriptor_of_the_hosts(kase: &Kase) {
    let directory = outside(kase);
    let numbers = |outcome: &Outcome| {
        let lines = outcome.stdout().lines().map(|line| line.split([' ', ':']).next().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    let bundle = kase.bundle();
    let ran = run(kase, &directory, &bundle.args(["/probe", "fds"]), &[]);
    assert_eq!(numbers(&ran), ["0", "1", "2"], "{ran}");
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    for options in [&[][..], &["--user", "1000"], &["--cwd", "/tmp"]] {
        let program = [container.id.as_str(), "/probe", "fds"];
        let exec = ["exec"].iter().chain(options).chain(&program);
        let added = kase.finish(leaking(kase, &directory, &kase.command(exec)));
        assert_eq!(numbers(&added), ["0", "1", "2"], "{added}");
    }
    let hook = json!([{"path": "/probe", "args": ["probe", "fds", "--", "exit", "1"]}]);
    let bundle = kase.bundle().edit(|spec| spec["hooks"]["startContainer"] = hook);
    let hooked = run(kase, &directory, &bundle, &[]);
    hooked.refused(&["hooks.startContainer[0]"]);
    assert!(!hooked.err.contains(directory.to_str().unwrap()), "{hooked}");
}

/// newuidmap(1) and newgidmap(1) have root's rights.
fn no_helper_has_a_descriptor_of_the_callers(kase: &Kase) {
    if !is_root() || !Path::new("/usr/bin/newuidmap").exists() {
        skip!("needs root, and newuidmap to replace");
    }
    let (directory, log) = (outside(kase), kase.file("log", ""));
    let list =
        format!("#!/bin/sh\nfor fd in /proc/$$/fd/*; do readlink $fd >>{}; done\nexit 1\n", log.display());
    let stand_in = kase.file("stand-in", &list);
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let stand_in = stand_in.display();
    let before = Before {
        mounts: format!(
            "mount --bind {stand_in} /usr/bin/newuidmap\nmount --bind {stand_in} /usr/bin/newgidmap"
        ),
        shell: String::new(),
    };
    let (bundle, id) = (kase.bundle(), kase.id());
    let run = words(["run", "-b"], bundle.dir(), [id.as_str()]);
    let command = kase.command_after(&before, run);
    let leaking = {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("{}exec \"$@\"", opened(&directory)), "bash"]);
        bash.arg(command.get_program()).args(command.get_args());
        bash.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        bash.current_dir(kase.path(""));
        bash
    };
    kase.finish(leaking).fails(&["map the container's user and group ids"]);
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("pipe:") || said.contains("/dev/null") || said.contains("stand-in"),
        "it ran: {said}"
    );
    let secret = directory.to_str().unwrap();
    let state = kase.state_dir().display().to_string();
    assert!(!said.contains(secret) && !said.contains(&state), "{said}");
    // The same program, started by who closes nothing.
    let mut helper = kase.program("bash");
    helper.args(["-c", &format!("{}\"$@\"", opened(&directory)), "bash"]).arg(kase.path("stand-in"));
    kase.finish(helper).exited(1);
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(secret), "the attack works on nobody: {said}");
}
