//! Bad input: refused with one line that names the place in config.json, a remedy, and nothing left behind.

use crate::common::{Bundle, Kase, Outcome, Value, is_ours, json, words};
use std::fs;

deeds! {
    a_missing_config_is_refused,
    a_missing_bundle_is_refused,
    a_malformed_config_is_refused_with_line_and_column,
    a_config_of_the_wrong_types_is_refused,
    a_config_with_a_byte_order_mark_is_refused,
    a_config_with_a_second_document_is_refused,
    a_config_without_a_version_is_refused,
    a_missing_rootfs_is_refused,
    a_rootfs_that_is_a_file_is_refused,
    an_id_that_is_no_name_is_refused,
    a_user_outside_the_maps_is_refused,
    overlapping_maps_are_refused,
    maps_without_a_user_namespace_are_refused,
    a_bind_source_that_is_missing_is_refused,
    an_unknown_file_system_is_refused,
    a_namespace_path_that_is_missing_is_refused,
    a_namespace_path_of_another_type_is_refused,
    an_unknown_namespace_is_refused,
    a_namespace_named_twice_is_refused,
    a_hostname_without_its_namespace_is_refused,
    a_sysctl_without_its_namespace_is_refused,
    a_sysctl_that_is_the_hosts_is_refused,
    a_sysctl_of_a_joined_namespace_that_is_the_hosts_is_refused,
    time_offsets_without_a_time_namespace_are_refused,
    a_process_without_arguments_is_refused,
    a_relative_working_directory_is_refused,
    a_working_directory_that_is_a_file_is_refused,
    bad_rlimits_are_refused,
    an_unknown_propagation_is_refused,
    an_unknown_device_type_is_refused,
    a_pid_file_that_cannot_be_written_is_refused,
}
deeds! { root: a_chroot_without_proc_is_told }
deeds! { user: maps_beyond_the_ranges_are_refused, a_state_directory_of_another_user_is_refused }

/// `create` is refused with these words, and there is no container afterwards.
fn refused(kase: &Kase, bundle: &Bundle, expected: &[&str]) -> Outcome {
    let id = kase.id();
    let outcome = kase.call(words(["create", "-b"], bundle.dir(), [id.as_str()]));
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]);
    outcome.refused(expected);
    assert_ne!(state.code, 0, "state left behind: {state}");
    outcome
}

/// The default bundle with one change is refused.
fn refused_with(kase: &Kase, change: impl FnOnce(&mut Value), expected: &[&str]) {
    refused(kase, &kase.bundle().edit(change), expected);
}

/// jq finds nothing wrong with these two.
fn a_config_with_a_byte_order_mark_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let text = fs::read_to_string(bundle.path("config.json")).unwrap();
    let bundle = bundle.config(&format!("\u{feff}{text}"));
    let outcome = refused(kase, &bundle, &["config.json: the file begins with a byte order mark"]);
    let command = outcome.help().split_once(": ").unwrap().1;
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("{command} -i \"$1\""), "sh"])
        .arg(bundle.path("config.json"))
        .status();
    assert!(status.unwrap().success(), "{outcome}");
    kase.run(&bundle).succeeded();
}

fn a_config_with_a_second_document_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let text = fs::read_to_string(bundle.path("config.json")).unwrap();
    let bundle = bundle.config(&format!("{}\n{{}}\n", text.trim_end()));
    refused(kase, &bundle, &["config.json: there is more behind the end of the JSON, at line "]);
}

fn a_config_without_a_version_is_refused(kase: &Kase) {
    refused_with(
        kase,
        |spec| drop(spec.as_object_mut().unwrap().remove("ociVersion")),
        &["ociVersion: there is none"],
    );
}

fn a_missing_config_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    fs::remove_file(bundle.path("config.json")).unwrap();
    refused(kase, &bundle, &["config.json", "No such file"]);
}

fn a_missing_bundle_is_refused(kase: &Kase) {
    let missing = kase.path("no-such-bundle");
    kase.call(words(["create", "-b"], &missing, [kase.id().as_str()])).refused(&["no-such-bundle"]);
}

fn a_malformed_config_is_refused_with_line_and_column(kase: &Kase) {
    let bundle = kase.bundle().config("{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": }\n");
    refused(kase, &bundle, &["config.json", "line 3 column 14"]);
    refused(kase, &kase.bundle().config(""), &["config.json"]);
}

fn a_config_of_the_wrong_types_is_refused(kase: &Kase) {
    refused_with(kase, |spec| spec["process"]["args"] = json!("sh"), &["config.json", "line "]);
    refused_with(kase, |spec| spec["process"]["user"]["uid"] = json!(-1), &["config.json", "line "]);
}

fn a_missing_rootfs_is_refused(kase: &Kase) {
    refused_with(kase, |spec| spec["root"]["path"] = json!("no-such-root"), &["root.path", "no-such-root"]);
}

fn a_rootfs_that_is_a_file_is_refused(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["root"]["path"] = json!("rootfs/probe"));
    refused(kase, &bundle, &["root.path", "rootfs/probe"]);
}

fn an_id_that_is_no_name_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let long = "x".repeat(1025);
    for id in ["a/b", "../a", "..", ".", "", "a b", "a\nb", "ü", &long] {
        for verb in ["create", "run"] {
            let outcome = kase.call(words([verb, "-b"], bundle.dir(), [id]));
            outcome.refused(&["id"]);
        }
        assert_ne!(kase.call(["state", id]).code, 0);
        assert_ne!(kase.call(["delete", id]).code, 0);
    }
}

fn a_user_outside_the_maps_is_refused(kase: &Kase) {
    let mapped = || {
        kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
            spec["linux"]["uidMappings"] =
                json!([{"containerID": 0, "hostID": kase.identity.uid, "size": 1}]);
            spec["linux"]["gidMappings"] =
                json!([{"containerID": 0, "hostID": kase.identity.gid, "size": 1}]);
        })
    };
    let user = |user: Value| mapped().edit(|spec| spec["process"]["user"] = user);
    refused(kase, &user(json!({"uid": 33, "gid": 0})), &["process.user.uid", "33"]);
    refused(kase, &user(json!({"uid": 0, "gid": 33})), &["process.user.gid", "33"]);
    let groups = json!({"uid": 0, "gid": 0, "additionalGids": [33]});
    refused(kase, &user(groups), &["process.user.additionalGids", "33"]);
}

fn overlapping_maps_are_refused(kase: &Kase) {
    let (uid, gid) = (kase.identity.uid, kase.identity.gid);
    let bundle = |second: Value| {
        kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
            spec["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}, second]);
            spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
        })
    };
    refused(
        kase,
        &bundle(json!({"containerID": 0, "hostID": 1_000_005, "size": 5})),
        &["linux.uidMappings[1]"],
    );
    refused(kase, &bundle(json!({"containerID": 5, "hostID": uid, "size": 5})), &["linux.uidMappings[1]"]);
    refused(
        kase,
        &bundle(json!({"containerID": 5, "hostID": 4_294_967_290_u32, "size": 100})),
        &["linux.uidMappings[1]"],
    );
    refused(
        kase,
        &bundle(json!({"containerID": 5, "hostID": 1_000_005, "size": 0})),
        &["linux.uidMappings[1]"],
    );
}

fn maps_without_a_user_namespace_are_refused(kase: &Kase) {
    if !is_ours() {
        skip!("other runtimes ignore them");
    }
    if !kase.is_root() {
        skip!("an ordinary user always gets a user namespace");
    }
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    refused_with(kase, |spec| spec["linux"]["uidMappings"] = mapping, &["linux.uidMappings"]);
}

fn maps_beyond_the_ranges_are_refused(kase: &Kase) {
    let (uid, gid) = (kase.identity.uid, kase.identity.gid);
    let bundle = kase.bundle().namespace(json!({"type": "user"})).edit(|spec| {
        // Root's own id is nobody's to map.
        spec["linux"]["uidMappings"] =
            json!([{"containerID": 0, "hostID": uid, "size": 1}, {"containerID": 1, "hostID": 0, "size": 1}]);
        spec["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    });
    refused(kase, &bundle, &["linux.uidMappings[1]"]);
}

fn a_state_directory_of_another_user_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let mut command = kase.program(&crate::common::program());
    command.args(["--root", "/usr", "create", "-b"]).arg(bundle.dir()).arg(kase.id());
    kase.finish(command).refused(&["/usr"]);
}

fn a_bind_source_that_is_missing_is_refused(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({
        "destination": "/mnt", "type": "bind", "source": "/no/such/source", "options": ["bind"],
    }));
    refused(kase, &bundle, &[&bundle.last_mount(), "/no/such/source", "No such file"]);
}

fn an_unknown_file_system_is_refused(kase: &Kase) {
    let bundle = kase.bundle().mount(json!({"destination": "/mnt", "type": "papyrus", "source": "papyrus"}));
    refused(kase, &bundle, &[&bundle.last_mount(), "papyrus"]);
}

/// The place of the last namespace of the default config.
const LAST_NAMESPACE: &str = "linux.namespaces[4]";

fn a_namespace_path_that_is_missing_is_refused(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "ipc", "path": "/proc/self/ns/no-such"}));
    refused(kase, &bundle, &[LAST_NAMESPACE, "/proc/self/ns/no-such"]);
    let bundle = kase.bundle().namespace(json!({"type": "ipc", "path": "proc/self/ns/ipc"}));
    refused(kase, &bundle, &[LAST_NAMESPACE]);
}

fn a_namespace_path_of_another_type_is_refused(kase: &Kase) {
    let bundle = kase.bundle().namespace(json!({"type": "ipc", "path": "/proc/self/ns/uts"}));
    refused(kase, &bundle, &[LAST_NAMESPACE, "/proc/self/ns/uts: it is of another kind"]);
    let bundle = kase.bundle().namespace(json!({"type": "ipc", "path": "/dev/null"}));
    refused(kase, &bundle, &[LAST_NAMESPACE, "/dev/null: it is of another kind"]);
}

fn an_unknown_namespace_is_refused(kase: &Kase) {
    refused(kase, &kase.bundle().namespace(json!({"type": "astral"})), &["astral"]);
}

fn a_namespace_named_twice_is_refused(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "uts"}));
    });
    refused(kase, &bundle, &["linux.namespaces[5]", "uts"]);
}

fn a_hostname_without_its_namespace_is_refused(kase: &Kase) {
    refused(kase, &kase.bundle().without_namespace("uts"), &["hostname"]);
}

fn a_sysctl_without_its_namespace_is_refused(kase: &Kase) {
    let bundle = kase.bundle().without_namespace("network");
    let bundle = bundle.edit(|spec| spec["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"}));
    refused(kase, &bundle, &["linux.sysctl", "net.ipv4.ip_forward"]);
}

fn a_sysctl_that_is_the_hosts_is_refused(kase: &Kase) {
    let sysctl = json!({"vm.swappiness": "1"});
    refused_with(kase, |spec| spec["linux"]["sysctl"] = sysctl, &["linux.sysctl", "vm.swappiness"]);
}

fn a_sysctl_of_a_joined_namespace_that_is_the_hosts_is_refused(kase: &Kase) {
    for (kind, name) in [("net", "net.ipv4.tcp_keepalive_time"), ("ipc", "kernel.shmmni")] {
        // Writing what is there would change nothing.
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
        let path = format!("/proc/self/ns/{kind}");
        let word = if kind == "net" { "network" } else { kind };
        let bundle = kase.bundle().namespace(json!({"type": word, "path": path}));
        let bundle = bundle.edit(|spec| spec["linux"]["sysctl"] = json!({name: value.trim()}));
        refused(kase, &bundle, &["linux.sysctl", name, &path]);
    }
}

fn time_offsets_without_a_time_namespace_are_refused(kase: &Kase) {
    let offsets = json!({"monotonic": {"secs": 1}});
    refused_with(kase, |spec| spec["linux"]["timeOffsets"] = offsets, &["linux.timeOffsets"]);
}

fn a_process_without_arguments_is_refused(kase: &Kase) {
    refused_with(kase, |spec| spec["process"]["args"] = json!([]), &["process.args"]);
    let bundle = kase.bundle().edit(|spec| drop(spec.as_object_mut().unwrap().remove("process")));
    kase.run(&bundle).refused(&["process"]);
}

fn a_relative_working_directory_is_refused(kase: &Kase) {
    refused_with(kase, |spec| spec["process"]["cwd"] = json!("tmp"), &["process.cwd"]);
    refused_with(kase, |spec| spec["process"]["cwd"] = json!(""), &["process.cwd"]);
}

fn a_working_directory_that_is_a_file_is_refused(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| spec["process"]["cwd"] = json!("/probe"));
    kase.run(&bundle).fails(&["process.cwd", "/probe", "Not a directory"]);
}

fn bad_rlimits_are_refused(kase: &Kase) {
    let limits = |limits: Value| kase.bundle().edit(|spec| spec["process"]["rlimits"] = limits);
    let unknown = limits(json!([{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}]));
    refused(kase, &unknown, &["RLIMIT_FUN"]);
    let upside_down = limits(json!([{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]));
    refused(kase, &upside_down, &["process.rlimits[0]"]);
}

fn an_unknown_propagation_is_refused(kase: &Kase) {
    refused_with(
        kase,
        |spec| spec["linux"]["rootfsPropagation"] = json!("loud"),
        &["linux.rootfsPropagation", "loud"],
    );
}

fn an_unknown_device_type_is_refused(kase: &Kase) {
    let device = json!([{"path": "/dev/odd", "type": "x", "major": 1, "minor": 3}]);
    refused_with(kase, |spec| spec["linux"]["devices"] = device, &["x"]);
}

fn a_pid_file_that_cannot_be_written_is_refused(kase: &Kase) {
    let bundle = kase.bundle();
    let id = kase.id();
    let outcome =
        kase.call(words(["create", "--pid-file", "no/such/dir/pid", "-b"], bundle.dir(), [id.as_str()]));
    let state = kase.call(["state", &id]);
    kase.call(["delete", "--force", &id]);
    outcome.refused(&["no/such/dir/pid"]);
    assert_ne!(state.code, 0, "{state}");
}

/// And one that has it, but whose root is no mount.
fn a_chroot_without_proc_is_told(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "hostname"]);
    fs::copy(crate::common::program(), kase.path("kase")).unwrap();
    fs::create_dir(kase.path("proc")).unwrap();
    let name = bundle.dir().file_name().unwrap().to_str().unwrap();
    let after = |before: &str| {
        let mut unshare = kase.program("unshare");
        let script = format!("{before}; exec chroot \"$1\" /kase --root /state run -b /{name} {}", kase.id());
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(kase.path(""));
        kase.finish(unshare)
    };
    let outcome = after("true");
    outcome.refused(&["copy /proc/self/exe", "No such file or directory"]);
    assert_eq!(outcome.help(), "mount /proc: mount -t proc proc /proc");
    let proc = "mount -t proc proc \"$1/proc\"";
    let outcome = after(proc);
    outcome.refused(&["/ is no mount point here, as in a chroot"]);
    assert!(
        outcome.help().starts_with("make it one before it is entered: mount --rbind DIR DIR"),
        "{outcome}"
    );
    assert_eq!(after(&format!("mount --rbind \"$1\" \"$1\"; {proc}")).stdout(), "kase\n");
}
