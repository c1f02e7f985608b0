//! An image or a volume puts something of its own in the place of /proc or /sys, over it or below it, so that programs,
//! and whoever writes to it from outside, take it for the kernel's: a directory, which a volume of the image's
//! brings (CVE-2019-16884), or a symlink to one, of the image or swapped by a sibling (CVE-2019-19921, CVE-2023-27561,
//! CVE-2023-28642).

use super::{attempts, by_path};
use crate::common::{Bundle, Kase, Value, json, value};
use std::fs;
use std::path::Path;

deeds! {
    a_proc_or_sys_that_is_a_symlink_is_refused,
    a_proc_that_is_swapped_is_never_mounted_where_the_symlink_leads,
    nothing_but_a_procfs_covers_proc,
    nothing_is_mounted_below_proc,
    masks_below_a_proc_that_is_a_symlink_are_not_left_out,
}

fn bind(source: &Path, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind"]})
}

/// A bundle whose image has a symlink to this in place of a directory.
fn linked(kase: &Kase, name: &str, target: &str) -> Bundle {
    let bundle = kase.bundle().writable();
    fs::remove_dir(bundle.rootfs(name)).unwrap();
    bundle.directory("elsewhere").link("link", "/elsewhere").link(name, target)
}

fn a_proc_or_sys_that_is_a_symlink_is_refused(kase: &Kase) {
    let outside = kase.directory("outside");
    let up = format!("../../../../../../../../../..{}", outside.display());
    for target in ["/elsewhere", "elsewhere", "link", "/absent", outside.to_str().unwrap(), &up] {
        for name in ["proc", "sys"] {
            let bundle = linked(kase, name, target);
            kase.run(&bundle).refused(&[&format!("/{name}"), "must be mounted on ordinary directory"]);
            assert!(!bundle.rootfs("absent").exists());
        }
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // Whoever mounts by the path mounts where the symlink leads.
    let bundle = linked(kase, "proc", outside.to_str().unwrap());
    let script = format!(
        "mount -t proc proc {} && test -e {}/self/status",
        bundle.rootfs("proc").display(),
        outside.display()
    );
    by_path(kase, &script);
}

/// A sibling that may write to the whole rootfs lets the directory and a symlink change places.
fn a_proc_that_is_swapped_is_never_mounted_where_the_symlink_leads(kase: &Kase) {
    for name in ["proc", "sys"] {
        let victim = kase.bundle().directory("elsewhere").link("link", "/elsewhere");
        let victim = victim.args(["/probe", "list", "/elsewhere"]);
        let shared = kase.bundle().mount(bind(&victim.rootfs(""), "/mnt"));
        let (one, other) = (format!("/mnt/{name}"), "/mnt/link");
        let attacker = kase.run_detached(&shared.args(["/probe", "exchange", &one, other]));
        attacker.says("exchanging");
        attempts(15, || {
            let outcome = kase.run(&victim);
            assert!(outcome.code != 0 || outcome.out.is_empty(), "{outcome}");
            outcome.code == 0
        });
    }
}

/// As with an image that declares /proc to be a volume.
fn nothing_but_a_procfs_covers_proc(kase: &Kase) {
    let volume = kase.directory("volume");
    kase.directory("volume/self");
    for mount in [
        bind(&volume, "/proc"),
        bind(&volume, "/proc/"),
        json!({"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}),
    ] {
        let bundle = kase.bundle().mount(mount);
        let outcome = kase.run(&bundle);
        outcome.refused(&[&format!("{}.destination", bundle.last_mount()), "/proc", "not of type proc"]);
    }
    // A second procfs is one, whether it is new or bound.
    for second in [
        json!({"destination": "/proc", "type": "proc", "source": "proc"}),
        json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}),
    ] {
        assert_eq!(value(&kase.sees(kase.bundle().mount(second), ["mount", "/proc"]), "type"), "proc");
    }
    // Below a directory of the volume's, whoever writes by the path is answered as by the kernel.
    let script = format!(
        "mount --bind {0} /proc && echo label >/proc/self/exec && grep -qx label {0}/self/exec",
        volume.display()
    );
    by_path(kase, &script);
}

fn nothing_is_mounted_below_proc(kase: &Kase) {
    let (volume, file) = (kase.directory("volume"), kase.file("file", ""));
    let bundle = || kase.bundle().link("link", "/proc/self").link("attr", "proc/self/attr");
    for (source, destination) in [
        (&volume, "/proc/self"),
        (&volume, "/proc/self/attr"),
        (&volume, "/proc/sys"),
        (&volume, "/proc/1/task"),
        (&volume, "/link/attr"),
        (&volume, "/attr"),
        (&volume, "/mnt/../proc/sys/net"),
        (&file, "/proc/self/attr/exec"),
        (&file, "/proc/self/oom_score_adj"),
        (&file, "/proc/sys/kernel/core_pattern"),
        (&file, "/proc/../proc/version"),
        (&file, "/link/status"),
    ] {
        let bundle = bundle().mount(bind(source, destination));
        kase.run(&bundle).refused(&[&format!("{}.destination", bundle.last_mount()), destination]);
    }
    assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
    // What is replaced by better files of the same kind may be.
    let seen = kase.sees(kase.bundle().mount(bind(&file, "/proc/uptime")), ["read", "/proc/uptime"]);
    assert_eq!(seen, "");
}

/// Nothing that an image has in the way keeps the paths of the real file systems from being hidden.
fn masks_below_a_proc_that_is_a_symlink_are_not_left_out(kase: &Kase) {
    // The real one lies elsewhere, where nobody asked for masks, and is refused or masked.
    let bundle = linked(kase, "proc", "/elsewhere").edit(|spec| {
        spec["mounts"][0]["destination"] = json!("/elsewhere");
        spec["linux"]["maskedPaths"] = json!(["/proc/keys"]);
        spec["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    let words = ["read", "/elsewhere/keys", "--", "write", "/elsewhere/sys/kernel/hostname", "x"];
    assert_eq!(kase.sees(bundle, words), "EROFS\n");
}
