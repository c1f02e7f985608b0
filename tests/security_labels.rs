//! AppArmor's profile, SELinux's labels, and resctrl's groups: set where the kernel has them, refused elsewhere.

use crate::common::{Kase, is_ours, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

deeds! {
    a_profile_is_entered,
    a_profile_that_is_not_loaded_is_refused,
    a_label_without_selinux_is_refused,
    a_mount_label_without_selinux_is_a_warning,
    a_process_label_is_entered,
    a_mount_label_is_on_new_file_systems,
    an_unknown_mount_context_type_is_refused,
    a_label_that_is_none_is_refused,
    resctrl_that_is_not_there_is_refused,
}
deeds! { user: a_profile_without_apparmor_is_left_out_with_a_warning }
deeds! { root:
    a_container_has_its_share_of_resctrl,
    a_profile_of_the_runtime_lets_signals_through,
    a_signal_that_is_denied_leaves_kase_its_profile,
    a_profile_without_apparmor_is_refused,
    a_profile_without_apparmor_is_refused_of_an_added_process,
}

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

/// Profiles that were loaded, until this is dropped.
struct Loaded(PathBuf);

impl Drop for Loaded {
    fn drop(&mut self) {
        // Where it is not loaded any more there is nothing to do.
        let _ = Command::new("apparmor_parser").arg("-R").arg(&self.0).output();
    }
}

/// The engines' profiles, such as docker-default, have these rules: whoever is unconfined may send signals.
fn a_profile_of_the_runtime_lets_signals_through(kase: &Kase) {
    if !apparmor() {
        skip!("AppArmor is not enabled in this kernel");
    }
    if Command::new("aa-exec").arg("--help").output().is_err() {
        skip!("needs apparmor_parser and aa-exec: apt-get install apparmor");
    }
    if !is_ours() {
        skip!("the engines' profiles name runc's and crun's");
    }
    let (inner, outer) = (format!("{}-inner", kase.name()), format!("{}-outer", kase.name()));
    let profiles = format!(
        "profile {inner} flags=(attach_disconnected,mediate_deleted) {{
           file, network, capability, mount, umount,
           signal (receive) peer=unconfined, signal (send, receive) peer={inner},
         }}
         profile {outer} flags=(unconfined) {{ }}\n"
    );
    let loaded = Loaded(kase.file("profiles", &profiles));
    let parser = Command::new("apparmor_parser").arg("-r").arg(&loaded.0).output().unwrap();
    assert!(parser.status.success(), "{}", String::from_utf8_lossy(&parser.stderr));

    let bundle = kase.bundle().args(["/probe", "sleep"]);
    let bundle = bundle.edit(|spec| spec["process"]["apparmorProfile"] = json!(inner));
    let container = kase.run_detached(&bundle);
    assert!(container.proc("attr/current").starts_with(&inner));
    let under_the_outer = |command: &Command| {
        let mut whole = kase.program("aa-exec");
        whole.args(["-p", &outer, "--"]).arg(command.get_program()).args(command.get_args());
        kase.finish(whole)
    };
    let mut other = Command::new("kill");
    other.arg(container.pid().to_string());
    let killed = under_the_outer(&other);
    assert!(killed.code != 0 && killed.err.contains("Permission denied"), "{killed}");
    under_the_outer(&kase.command(["kill", &container.id, "KILL"])).succeeded();
    container.becomes("stopped");
}

/// strace denies the signal to kase, and a file is in the place of the kernel's, which only kase's own process has.
fn a_signal_that_is_denied_leaves_kase_its_profile(kase: &Kase) {
    if Command::new("strace").arg("--version").output().is_err() {
        skip!("needs strace");
    }
    if !Path::new("/proc/self/attr/current").exists() {
        skip!("this kernel has no security modules");
    }
    if !is_ours() {
        skip!("the engines' profiles name runc's and crun's");
    }
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let kill = kase.command(["kill", &container.id, "KILL"]);
    let told = kase.file("told", "");
    let script = format!(
        "mount -t tmpfs tmpfs /proc/$$/attr; mkdir /proc/$$/attr/apparmor
         touch /proc/$$/attr/apparmor/current; mount --bind {} /proc/$$/attr/apparmor/current
         exec strace -D -f -o /dev/null -e inject=pidfd_send_signal:error=EACCES -- \"$@\"",
        told.display()
    );
    let mut unshare = kase.program("unshare");
    unshare.args(["--mount", "sh", "-ec", &script, "sh"]).arg(kill.get_program()).args(kill.get_args());
    kase.finish(unshare).refused(&["signal container", "Permission denied"]);
    assert_eq!(fs::read_to_string(&told).unwrap(), "");
    assert_eq!(container.status(), "running");
}

#[test]
fn the_shipped_profile_is_understood_by_apparmor() {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("extras/kase.apparmor");
    // Its words, `userns` above all, are those of AppArmor 4.
    let Ok(version) = Command::new("apparmor_parser").arg("--version").output() else {
        skip!("needs apparmor_parser: apt-get install apparmor");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.contains("version 2.") || version.contains("version 3.") {
        skip!("the profile is for AppArmor 4");
    }
    let names = Command::new("apparmor_parser").arg("--names").arg(&profile).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&names.stdout), "kase\n", "{names:?}");
    let parser = Command::new("apparmor_parser").arg("-QK").arg(&profile).output().unwrap();
    assert!(parser.status.success(), "{parser:?}");
}

fn a_profile_without_apparmor_is_left_out_with_a_warning(kase: &Kase) {
    if apparmor() {
        skip!("AppArmor is enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("docker-default"));
    let outcome = kase.run(&bundle);
    outcome.succeeded();
    assert!(outcome.err.contains("AppArmor is not enabled"), "{outcome}");
    let container = kase.run_detached(&bundle.args(["/probe", "sleep"]));
    container.call("exec", ["/true"]).succeeded();
    let mut strict = kase.command(["--rootless=false", "run", "-b"]);
    strict.arg(kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("some")).dir());
    strict.arg(kase.id());
    kase.finish(strict).refused(&["process.apparmorProfile", "some", "not enabled"]);
}

/// As with runc. crun runs such a container, under no profile.
fn a_profile_without_apparmor_is_refused(kase: &Kase) {
    if apparmor() {
        skip!("AppArmor is enabled in this kernel");
    }
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!("docker-default"));
    kase.run(&bundle).refused(&["process.apparmorProfile", "docker-default", "not enabled"]);
    let bundle = kase.bundle().edit(|spec| spec["process"]["apparmorProfile"] = json!(""));
    kase.run(&bundle).succeeded();
}

fn a_profile_without_apparmor_is_refused_of_an_added_process(kase: &Kase) {
    if apparmor() {
        skip!("AppArmor is enabled in this kernel");
    }
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let words = ["exec", "--apparmor", "docker-default", &container.id, "/true"];
    let outcome = kase.call(words);
    assert_eq!(outcome.code, 255, "{outcome}");
    assert!(
        outcome.err.contains("process.apparmorProfile") && outcome.err.contains("not enabled"),
        "{outcome}"
    );
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
