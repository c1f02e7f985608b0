//! The root file system: devices, links, and what is hidden. What must never lead out of it is in
//! attacks/leave_by_paths.rs.

use crate::common::{Kase, json, value};
use std::fs;

deeds! {
    a_container_without_proc_runs,
    a_ptmx_in_the_config_is_still_the_containers_own,
    the_default_devices_are_there,
    the_default_links_are_there,
    a_read_only_root_cannot_be_written,
    masked_files_are_empty_and_masked_directories_bare,
    read_only_paths_cannot_be_written,
    missing_masked_and_read_only_paths_do_not_matter,
    a_masked_or_read_only_path_may_be_relative,
    a_destination_that_is_missing_is_made_inside,
    a_dangling_symlink_is_made_inside,
    the_old_root_is_out_of_reach,
    the_root_has_the_propagation_of_the_config,
    without_pivot_the_root_is_the_same,
    a_root_may_be_an_absolute_path,
    containers_that_begin_at_once_share_a_rootfs,
}
deeds! { root: devices_of_the_config_are_made }

fn the_default_devices_are_there(kase: &Kase) {
    let devices = [
        ("null", "1:3"),
        ("zero", "1:5"),
        ("full", "1:7"),
        ("random", "1:8"),
        ("urandom", "1:9"),
        ("tty", "5:0"),
    ];
    for (name, number) in devices {
        let path = format!("/dev/{name}");
        let seen = kase.sees(kase.bundle(), ["stat", &path, "--", "can", "open", &path]);
        assert!(seen.starts_with("char mode=0666 "), "{name}: {seen}");
        assert_eq!(value(&seen, "rdev"), number, "{name}: {seen}");
        // A process without a terminal cannot open /dev/tty.
        assert!(seen.ends_with("ok\n") || name == "tty", "{name}: {seen}");
    }
}

fn the_default_links_are_there(kase: &Kase) {
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        assert_eq!(kase.sees(kase.bundle(), ["readlink", &format!("/dev/{name}")]), format!("{target}\n"));
    }
}

fn a_read_only_root_cannot_be_written(kase: &Kase) {
    assert_eq!(kase.sees(kase.bundle(), ["write", "/new", "x"]), "EROFS\n");
    assert_eq!(kase.sees(kase.bundle().writable(), ["write", "/new", "x"]), "ok\n");
}

fn masked_files_are_empty_and_masked_directories_bare(kase: &Kase) {
    let bundle = kase.bundle().file("etc/secret", "password").directory("mnt/keys").file("mnt/keys/one", "x");
    let bundle = bundle.writable().edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/etc/secret", "/mnt/keys", "/mnt/keys", "/proc/kcore"]);
    });
    let seen = kase
        .sees(bundle, ["read", "/etc/secret", "--", "list", "/mnt/keys", "--", "write", "/mnt/keys/x", ""]);
    assert_eq!(seen, "EROFS\n");
}

fn read_only_paths_cannot_be_written(kase: &Kase) {
    let bundle =
        kase.bundle().writable().edit(|spec| spec["linux"]["readonlyPaths"] = json!(["/etc", "/proc/sys"]));
    let seen = kase.sees(
        bundle,
        ["write", "/etc/x", "", "--", "write", "/mnt/x", "", "--", "write", "/proc/sys/kernel/hostname", "x"],
    );
    assert_eq!(seen, "EROFS\nok\nEROFS\n");
}

/// As with runc and crun: it begins at the container's root.
fn a_masked_or_read_only_path_may_be_relative(kase: &Kase) {
    let bundle = kase.bundle().file("etc/secret", "of the host").directory("etc/more");
    let bundle = bundle.writable().edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(["etc/secret/", "./etc/absent"]);
        spec["linux"]["readonlyPaths"] = json!(["etc/more"]);
    });
    let seen = kase.sees(bundle, ["read", "/etc/secret", "--", "write", "/etc/more/new", "x"]);
    assert_eq!(seen, "EROFS\n");
}

fn missing_masked_and_read_only_paths_do_not_matter(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["maskedPaths"] = json!(["/no/such/path"]);
        spec["linux"]["readonlyPaths"] = json!(["/no/such/path"]);
    });
    kase.run(&bundle).succeeded();
}

fn tmpfs(destination: &str) -> crate::common::Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

fn a_destination_that_is_missing_is_made_inside(kase: &Kase) {
    let bundle = kase.bundle().writable().mount(tmpfs("/made/by/kase"));
    assert_eq!(value(&kase.sees(bundle, ["mount", "/made/by/kase"]), "type"), "tmpfs");
}

fn a_dangling_symlink_is_made_inside(kase: &Kase) {
    let bundle = kase.bundle().writable().link("dangling", "/made/late").mount(tmpfs("/dangling"));
    assert_eq!(value(&kase.sees(bundle, ["mount", "/made/late"]), "type"), "tmpfs");
}

fn the_old_root_is_out_of_reach(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["list", "/", "--", "list", "/..", "--", "mounts"]);
    let names = "dev\netc\nmnt\nprobe\nproc\nsys\ntmp\ntrue\n";
    assert!(seen.starts_with(&format!("{names}{names}")), "{seen}");
    assert!(
        seen.lines()
            .skip(16)
            .all(|mount| mount.split(' ').nth(4).is_some_and(|point| point.starts_with('/')))
    );
    let points: Vec<&str> = seen.lines().skip(16).filter_map(|mount| mount.split(' ').nth(4)).collect();
    assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{seen}");
}

fn the_root_has_the_propagation_of_the_config(kase: &Kase) {
    for (option, expected) in [("shared", "shared:"), ("private", "private"), ("unbindable", "unbindable")] {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["rootfsPropagation"] = json!(option));
        let seen = kase.sees(bundle, ["mount", "/"]);
        assert!(value(&seen, "propagation").contains(expected), "{option}: {seen}");
    }
}

fn without_pivot_the_root_is_the_same(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "list", "/"]);
    let outcome = kase.run_with(&bundle, ["--no-pivot"]);
    assert_eq!(outcome.stdout(), "dev\netc\nmnt\nprobe\nproc\nsys\ntmp\ntrue\n");
}

fn a_root_may_be_an_absolute_path(kase: &Kase) {
    let other = kase.bundle();
    let path = other.rootfs("");
    let bundle = kase.bundle().edit(|spec| spec["root"]["path"] = json!(path));
    fs::remove_dir_all(bundle.rootfs("")).unwrap();
    assert_eq!(kase.sees(bundle, ["hostname"]), "kase\n");
}

fn devices_of_the_config_are_made(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["devices"] = json!([
            {"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 3, "gid": 4},
            {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o600},
        ]);
    });
    let seen = kase.sees(bundle, ["stat", "/dev/nothing", "--", "stat", "/dev/deep/pipe"]);
    assert_eq!(seen, "char mode=0640 owner=3:4 rdev=1:3\nfifo mode=0600 owner=0:0 rdev=0:0\n");
}

/// Without a mount at /dev they make the same nodes and links in the same directory.
fn containers_that_begin_at_once_share_a_rootfs(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "readlink", "/dev/ptmx"]).edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    let directory = bundle.dir().to_str().unwrap();
    for _ in 0..5 {
        // One after the other finds what the last has left.
        let _ = fs::remove_file(bundle.path("rootfs/dev/ptmx"));
        let at_once: Vec<_> =
            (0..6).map(|_| kase.spawn(kase.command(["run", "-b", directory, &kase.id()]))).collect();
        for running in at_once {
            assert_eq!(running.finish().stdout(), "pts/ptmx\n");
        }
    }
}

/// A symlink under a mask's source would lie open at the masked path (CVE-2025-31133).
fn a_ptmx_in_the_config_is_still_the_containers_own(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]);
    });
    assert_eq!(kase.sees(bundle, ["readlink", "/dev/ptmx"]), "pts/ptmx\n");
}

fn a_container_without_proc_runs(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "cwd"]).edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/proc");
    });
    assert_eq!(kase.run(&bundle).stdout(), "/\n");
}
