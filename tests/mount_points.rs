//! Mount points that are something else than what is mounted, and what in a rootfs is in the way of one.

use crate::common::{Bundle, Kase, Value, is_root, json, value};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

deeds! {
    a_directory_and_a_file_are_told_apart, a_file_in_the_way_is_named, symlinks_in_a_circle_are_named,
    a_name_that_is_too_long_is_named, a_read_only_mount_in_the_way_is_named, a_source_that_is_no_path_is_told,
    a_slash_at_the_end_says_nothing, rbind_stays_recursive, a_remount_of_no_mount_is_told,
}
deeds! {
    user: a_directory_that_is_not_ours_is_named, mounts_below_that_are_locked_are_told,
    a_file_system_that_needs_the_host_is_told,
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// The place of the last mount's destination.
fn place(bundle: &Bundle) -> String {
    format!("{}.destination", bundle.last_mount())
}

fn a_directory_and_a_file_are_told_apart(kase: &Kase) {
    let (file, directory) = (kase.file("source", ""), kase.directory("directory"));
    let bundle = || kase.bundle().file("etc/hosts", "").directory("etc/hosts.d");
    let cases = [
        (
            bind(&directory, "/etc/hosts", &["bind"]),
            "a directory cannot be mounted on /etc/hosts, which is a file",
        ),
        (
            bind(&file, "/etc/hosts.d", &["bind"]),
            "a file cannot be mounted on /etc/hosts.d, which is a directory",
        ),
        (tmpfs("/etc/hosts"), "a directory cannot be mounted on /etc/hosts, which is a file"),
        (
            json!({"destination": "/etc/hosts", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
            "a directory cannot be mounted on /etc/hosts, which is a file",
        ),
    ];
    for (mount, words) in cases {
        let bundle = bundle().mount(mount);
        // Docker looks for the kernel's words.
        kase.run(&bundle).refused(&[&place(&bundle), words, "Not a directory"]);
    }
}

fn a_file_in_the_way_is_named(kase: &Kase) {
    let bundle = kase.bundle().file("etc/hosts", "").mount(tmpfs("/etc/hosts/below/it"));
    kase.run(&bundle).refused(&[&place(&bundle), "/etc/hosts in the container is not a directory"]);
    fs::remove_file(bundle.rootfs("etc/hosts")).unwrap();
    kase.sees(bundle, ["list", "/etc/hosts/below/it"]);
}

fn symlinks_in_a_circle_are_named(kase: &Kase) {
    let bundle = kase.bundle().link("etc/one", "two").link("etc/two", "one").mount(tmpfs("/etc/one/below"));
    kase.run(&bundle).refused(&[&place(&bundle), "symlinks below /etc in the container lead in a circle"]);
}

fn a_name_that_is_too_long_is_named(kase: &Kase) {
    let bundle = kase.bundle().mount(tmpfs(&format!("/mnt/{}", "x".repeat(256))));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&place(&bundle), "longer than 255 bytes"]);
    assert_eq!(outcome.help(), "shorten it");
}

fn a_read_only_mount_in_the_way_is_named(kase: &Kase) {
    let source = kase.directory("source");
    let bundle = kase.bundle().mount(bind(&source, "/mnt", &["bind", "ro"])).mount(tmpfs("/mnt/below"));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&place(&bundle), "/mnt in the container is read-only"]);
    assert!(outcome.help().starts_with("create it in what /mnt shows beforehand"), "{outcome}");
    fs::create_dir(source.join("below")).unwrap();
    kase.sees(bundle, ["list", "/mnt/below"]);
}

fn a_source_that_is_no_path_is_told(kase: &Kase) {
    let file = kase.file("source", "");
    let bundle = kase.bundle().mount(bind(&file.join("below"), "/mnt", &["bind"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "source/below: Not a directory"]);
    assert!(outcome.help().starts_with("see what on the way is a file: namei -l"), "{outcome}");
    let bundle = kase.bundle().mount(bind(&kase.path("absent"), "/mnt", &["bind"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "absent: No such file or directory"]);
    assert!(outcome.help().starts_with("create it: mkdir -p "), "{outcome}");
}

fn a_slash_at_the_end_says_nothing(kase: &Kase) {
    let source = kase.file("hosts", "127.0.0.1 localhost\n");
    let bundle =
        kase.bundle().mount(bind(&source, "/etc/hosts/", &["bind"])).args(["/probe", "read", "/etc/hosts"]);
    for _ in 0..2 {
        assert_eq!(kase.run(&bundle).stdout(), "127.0.0.1 localhost\n");
    }
}

fn a_remount_of_no_mount_is_told(kase: &Kase) {
    let bundle = kase.bundle().mount(bind("/none".as_ref(), "/etc", &["bind", "remount", "ro"]));
    kase.run(&bundle).refused(&[&bundle.last_mount(), "remount /etc: nothing is mounted there"]);
    let first = bind("etc".as_ref(), "/etc", &["bind"]);
    let bundle = kase.bundle().mount(first).mount(bind("/none".as_ref(), "/etc", &["bind", "remount", "ro"]));
    fs::create_dir(bundle.path("etc")).unwrap();
    assert_eq!(kase.sees(bundle, ["write", "/etc/new", "x"]), "EROFS\n");
}

/// As with mount(2), whose MS_REC no word takes away.
fn rbind_stays_recursive(kase: &Kase) {
    for words in [&["rbind", "bind"][..], &["bind", "rbind"], &["rbind", "rprivate", "bind"]] {
        let bundle = kase.bundle().mount(bind("/dev".as_ref(), "/mnt", words));
        assert_ne!(kase.sees(bundle, ["mount", "/mnt/pts"]), "none\n", "{words:?}");
    }
}

fn a_directory_that_is_not_ours_is_named(kase: &Kase) {
    if !is_root() {
        skip!("needs root to give a directory away");
    }
    let bundle = kase.bundle().directory("foreign").mount(tmpfs("/foreign/below"));
    let foreign = bundle.rootfs("foreign");
    chown(&foreign, Some(0), Some(0)).unwrap();
    fs::set_permissions(&foreign, PermissionsExt::from_mode(0o755)).unwrap();
    let outcome = kase.run(&bundle);
    outcome
        .refused(&[&place(&bundle), "/foreign (mode 755, owner 65534:65534) in the container does not let"]);
    assert!(outcome.help().starts_with("create /foreign/below beforehand"), "{outcome}");
    fs::create_dir(foreign.join("below")).unwrap();
    let seen = kase.sees(bundle, ["mount", "/foreign/below"]);
    assert_eq!(value(&seen, "type"), "tmpfs");
}

fn mounts_below_that_are_locked_are_told(kase: &Kase) {
    let bundle = kase.bundle().mount(bind("/dev".as_ref(), "/mnt", &["bind"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "bind /dev, on which something is mounted that must stay"]);
    assert!(outcome.help().starts_with("use rbind"), "{outcome}");
}

fn a_file_system_that_needs_the_host_is_told(kase: &Kase) {
    let mount = json!({"destination": "/mnt", "type": "ext4", "source": "/dev/absent"});
    let bundle = kase.bundle().mount(mount);
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "mount ext4 on /mnt ("]);
}
