//! What a container sees of the cgroups: v1 or v2, with a cgroup namespace or none, as root or as a user.

use super::added;
use crate::common::{Ground, Kase, Value, has, json, value};
use std::path::Path;

deeds! {
    with_a_namespace_the_containers_cgroup_is_the_root,
    a_sys_that_is_bound_below_changes_nothing,
    without_a_namespace_the_mount_is_there_too,
    a_read_only_entry_is_read_only_all_the_way_down,
    what_is_mounted_over_a_part_later_covers_it,
    two_entries_show_the_same,
}
in_settings! { cgroupfs, none: with_a_namespace_a_writable_mount_is_the_containers_own }
in_settings! { each, none: without_a_namespace_a_writable_mount_is_as_writable_as_the_caller_may }
deeds! { user: without_a_namespace_a_writable_mount_gives_a_user_nothing }

const TOP: &str = "/sys/fs/cgroup";

fn entry(mode: &str) -> Value {
    json!({
        "destination": TOP, "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", mode],
    })
}

/// Where the controllers are: v1 has a mount for each below the top.
fn points() -> Vec<String> {
    if Path::new(TOP).join("cgroup.controllers").exists() {
        return vec![TOP.to_owned()];
    }
    let controllers = ["cpu", "memory", "pids", "freezer"].into_iter().map(|name| format!("{TOP}/{name}"));
    let points: Vec<String> = controllers
        .map(|point| std::fs::canonicalize(&point).unwrap_or(point.into()).display().to_string())
        .filter(|point| Path::new(point).join("cgroup.procs").exists())
        .collect();
    assert!(!points.is_empty(), "no cgroups here");
    points
}

/// The mount at `point` and what is listed there, in a container.
fn seen(kase: &Kase, point: &str, mode: &str, namespace: bool) -> (String, String) {
    let mut bundle = kase.bundle().mount(entry(mode));
    if namespace {
        bundle = bundle.namespace(json!({"type": "cgroup"}));
    }
    let seen = kase.sees(bundle, ["mount", point, "--", "list", point]);
    let (mount, list) = seen.split_once('\n').unwrap();
    (mount.to_owned(), list.to_owned())
}

fn kind(point: &str) -> &str {
    if point == TOP { "cgroup2" } else { "cgroup" }
}

fn with_a_namespace_the_containers_cgroup_is_the_root(kase: &Kase) {
    for point in points() {
        let (mount, list) = seen(kase, &point, "ro", true);
        assert_eq!(value(&mount, "type"), kind(&point), "{mount}");
        assert_eq!(value(&mount, "root"), "/", "{mount}");
        assert!(list.lines().any(|name| name == "cgroup.procs"), "{list}");
    }
}

/// As `kase spec --rootless` has it: the host's cgroups are in the rootfs already when the container's are mounted.
fn a_sys_that_is_bound_below_changes_nothing(kase: &Kase) {
    let sys = json!({
        "destination": "/sys", "type": "none", "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    });
    for point in points() {
        let bundle = kase.bundle().edit(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/sys");
            mounts.push(sys.clone());
        });
        let bundle = bundle.mount(entry("ro")).namespace(json!({"type": "cgroup"}));
        let seen = kase.sees(bundle, ["mount", &point, "--", "list", &point]);
        let mounts: Vec<&str> = seen.lines().filter(|line| line.starts_with("type=")).collect();
        assert_eq!(value(mounts[0], "root"), "/", "{seen}");
        assert!(!seen.contains(".slice"), "the container's alone: {seen}");
    }
}

fn what_is_mounted_over_a_part_later_covers_it(kase: &Kase) {
    for point in points() {
        let cover = json!({"destination": point, "type": "tmpfs", "source": "tmpfs"});
        let seen =
            kase.sees(kase.bundle().mount(entry("ro")).mount(cover), ["mount", &point, "--", "list", &point]);
        let (mount, list) = seen.split_once('\n').unwrap();
        assert_eq!((value(mount, "type"), list.trim()), ("tmpfs", ""), "{seen}");
    }
}

fn two_entries_show_the_same(kase: &Kase) {
    for point in points() {
        let mut second = entry("ro");
        second["destination"] = json!("/second");
        let bundle = kase.bundle().mount(entry("ro")).mount(second).namespace(json!({"type": "cgroup"}));
        let same = point.replacen(TOP, "/second", 1);
        let seen = kase.sees(bundle, ["list", &point, "--", "list", &same]);
        let count = seen.lines().filter(|name| *name == "cgroup.procs").count();
        assert_eq!(count, 2, "{seen}");
    }
}

fn without_a_namespace_the_mount_is_there_too(kase: &Kase) {
    for point in points() {
        let (mount, list) = seen(kase, &point, "ro", false);
        assert_eq!(value(&mount, "type"), kind(&point), "{mount}");
        assert!(list.lines().any(|name| name == "cgroup.procs"), "{list}");
        // v1 shows the container's own part of each tree only.
        if kase.is_root() && point != TOP {
            assert!(value(&mount, "root").contains(kase.name()), "{mount}");
        }
    }
}

fn a_read_only_entry_is_read_only_all_the_way_down(kase: &Kase) {
    for namespace in [true, false] {
        for point in points() {
            let (mount, _) = seen(kase, &point, "ro", namespace);
            for option in ["ro", "nosuid", "nodev", "noexec"] {
                assert!(has(value(&mount, "options"), option), "{option}: {mount}");
            }
            let inside = format!("{point}/new");
            let mut bundle = kase.bundle().mount(entry("ro"));
            if namespace {
                bundle = bundle.namespace(json!({"type": "cgroup"}));
            }
            let procs = format!("{point}/cgroup.procs");
            let done = kase.sees(
                bundle,
                ["mkdir", &inside, "--", "write", &procs, "1", "--", "mkdir", "/sys/fs/cgroup/new"],
            );
            let answers: Vec<&str> = done.lines().collect();
            assert!(answers.iter().all(|answer| ["EROFS", "EACCES", "EPERM"].contains(answer)), "{done}");
            assert_eq!(answers[0], "EROFS", "{point}");
        }
    }
}

fn with_a_namespace_a_writable_mount_is_the_containers_own(ground: &Ground) {
    for point in points() {
        let inside = format!("{point}/mine");
        let bundle = ground.bundle().mount(entry("rw")).namespace(json!({"type": "cgroup"}));
        let done = ground.sees(bundle, ["mkdir", &inside, "--", "list", &inside]);
        assert!(done.starts_with("ok\n") && done.contains("cgroup.procs"), "{done}");
    }
}

/// As engines' privileged containers have it (`--privileged --cgroupns=host`): what `rw` asks for is not taken back.
fn without_a_namespace_a_writable_mount_is_as_writable_as_the_caller_may(ground: &Ground) {
    let bundle = ground.bundle().mount(entry("rw")).without_namespace("cgroup").args(["/probe", "sleep"]);
    let container = ground.run_detached(&bundle);
    for point in points() {
        let mount = added(&container, ["mount", &point]);
        assert!(has(value(&mount, "options"), "rw"), "{mount}");
        // v1 shows the container's own cgroup there, v2 the whole tree.
        let inside = match ground.is_v1() {
            true => format!("{point}/mine"),
            false => ground.cgroup(&container, "pids").join("mine").display().to_string(),
        };
        // A user's scope is the user's, who is root in the container.
        assert_eq!(added(&container, ["mkdir", &inside]), "ok\n", "{inside}");
    }
}

fn without_a_namespace_a_writable_mount_gives_a_user_nothing(kase: &Kase) {
    let bundle = kase.bundle().mount(entry("rw")).without_namespace("cgroup");
    let point = &points()[0];
    let (inside, procs) = (format!("{point}/mine"), format!("{point}/cgroup.procs"));
    let done = kase.sees(bundle, ["mkdir", &inside, "--", "write", &procs, "1"]);
    assert!(done.lines().all(|answer| ["EACCES", "EPERM"].contains(&answer)), "{done}");
}
