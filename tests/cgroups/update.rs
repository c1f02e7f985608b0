//! Limits that change while the container runs.

use super::effects::{has_swap, scheduler};
use super::limits::disk;
use super::{MIB, added, counts_swap};
use crate::common::{Container, Ground, Outcome, Value, json};
use std::fs::File;

in_settings! { each, memory:
    less_memory_ends_what_wants_more,
    resources_come_from_a_file,
    resources_come_from_standard_input,
    a_limit_below_use_is_refused_when_it_is_checked,
    swap_changes_with_memory,
}
in_settings! { each, pids: fewer_pids_stop_forks, a_pids_section_without_a_limit_changes_nothing }
in_settings! { each, cpu:
    a_quota_throttles_from_now_on,
    shares_change,
    what_is_not_mentioned_stays,
    a_quota_alone_is_one_of_the_period_before,
    a_period_is_set_without_a_quota,
    a_new_weight_ends_idle,
}
in_settings! { each, cpuset: processors_change }
in_settings! { each, freezer: a_paused_container_stays_paused }
in_settings! { each, io: a_disks_own_weight_stays_beside_the_general_one }
in_settings! { v1, memory: a_limit_below_use_is_the_kernels_to_refuse }
in_settings! { root, devices: devices_are_left_alone }
in_settings! { each, none: nothing_to_change_is_refused, a_stopped_container_is_refused }

/// `update` with this document.
fn update(ground: &Ground, container: &Container<'_>, resources: &Value) -> Outcome {
    ground.file("resources.json", &resources.to_string());
    ground.call(["update", "--resources", "resources.json", &container.id])
}

fn less_memory_ends_what_wants_more(ground: &Ground) {
    let container = ground.sleeper(&json!({"memory": {"limit": 256 * MIB}}));
    assert_eq!(added(&container, ["allocate", "64"]), "ok\n");
    match counts_swap(ground) {
        true => container.call("update", ["--memory", "32M", "--memory-swap", "32M"]).succeeded(),
        false => container.call("update", ["--memory", "32M"]).succeeded(),
    }
    assert_eq!(ground.call(["exec", &container.id, "/probe", "allocate", "64"]).code, 137);
    assert_eq!(added(&container, ["allocate", "8"]), "ok\n");
}

fn resources_come_from_a_file(ground: &Ground) {
    let container = ground.sleeper(&json!({"memory": {"limit": 256 * MIB}}));
    update(ground, &container, &json!({"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}})).succeeded();
    let read = |v1, v2| ground.read(&container, v1, v2);
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
    assert_eq!(read("memory.soft_limit_in_bytes", "memory.low"), (32 * MIB).to_string());
    ground.call(["update", "--resources", "no-such-file", &container.id]).refused(&["no-such-file"]);
    ground.file("resources.json", "{");
    let broken = ground.call(["update", "--resources", "resources.json", &container.id]);
    broken.refused(&["resources.json", "line 1"]);
}

fn resources_come_from_standard_input(ground: &Ground) {
    let container = ground.sleeper(&json!({"memory": {"limit": 256 * MIB}}));
    let file = ground.file("resources.json", &json!({"memory": {"limit": 64 * MIB}}).to_string());
    let mut command = ground.command(["update", "--resources", "-", &container.id]);
    command.stdin(File::open(file).unwrap());
    ground.finish(command).succeeded();
    assert_eq!(ground.read(&container, "memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
}

fn holder<'a>(ground: &'a Ground, resources: &Value) -> Container<'a> {
    let container = ground.run_detached(&ground.limited(resources).args(["/probe", "hold", "24"]));
    container.says("holding");
    container
}

fn a_limit_below_use_is_refused_when_it_is_checked(ground: &Ground) {
    let container = holder(ground, &json!({"memory": {"limit": 64 * MIB}}));
    let less = json!({"memory": {"limit": 8 * MIB, "checkBeforeUpdate": true}});
    update(ground, &container, &less).refused(&["linux.resources.memory.limit", "8388608", "usage"]);
    assert_eq!(ground.read(&container, "memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
    assert_eq!(container.status(), "running");
    let enough = json!({"memory": {"limit": 48 * MIB, "checkBeforeUpdate": true}});
    update(ground, &container, &enough).succeeded();
}

fn a_limit_below_use_is_the_kernels_to_refuse(ground: &Ground) {
    let limits = json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}});
    if !counts_swap(ground) {
        skip!("this kernel counts no swap");
    }
    let container = holder(ground, &limits);
    // Where there is swap, what is beyond the limit goes there, and it is the sum that cannot be kept.
    let (field, file) = match has_swap() {
        true => ("linux.resources.memory.swap", "memory.memsw.limit_in_bytes"),
        false => ("linux.resources.memory.limit", "memory.limit_in_bytes"),
    };
    let file = ground.limit(&container, file, "");
    let refused = container.call("update", ["--memory", "8M", "--memory-swap", "8M"]);
    let words = "unable to set memory limit to 8388608 (current usage: ";
    refused.refused(&[field, "8388608", &file.display().to_string(), words]);
    let used = refused.err.split(words).nth(1).and_then(|rest| rest.split(',').next()?.parse::<i64>().ok());
    assert!(used > Some(8 * MIB), "{refused}");
    assert_eq!(container.status(), "running");
}

fn swap_changes_with_memory(ground: &Ground) {
    if !counts_swap(ground) {
        skip!("this kernel counts no swap");
    }
    let container = ground.sleeper(&json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}));
    // Up and down, each of which has to be written before the other once.
    for (memory, swap) in [(128, 256), (32, 48)] {
        let (memory, swap) = (memory * MIB, swap * MIB);
        container
            .call("update", ["--memory", &memory.to_string(), "--memory-swap", &swap.to_string()])
            .succeeded();
        let expected = if ground.is_v1() { swap } else { swap - memory };
        let found = ground.read(&container, "memory.memsw.limit_in_bytes", "memory.swap.max");
        assert_eq!(found, expected.to_string());
    }
}

fn fewer_pids_stop_forks(ground: &Ground) {
    let container = ground.sleeper(&json!({"pids": {"limit": 20}}));
    assert_eq!(added(&container, ["forks", "5"]), "5\n");
    container.call("update", ["--pids-limit", "4"]).succeeded();
    // Beside the sleeper and itself.
    assert_eq!(added(&container, ["forks", "5"]), "2 EAGAIN\n");
    container.call("update", ["--pids-limit", "-1"]).succeeded();
    assert_eq!(added(&container, ["forks", "25"]), "25\n");
    container.call("update", ["--pids-limit", "0"]).succeeded();
    assert_eq!(ground.read(&container, "pids.max", "pids.max"), "1");
}

fn a_pids_section_without_a_limit_changes_nothing(ground: &Ground) {
    let container = ground.sleeper(&json!({"pids": {"limit": 20}}));
    update(ground, &container, &json!({"pids": {}})).succeeded();
    assert_eq!(ground.read(&container, "pids.max", "pids.max"), "20");
}

fn a_quota_throttles_from_now_on(ground: &Ground) {
    let container = ground.run_detached(&ground.limited(&json!({})).args(["/probe", "burn"]));
    container.call("update", ["--cpu-quota", "10000", "--cpu-period", "100000"]).succeeded();
    ground.counts(&container, ("cpu.stat", "cpu.stat"), "nr_throttled", 2);
    container.call("update", ["--cpu-quota", "-1"]).succeeded();
    let quota = ground.read(&container, "cpu.cfs_quota_us", "cpu.max");
    assert!(quota == "-1" || quota.starts_with("max "), "{quota}");
}

fn shares_change(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    container.call("update", ["--cpu-share", "512"]).succeeded();
    let weight = ground.read(&container, "cpu.shares", "cpu.weight");
    assert_eq!(weight, if ground.is_v1() { "512" } else { "59" });
}

fn what_is_not_mentioned_stays(ground: &Ground) {
    let container = ground.sleeper(&json!({"cpu": {"quota": 30_000, "period": 100_000, "shares": 512}}));
    container.call("update", ["--cpu-period", "50000"]).succeeded();
    let (quota, weight) = match ground.is_v1() {
        true => (ground.read(&container, "cpu.cfs_quota_us", ""), "512"),
        false => (ground.read(&container, "", "cpu.max"), "59"),
    };
    assert!(["30000", "30000 50000"].contains(&quota.as_str()), "{quota}");
    assert_eq!(ground.read(&container, "cpu.shares", "cpu.weight"), weight);
}

fn processors_change(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    container.call("update", ["--cpuset-cpus", "0"]).succeeded();
    assert_eq!(added(&container, ["affinity"]), "Cpus_allowed_list: 0\n");
    let absurd = container.call("update", ["--cpuset-cpus", "4000"]);
    absurd.refused(&["linux.resources.cpu.cpus", "4000", "cpuset.cpus"]);
}

fn a_paused_container_stays_paused(ground: &Ground) {
    if !ground.has("pids") {
        skip!("needs the pids controller");
    }
    let container = ground.sleeper(&json!({"pids": {"limit": 20}}));
    container.call("pause", []).succeeded();
    container.call("update", ["--pids-limit", "30"]).succeeded();
    assert_eq!(container.status(), "paused");
    assert_eq!(ground.read(&container, "pids.max", "pids.max"), "30");
}

fn devices_are_left_alone(ground: &Ground) {
    let container = ground.sleeper(&json!({"pids": {"limit": 20}}));
    update(ground, &container, &json!({"pids": {"limit": 30}})).succeeded();
    assert_eq!(added(&container, ["can", "append", "/dev/null"]), "ok\n");
    if ground.is_v1() {
        let listed = ground.read(&container, "devices.list", "");
        assert!(listed.contains("c 1:3 rwm") && !listed.contains("a *:*"), "{listed}");
    }
}

fn nothing_to_change_is_refused(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    container.call("update", []).refused(&["nothing is to be changed"]);
    for flags in [["--memory", "much"], ["--pids-limit", "x"], ["--cpu-period", "-1"]] {
        assert_ne!(container.call("update", flags).code, 0, "{flags:?}");
    }
}

fn a_stopped_container_is_refused(ground: &Ground) {
    let container = ground.run_detached(&ground.bundle());
    container.becomes("stopped");
    container.call("update", ["--pids-limit", "5"]).refused(&["container not running"]);
}

/// The kernel forgets it whenever the general one is written, which systemd does some time after an update, and again
/// whenever it reloads.
fn a_disks_own_weight_stays_beside_the_general_one(ground: &Ground) {
    let Some((major, minor)) = disk(ground.bundle().dir()) else {
        skip!("the temporary directory is on no disk")
    };
    if scheduler((major, minor)) != "bfq" {
        skip!("the temporary directory's disk has no scheduler with weights");
    }
    let weights = |all: u16, own: u16| {
        let own = json!([{"major": major, "minor": minor, "weight": own}]);
        json!({"blockIO": {"weight": all, "weightDevice": own}})
    };
    let container = ground.sleeper(&weights(300, 400));
    let is = |all: u16, own: u16| {
        let general = ground.read(&container, "blkio.bfq.weight", "io.bfq.weight");
        assert!(
            general.lines().any(|line| line.trim_start_matches("default ") == all.to_string()),
            "{general}"
        );
        let of_disk = ground.read(&container, "blkio.bfq.weight_device", "io.bfq.weight");
        assert!(of_disk.lines().any(|line| line == format!("{major}:{minor} {own}")), "{of_disk}");
    };
    is(300, 400);
    update(ground, &container, &weights(111, 222)).succeeded();
    reload(ground);
    is(111, 222);
}

/// Has systemd, if there is one, write all that it knows: until its second answer.
fn reload(ground: &Ground) {
    for words in ["daemon-reload", "list-jobs"].iter().filter(|_| ground.by_systemd()) {
        ground.systemctl(&[words]);
    }
}

fn a_quota_alone_is_one_of_the_period_before(ground: &Ground) {
    let container = ground.sleeper(&json!({"cpu": {"quota": 450_000, "period": 900_000}}));
    update(ground, &container, &json!({"cpu": {"quota": 600_000}})).succeeded();
    reload(ground);
    if ground.is_v1() {
        assert_eq!(ground.read(&container, "cpu.cfs_quota_us", ""), "600000");
        assert_eq!(ground.read(&container, "cpu.cfs_period_us", ""), "900000");
        return;
    }
    // systemd counts in whole percents.
    let expected = if ground.by_systemd() { "603000 900000" } else { "600000 900000" };
    assert_eq!(ground.read(&container, "", "cpu.max"), expected);
}

fn a_period_is_set_without_a_quota(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    update(ground, &container, &json!({"cpu": {"period": 50_000}})).succeeded();
    match ground.is_v1() {
        true => assert_eq!(ground.read(&container, "cpu.cfs_period_us", ""), "50000"),
        false => assert_eq!(ground.read(&container, "", "cpu.max"), "max 50000"),
    }
}

fn a_new_weight_ends_idle(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    // Since Linux 5.15.
    if !ground.limit(&container, "cpu.idle", "cpu.idle").exists() {
        skip!("this kernel has no cpu.idle");
    }
    let read = |v1, v2| ground.read(&container, v1, v2);
    let both = update(ground, &container, &json!({"cpu": {"idle": 1, "shares": 512}}));
    both.succeeded();
    assert!(both.err.contains("linux.resources.cpu.shares: left out, unable to apply both"), "{both}");
    reload(ground);
    assert_eq!(read("cpu.idle", "cpu.idle"), "1");
    update(ground, &container, &json!({"cpu": {"idle": 0}})).succeeded();
    reload(ground);
    assert_eq!(read("cpu.idle", "cpu.idle"), "0");
    update(ground, &container, &json!({"cpu": {"idle": 1}})).succeeded();
    update(ground, &container, &json!({"cpu": {"shares": 512}})).succeeded();
    reload(ground);
    assert_eq!(read("cpu.idle", "cpu.idle"), "0");
    assert_eq!(read("cpu.shares", "cpu.weight"), if ground.is_v1() { "512" } else { "59" });
}
