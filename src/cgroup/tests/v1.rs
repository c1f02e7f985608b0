//! cgroup v1.

use super::super::v1::Paths;
use super::*;
use crate::host::hierarchies::Hierarchy;

#[test]
fn v1_limits_hold_what_was_asked_and_vanish_with_the_guard() {
    let Some(layout) = layout(Version::V1) else { return };
    let path = path("v1");
    let resources = json!({
        "pids": {"limit": 7},
        "memory": {"limit": 67_108_864},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        "devices": [{"allow": false, "access": "rwm"}],
    });
    let plan = plan(&path, &resources, Version::V1);
    let cgroup = make(&plan, &layout).unwrap();
    let sleeper = Sleeper::start();
    for path in cgroup.directories() {
        directory::attach(path, sleeper.pid()).unwrap();
    }
    let read = |controller, file: &str| {
        let directory = cgroup.tree.as_ref().unwrap().directory_of(controller).unwrap();
        fs::read_to_string(directory.join(file)).unwrap().trim().to_string()
    };
    assert_eq!(read("pids", "pids.max"), "7");
    assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    let devices = read("devices", "devices.list");
    assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
    assert_eq!(cgroup.pids(Reach::Own).unwrap(), [sleeper.pid()]);

    cgroup.set_state(State::Frozen).unwrap();
    assert_eq!(cgroup.facts().state().unwrap(), State::Frozen);
    cgroup.set_state(State::Thawed).unwrap();
    assert_eq!(cgroup.facts().state().unwrap(), State::Thawed);

    let again = make(&plan, &layout).unwrap_err().to_string();
    assert!(again.contains("container's cgroup is not empty: 1 process(es) found"), "{again}");

    let paths: Paths = cgroup.facts().v1;
    cgroup.signal_all(libc::SIGKILL).unwrap();
    drop(sleeper);
    drop(cgroup);
    assert!(paths.values().all(|path| !path.exists() && !path.parent().unwrap().exists()));
}

#[test]
fn v1_lifts_and_lowers_quota_with_period_and_memory_with_swap_in_either_order() {
    let Some(layout) = layout(Version::V1) else { return };
    let path = path("update");
    let cgroup = make(&plan(&path, &json!({"pids": {"limit": 7}}), Version::V1), &layout).unwrap();
    let update = |resources: &serde_json::Value| cgroup.update(&plan(&path, resources, Version::V1).limits);
    for (memory, swap) in
        [(50i64 << 20, 100i64 << 20), (200 << 20, 300 << 20), (20 << 20, 30 << 20), (-1, -1)]
    {
        if layout_has(&layout, "memory", "memory.memsw.limit_in_bytes") {
            update(&json!({"memory": {"limit": memory, "swap": swap}})).unwrap();
        }
    }
    for (quota, period, burst) in [(5000, 10_000, 1000), (900_000, 1_000_000, 20_000), (2000, 3000, 0)] {
        update(&json!({"cpu": {"quota": quota, "period": period, "burst": burst}})).unwrap();
    }
    let low = update(&json!({"cpu": {"period": 1}})).unwrap_err();
    assert!(
        low.to_string().starts_with("linux.resources.cpu.period: write \"1\" to /sys/fs/cgroup/cpu"),
        "{low:#}"
    );
}

fn layout_has(layout: &Layout, controller: &str, file: &str) -> bool {
    let found =
        layout.hierarchies().unwrap().find(|one| one.controllers.iter().any(|name| name == controller));
    found.is_some_and(|hierarchy| hierarchy.own.join(file).exists())
}

#[test]
fn v1_leaves_nothing_behind_when_a_limit_is_refused() {
    let Some(layout) = layout(Version::V1) else { return };
    let path = path("refused");
    let resources = json!({"cpu": {"cpus": "4000-4001"}});
    let error = make(&plan(&path, &resources, Version::V1), &layout).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.cpu.cpus: write \"4000-4001\""), "{error}");
    for hierarchy in layout.hierarchies().unwrap() {
        assert!(!hierarchy.point.join(top(&path)).exists(), "{hierarchy:?}");
    }
}

#[test]
fn v1_names_a_controller_that_is_not_mounted() {
    let Some(layout) = layout(Version::V1) else { return };
    if layout_has(&layout, "rdma", "cgroup.procs") {
        skip("rdma is mounted here");
        return;
    }
    let resources = json!({"rdma": {"mlx": {"hcaHandles": 1}}});
    let error = make(&plan(&path("rdma"), &resources, Version::V1), &layout).unwrap_err().to_string();
    assert!(
        error.contains("linux.resources.rdma.mlx: cannot set rdma limit: container could not join"),
        "{error}"
    );
}

#[test]
fn a_hierarchy_that_may_not_be_written_is_left_out_only_if_nothing_asked() {
    // sysfs, where nobody makes directories, stands for it.
    let Some(_) = layout(Version::V1) else { return };
    let hierarchy = Hierarchy {
        controllers: vec!["pids".into()],
        point: "/sys".into(),
        root: "/".into(),
        own: "/sys".into(),
    };
    let layout = Layout::assumed(Version::V1, vec![hierarchy]);
    let asked = plan("/x", &json!({"pids": {"limit": 1}}), Version::V1);
    let error = make(&asked, &layout).unwrap_err();
    assert!(
        format!("{error:#}")
            .contains("cannot set pids limit: container could not join or create cgroup /sys/x"),
        "{error:#}"
    );
    let unasked = CgroupPlan {
        asked: None,
        limits: Limits::none(Version::V1),
        location: Location::FromRoot("x".into()),
        owner: None,
    };
    assert!(make(&unasked, &layout).unwrap().facts().is_none());
}
