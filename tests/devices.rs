//! Device nodes beside what the configuration mounts there, and what an image has in their place. Those that are forged
//! by an attacker are in attacks/forge_devices.rs.

use crate::common::{Bundle, Kase, Surroundings, Value, has, json, value, words};
use std::fs;

deeds! {
    a_bind_onto_a_default_device_stays, a_bind_onto_a_listed_device_stays, what_the_image_has_is_no_mount,
    a_dev_that_is_a_symlink_is_named,
}
deeds! { root: rules_that_no_cgroup_holds_are_named }
deeds! { user: bound_nodes_are_nosuid_and_noexec, a_device_that_the_host_lacks_is_named }

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate"]})
}

/// The number of /dev/urandom.
const URANDOM: &str = "1:9";

fn a_bind_onto_a_default_device_stays(kase: &Kase) {
    for device in ["random", "zero", "full", "tty", "ptmx", "fd"] {
        let path = format!("/dev/{device}");
        let seen = kase.sees(kase.bundle().mount(bind("/dev/urandom", &path)), ["stat", &path]);
        assert_eq!(value(&seen, "rdev"), URANDOM, "{device}: {seen}");
    }
}

fn a_bind_onto_a_listed_device_stays(kase: &Kase) {
    let bundle = kase.bundle().mount(bind("/dev/urandom", "/dev/zero")).edit(|spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5}]);
    });
    assert_eq!(value(&kase.sees(bundle, ["stat", "/dev/zero"]), "rdev"), URANDOM);
}

/// A rootfs whose /dev is the image's own: nothing is mounted there.
fn bare_dev(kase: &Kase) -> Bundle {
    kase.bundle().edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    })
}

fn what_the_image_has_is_no_mount(kase: &Kase) {
    let bundle = bare_dev(kase).file("dev/zero", "not zero").link("dev/random", "/etc/passwd");
    let seen = kase.sees(bundle, ["stat", "/dev/zero", "--", "stat", "/dev/random"]);
    let numbers: Vec<_> = seen.lines().map(|line| value(line, "rdev")).collect();
    assert_eq!(numbers, ["1:5", "1:8"], "{seen}");
}

fn a_dev_that_is_a_symlink_is_named(kase: &Kase) {
    let bundle = kase.bundle().directory("elsewhere");
    fs::remove_dir(bundle.rootfs("dev")).unwrap();
    let bundle = bundle.link("dev", "/elsewhere");
    let outcome = kase.run(&bundle);
    outcome.refused(&["root.path: /dev in the rootfs is a symlink"]);
    assert!(outcome.help().starts_with("replace the symlink by a directory"), "{outcome}");
    fs::remove_file(bundle.rootfs("dev")).unwrap();
    kase.sees(bundle.directory("dev"), ["list", "/dev"]);
}

fn bound_nodes_are_nosuid_and_noexec(kase: &Kase) {
    for device in ["/dev/null", "/dev/tty"] {
        let seen = kase.sees(kase.bundle(), ["mount", device]);
        let options = value(&seen, "options");
        assert!(
            has(options, "nosuid") && has(options, "noexec") && !has(options, "nodev"),
            "{device}: {seen}"
        );
    }
}

fn a_device_that_the_host_lacks_is_named(kase: &Kase) {
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["devices"] = json!([{"path": "/dev/absent", "type": "c", "major": 1, "minor": 5}]);
    });
    kase.run(&bundle).refused(&["linux.devices[0]", "/dev/absent", "the host has none there"]);
}

fn rules_that_no_cgroup_holds_are_named(kase: &Kase) {
    let bundle = kase.bundle().args(["/probe", "true"]).edit(|spec| {
        spec["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
    });
    let run = || kase.command(words(["run", "-b"], bundle.dir(), [kase.id().as_str()]));
    let outcome = Surroundings::mounts(kase, "umount -R /sys/fs/cgroup").once(&run());
    outcome.succeeded();
    assert!(outcome.err.contains("linux.resources.devices: left out: without a cgroup"), "{outcome}");
    assert!(!kase.finish(run()).err.contains("linux.resources.devices"));
}
