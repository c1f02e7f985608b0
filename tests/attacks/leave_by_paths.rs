//! Paths and names of config.json, and symlinks of the image, that lead out of where they belong: of mounts and masks in
//! the rootfs, of cgroups, kernel parameters, classes of service, devices, and of an overlay's directory.

use crate::common::{Kase, Outcome, Value, cgroups_of, json};
use crate::overlay;
use std::fs;
use std::os::unix::fs::symlink;

deeds! {
    a_symlink_never_leads_a_mount_out_of_the_root,
    dots_never_lead_a_mount_out_of_the_root,
    a_masked_symlink_stays_inside,
    a_working_directory_stays_inside,
    a_cgroup_does_not_leave_its_tree,
    a_parameter_does_not_leave_its_namespace,
    a_class_of_service_does_not_leave_resctrl,
    a_device_does_not_leave_the_rootfs,
    the_layers_of_an_overlay_do_not_leave_its_directory,
    whoever_joins_such_names_to_a_directory_leaves_it,
}

/// Names that leave the directory that they are joined to; OUTSIDE is a directory of the test's.
const NAMES: [&str; 6] = ["..", "../x", "a/../../x", "./../x", "/OUTSIDE/x", "a/b/../../../x"];

fn names(kase: &Kase) -> Vec<String> {
    let outside = kase.directory("outside").display().to_string();
    NAMES.iter().map(|name| name.replace("/OUTSIDE", &outside)).collect()
}

fn assert_nothing_outside(kase: &Kase, outcome: &Outcome) {
    assert_eq!(fs::read_dir(kase.path("outside")).unwrap().count(), 0, "made outside: {outcome}");
}

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

/// Runs a mount whose destination tries to leave the root for `outside`, which must stay empty.
fn escape(kase: &Kase, link: &str, destination: &str) -> Outcome {
    let outside = kase.directory("outside");
    let target = link.replace("OUTSIDE", outside.to_str().unwrap());
    let bundle = kase.bundle().writable().link("escape", &target).mount(tmpfs(destination));
    let outcome = kase.run(&bundle.args(["/probe", "mounts"]));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "made outside");
    outcome
}

fn a_symlink_never_leads_a_mount_out_of_the_root(kase: &Kase) {
    let outside = kase.path("outside").display().to_string();
    let seen = escape(kase, "OUTSIDE", "/escape/inner");
    assert!(seen.stdout().contains(&format!(" {outside}/inner ")), "the link is followed inside: {seen}");
    escape(kase, "../../../../../../../..OUTSIDE", "/escape/other").succeeded();
    // A link that only procfs can follow may as well be refused.
    escape(kase, "/proc/1/rootOUTSIDE", "/escape/third");
}

fn dots_never_lead_a_mount_out_of_the_root(kase: &Kase) {
    let seen = escape(kase, "..", "/../../../../mnt/inner");
    assert!(seen.stdout().contains(" /mnt/inner "), "{seen}");
    let seen = escape(kase, "../../..", "/escape/escape/mnt/inner");
    assert!(seen.stdout().contains(" /mnt/inner "), "{seen}");
}

fn a_masked_symlink_stays_inside(kase: &Kase) {
    let outside = kase.file("secret", "of the host");
    let bundle = kase.bundle().link("etc/link", outside.to_str().unwrap());
    let bundle = bundle.edit(|spec| spec["linux"]["maskedPaths"] = json!(["/etc/link"]));
    kase.run(&bundle);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "of the host");
}

fn a_working_directory_stays_inside(kase: &Kase) {
    let outside = kase.directory("outside").display().to_string();
    for cwd in ["/../../../../mnt/new".to_owned(), "/link/new".into(), format!("/up{outside}/new")] {
        let bundle = kase.bundle().writable().link("link", &outside).link("up", "../../../../../../../..");
        let outcome =
            kase.run(&bundle.args(["/probe", "cwd"]).edit(|spec| spec["process"]["cwd"] = json!(cwd)));
        assert_nothing_outside(kase, &outcome);
        assert!(outcome.code != 0 || outcome.out.ends_with("/new\n"), "{outcome}");
    }
}

fn a_cgroup_does_not_leave_its_tree(kase: &Kase) {
    for path in ["/../../outside", "a/../../b", "..", "/a/..", "a/./../../b"] {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["cgroupsPath"] = json!(path));
        let outcome = kase.run(&bundle);
        outcome.refused(&["linux.cgroupsPath", path, ".."]);
        assert!(cgroups_of(kase).is_empty());
    }
}

fn a_parameter_does_not_leave_its_namespace(kase: &Kase) {
    for name in [
        "net/../kernel/core_pattern",
        "net/ipv4/../../vm/swappiness",
        "net.ipv4.//.kernel.core_pattern",
        "net//ipv4",
        "net/./ipv4/ip_forward",
        "/kernel/hostname",
        "../kernel/core_pattern",
        "fs/mqueue/../file-max",
        "kernel/shm_/../core_pattern",
        "kernel.core_pattern",
        "net/",
    ] {
        let bundle = kase.bundle().edit(|spec| spec["linux"]["sysctl"] = json!({name: "1"}));
        kase.run(&bundle).refused(&["linux.sysctl[", name]);
    }
}

fn a_class_of_service_does_not_leave_resctrl(kase: &Kase) {
    for name in names(kase).iter().map(String::as_str).chain([".", "info", "mon_groups", "a/b", "a\nb"]) {
        let bundle = kase.bundle().edit(|spec| {
            spec["linux"]["intelRdt"] = json!({"closID": name, "schemata": ["L3:0=f"]});
        });
        let outcome = kase.run(&bundle);
        outcome.refused(&["linux.intelRdt.closID", "is no name of a class of service"]);
        assert_nothing_outside(kase, &outcome);
    }
}

fn a_device_does_not_leave_the_rootfs(kase: &Kase) {
    let outside = kase.directory("outside").display().to_string();
    let up = "../".repeat(12);
    for path in ["../x", "/dev/../../x", "x", "/..", &format!("/{up}{outside}/x")] {
        let bundle = kase.bundle().edit(|spec| {
            spec["linux"]["devices"] = json!([{"path": path, "type": "p"}]);
        });
        let outcome = kase.run(&bundle);
        outcome.refused(&["linux.devices[0].path", "is not an absolute path"]);
        assert_nothing_outside(kase, &outcome);
    }
    // By a symlink of the image.
    for target in [outside.clone(), format!("{up}{outside}")] {
        let bundle = kase.bundle().writable().link("nodes", &target).edit(|spec| {
            spec["linux"]["devices"] = json!([{"path": "/nodes/x", "type": "p"}]);
        });
        let outcome = kase.run(&bundle);
        outcome.refused(&["linux.devices[0]", "/nodes in the rootfs is a symlink"]);
        assert_nothing_outside(kase, &outcome);
    }
}

fn the_layers_of_an_overlay_do_not_leave_its_directory(kase: &Kase) {
    let outside = kase.directory("outside");
    for (number, layer) in ["upper", "work", "container"].into_iter().enumerate() {
        let changes = kase.directory(&format!("changes-{number}"));
        fs::set_permissions(&changes, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let target = if layer == "container" { outside.join("x") } else { outside.clone() };
        symlink(target, changes.join(layer)).unwrap();
        kase.identity.own(&changes.join(layer));
        let outcome = kase.run_with(&overlay::bundle(kase), [&format!("--overlay={}", changes.display())]);
        outcome.refused(&[changes.to_str().unwrap()]);
        assert_nothing_outside(kase, &outcome);
    }
}

/// The control.
fn whoever_joins_such_names_to_a_directory_leaves_it(kase: &Kase) {
    let inside = kase.directory("within/inside");
    for (number, name) in names(kase).into_iter().enumerate() {
        let joined = inside.join(name.replace('x', &format!("x-{number}")));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir_all(&joined).unwrap();
        assert!(!joined.canonicalize().unwrap().starts_with(&inside), "{}", joined.display());
    }
}
