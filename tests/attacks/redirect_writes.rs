//! A container, or an image, lets what kase writes to /proc arrive elsewhere: kernel parameters, security labels, the
//! score of the kernel's killer (CVE-2025-52881). Its /proc is a forged one, with symlinks to what the attacker wants
//! written; kase's own writes have to take effect, or to be refused, and never to arrive there.

use super::attempts;
use crate::common::{Bundle, Container, Kase, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

deeds! {
    what_is_set_of_a_new_process_goes_to_no_forged_proc,
    what_is_set_of_an_added_process_goes_to_no_forged_proc,
    a_proc_that_is_swapped_leads_no_write_elsewhere,
    a_mount_namespace_with_a_forged_proc_is_not_trusted,
    whoever_writes_by_the_path_writes_where_the_forged_proc_leads,
}

const PARAMETER: &str = "net.ipv4.ip_default_ttl";
const FILE: &str = "sys/net/ipv4/ip_default_ttl";

/// Files that kase writes in /proc for what [`asks`] asks for.
const WRITTEN: [&str; 7] = [
    FILE,
    "self/oom_score_adj",
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "self/attr/keycreate",
    "thread-self/attr/exec",
    "self/timens_offsets",
];

/// A directory that looks like /proc: each file that kase writes is a symlink to `victim`, in the directory itself, so
/// that it leads there from everywhere.
fn forge(kase: &Kase) -> PathBuf {
    let forged = kase.directory("forged");
    kase.file("forged/victim", "untouched");
    for file in WRITTEN {
        kase.directory(&format!("forged/{}", Path::new(file).parent().unwrap().display()));
        let up = "../".repeat(file.matches('/').count());
        symlink(format!("{up}victim"), forged.join(file)).unwrap();
    }
    forged
}

fn assert_untouched(forged: &Path, what: &dyn std::fmt::Display) {
    assert_eq!(fs::read_to_string(forged.join("victim")).unwrap(), "untouched", "{what}");
}

/// A bundle whose /proc is the forged one from the beginning.
fn with_proc(bundle: Bundle, forged: &Path) -> Bundle {
    bundle.edit(|spec| {
        spec["mounts"][0] =
            json!({"destination": "/proc", "type": "bind", "source": forged, "options": ["rbind"]});
    })
}

/// More than any process has to begin with, so that anybody may set it.
const SCORE: &str = "777";

/// Asks for all that kase writes to /proc: the kernel has the label's file only with a security module.
fn asks(bundle: Bundle) -> Bundle {
    bundle.edit(|spec| {
        spec["linux"]["sysctl"] = json!({PARAMETER: "77"});
        spec["process"]["oomScoreAdj"] = json!(777);
        if has_apparmor() {
            spec["process"]["apparmorProfile"] = json!("unconfined");
        }
        spec["linux"]["maskedPaths"] = json!([]);
        spec["linux"]["readonlyPaths"] = json!([]);
    })
}

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// The parameter as a process has it, and its score: by the host's /proc.
fn really(kase: &Kase, pid: i32) -> (String, String) {
    let mut nsenter = kase.program("nsenter");
    nsenter.args(["--target", &pid.to_string(), "--net"]);
    if !kase.is_root() {
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    nsenter.args(["cat", &format!("/proc/{FILE}")]);
    let parameter = kase.finish(nsenter).stdout().trim().to_owned();
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    (parameter, score.trim().to_owned())
}

/// A bundle whose image has the forged one at /proc, where nothing is mounted.
fn image(kase: &Kase, forged: &Path) -> Bundle {
    let image = kase.bundle().edit(|spec| {
        spec["mounts"].as_array_mut().unwrap().remove(0);
    });
    let mut copy = kase.program("cp");
    copy.arg("-a").arg(forged.join(".")).arg(image.rootfs("proc/"));
    kase.finish(copy).succeeded();
    image
}

fn what_is_set_of_a_new_process_goes_to_no_forged_proc(kase: &Kase) {
    let forged = forge(kase);
    let image = image(kase, &forged);
    let victim = image.rootfs("proc/victim");
    for bundle in [with_proc(kase.bundle(), &forged), image] {
        let container = kase.run_detached(&asks(bundle).args(["/probe", "sleep"]));
        assert_untouched(&forged, &"a new process");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(really(kase, container.pid()), ("77".into(), SCORE.into()));
    }
}

/// The container has put the forged one over its own: nothing of it is trusted by what comes from outside.
fn forging<'a>(kase: &'a Kase, forged: &Path) -> Container<'a> {
    kase.run_detached(&with_proc(kase.bundle(), forged).args(["/probe", "sleep"]))
}

fn what_is_set_of_an_added_process_goes_to_no_forged_proc(kase: &Kase) {
    let forged = forge(kase);
    let container = forging(kase, &forged);
    let mut process = json!({
        "args": ["/probe", "sleep"], "cwd": "/", "env": [kase.marker()], "user": {"uid": 0, "gid": 0},
        "oomScoreAdj": 777,
    });
    if has_apparmor() {
        process["apparmorProfile"] = json!("unconfined");
    }
    let process = kase.file("process.json", &process.to_string());
    let pid_file = kase.path("pid");
    let words = ["--process", process.to_str().unwrap(), "--pid-file", pid_file.to_str().unwrap()];
    kase.call(["exec", "--detach"].iter().chain(&words).chain(&[container.id.as_str()])).succeeded();
    let pid: i32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    assert_untouched(&forged, &"an added process");
    assert_eq!(really(kase, pid).1, SCORE);
}

/// A sibling that may write to the whole rootfs lets the forged one and a symlink to another change places.
fn a_proc_that_is_swapped_leads_no_write_elsewhere(kase: &Kase) {
    let forged = forge(kase);
    let victim = asks(image(kase, &forged)).link("link", "/forged").args(["/probe", "sleep"]);
    let mut copy = kase.program("cp");
    copy.arg("-a").arg(&forged).arg(victim.rootfs(""));
    kase.finish(copy).succeeded();
    let share =
        json!({"destination": "/mnt", "type": "bind", "source": victim.rootfs(""), "options": ["rbind"]});
    let attacker = kase.bundle().mount(share).args(["/probe", "exchange", "/mnt/proc", "/mnt/link"]);
    let attacker = kase.run_detached(&attacker);
    attacker.says("exchanging");
    attempts(10, || {
        let container = kase.run_detached(&victim);
        assert_eq!(really(kase, container.pid()), ("77".into(), SCORE.into()));
        true
    });
    drop(attacker);
    let forgeries = ["proc", "link", "forged"].map(|name| victim.rootfs(name).join("victim"));
    assert!(forgeries.iter().all(|file| fs::read_to_string(file).is_ok_and(|text| text == "untouched")
        || fs::symlink_metadata(file.parent().unwrap()).is_ok_and(|data| data.is_symlink())));
}

/// A container that is to run in the mount namespace of another, which has forged its /proc.
fn a_mount_namespace_with_a_forged_proc_is_not_trusted(kase: &Kase) {
    let forged = forge(kase);
    let container = forging(kase, &forged);
    let join = |kind: &str, file: &str| json!({"type": kind, "path": format!("/proc/{}/ns/{file}", container.pid())});
    let mut bundle = asks(kase.bundle()).namespace(join("mount", "mnt"));
    if !kase.is_root() {
        bundle = bundle.namespace(join("user", "user"));
    }
    let outcome = kase.run(&bundle.args(["/probe", "true"]));
    assert_untouched(&forged, &outcome);
    outcome.refused(&["/proc"]);
}

/// The control.
fn whoever_writes_by_the_path_writes_where_the_forged_proc_leads(kase: &Kase) {
    let forged = forge(kase);
    let container = forging(kase, &forged);
    for file in WRITTEN {
        let path = format!("/proc/{file}");
        assert_eq!(container.call("exec", ["/probe", "write", &path, file]).stdout(), "ok\n");
        assert_eq!(fs::read_to_string(forged.join("victim")).unwrap(), file);
    }
}
