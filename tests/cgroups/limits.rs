//! What is in `linux.resources` of config.json.

use super::{MIB, added, counts_swap};
use crate::common::{Bundle, Ground, Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

in_settings! { each, memory:
    a_memory_limit_ends_what_wants_more,
    what_is_copied_into_memory_counts,
    swap_is_counted_with_memory,
    a_reservation_is_kept,
    no_memory_limit_is_minus_1,
}
in_settings! { each, pids:
    a_pids_limit_stops_forks,
    a_pids_limit_of_0_leaves_the_first_process,
    a_pids_limit_of_minus_1_is_none,
    a_pids_section_without_a_limit_is_none,
}
in_settings! { each, cpu:
    a_quota_throttles,
    shares_are_a_weight,
    idle_is_set,
    a_burst_is_set,
}
in_settings! { each, cpuset: processors_and_memory_nodes_are_those_of_the_set }
in_settings! { v1, cpuset: an_empty_set_above_is_filled }
in_settings! { each, io: a_rate_slows_reads_down, a_weight_is_set }
in_settings! { each, hugetlb: huge_pages_are_limited }
in_settings! { v2, memory: files_are_set_by_their_names }
in_settings! { v1, net_cls: a_network_class_is_set }
in_settings! { v1, net_prio: a_network_priority_is_set }
in_settings! { v2, none: network_classes_are_left_out_with_a_warning }
in_settings! { root, devices: a_device_is_refused_unless_it_is_allowed }
in_settings! { each, none: zero_is_no_limit }

/// The exit code and the output of a probe under limits.
fn run<const N: usize>(ground: &Ground, resources: &Value, args: [&str; N]) -> (i32, String) {
    let args: Vec<&str> = ["/probe"].into_iter().chain(args).collect();
    let bundle = ground.limited(resources).edit(|spec| spec["process"]["args"] = json!(args));
    let outcome = ground.run(&bundle);
    (outcome.code, outcome.out)
}

fn a_memory_limit_ends_what_wants_more(ground: &Ground) {
    let mut memory = json!({"limit": 32 * MIB});
    if counts_swap(ground) {
        memory["swap"] = json!(32 * MIB);
    }
    let limit = json!({ "memory": memory });
    assert_eq!(run(ground, &limit, ["allocate", "8"]), (0, "ok\n".into()));
    assert_eq!(run(ground, &limit, ["allocate", "64"]), (137, String::new()));
}

/// An image says how much that is.
fn what_is_copied_into_memory_counts(ground: &Ground) {
    let mut memory = json!({"limit": 32 * MIB});
    if counts_swap(ground) {
        memory["swap"] = json!(32 * MIB);
    }
    let bundle = ground
        .limited(&json!({ "memory": memory }))
        .directory("data")
        .mount(json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    let file = |megabytes: i64| {
        fs::write(bundle.rootfs("data/file"), vec![1; usize::try_from(megabytes * MIB).unwrap()]).unwrap();
    };
    file(4);
    ground.run(&bundle).succeeded();
    file(64);
    let outcome = ground.run(&bundle);
    assert_ne!(outcome.code, 0, "{outcome}");
}

fn swap_is_counted_with_memory(ground: &Ground) {
    if !counts_swap(ground) {
        skip!("this kernel counts no swap");
    }
    let container = ground.sleeper(&json!({"memory": {"limit": 32 * MIB, "swap": 48 * MIB}}));
    let expected = if ground.is_v1() { 48 * MIB } else { 16 * MIB };
    let swap = ground.read(&container, "memory.memsw.limit_in_bytes", "memory.swap.max");
    assert_eq!(swap, expected.to_string());
    let memory = ground.read(&container, "memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, (32 * MIB).to_string());
}

fn a_reservation_is_kept(ground: &Ground) {
    let container = ground.sleeper(&json!({"memory": {"limit": 32 * MIB, "reservation": 16 * MIB}}));
    let kept = ground.read(&container, "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(kept, (16 * MIB).to_string());
}

fn no_memory_limit_is_minus_1(ground: &Ground) {
    let container = ground.sleeper(&json!({"memory": {"limit": -1}}));
    let limit = ground.read(&container, "memory.limit_in_bytes", "memory.max");
    assert!(limit == "max" || limit.parse::<i64>().unwrap() > 1 << 50, "{limit}");
}

fn a_pids_limit_stops_forks(ground: &Ground) {
    assert_eq!(run(ground, &json!({"pids": {"limit": 4}}), ["forks", "10"]).1, "3 EAGAIN\n");
}

fn a_pids_limit_of_0_leaves_the_first_process(ground: &Ground) {
    assert_eq!(run(ground, &json!({"pids": {"limit": 0}}), ["forks", "10"]).1, "0 EAGAIN\n");
}

fn a_pids_limit_of_minus_1_is_none(ground: &Ground) {
    let container = ground.sleeper(&json!({"pids": {"limit": -1}}));
    assert_eq!(ground.read(&container, "pids.max", "pids.max"), "max");
}

fn a_pids_section_without_a_limit_is_none(ground: &Ground) {
    assert_eq!(run(ground, &json!({"pids": {}}), ["forks", "10"]).1, "10\n");
}

fn a_quota_throttles(ground: &Ground) {
    let limits = json!({"cpu": {"quota": 10_000, "period": 100_000}});
    let container = ground.run_detached(&ground.limited(&limits).args(["/probe", "burn"]));
    ground.counts(&container, ("cpu.stat", "cpu.stat"), "nr_throttled", 2);
    if ground.is_v1() {
        assert_eq!(ground.read(&container, "cpu.cfs_quota_us", ""), "10000");
        assert_eq!(ground.read(&container, "cpu.cfs_period_us", ""), "100000");
    } else {
        assert_eq!(ground.read(&container, "", "cpu.max"), "10000 100000");
    }
}

fn shares_are_a_weight(ground: &Ground) {
    for (shares, weight) in [(512, "59"), (1024, "100"), (262_144, "10000")] {
        let container = ground.sleeper(&json!({"cpu": {"shares": shares}}));
        let expected = if ground.is_v1() { shares.to_string() } else { weight.to_string() };
        assert_eq!(ground.read(&container, "cpu.shares", "cpu.weight"), expected);
    }
}

fn idle_is_set(ground: &Ground) {
    // Since Linux 5.15.
    let plain = ground.sleeper(&json!({}));
    if !ground.limit(&plain, "cpu.idle", "cpu.idle").exists() {
        skip!("this kernel has no cpu.idle");
    }
    let container = ground.sleeper(&json!({"cpu": {"idle": 1, "shares": 512}}));
    assert_eq!(ground.read(&container, "cpu.idle", "cpu.idle"), "1");
}

fn a_burst_is_set(ground: &Ground) {
    let plain = ground.sleeper(&json!({}));
    if !ground.limit(&plain, "cpu.cfs_burst_us", "cpu.max.burst").exists() {
        skip!("this kernel has no burst");
    }
    let limits = json!({"cpu": {"quota": 20_000, "period": 100_000, "burst": 10_000}});
    let container = ground.sleeper(&limits);
    assert_eq!(ground.read(&container, "cpu.cfs_burst_us", "cpu.max.burst"), "10000");
}

fn processors_and_memory_nodes_are_those_of_the_set(ground: &Ground) {
    let limits = json!({"cpu": {"cpus": "0", "mems": "0"}});
    let seen = run(ground, &limits, ["affinity", "--", "status", "Mems_allowed_list"]).1;
    assert_eq!(seen, "Cpus_allowed_list: 0\nMems_allowed_list: 0\n");
    // An exec too, which starts in kase's own set.
    let container = ground.sleeper(&limits);
    assert_eq!(added(&container, ["affinity"]), "Cpus_allowed_list: 0\n");
}

fn an_empty_set_above_is_filled(ground: &Ground) {
    let above = format!("/sys/fs/cgroup/cpuset/{}-above", ground.name());
    fs::create_dir(&above).unwrap();
    let bundle = ground.bundle().edit(|spec| {
        spec["linux"]["cgroupsPath"] = json!(format!("/{}-above/c", ground.name()));
    });
    let outcome = ground.run(&bundle.args(["/probe", "affinity"]));
    // What kase made above in the other hierarchies goes too, though it may be shared.
    for cgroup in ground.all().into_iter().rev() {
        let _ = fs::remove_dir(cgroup);
    }
    assert!(outcome.stdout().contains("Cpus_allowed_list: 0"), "{outcome}");
}

/// The whole disk that a path lies on, as `MAJOR:MINOR`.
pub fn disk(path: &Path) -> Option<(u64, u64)> {
    let device = fs::metadata(path).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let entry = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let whole = if entry.join("partition").exists() { entry.parent()? } else { &entry };
    let text = fs::read_to_string(whole.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Sees to it that the file `data` is on its disk.
pub fn written(bundle: &Bundle) {
    fs::File::open(bundle.rootfs("data")).unwrap().sync_all().unwrap();
}

fn a_rate_slows_reads_down(ground: &Ground) {
    let bundle = ground.bundle().file("data", &"x".repeat(2 << 20));
    let Some((major, minor)) = disk(bundle.dir()) else { skip!("the temporary directory is on no disk") };
    let rate = json!([{"major": major, "minor": minor, "rate": MIB}]);
    let bundle = bundle
        .edit(|spec| spec["linux"]["resources"]["blockIO"] = json!({"throttleReadBpsDevice": rate}))
        .args(["/probe", "read-directly", "/data"]);
    written(&bundle);
    let milliseconds = ground.run(&bundle).stdout().trim().to_owned();
    if milliseconds == "EINVAL" {
        skip!("the temporary directory's file system reads through the cache only");
    }
    // Two of them at one a second.
    assert!(milliseconds.parse::<u64>().unwrap() > 1200, "{milliseconds} ms");

    let container = ground.run_detached(&bundle.args(["/probe", "sleep"]));
    let (v1, v2) = (format!("{major}:{minor} {MIB}"), format!("{major}:{minor} rbps={MIB} "));
    let set = ground.read(&container, "blkio.throttle.read_bps_device", "io.max");
    assert!(set.contains(if ground.is_v1() { &v1 } else { &v2 }), "{set}");
}

fn a_weight_is_set(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    // As kase chooses: on v2 that of BFQ is the spec's own, where a kernel has both.
    let files = [("blkio.weight", "io.bfq.weight"), ("blkio.bfq.weight", "io.weight")];
    let Some((v1, v2)) = files.into_iter().find(|(v1, v2)| ground.limit(&container, v1, v2).exists()) else {
        skip!("no I/O scheduler with weights here");
    };
    let expected = match (ground.is_v1(), v2) {
        (true, _) => "500",
        (false, "io.bfq.weight") => "default 500",
        (false, _) => "default 4950",
    };
    let container = ground.sleeper(&json!({"blockIO": {"weight": 500}}));
    assert_eq!(ground.read(&container, v1, v2), expected);
}

fn huge_pages_are_limited(ground: &Ground) {
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages").unwrap();
    let sizes: Vec<_> = sizes.map(|size| size.unwrap().file_name().into_string().unwrap()).collect();
    if !sizes.contains(&"hugepages-2048kB".to_owned()) {
        skip!("this machine has no huge pages of 2 MB: {sizes:?}");
    }
    let container = ground.sleeper(&json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}));
    let limit = |rsvd: &str| {
        let (v1, v2) = (format!("hugetlb.2MB.{rsvd}limit_in_bytes"), format!("hugetlb.2MB.{rsvd}max"));
        ground.read(&container, &v1, &v2)
    };
    assert_eq!(limit(""), (4 * MIB).to_string());
    assert_eq!(limit("rsvd."), (4 * MIB).to_string());
}

fn files_are_set_by_their_names(ground: &Ground) {
    let limits = json!({"memory": {"limit": 64 * MIB}, "unified": {"memory.high": (32 * MIB).to_string()}});
    let container = ground.sleeper(&limits);
    assert_eq!(ground.read(&container, "", "memory.high"), (32 * MIB).to_string());
    let container = ground.sleeper(&json!({"unified": {"memory.oom.group": "1", "memory.max": "40000000"}}));
    assert_eq!(ground.read(&container, "", "memory.oom.group"), "1");
}

fn a_network_class_is_set(ground: &Ground) {
    let container = ground.sleeper(&json!({"network": {"classID": 1_048_577}}));
    assert_eq!(ground.read(&container, "net_cls.classid", ""), "1048577");
}

fn a_network_priority_is_set(ground: &Ground) {
    let container = ground.sleeper(&json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}}));
    assert!(ground.read(&container, "net_prio.ifpriomap", "").contains("lo 5"));
}

fn network_classes_are_left_out_with_a_warning(ground: &Ground) {
    let outcome = ground.run(&ground.limited(&json!({"network": {"classID": 1_048_577}})));
    outcome.succeeded();
    assert!(outcome.err.contains("linux.resources.network: left out"), "{outcome}");
}

fn a_device_is_refused_unless_it_is_allowed(ground: &Ground) {
    let rule = |allow: bool, more: Value| {
        let mut rule = json!({"allow": allow, "access": if allow { "w" } else { "rwm" }});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let denied = rule(false, json!({}));
    let allowed = rule(true, json!({"type": "c", "major": 1, "minor": 11}));
    for (rules, answer) in [(json!([denied]), "EPERM"), (json!([denied, allowed]), "ok")] {
        let bundle = ground.limited(&json!({ "devices": rules })).edit(|spec| {
            spec["linux"]["devices"] =
                json!([{"path": "/dev/log-of-the-kernel", "type": "c", "major": 1, "minor": 11}]);
        });
        let container = ground.run_detached(&bundle.args(["/probe", "sleep"]));
        let opens = ["can", "append", "/dev/log-of-the-kernel", "--", "can", "append", "/dev/null"];
        assert_eq!(added(&container, opens), format!("{answer}\nok\n"));
        // What is read stays refused with it.
        assert_eq!(added(&container, ["can", "open", "/dev/log-of-the-kernel"]), "EPERM\n");
    }
}

fn zero_is_no_limit(ground: &Ground) {
    let limits = json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0},
    });
    assert_eq!(run(ground, &limits, ["allocate", "8"]), (0, "ok\n".into()));
}
