//! clone3(2) that will not put a process into its cgroup, as under a security module: the process is moved there.

use super::delegated::Given;
use crate::common::{Bundle, Ground, Kase, Outcome, json, words};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

in_settings! { cgroupfs, none:
    what_is_not_cloned_into_its_cgroup_is_moved_there,
    a_move_that_finds_no_processor_is_not_about_disks,
}
deeds! { user: what_is_not_cloned_into_a_cgroup_that_was_given_is_moved_there }

/// `command` under strace, which has its first clone3(2) fail.
fn refused(kase: &Kase, errno: &str, command: &Command) -> Command {
    let mut strace = kase.program("strace");
    strace.args(["-o", "strace", "-e"]).arg(format!("inject=clone3:error={errno}:when=1"));
    strace.arg("--").arg(command.get_program()).args(command.get_args());
    strace
}

/// Where in the tree of v2 the process is whose id is in this file.
fn place(kase: &Kase, file: &str) -> String {
    let pid = fs::read_to_string(kase.path(file)).unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// Creates a container whose cgroup has this name, and adds a process; `finish` runs a command to its end.
fn create_and_exec(
    kase: &Kase,
    bundle: &Bundle,
    id: &str,
    cgroup: &str,
    finish: &dyn Fn(Command) -> Outcome,
) {
    // Of a security module, of a threaded cgroup.
    for errno in ["EPERM", "EOPNOTSUPP"] {
        let call = |words: &[&OsStr]| finish(refused(kase, errno, &kase.command(words)));
        let create = ["--cgroup-manager=cgroupfs", "create", "--pid-file", "init", "-b"];
        call(&words(create, bundle.dir(), [id])).succeeded();
        finish(kase.command(["start", id])).succeeded();
        call(&["exec", "-d", "--pid-file", "added", id, "/probe", "sleep"].map(OsStr::new)).succeeded();
        let places = ["init", "added"].map(|file| place(kase, file));
        finish(kase.command(["delete", "--force", id])).succeeded();
        assert!(places.iter().all(|place| place.ends_with(&format!("/{cgroup}"))), "{errno}: {places:?}");
    }
}

fn what_is_not_cloned_into_its_cgroup_is_moved_there(ground: &Ground) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let path = ground.new_path();
    let bundle = ground.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let finish = |command| ground.finish(command);
    create_and_exec(ground, &bundle, &ground.id(), path.trim_start_matches('/'), &finish);
}

/// ENOSPC is a cpuset's word for having none. Who makes a time namespace is moved.
fn a_move_that_finds_no_processor_is_not_about_disks(ground: &Ground) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let path = ground.new_path();
    let bundle = ground.bundle().namespace(json!({"type": "time"})).edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(path);
        spec["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1, "nanosecs": 0}});
    });
    let top = Path::new(if ground.is_v1() { "/sys/fs/cgroup/unified" } else { "/sys/fs/cgroup" });
    let procs = top.join(path.trim_start_matches('/')).join("cgroup.procs");
    let create = ground.command(words(["create", "-b"], bundle.dir(), [ground.id().as_str()]));
    let mut strace = ground.program("strace");
    strace.args(["-o", "strace", "-e", "inject=write:error=ENOSPC", "-P"]).arg(procs);
    strace.arg("--").arg(create.get_program()).args(create.get_args());
    let outcome = ground.finish(strace);
    outcome.refused(&["move process", "No space left on device"]);
    assert!(outcome.help().starts_with("give it processors and memory"), "{outcome}");
}

fn what_is_not_cloned_into_a_cgroup_that_was_given_is_moved_there(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let given = match Given::make_in_a_tree(kase) {
        Ok(given) => given,
        Err(why) => skip!("{why}"),
    };
    let id = kase.id();
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    create_and_exec(kase, &bundle, &id, &id, &|command| given.finish(kase, &command));
}
