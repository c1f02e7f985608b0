//! Mounts of the host's that are bound: what of their flags a container can change, and what is locked.

use crate::common::{Kase, has, json, value};
use nix::mount::MsFlags;
use std::fs;

deeds! { locked_flags_are_kept_by_a_read_only_bind, what_the_host_has_locked_stays_and_is_told }
deeds! {
    root: a_bare_bind_keeps_the_flags_of_its_source, a_user_namespace_keeps_the_hosts_flags,
    how_access_times_are_kept_changes_as_a_whole,
}
deeds! { user: a_locked_flag_below_is_named }

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> crate::common::Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// A mount of root's in the test's directory; undone when let go of.
struct HostMount(std::path::PathBuf);

impl HostMount {
    fn new(kase: &Kase) -> Self {
        Self::with(kase, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME)
    }

    fn with(kase: &Kase, flags: MsFlags) -> Self {
        let directory = kase.directory("flagged");
        let own = flags & !MsFlags::MS_RDONLY;
        nix::mount::mount(Some("tmpfs"), &directory, Some("tmpfs"), own, Some("mode=777")).unwrap();
        fs::write(directory.join("file"), "on the host").unwrap();
        let bind = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        nix::mount::mount(None::<&str>, &directory, None::<&str>, bind, None::<&str>).unwrap();
        Self(directory)
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        nix::mount::umount(&self.0).unwrap();
    }
}

fn locked_flags_are_kept_by_a_read_only_bind(kase: &Kase) {
    if !crate::common::is_root() {
        skip!("needs root to make a mount with flags");
    }
    let mount = HostMount::new(kase);
    let bundle = kase.bundle().mount(bind(&mount.0, "/mnt", &["bind", "ro"]));
    let seen = kase.sees(bundle, ["mount", "/mnt", "--", "read", "/mnt/file"]);
    assert!(seen.ends_with("on the host\n"), "{seen}");
    assert!(has(value(&seen, "options"), "ro"), "{seen}");
    if !kase.is_root() {
        for flag in ["nosuid", "nodev", "noexec", "noatime"] {
            assert!(has(value(&seen, "options"), flag), "locked {flag} is kept: {seen}");
        }
    }
}

fn a_bare_bind_keeps_the_flags_of_its_source(kase: &Kase) {
    let mount = HostMount::new(kase);
    let seen = kase.sees(kase.bundle().mount(bind(&mount.0, "/mnt", &["bind"])), ["mount", "/mnt"]);
    for flag in ["nosuid", "nodev", "noexec"] {
        assert!(has(value(&seen, "options"), flag), "{seen}");
    }
    // Any flag given clears the others: root's are not locked.
    let seen = kase.sees(kase.bundle().mount(bind(&mount.0, "/mnt", &["bind", "nosuid"])), ["mount", "/mnt"]);
    assert!(has(value(&seen, "options"), "nosuid") && !has(value(&seen, "options"), "noexec"), "{seen}");
}

fn a_user_namespace_keeps_the_hosts_flags(kase: &Kase) {
    let mount = HostMount::new(kase);
    let bound = |options: &[&str]| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        kase.bundle().namespace(json!({"type": "user"})).mount(bind(&mount.0, "/mnt", options)).edit(|spec| {
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map;
        })
    };
    for options in [&["bind"][..], &["bind", "ro"], &["bind", "rw"]] {
        let seen = kase.sees(bound(options), ["mount", "/mnt"]);
        for flag in ["nosuid", "nodev", "noexec", "noatime", options.get(1).unwrap_or(&"rw")] {
            assert!(has(value(&seen, "options"), flag), "{options:?} and {flag}: {seen}");
        }
    }
    for (word, stays) in [("suid", "nosuid"), ("noatime", ""), ("relatime", "noatime"), ("nodiratime", "")] {
        let bundle = bound(&["bind", word]).args(["/probe", "mount", "/mnt"]);
        let outcome = kase.run(&bundle);
        let options = value(outcome.stdout(), "options");
        assert!(has(options, "nosuid") && has(options, "noatime"), "{outcome}");
        assert_eq!(outcome.err.contains("/mnt stays"), !stays.is_empty(), "{outcome}");
        assert!(outcome.err.contains(stays), "{outcome}");
    }
}

/// Engines write `rw` and `relatime` on what they bind, whatever it is on the host.
fn what_the_host_has_locked_stays_and_is_told(kase: &Kase) {
    if !crate::common::is_root() {
        skip!("needs root to make a mount with flags");
    }
    let read_only = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let cases: [(MsFlags, &[&str], &[&str], &str); 8] = [
        (MsFlags::MS_RELATIME, &["rbind", "ro", "relatime"], &["ro", "relatime"], ""),
        (MsFlags::MS_RELATIME, &["rbind", "strictatime"], &["relatime"], "relatime"),
        (MsFlags::MS_RELATIME, &["rbind", "nodiratime"], &["relatime"], "diratime"),
        (MsFlags::MS_STRICTATIME, &["rbind", "strictatime"], &["rw"], ""),
        (MsFlags::MS_STRICTATIME, &["rbind", "ro", "relatime"], &["ro"], "strictatime"),
        (MsFlags::MS_NOATIME, &["rbind", "ro", "relatime"], &["ro", "noatime"], "noatime"),
        (read_only, &["rbind", "rw"], &["ro", "nosuid", "nodev", "noexec"], "ro"),
        (
            read_only,
            &["bind", "rw", "suid", "dev", "exec"],
            &["ro", "nosuid", "nodev", "noexec"],
            "ro and nosuid and nodev and noexec",
        ),
    ];
    for (flags, words, stay, told) in cases {
        let host = HostMount::with(kase, flags);
        let bundle = kase.bundle().mount(bind(&host.0, "/mnt", words)).args(["/probe", "mount", "/mnt"]);
        let outcome = kase.run(&bundle);
        if kase.is_root() {
            // Nothing is locked for root.
            assert!(!outcome.err.contains("stays"), "{flags:?} {words:?} {outcome}");
            let asked =
                |word: &&&str| !["bind", "rbind", "strictatime", "suid", "dev", "exec"].contains(word);
            for word in words.iter().filter(asked) {
                assert!(has(value(outcome.stdout(), "options"), word), "{flags:?} {word} {outcome}");
            }
            continue;
        }
        for flag in stay {
            assert!(has(value(outcome.stdout(), "options"), flag), "{flags:?} {words:?} {flag} {outcome}");
        }
        let line = format!("{}.options: /mnt stays {told}: the host has mounted it so", bundle.last_mount());
        assert_eq!(outcome.err.contains(&line), !told.is_empty(), "{flags:?} {words:?} {outcome}");
    }
}

fn a_locked_flag_below_is_named(kase: &Kase) {
    if !crate::common::is_root() {
        skip!("needs root to make a mount with flags");
    }
    let host = HostMount::with(kase, MsFlags::MS_RDONLY);
    let bundle = kase.bundle().mount(bind(&host.0, "/mnt", &["rbind", "rrw"]));
    let outcome = kase.run(&bundle);
    outcome.refused(&[&bundle.last_mount(), "the host has locked a flag"]);
    assert!(outcome.help().contains("rrw"), "{outcome}");
    kase.sees(kase.bundle().mount(bind(&host.0, "/mnt", &["rbind"])), ["mount", "/mnt"]);
}

fn how_access_times_are_kept_changes_as_a_whole(kase: &Kase) {
    let mount = HostMount::new(kase);
    let flags = |options: &[&str]| {
        let seen = kase.sees(kase.bundle().mount(bind(&mount.0, "/mnt", options)), ["mount", "/mnt"]);
        ["noatime", "relatime", "nodiratime"].map(|flag| has(value(&seen, "options"), flag))
    };
    // Not asked for, or only in a word that takes something back: as on the host.
    assert_eq!(flags(&["bind", "nosuid"]), [true, false, false]);
    assert_eq!(flags(&["bind", "atime"]), [true, false, false]);
    assert_eq!(flags(&["bind", "relatime"]), [false, true, false]);
    assert_eq!(flags(&["bind", "nodiratime"]), [false, true, true]);
    assert_eq!(flags(&["bind", "nodiratime", "strictatime"]), [false, false, true]);
}
