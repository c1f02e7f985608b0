//! A container writes to cgroups that are not its own: it moves processes, takes limits away, or names a program as the
//! `release_agent`, which the host's root executes. It does so where it sees the host's cgroups for want of a cgroup
//! namespace (CVE-2023-25809), or where it may mount those of version 1 by itself (CVE-2022-0492).

use crate::common::{Bundle, Caller, Kase, Value, is_root, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

deeds! {
    without_a_cgroup_namespace_nothing_of_the_cgroups_can_be_written,
    a_user_namespace_of_its_own_gives_a_container_no_release_agent,
}
deeds! { root: a_writable_mount_of_its_own_cgroups_shows_no_release_agent }

const TOP: &str = "/sys/fs/cgroup";

/// A cgroup of the caller's own, as an engine or systemd gives one to a user.
struct Own(PathBuf);

impl Own {
    fn make(kase: &Kase) -> Option<Self> {
        let trees = ["unified", "", "pids"].map(|tree| Path::new(TOP).join(tree));
        let tree = trees.into_iter().find(|tree| tree.join("cgroup.procs").exists())?;
        let own = Self(tree.join(format!("{}-own", kase.name())));
        fs::create_dir(&own.0).ok()?;
        for name in ["", "cgroup.procs", "cgroup.subtree_control"] {
            let path = own.0.join(name);
            if path.exists() {
                kase.identity.own(&path);
            }
        }
        Some(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // A test that fails has said why already.
        let _ = fs::remove_dir(&self.0);
    }
}

fn entry(mode: &str) -> Value {
    json!({
        "destination": TOP, "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", mode],
    })
}

/// The attacker, with whatever capabilities there are.
fn attacks(bundle: Bundle) -> Bundle {
    let capabilities =
        ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_CHOWN"];
    bundle.args(["/probe", "try-cgroups", TOP]).edit(|spec| {
        for set in ["bounding", "permitted", "effective"] {
            spec["process"]["capabilities"][set] = json!(capabilities);
        }
    })
}

/// As `kase spec --rootless` has it: the host's /sys, with its cgroups, below the mount of the container's.
fn hosts_sys(options: &[&str]) -> Value {
    json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options})
}

fn with_sys(bundle: Bundle, sys: Value) -> Bundle {
    bundle.edit(|spec| {
        let mounts = spec["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/sys");
        mounts.push(sys);
    })
}

fn without_a_cgroup_namespace_nothing_of_the_cgroups_can_be_written(kase: &Kase) {
    let own = is_root().then(|| Own::make(kase)).flatten();
    let bundle = || attacks(kase.bundle().without_namespace("cgroup"));
    let sys = hosts_sys(&["rbind", "nosuid", "noexec", "nodev", "ro"]);
    for bundle in [bundle(), bundle().mount(entry("ro")), with_sys(bundle(), sys).mount(entry("ro"))] {
        assert_eq!(kase.run(&bundle).stdout(), "");
    }
    // Where the mount of the cgroups is left out, the caller's own can be written.
    let Some(own) = own else { skip!("needs root and cgroups, for the control") };
    let seen = kase.run(&with_sys(bundle(), hosts_sys(&["rbind"])));
    assert!(seen.stdout().contains(&format!("make {}\n", own.0.display())), "{seen}");
    assert!(seen.out.contains(&format!("write {}/cgroup.procs\n", own.0.display())), "{seen}");
}

/// The hierarchies of version 1: each has a file for the agent in its root alone.
fn agents() -> Vec<PathBuf> {
    let trees = fs::read_dir(TOP).into_iter().flatten().flatten();
    trees.map(|tree| tree.path().join("release_agent")).filter(|agent| agent.exists()).collect()
}

fn a_writable_mount_of_its_own_cgroups_shows_no_release_agent(kase: &Kase) {
    let agents = agents();
    if agents.is_empty() {
        skip!("needs cgroup v1");
    }
    let bundle = attacks(kase.bundle().mount(entry("rw")).namespace(json!({"type": "cgroup"})));
    let seen = kase.run(&bundle);
    assert!(seen.stdout().contains("notify_on_release"), "it has cgroups to write to: {seen}");
    assert!(!seen.out.contains("release_agent"), "{seen}");
    // The host's root may: nothing is written.
    let opened = agents.iter().filter(|agent| fs::OpenOptions::new().write(true).open(agent).is_ok()).count();
    assert_eq!(opened, agents.len());
}

fn a_user_namespace_of_its_own_gives_a_container_no_release_agent(kase: &Kase) {
    let agents = agents();
    if agents.is_empty() {
        skip!("needs cgroup v1");
    }
    for agent in &agents {
        let controller = agent.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let controller = if controller == "systemd" { "none,name=systemd" } else { controller };
        let bundle = kase.bundle().args(["/probe", "release-agent", controller, "/tmp"]);
        let seen = kase.run(&bundle);
        assert!(!seen.stdout().contains("written"), "{seen}");
    }
    if kase.caller != Caller::Root {
        return;
    }
    // The host's root may: what is written is what is there.
    let there = fs::read_to_string(&agents[0]).unwrap();
    let text = if there.is_empty() { "\n" } else { &there };
    fs::OpenOptions::new().write(true).open(&agents[0]).unwrap().write_all(text.as_bytes()).unwrap();
    assert_eq!(fs::read_to_string(&agents[0]).unwrap(), there);
}
