//! Mounts: every type and option, and what they look like inside.

use crate::common::{Bundle, Kase, Surroundings, has, is_root, json, value, words};
use std::fs;

deeds! {
    the_default_mounts_are_there_with_their_flags,
    a_tmpfs_has_its_flags_and_size,
    an_empty_option_asks_for_nothing,
    a_tmpfs_without_a_mode_takes_the_mount_points,
    a_tmpfs_whose_mount_point_is_missing_is_everybodys,
    a_tmpfs_copies_what_it_covers_when_asked,
    a_tmpfs_copies_set_user_id_bits_too,
    a_directory_is_bound,
    a_file_is_bound,
    a_read_only_bind_cannot_be_written,
    a_bind_source_is_relative_to_the_bundle,
    a_bind_source_in_the_rootfs_is_what_earlier_mounts_have_made,
    a_recursive_bind_brings_the_mounts_below,
    recursive_attributes_reach_the_mounts_below,
    each_recursive_attribute_is_set,
    a_later_mount_covers_an_earlier_one,
    a_mount_has_the_propagation_of_its_options,
    a_relative_destination_lies_below_the_root,
    the_cgroup_mount_is_read_only,
    terminals_are_the_containers_own,
    access_times_of_an_own_mount_are_kept_as_asked_for,
    without_a_mount_namespace_nothing_is_mounted,
}
deeds! {
    root: a_tmpfs_whose_mount_point_cannot_be_looked_at_is_refused, an_idmapped_bind_shows_other_owners,
    idmap_takes_the_maps_of_a_user_namespace_that_is_joined,
    what_an_earlier_mount_has_made_can_be_shown_with_other_owners, the_callers_mount_namespace_is_not_joined,
}
deeds! { user:
    sysfs_of_the_hosts_network_is_a_read_only_bind,
    the_hosts_sysfs_in_place_of_a_new_one_is_read_only_to_its_depth,
}

fn the_default_mounts_are_there_with_their_flags(kase: &Kase) {
    let paths = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    let expected = [
        ("proc", "rw"),
        ("tmpfs", "rw,nosuid"),
        ("devpts", "rw,nosuid,noexec"),
        ("tmpfs", "rw,nosuid,nodev,noexec"),
        ("mqueue", "rw,nosuid,nodev,noexec"),
        ("sysfs", "ro,nosuid,nodev,noexec"),
    ];
    for (path, (kind, options)) in paths.into_iter().zip(expected) {
        let mount = kase.sees(kase.bundle(), ["mount", path]);
        assert_eq!(value(&mount, "type"), kind, "{path}: {mount}");
        for option in options.split(',') {
            assert!(has(value(&mount, "options"), option), "{path} is {option}: {mount}");
        }
    }
}

fn tmpfs(destination: &str, options: &[&str]) -> crate::common::Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn bind(source: &std::path::Path, destination: &str, options: &[&str]) -> crate::common::Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

fn a_tmpfs_has_its_flags_and_size(kase: &Kase) {
    let bundle = kase.bundle().mount(tmpfs("/tmp", &["nosuid", "nodev", "noexec", "size=64k", "mode=750"]));
    let seen = kase.sees(bundle, ["mount", "/tmp", "--", "stat", "/tmp"]);
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(has(value(&seen, "options"), option), "{seen}");
    }
    assert!(has(value(&seen, "super"), "size=64k"), "{seen}");
    assert_eq!(value(&seen, "mode"), "0750", "{seen}");
}

/// Podman 5 writes one for a container that runs systemd.
fn an_empty_option_asks_for_nothing(kase: &Kase) {
    let bundle = kase.bundle().mount(tmpfs("/tmp", &["", "nosuid", "mode=750", ""]));
    let bundle = bundle.mount(tmpfs("/mnt", &["rw", "tmpcopyup", "", "mode=1777"]));
    let seen = kase.sees(bundle, ["mount", "/tmp", "--", "stat", "/tmp"]);
    assert!(has(value(&seen, "options"), "nosuid"), "{seen}");
    assert_eq!(value(&seen, "mode"), "0750", "{seen}");
}

fn a_tmpfs_without_a_mode_takes_the_mount_points(kase: &Kase) {
    let bundle = kase.bundle().mount(tmpfs("/tmp", &[]));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o2710);
    fs::set_permissions(bundle.rootfs("tmp"), mode).unwrap();
    assert_eq!(value(&kase.sees(bundle, ["stat", "/tmp"]), "mode"), "2710");
}

/// A look that fails is no answer: the tmpfs would be everybody's.
fn a_tmpfs_whose_mount_point_cannot_be_looked_at_is_refused(kase: &Kase) {
    if !std::path::Path::new("/usr/bin/strace").exists() {
        skip!("needs strace");
    }
    let bundle = kase.bundle().mount(tmpfs("/tmp", &[])).args(["/probe", "stat", "/tmp"]).edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] == "/tmp");
    });
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o710);
    fs::set_permissions(bundle.rootfs("tmp"), mode).unwrap();
    for nth in 1..=3 {
        let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
        let mut strace = kase.program("strace");
        strace.args(["-f", "-qq", "-o", "strace", "-e", &format!("inject=openat2:error=EIO:when={nth}")]);
        strace.arg(run.get_program()).args(run.get_args());
        let outcome = kase.finish(strace);
        outcome.fails(&["(os error 5)"]);
    }
}

fn a_tmpfs_whose_mount_point_is_missing_is_everybodys(kase: &Kase) {
    let bundle = kase.bundle().mount(tmpfs("/new", &[]));
    assert_eq!(value(&kase.sees(bundle, ["stat", "/new"]), "mode"), "1777");
}

fn a_tmpfs_copies_what_it_covers_when_asked(kase: &Kase) {
    let bundle = kase.bundle().file("etc/name", "kase").directory("etc/more").link("etc/same", "name");
    let bundle = bundle.mount(tmpfs("/etc", &["tmpcopyup"]));
    let seen = kase.sees(bundle, ["list", "/etc", "--", "read", "/etc/same", "--", "write", "/etc/new", "x"]);
    assert_eq!(seen, "more\nname\nsame\nkase\nok\n");
}

fn a_tmpfs_copies_set_user_id_bits_too(kase: &Kase) {
    let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
    let bundle = kase.bundle().file("etc/su", "").directory("etc/shared");
    fs::set_permissions(bundle.rootfs("etc/su"), mode(0o6755)).unwrap();
    fs::set_permissions(bundle.rootfs("etc/shared"), mode(0o3775)).unwrap();
    let bundle = bundle.mount(tmpfs("/etc", &["tmpcopyup"]));
    let seen = kase.sees(bundle, ["stat", "/etc/su", "--", "stat", "/etc/shared"]);
    let modes: Vec<_> = seen.lines().map(|line| value(line, "mode")).collect();
    assert_eq!(modes, ["6755", "3775"]);
}

fn a_directory_is_bound(kase: &Kase) {
    let source = kase.directory("source");
    kase.file("source/file", "from outside");
    let bundle = kase.bundle().mount(bind(&source, "/mnt/made", &["bind"])).writable();
    let seen = kase.sees(bundle, ["read", "/mnt/made/file", "--", "write", "/mnt/made/new", "from inside"]);
    assert_eq!(seen, "from outside\nok\n");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "from inside");
}

fn a_file_is_bound(kase: &Kase) {
    let source = kase.file("hosts", "127.0.0.1 localhost\n");
    let bundle = kase.bundle().mount(bind(&source, "/etc/hosts", &["bind"])).writable();
    assert_eq!(kase.sees(bundle, ["read", "/etc/hosts"]), "127.0.0.1 localhost\n");
}

fn a_read_only_bind_cannot_be_written(kase: &Kase) {
    let source = kase.directory("source");
    for options in [&["bind", "ro"][..], &["rbind", "ro"], &["bind", "rro"]] {
        let bundle = kase.bundle().mount(bind(&source, "/mnt", options));
        assert_eq!(kase.sees(bundle, ["write", "/mnt/new", "x"]), "EROFS\n", "{options:?}");
    }
}

fn a_bind_source_is_relative_to_the_bundle(kase: &Kase) {
    let bundle = kase.bundle().mount(bind("data".as_ref(), "/mnt", &["bind"]));
    fs::create_dir(bundle.path("data")).unwrap();
    fs::write(bundle.path("data/file"), "beside the config").unwrap();
    assert_eq!(kase.sees(bundle, ["read", "/mnt/file"]), "beside the config\n");
}

fn a_bind_source_in_the_rootfs_is_what_earlier_mounts_have_made(kase: &Kase) {
    let source = kase.directory("source/deep");
    kase.file("source/deep/file", "bound");
    let bundle = kase.bundle().mount(bind(source.parent().unwrap(), "/mnt", &["bind"]));
    let inside = bundle.rootfs("mnt/deep");
    let bundle = bundle.mount(bind(&inside, "/tmp", &["bind"]));
    assert_eq!(kase.sees(bundle, ["read", "/tmp/file"]), "bound\n");
}

/// /dev of the host, which has mounts below it on every host.
fn host_dev(kase: &Kase, options: &[&str]) -> Bundle {
    kase.bundle().mount(bind("/dev".as_ref(), "/mnt", options))
}

fn a_recursive_bind_brings_the_mounts_below(kase: &Kase) {
    assert_ne!(kase.sees(host_dev(kase, &["rbind"]), ["mount", "/mnt/pts"]), "none\n");
}

fn recursive_attributes_reach_the_mounts_below(kase: &Kase) {
    let seen = kase.sees(host_dev(kase, &["rbind", "rro", "rnoexec"]), ["mount", "/mnt/pts"]);
    assert!(has(value(&seen, "options"), "ro"), "{seen}");
    assert!(has(value(&seen, "options"), "noexec"), "{seen}");
    // `ro` alone is for the mount itself.
    let seen = kase.sees(host_dev(kase, &["rbind", "ro"]), ["mount", "/mnt/pts", "--", "mount", "/mnt"]);
    let (below, itself) = seen.split_once('\n').unwrap();
    assert!(has(value(below, "options"), "rw") && has(value(itself, "options"), "ro"), "{seen}");
}

fn each_recursive_attribute_is_set(kase: &Kase) {
    // How access times are kept is locked in a user namespace.
    let attributes: &[&str] = if kase.is_root() { &["rnodiratime", "rnoatime"] } else { &[] };
    let attributes = ["rnosuid", "rnodev", "rnoexec", "rnosymfollow"].iter().chain(attributes);
    for attribute in attributes {
        let seen =
            kase.sees(host_dev(kase, &["rbind", *attribute]), ["mount", "/mnt", "--", "mount", "/mnt/shm"]);
        for line in seen.lines().filter(|line| *line != "none") {
            assert!(has(value(line, "options"), &attribute[1..]), "{attribute}: {line}");
        }
    }
}

fn a_later_mount_covers_an_earlier_one(kase: &Kase) {
    let source = kase.directory("source");
    kase.file("source/file", "bound");
    let bundle = kase.bundle().mount(tmpfs("/mnt", &[])).mount(bind(&source, "/mnt/inner", &["bind"]));
    assert_eq!(kase.sees(bundle, ["list", "/mnt", "--", "read", "/mnt/inner/file"]), "inner\nbound\n");
}

fn a_mount_has_the_propagation_of_its_options(kase: &Kase) {
    for (option, expected) in [("shared", "shared:"), ("private", "private"), ("unbindable", "unbindable")] {
        let bundle = kase.bundle().mount(tmpfs("/mnt", &[option]));
        let seen = kase.sees(bundle, ["mount", "/mnt"]);
        assert!(value(&seen, "propagation").starts_with(expected), "{option}: {seen}");
    }
}

fn a_relative_destination_lies_below_the_root(kase: &Kase) {
    let seen = kase.sees(kase.bundle().mount(tmpfs("mnt", &[])), ["mount", "/mnt"]);
    assert_eq!(value(&seen, "type"), "tmpfs");
}

fn the_cgroup_mount_is_read_only(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }));
    let seen = kase.sees(
        bundle,
        ["mount", "/sys/fs/cgroup", "--", "mkdir", "/sys/fs/cgroup/new", "--", "list", "/sys/fs/cgroup"],
    );
    let lines: Vec<&str> = seen.lines().collect();
    assert!(has(value(lines[0], "options"), "ro"), "{seen}");
    assert!(lines[1] != "ok" && lines.len() > 2, "{seen}");
}

fn terminals_are_the_containers_own(kase: &Kase) {
    let seen = kase.sees(kase.bundle(), ["list", "/dev/pts", "--", "readlink", "/dev/ptmx"]);
    assert_eq!(seen, "ptmx\npts/ptmx\n");
}

fn access_times_of_an_own_mount_are_kept_as_asked_for(kase: &Kase) {
    let inside = kase.bundle();
    let source = inside.rootfs("mnt");
    let bundle = inside.directory("copy").mount(tmpfs("/mnt", &["relatime"]));
    let seen = kase.sees(bundle.mount(bind(&source, "/copy", &["bind", "noatime"])), ["mount", "/copy"]);
    assert!(has(value(&seen, "options"), "noatime"), "{seen}");
}

fn an_idmapped_bind_shows_other_owners(kase: &Kase) {
    let source = kase.directory("source");
    kase.file("source/file", "of root");
    let bundle = kase.bundle().edit(|spec| {
        let mapping = json!([{"containerID": 0, "hostID": 4242, "size": 1}]);
        spec["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/mnt", "type": "bind", "source": source, "options": ["bind"],
            "uidMappings": mapping, "gidMappings": mapping,
        }));
    });
    assert_eq!(value(&kase.sees(bundle, ["stat", "/mnt/file"]), "owner"), "4242:4242");
}

fn idmap_takes_the_maps_of_a_user_namespace_that_is_joined(kase: &Kase) {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    let owner = kase.bundle().args(["/probe", "sleep"]).namespace(json!({"type": "user"})).edit(|spec| {
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    });
    let owner = kase.run_detached(&owner);
    let source = kase.directory("source");
    kase.file("source/file", "of root");
    let path = format!("/proc/{}/ns/user", owner.pid());
    let bundle = kase.bundle().namespace(json!({"type": "user", "path": path}));
    let bundle = bundle.mount(bind(&source, "/mnt", &["bind", "idmap"]));
    assert_eq!(value(&kase.sees(bundle, ["stat", "/mnt/file"]), "owner"), "0:0");
}

fn what_an_earlier_mount_has_made_can_be_shown_with_other_owners(kase: &Kase) {
    let source = kase.directory("source");
    kase.file("source/file", "of root");
    let maps = |outside: u32| json!([{"containerID": 0, "hostID": outside, "size": 1000}]);
    let run = |bundle: Bundle, inside: u32| {
        // With the cgroup mount, whose turn comes at a point of its own in the conversation with init.
        let cgroup =
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]});
        let covered = bundle.rootfs("mnt");
        let bundle = bundle.directory("final").mount(bind(&source, "/mnt", &["bind"])).mount(cgroup);
        let mut shown = bind(&covered, "/final", &["rbind"]);
        (shown["uidMappings"], shown["gidMappings"]) = (maps(inside), maps(inside));
        let seen = kase.sees(bundle.mount(shown), ["stat", "/mnt/file", "--", "stat", "/final/file"]);
        let owners: Vec<_> = seen.lines().map(|line| value(line, "owner").to_owned()).collect();
        (owners[0].clone(), owners[1].clone())
    };
    assert_eq!(run(kase.bundle(), 4242), ("0:0".into(), "4242:4242".into()));
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (maps(100_000), maps(100_000));
    });
    assert_eq!(run(bundle, 100_000), ("65534:65534".into(), "0:0".into()));
}

/// Its mounts would be the host's: they would outlive it, and `rm -r` of the bundle would go through them.
fn without_a_mount_namespace_nothing_is_mounted(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("mount").edit(|spec| {
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    });
    let outcome = kase.run(&bundle);
    outcome.refused(&["linux.namespaces", "no mount namespace of its own"]);
    assert!(outcome.help().contains(r#"add {"type": "mount"}"#), "{outcome}");
    assert_nothing_is_mounted(&bundle);
}

fn the_callers_mount_namespace_is_not_joined(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("mount");
    let bundle = bundle.namespace(json!({"type": "mount", "path": "/proc/self/ns/mnt"}));
    // What is mounted or made the root in spite of that is not the machine's.
    let mut unshare = kase.program("unshare");
    let run = kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    unshare.args(["--mount", "--propagation", "private"]).arg(run.get_program()).args(run.get_args());
    kase.finish(unshare).refused(&["linux.namespaces[", ".path", "the mount namespace that kase runs in"]);
}

fn assert_nothing_is_mounted(bundle: &Bundle) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(bundle.dir().to_str().unwrap()), "{mounts}");
}

/// Whoever has something mounted over a part of /sys gets no new one in a user namespace.
fn the_hosts_sysfs_in_place_of_a_new_one_is_read_only_to_its_depth(kase: &Kase) {
    if !is_root() {
        skip!("needs root to cover something");
    }
    let host = Surroundings::mounts(kase, "mount -t tmpfs tmpfs /sys/kernel");
    let bundle = kase.bundle().args(["/probe", "mount", "/sys/kernel"]);
    let outcome = host.once(&kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()])));
    let seen = outcome.stdout();
    assert_eq!(value(seen, "type"), "tmpfs", "{outcome}");
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(has(value(seen, "options"), flag), "{flag}: {outcome}");
    }
}

fn sysfs_of_the_hosts_network_is_a_read_only_bind(kase: &Kase) {
    let seen = kase.sees(kase.bundle().without_namespace("network"), ["mount", "/sys", "--", "list", "/sys"]);
    assert_eq!(value(&seen, "type"), "sysfs");
    assert!(has(value(&seen, "options"), "ro"), "{seen}");
    assert!(seen.contains("kernel\n"), "{seen}");
}
