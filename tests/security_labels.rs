//! AppArmor's profile, SELinux's labels, and resctrl's groups: set where the kernel has them, refused elsewhere.

use crate::common::{Kase, is_ours, json};
use std::fs;
use std::path::Path;

deeds! {
    a_profile_is_entered,
    a_profile_that_is_not_loaded_is_refused,
    a_profile_without_apparmor_is_left_out_with_a_warning,
    a_label_without_selinux_is_refused,
    a_mount_label_without_selinux_is_a_warning,
    a_process_label_is_entered,
    a_mount_label_is_on_new_file_systems,
    an_unknown_mount_context_type_is_refused,
    a_label_that_is_none_is_refused,
    resctrl_that_is_not_there_is_refused,
}
deeds! { root: a_container_has_its_share_of_resctrl }

fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn mounted_resctrl() -> bool {
    fs::read_to_string("/proc/mounts").unwrap().lines().any(|line| line.split(' ').nth(2) == Some("resctrl"))
}

fn a_profile_is_entered(kase: &Kase) {
    if !apparmor() {
        skip!("AppArmor is not enabled in this kernel");
    }
    // `unconfined` is there without any profile loaded.
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("unconfined"));
    let seen = kase.sees(bundle, ["read", "/proc/self/attr/current"]);
    assert!(seen.starts_with("unconfined"), "{seen}");
    let profiles = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    let profile = ["docker-default", "kase-test"].into_iter().find(|name| profiles.contains(name));
    let Some(profile) = profile else { skip!("neither docker-default nor kase-test is loaded") };
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!(profile));
    let seen = kase.sees(bundle, ["read", "/proc/self/attr/current"]);
    assert!(seen.starts_with(profile), "{seen}");
}

fn a_profile_that_is_not_loaded_is_refused(kase: &Kase) {
    if !apparmor() {
        skip!("AppArmor is not enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("no-such-profile"));
    kase.run(&bundle).refused(&["process.apparmorProfile", "no-such-profile"]);
}

fn a_profile_without_apparmor_is_left_out_with_a_warning(kase: &Kase) {
    if apparmor() {
        skip!("AppArmor is enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("docker-default"));
    let outcome = kase.run(&bundle);
    outcome.succeeded();
    assert!(outcome.err.contains("AppArmor is not enabled"), "{outcome}");
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!(""));
    kase.run(&bundle).succeeded();
}

const LABEL: &str = "system_u:object_r:container_file_t:s0:c715,c811";

fn a_label_without_selinux_is_refused(kase: &Kase) {
    if selinux() {
        skip!("SELinux is enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["process"]["selinuxLabel"] = json!(LABEL));
    kase.run(&bundle).refused(&["process.selinuxLabel", "selinux is disabled or not supported"]);
}

fn a_mount_label_without_selinux_is_a_warning(kase: &Kase) {
    if selinux() {
        skip!("SELinux is enabled in this kernel");
    }
    if !is_ours() {
        skip!("runc lets the kernel refuse the mounts");
    }
    let outcome = kase.run(&kase.bundle().edit(|spec| spec["linux"]["mountLabel"] = json!(LABEL)));
    outcome.succeeded();
    assert!(outcome.err.contains("linux.mountLabel"), "{outcome}");
}

fn a_process_label_is_entered(kase: &Kase) {
    if !selinux() {
        skip!("SELinux is not enabled in this kernel");
    }
    let label = "system_u:system_r:container_t:s0:c715,c811";
    let bundle = kase.bundle().edit(|spec| spec["process"]["selinuxLabel"] = json!(label));
    assert_eq!(kase.sees(bundle, ["read", "/proc/self/attr/current"]).trim_end_matches(['\0', '\n']), label);
}

fn a_mount_label_is_on_new_file_systems(kase: &Kase) {
    if !selinux() {
        skip!("SELinux is not enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["linux"]["mountLabel"] = json!(LABEL));
    let seen = kase.sees(bundle, ["mount", "/dev", "--", "mount", "/dev/shm", "--", "mount", "/proc/acpi"]);
    for line in seen.lines().filter(|line| line.starts_with("type=tmpfs")) {
        assert!(line.contains(&format!("context=\"{LABEL}\"")), "{line}");
    }
}

fn an_unknown_mount_context_type_is_refused(kase: &Kase) {
    if !is_ours() {
        skip!("the annotation is crun's");
    }
    let bundle = kase.bundle().edit(|spec| {
        spec["linux"]["mountLabel"] = json!(LABEL);
        spec["annotations"] = json!({"run.oci.mount_context_type": "pretext"});
    });
    kase.run(&bundle).refused(&["annotations[\"run.oci.mount_context_type\"]", "pretext"]);
}

fn a_label_that_is_none_is_refused(kase: &Kase) {
    for field in ["apparmorProfile", "selinuxLabel"] {
        let bundle = kase.bundle().edit(|spec| spec["process"][field] = json!("a\nb"));
        kase.run(&bundle).refused(&[&format!("process.{field}")]);
    }
    let bundle = kase.bundle().edit(|spec| spec["linux"]["mountLabel"] = json!("a\",exec,\""));
    kase.run(&bundle).refused(&["linux.mountLabel"]);
}

fn resctrl_that_is_not_there_is_refused(kase: &Kase) {
    if mounted_resctrl() {
        skip!("resctrl is mounted on this host");
    }
    let bundle = kase.bundle().edit(|spec| spec["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=f"}));
    kase.run(&bundle).refused(&["linux.intelRdt", "Intel RDT is not enabled"]);
}

fn a_container_has_its_share_of_resctrl(kase: &Kase) {
    if !mounted_resctrl() {
        skip!("no resctrl is mounted on this host");
    }
    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let container = kase.run_detached(&bundle.edit(|spec| spec["linux"]["intelRdt"] = json!({})));
    let group = Path::new("/sys/fs/resctrl").join(&container.id);
    assert!(fs::read_to_string(group.join("tasks")).unwrap().contains(&container.pid().to_string()));
    container.call("delete", ["--force"]).succeeded();
    assert!(!group.exists());
}
