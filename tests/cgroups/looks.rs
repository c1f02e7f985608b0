//! A look that fails is no answer: never a container that is poorer than its config, with exit code 0.

use super::MIB;
use crate::common::{Bundle, Ground, Kase, Outcome, cgroups_of, json};
use std::process::Command;

in_settings! { each, memory: a_host_that_cannot_be_looked_at_is_not_one_without_cgroups }
in_settings! { each, cpu: a_quota_that_cannot_be_read_stays }
in_settings! { v1, cpuset: a_cpuset_that_takes_nobody_is_not_left_behind }
in_settings! { v1, memory: every_hierarchy_of_roots_takes_the_container, limits_need_a_hierarchy }
in_settings! { each, none: a_cgroup_whose_processes_cannot_be_listed_is_not_taken }
deeds! { root: a_security_module_that_cannot_be_looked_for_is_not_missing }

/// What becomes of the command when this system call fails so, wherever it concerns this path.
fn failing(kase: &Kase, call: &str, error: &str, path: &str, command: &Command) -> Option<Outcome> {
    if Command::new("strace").arg("--version").output().is_err() {
        return None;
    }
    let mut strace = kase.program("strace");
    strace.args(["-f", "-o", "strace", "-P", path, "-e"]).arg(format!("inject={call}:error={error}"));
    strace.arg("--").arg(command.get_program()).args(command.get_args());
    Some(kase.finish(strace))
}

/// `run -d` is refused so, and neither a container nor a cgroup is left.
fn refused(kase: &Kase, bundle: &Bundle, call: &str, error: &str, path: &str, words: &[&str]) {
    let id = kase.id();
    let mut run = kase.command(["run", "-d", "-b"]);
    run.arg(bundle.dir()).arg(&id);
    let Some(outcome) = failing(kase, call, error, path, &run) else { skip!("needs strace") };
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]);
    outcome.fails(words);
    assert_ne!(state.code, 0, "state left behind: {state}");
    let left = cgroups_of(kase);
    assert!(left.is_empty(), "{left:?}");
}

fn a_host_that_cannot_be_looked_at_is_not_one_without_cgroups(ground: &Ground) {
    // Nothing asks for a cgroup here, and all the same.
    let plain = Kase::bundle(ground).args(["/probe", "sleep"]);
    let cannot = "see which cgroups are mounted at /sys/fs/cgroup";
    refused(ground, &plain, "statfs", "EIO", "/sys/fs/cgroup", &[cannot, "(os error 5)"]);
}

fn every_hierarchy_of_roots_takes_the_container(ground: &Ground) {
    let path = ground.new_path();
    let bundle = Kase::bundle(ground).edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let directory = format!("/sys/fs/cgroup/pids{path}");
    refused(ground, &bundle, "/^mkdir", "EACCES", &directory, &["linux.cgroupsPath", &directory]);
}

/// The tmpfs is there, and no hierarchy in it.
fn limits_need_a_hierarchy(ground: &Ground) {
    let bundle = Kase::bundle(ground).edit(|spec| {
        spec["linux"]["resources"] = json!({"memory": {"limit": 64 * MIB}});
        spec["linux"]["cgroupsPath"] = json!(null);
    });
    let id = ground.id();
    let mut run = ground.command(["run", "-b"]);
    run.arg(bundle.dir()).arg(&id);
    let mut shell = ground.program("unshare");
    shell.args(["--mount", "--propagation", "private", "sh", "-c"]);
    shell.arg("umount -R -l /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup && exec \"$@\"").arg("sh");
    shell.arg(run.get_program()).args(run.get_args());
    ground.finish(shell).refused(&["linux.resources.memory.limit", "no cgroup of its own to limit"]);
}

fn a_quota_that_cannot_be_read_stays(ground: &Ground) {
    if ground.is_v1() {
        skip!("v1 has a file for each of quota and period");
    }
    let container = ground.sleeper(&json!({"cpu": {"quota": 50_000, "period": 100_000}}));
    let file = ground.limit(&container, "", "cpu.max");
    let update = ground.command(["update", "--cpu-period", "200000", &container.id]);
    let path = file.to_string_lossy();
    let Some(outcome) = failing(ground, "openat", "EMFILE", &path, &update) else { skip!("needs strace") };
    outcome.fails(&["linux.resources.cpu", "cpu.max", "(os error 24)"]);
    assert_eq!(ground.read(&container, "", "cpu.max"), "50000 100000");
}

fn a_cgroup_whose_processes_cannot_be_listed_is_not_taken(ground: &Ground) {
    if ground.by_systemd() {
        skip!("systemd refuses a unit that is there");
    }
    let path = ground.new_path();
    let bundle = Kase::bundle(ground).edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
    let bundle = bundle.args(["/probe", "sleep"]);
    let first = ground.run_detached(&bundle);
    // The first that is made: on v1, that in the v2 tree beside the controllers.
    let directory = match ground.cgroup_named(first.pid(), "", "unified") {
        unified if ground.is_v1() && unified.exists() => unified,
        _ => ground.cgroup(&first, "pids"),
    };
    let mut run = ground.command(["run", "-d", "-b"]);
    let id = ground.id();
    run.arg(bundle.dir()).arg(&id);
    let list = directory.join("cgroup.procs");
    let Some(outcome) = failing(ground, "openat", "EMFILE", &list.to_string_lossy(), &run) else {
        skip!("needs strace")
    };
    outcome.fails(&["linux.cgroupsPath", "(os error 24)"]);
}

fn a_security_module_that_cannot_be_looked_for_is_not_missing(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("some"));
    let file = "/sys/module/apparmor/parameters/enabled";
    refused(kase, &bundle, "openat", "EMFILE", file, &[file, "(os error 24)"]);
}

/// Nothing asks for a cgroup, so the container does without this one; who looks for leftovers at the end finds it.
fn a_cpuset_that_takes_nobody_is_not_left_behind(ground: &Ground) {
    let bundle = Kase::bundle(ground).edit(|spec| {
        spec["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    let id = ground.id();
    let own = ground.cgroup_of(std::process::id().cast_signed(), "cpuset");
    let file = own.join(&id).join("cpuset.cpus");
    let mut run = ground.command(["run", "-b"]);
    run.arg(bundle.dir()).arg(&id);
    let Some(outcome) = failing(ground, "openat", "EACCES", &file.to_string_lossy(), &run) else {
        skip!("needs strace")
    };
    outcome.succeeded();
    assert!(!own.join(&id).exists());
}
