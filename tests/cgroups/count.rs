//! Many containers leave the counts of cgroups, units and mounts as they were.
//!
//! `KASE_CONTAINERS` is how many (50 if unset).

use super::MIB;
use crate::common::{Ground, json, words};
use std::fs;

in_settings! { each, none: many_containers_with_limits_leave_the_counts_as_they_were }

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    cgroups: usize,
    mounts: usize,
    units: usize,
}

fn counts(ground: &Ground) -> Counts {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let list = ["list-units", "--all", "--plain", "--no-legend", &format!("*{}*", ground.name())];
    let units = if ground.by_systemd() { ground.systemctl(&list).lines().count() } else { 0 };
    Counts {
        cgroups: ground.all().len(),
        mounts: mounts.lines().filter(|line| line.contains(ground.name())).count(),
        units,
    }
}

fn many_containers_with_limits_leave_the_counts_as_they_were(ground: &Ground) {
    let number: usize = std::env::var("KASE_CONTAINERS").map_or(50, |number| number.parse().unwrap());
    let mut limits = json!({});
    for (controller, section, value) in [
        ("memory", "memory", json!({"limit": 64 * MIB})),
        ("pids", "pids", json!({"limit": 20})),
        ("cpu", "cpu", json!({"shares": 512, "quota": 50_000, "period": 100_000})),
    ] {
        if ground.has(controller) {
            limits[section] = value;
        }
    }
    let bundle = ground.limited(&limits).mount(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", "nosuid"],
    }));
    let before = counts(ground);
    for _ in 0..number {
        let id = ground.id();
        ground.call(words(["run", "--detach", "-b"], bundle.dir(), [id.as_str()])).succeeded();
        ground.call(["delete", "--force", &id]).succeeded();
    }
    // A scope is gone a moment after its last process.
    crate::common::wait_until("the counts to be as before", || counts(ground) == before);
}
