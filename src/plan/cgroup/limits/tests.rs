use super::*;
use serde_json::json;

fn limits(version: Version, occasion: Occasion, resources: &serde_json::Value) -> Result<Limits, Fault> {
    let resources = serde_json::from_value(resources.clone()).unwrap();
    decide(&resources, version, occasion, &mut Notes::default())
}

/// The writes as `FILE=VALUE`.
fn lines(version: Version, occasion: Occasion, resources: &serde_json::Value) -> Vec<String> {
    let limits = limits(version, occasion, resources).unwrap();
    limits
        .writes
        .iter()
        .map(|write| match &write.value {
            Value::Text(text) => format!("{}={text}", write.file),
            value => format!("{}={value:?}", write.file),
        })
        .collect()
}

fn v2(resources: &serde_json::Value) -> Vec<String> {
    lines(Version::V2, Occasion::Create, resources)
}

fn v1(resources: &serde_json::Value) -> Vec<String> {
    lines(Version::V1, Occasion::Create, resources)
}

fn fault(version: Version, resources: &serde_json::Value) -> String {
    limits(version, Occasion::Create, resources).unwrap_err().to_string()
}

#[test]
fn zero_means_unset_wherever_engines_send_it() {
    let docker = json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0, "disableOOMKiller": false},
        "cpu": {"shares": 0, "quota": 0, "period": 0},
        "blockIO": {"weight": 0},
    });
    assert_eq!(v2(&docker), [""; 0]);
    assert_eq!(v1(&docker), [""; 0]);
    assert_eq!(v2(&json!({"blockIO": {}})), [""; 0]);
}

#[test]
fn shares_become_a_weight_on_the_curve_through_both_defaults() {
    for (shares, weight) in [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)] {
        assert_eq!(cpu::weight(shares), weight, "{shares}");
    }
}

#[test]
fn quota_and_period_share_a_file_on_v2() {
    assert_eq!(v2(&json!({"cpu": {"quota": 50000, "period": 100000}})), ["cpu.max=50000 100000"]);
    assert_eq!(v2(&json!({"cpu": {"quota": -1}})), ["cpu.max=max"]);
    assert_eq!(v2(&json!({"cpu": {"period": 5000}})), ["cpu.max=AfterFirstWord(\"5000\")"]);
    assert_eq!(
        v1(&json!({"cpu": {"quota": 50000, "period": 100000, "shares": 1024}})),
        ["cpu.shares=1024", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"]
    );
}

#[test]
fn swap_counts_memory_too_in_the_config_and_alone_on_v2() {
    let both = json!({"memory": {"limit": 100, "swap": 150}});
    assert_eq!(v2(&both), ["memory.swap.max=50", "memory.max=100"]);
    assert_eq!(v1(&both), ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=150"]);
    assert_eq!(v2(&json!({"memory": {"limit": 100, "swap": -1}})), ["memory.swap.max=max", "memory.max=100"]);
    assert_eq!(v2(&json!({"memory": {"limit": -1}})), ["memory.swap.max=max", "memory.max=max"]);
    assert_eq!(v2(&json!({"memory": {"limit": 100}})), ["memory.max=100"]);
    let less = fault(Version::V2, &json!({"memory": {"limit": 100, "swap": 50}}));
    assert!(less.starts_with("linux.resources.memory.swap: memory+swap limit 50 should be >="), "{less}");
    let alone = fault(Version::V2, &json!({"memory": {"swap": 50}}));
    assert_eq!(alone, "linux.resources.memory.swap: unable to set swap limit without memory limit");
}

#[test]
fn an_update_of_one_keeps_the_other() {
    let update = |resources| lines(Version::V2, Occasion::Update, &resources);
    assert_eq!(update(json!({"memory": {"swap": 50}})), ["memory.swap.max=SwapOf { total: 50 }"]);
    assert_eq!(
        update(json!({"memory": {"limit": 50}})),
        ["memory.swap.max=SwapBeside { memory: 50 }", "memory.max=50"]
    );
}

#[test]
fn a_pids_limit_of_0_leaves_one_and_a_negative_one_all() {
    for (limit, value) in [(0, "1"), (-1, "max"), (-7, "max"), (20, "20")] {
        assert_eq!(v2(&json!({"pids": {"limit": limit}})), [format!("pids.max={value}")]);
    }
}

#[test]
fn idle_is_0_or_1_and_then_without_a_weight() {
    assert_eq!(v2(&json!({"cpu": {"idle": 1, "shares": 512}})), ["cpu.idle=1"]);
    assert_eq!(v2(&json!({"cpu": {"idle": 0, "shares": 1024}})), ["cpu.idle=0", "cpu.weight=100"]);
    assert_eq!(
        fault(Version::V2, &json!({"cpu": {"idle": 2}})),
        "linux.resources.cpu.idle: 2 is neither 0 nor 1"
    );
    let mut notes = Notes::default();
    let both = json!({"cpu": {"shares": 512}, "unified": {"cpu.idle": "1", "cpu.weight": "8"}});
    let both = serde_json::from_value(both).unwrap();
    let limits = decide(&both, Version::V2, Occasion::Update, &mut notes).unwrap();
    assert_eq!(limits.writes.iter().map(|write| &*write.file).collect::<Vec<_>>(), ["cpu.idle"]);
    let words = "cpu.shares: left out, unable to apply both this and linux.resources.unified.cpu.idle";
    assert!(notes.iter().any(|(_, note)| note.ends_with(words)), "{notes:?}");
}

#[test]
fn a_new_weight_ends_idle() {
    let update = |version, resources| lines(version, Occasion::Update, &resources);
    let shares = json!({"pids": {"limit": 2}, "cpu": {"shares": 1024, "period": 9}});
    let v2 = ["pids.max=2", "cpu.idle=0", "cpu.weight=100", "cpu.max=AfterFirstWord(\"9\")"];
    assert_eq!(update(Version::V2, shares.clone()), v2);
    assert_eq!(update(Version::V1, shares)[1..3], ["cpu.idle=0", "cpu.shares=1024"]);
    assert_eq!(update(Version::V2, json!({"unified": {"cpu.weight": "8"}})), ["cpu.idle=0", "cpu.weight=8"]);
}

#[test]
fn block_devices_have_their_own_words_on_each_version() {
    let resources = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
    }});
    assert_eq!(
        v2(&resources),
        ["io.bfq.weight=500", "io.bfq.weight=8:0 10", "io.max=8:0 rbps=1024", "io.max=8:0 wiops=max"]
    );
    let writes = limits(Version::V2, Occasion::Create, &resources).unwrap().writes;
    assert_eq!(writes[0].missing, Missing::Instead("io.weight", "4950".into()));
    assert_eq!(writes[1].missing, Missing::Instead("io.weight", "8:0 1".into()));
    assert_eq!(
        v1(&resources),
        [
            "blkio.weight=500",
            "blkio.weight_device=8:0 10",
            "blkio.throttle.read_bps_device=8:0 1024",
            "blkio.throttle.write_iops_device=8:0 0"
        ]
    );
    assert!(fault(Version::V2, &json!({"blockIO": {"weight": 5}})).ends_with("weight: 5 is out of range"));
}

#[test]
fn huge_pages_are_limited_with_their_reservations() {
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 9}]});
    assert_eq!(v2(&resources), ["hugetlb.2MB.max=9", "hugetlb.2MB.rsvd.max=9"]);
    assert_eq!(v1(&resources), ["hugetlb.2MB.limit_in_bytes=9", "hugetlb.2MB.rsvd.limit_in_bytes=9"]);
    let bad = fault(Version::V2, &json!({"hugepageLimits": [{"pageSize": "../x", "limit": 9}]}));
    assert!(bad.starts_with("linux.resources.hugepageLimits[0].pageSize"), "{bad}");
}

#[test]
fn unified_files_are_named_and_checked() {
    let bad = |file: &str| fault(Version::V2, &json!({"unified": {file: "1"}}));
    assert!(bad("a/b").contains("must be a file name (no slashes)"));
    assert!(bad("memory").contains("must be in the form CONTROLLER.PARAMETER"));
    assert!(bad("cgroup.procs").contains("is no limit"));
    assert!(bad(".x").contains("CONTROLLER.PARAMETER"));
    assert!(fault(Version::V1, &json!({"unified": {"memory.high": "1"}})).contains("cgroup v1"));
    let good = limits(Version::V2, Occasion::Create, &json!({"unified": {"memory.high": "1"}})).unwrap();
    assert_eq!(good.writes[0].at.to_string(), "linux.resources.unified.memory.high");
    assert_eq!(good.writes[0].controller, "memory");
}

#[test]
fn network_classes_and_rdma_are_written_where_they_are() {
    let resources = json!({
        "network": {"classID": 65537, "priorities": [{"name": "eth0", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10}},
    });
    assert_eq!(
        v1(&resources),
        ["rdma.max=mlx5_1 hca_handle=3 hca_object=10", "net_cls.classid=65537", "net_prio.ifpriomap=eth0 5"]
    );
    assert_eq!(v2(&resources), ["rdma.max=mlx5_1 hca_handle=3 hca_object=10"]);
}

#[test]
fn nonsense_is_named() {
    for (resources, words) in [
        (json!({"memory": {"limit": -2}}), "linux.resources.memory.limit: -2 is no limit"),
        (json!({"cpu": {"quota": -5}}), "linux.resources.cpu.quota: -5 is no limit"),
        (json!({"cpu": {"shares": 1}}), "linux.resources.cpu.shares: the minimum allowed cpu-shares is 2"),
        (
            json!({"cpu": {"cpus": "3-1"}}),
            "linux.resources.cpu.cpus: \"3-1\" has a range whose end is before its beginning",
        ),
        (json!({"memory": {"swappiness": 101}}), "linux.resources.memory.swappiness: 101 is out of range"),
        (
            json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
            "linux.resources.blockIO.throttleReadBpsDevice[0]: -1:0 is no block device",
        ),
    ] {
        assert_eq!(fault(Version::V1, &resources), words);
    }
}

#[test]
fn a_check_speaks_of_real_limits_only() {
    let resources = json!({"memory": {"limit": 100, "swap": -1, "checkBeforeUpdate": true}});
    let limits = limits(Version::V2, Occasion::Create, &resources).unwrap();
    assert_eq!(limits.check, Some(Check { memory: Some(100), total: None }));
}

/// What the version has no file for is checked before it is left out.
#[test]
fn values_that_no_kernel_takes_are_refused_in_both_versions() {
    for version in [Version::V1, Version::V2] {
        let words = fault(version, &json!({"memory": {"swappiness": 101}}));
        assert_eq!(words, "linux.resources.memory.swappiness: 101 is out of range");
        let words = fault(version, &json!({"network": {"priorities": [{"name": "a b", "priority": 1}]}}));
        assert_eq!(words, "linux.resources.network.priorities[0].name: \"a b\" is no interface");
    }
}
