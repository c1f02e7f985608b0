//! The ordinary user's case: ids, directories, and a config written for root.

use crate::common::{Bundle, Caller, Kase, Outcome, Terminal, is_ours, is_root, json, ranges, value, words};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

deeds! { all:
    a_config_for_root_runs_for_everyone, what_is_done_unasked_is_told_once, everyone_is_root_inside
}
deeds! { user:
    groups_can_be_set_where_ranges_are_mapped,
    the_gid_of_terminals_is_kept_where_it_is_mapped,
    adaptations_are_told_at_debug_level,
    state_lies_in_the_runtime_directory,
    without_a_runtime_directory_it_runs_all_the_same,
    a_runtime_directory_of_another_user_is_not_used,
    a_fallback_directory_of_another_user_is_refused,
    rootless_false_adapts_nothing,
    rootless_true_is_what_it_is_anyway,
    root_of_a_user_namespace_may_run_containers,
    a_config_with_its_own_mappings_is_left_alone,
    a_host_device_stands_for_one_that_cannot_be_made,
}
deeds! { bare:
    one_clone_makes_a_container,
    without_ranges_one_id_is_mapped_and_it_is_said,
    groups_cannot_be_set_with_one_id,
    the_gid_of_terminals_is_dropped_where_it_is_not_mapped,
    a_user_outside_the_map_is_refused_before_anything_exists,
    another_id_may_stand_for_the_own_one,
}
deeds! { root: root_gets_no_user_namespace }

/// `run` for somebody who wants to know what kase does unasked.
fn run_and_tell(kase: &Kase, bundle: &Bundle) -> Outcome {
    let id = kase.id();
    kase.call(words(["--log-level", "info", "run", "-b"], bundle.dir(), [id.as_str()]))
}

fn a_config_for_root_runs_for_everyone(kase: &Kase) {
    let outcome = kase.run(&kase.bundle().args(["/probe", "hostname"]));
    assert_eq!(outcome.stdout(), "kase\n");
    if is_ours() {
        assert_eq!(outcome.err, "", "whoever captures it gets the container's own");
    }
}

fn what_is_done_unasked_is_told_once(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes do nothing unasked");
    }
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    let told = |text: &str| {
        let lines = text.lines().filter(|line| line.contains("user namespace")).count();
        assert_eq!(lines, usize::from(!kase.is_root()), "{text}");
    };
    told(&run_and_tell(kase, &bundle).err);
    let log = kase.path("log");
    let (id, place) = (kase.id(), log.to_str().unwrap());
    let outcome = kase.call(words(["--log", place, "run", "-b"], bundle.dir(), [id.as_str()]));
    assert_eq!((outcome.stdout(), outcome.err.as_str()), ("kase\n", ""));
    told(&fs::read_to_string(log).unwrap());
    let mut terminal = Terminal::new(80, 24);
    let mut child = terminal.spawn(kase, &["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    told(&terminal.shows("kase\n"));
    child.wait().unwrap();
}

fn everyone_is_root_inside(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["status", "Uid", "Gid", "--", "stat", "/probe"]);
    assert!(seen.starts_with("Uid: 0 0 0 0\nGid: 0 0 0 0\n"), "{seen}");
    assert_eq!(value(&seen, "owner"), if kase.is_root() { "0:0" } else { value(&seen, "owner") });
}

fn groups_can_be_set_where_ranges_are_mapped(kase: &Kase) {
    assert!(kase.sees(kase.bundle(), ["maps"]).ends_with("setgroups: allow\n"));
}

fn the_gid_of_terminals_is_kept_where_it_is_mapped(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["mount", "/dev/pts"]);
    // The kernel prints it as the reader's namespace has it.
    assert!(value(&seen, "super").split(',').any(|option| option.starts_with("gid=")), "{seen}");
}

fn adaptations_are_told_at_debug_level(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("network");
    let before = ["--debug", "--log", "log", "run", "-b"];
    kase.call(words(before, bundle.dir(), [kase.id().as_str()])).succeeded();
    let log = fs::read_to_string(kase.path("log")).unwrap();
    let told =
        |place: &str| log.lines().filter(|line| line.contains("level=debug") && line.contains(place)).count();
    assert_eq!(told("mounts[5]"), 1, "sysfs is bound: {log}");
    assert_eq!(told("linux.resources"), 1, "resources are left out: {log}");
}

fn state_lies_in_the_runtime_directory(kase: &Kase) {
    let container = kase.create(&kase.bundle());
    assert!(kase.state_dir().join(&container.id).exists());
    let mode = fs::metadata(kase.state_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "closed to others: {mode:o}");
}

/// Where state lies without a runtime directory: one place for all tests of a user.
static FALLBACK: Mutex<()> = Mutex::new(());

fn fallback(kase: &Kase) -> PathBuf {
    PathBuf::from(format!("/tmp/kase-{}", kase.identity.uid))
}

/// Runs a container with another XDG_RUNTIME_DIR, from creation to deletion.
fn live_with_runtime_dir(kase: &Kase, change: impl Fn(&mut Command)) {
    let alone = FALLBACK.lock().unwrap_or_else(PoisonError::into_inner);
    let bundle = kase.bundle();
    let id = kase.id();
    let call = |words: &[&str]| {
        let mut command = kase.command(words);
        change(&mut command);
        kase.finish(command)
    };
    let created = call(&["create", "-b", bundle.dir().to_str().unwrap(), &id]);
    let state = call(&["state", &id]);
    let deleted = call(&["delete", "--force", &id]);
    created.succeeded();
    assert!(state.stdout().contains("\"created\""), "{state}");
    deleted.succeeded();
    call(&["state", &id]).refused(&["does not exist"]);
    // The directory itself stays, as it does in XDG_RUNTIME_DIR; containers of others may be in it.
    let _ = fs::remove_dir(fallback(kase));
    drop(alone);
}

fn without_a_runtime_directory_it_runs_all_the_same(kase: &Kase) {
    live_with_runtime_dir(kase, |command| {
        command.env_remove("XDG_RUNTIME_DIR");
    });
    live_with_runtime_dir(kase, |command| {
        command.env("XDG_RUNTIME_DIR", kase.path("no-such-directory"));
    });
}

fn a_runtime_directory_of_another_user_is_not_used(kase: &Kase) {
    // /etc is root's, and no user may write there.
    live_with_runtime_dir(kase, |command| {
        command.env("XDG_RUNTIME_DIR", "/etc");
    });
    assert!(!Path::new("/etc/kase").exists());
}

fn a_fallback_directory_of_another_user_is_refused(kase: &Kase) {
    let run = PathBuf::from(format!("/run/user/{}", kase.identity.uid));
    if !is_root() || run.exists() {
        skip!("needs root, and a user without a directory in /run/user");
    }
    let alone = FALLBACK.lock().unwrap_or_else(PoisonError::into_inner);
    if fs::create_dir(fallback(kase)).is_err() {
        skip!("another kase of this user is at work in {}", fallback(kase).display());
    }
    fs::set_permissions(fallback(kase), fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = kase.command(["create", "-b", kase.bundle().dir().to_str().unwrap(), &kase.id()]);
    command.env_remove("XDG_RUNTIME_DIR");
    let outcome = kase.finish(command);
    fs::remove_dir_all(fallback(kase)).unwrap();
    drop(alone);
    outcome.refused(&[fallback(kase).to_str().unwrap()]);
}

fn rootless_false_adapts_nothing(kase: &Kase) {
    let bundle = kase.bundle();
    let words = ["--rootless", "false", "run", "-b", bundle.dir().to_str().unwrap(), &kase.id()];
    kase.call(words).refused(&["linux.namespaces"]);
}

fn rootless_true_is_what_it_is_anyway(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "maps"]);
    let words = ["--rootless=true", "run", "-b", bundle.dir().to_str().unwrap(), &kase.id()];
    assert!(kase.call(words).stdout().contains(&format!("uid_map: 0 {} 1\n", kase.identity.uid)));
}

fn root_of_a_user_namespace_may_run_containers(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    let words = kase.command(["run", "-b", bundle.dir().to_str().unwrap(), &kase.id()]);
    let mut unshare = kase.program("unshare");
    unshare.args(["--user", "--map-root-user", "--mount"]).arg(words.get_program()).args(words.get_args());
    assert_eq!(kase.finish(unshare).stdout(), "kase\n");
}

fn a_config_with_its_own_mappings_is_left_alone(kase: &Kase) {
    let (own, range) = (&kase.identity, ranges("/etc/subuid", &kase.identity)[0]);
    let gids = ranges("/etc/subgid", own)[0];
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = json!([
            {"containerID": 0, "hostID": range.0 + 10, "size": 10}, {"containerID": 10, "hostID": own.uid, "size": 1},
        ]);
        spec["linux"]["gidMappings"] = json!([
            {"containerID": 0, "hostID": gids.0 + 10, "size": 10}, {"containerID": 10, "hostID": own.gid, "size": 1},
        ]);
    });
    // The bundle is the caller's, whom the container's root is not.
    fs::set_permissions(bundle.rootfs(""), fs::Permissions::from_mode(0o777)).unwrap();
    let seen = kase.sees(bundle, ["maps"]);
    assert!(seen.contains(&format!("uid_map: 0 {} 10\nuid_map: 10 {} 1\n", range.0 + 10, own.uid)), "{seen}");
}

fn a_host_device_stands_for_one_that_cannot_be_made(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5}]);
    });
    let seen = kase.sees(bundle, ["stat", "/dev/zero"]);
    assert!(seen.starts_with("char ") && seen.ends_with("rdev=1:5\n"), "{seen}");
}

fn without_ranges_one_id_is_mapped_and_it_is_said(kase: &Kase) {
    let outcome = run_and_tell(kase, &kase.bundle().args(["/probe", "maps"]));
    let own = &kase.identity;
    let expected = format!("uid_map: 0 {} 1\ngid_map: 0 {} 1\nsetgroups: deny\n", own.uid, own.gid);
    assert_eq!(outcome.stdout(), expected);
    assert!(outcome.err.contains("/etc/subuid"), "{outcome}");
}

fn groups_cannot_be_set_with_one_id(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"]["additionalGids"] = json!([5]));
    kase.run(&bundle).refused(&["process.user.additionalGids"]);
}

fn the_gid_of_terminals_is_dropped_where_it_is_not_mapped(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["mount", "/dev/pts"]);
    assert_eq!(value(&seen, "type"), "devpts");
}

fn a_user_outside_the_map_is_refused_before_anything_exists(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"]["uid"] = json!(1000));
    kase.run(&bundle).refused(&["process.user.uid", "1000"]);
    let bundle = kase.bundle().edit(|spec| spec["process"]["user"]["gid"] = json!(1000));
    kase.run(&bundle).refused(&["process.user.gid", "1000"]);
}

fn another_id_may_stand_for_the_own_one(kase: &Kase) {
    let own = kase.identity.clone();
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = json!([{"containerID": 1000, "hostID": own.uid, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 1000, "hostID": own.gid, "size": 1}]);
        spec["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert!(kase.sees(bundle, ["id"]).starts_with("Uid: 1000 1000 1000 1000\nGid: 1000 1000 1000 1000\n"));
}

fn root_gets_no_user_namespace(kase: &Kase) {
    assert_eq!(kase.caller, Caller::Root);
    assert_eq!(
        kase.sees(kase.bundle(), ["maps"]),
        "uid_map: 0 0 4294967295\ngid_map: 0 0 4294967295\nsetgroups: allow\n"
    );
}

/// With one id nothing helps kase: what it starts is the container, by one clone3 and one exec.
fn one_clone_makes_a_container(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    let bundle = kase.bundle();
    let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let mut strace = kase.program("strace");
    strace.args(["-f", "-o", "trace", "-e", "trace=clone,clone3,fork,vfork,execve", "--"]);
    strace.arg(run.get_program()).args(run.get_args());
    kase.finish(strace).succeeded();
    let trace = fs::read_to_string(kase.path("trace")).unwrap();
    assert_eq!((trace.matches("clone").count(), trace.matches("fork(").count()), (1, 0), "{trace}");
    assert_eq!(trace.matches("execve(").count(), 2, "kase and its container: {trace}");
}
