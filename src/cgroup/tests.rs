//! On the real kernel, in cgroups of our own. Each test says why when it cannot run here.

use super::layout::Hierarchy;
use super::*;
use crate::plan::Notes;
use crate::plan::cgroup::{Driver, Setting, decide};
use nix::unistd::geteuid;
use rootless::caller::Standing;
use serde_json::json;
use std::fs;
use std::process::{Child, Command};

/// The host's layout, or why there is none to test with.
fn layout(version: Version) -> Option<Layout> {
    let layout = Layout::look();
    if !geteuid().is_root() {
        eprintln!("skipped: only root may make cgroups here");
        return None;
    }
    if layout.version() == Some(version) {
        return Some(layout);
    }
    eprintln!("skipped: this host has {:?}, not {version:?}", layout.version());
    None
}

/// The v2 tree of this host, wherever it is mounted.
fn unified() -> Option<PathBuf> {
    let layout = Layout::look();
    let tree = layout.hierarchies().unwrap().iter().find(|hierarchy| hierarchy.is_unified()).cloned();
    match tree {
        Some(tree) if geteuid().is_root() => Some(tree.point),
        _ => {
            eprintln!("skipped: no v2 tree here, or not root");
            None
        }
    }
}

fn plan(path: &str, resources: &serde_json::Value, version: Version) -> CgroupPlan {
    let linux = json!({"cgroupsPath": path, "resources": resources});
    let setting = Setting {
        version: Some(version),
        systemd: None,
        driver: Driver::Cgroupfs,
        standing: Standing::Root,
        id: "test",
        owner: None,
    };
    decide(Some(&serde_json::from_value(linux).unwrap()), None, &setting, &mut Notes::default()).unwrap()
}

/// A path that no other test uses.
fn path(name: &str) -> String {
    format!("/kase-test-{}-{name}/leaf", std::process::id())
}

fn top(path: &str) -> String {
    path.trim_end_matches("/leaf").trim_start_matches('/').to_string()
}

struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        Self(Command::new("sleep").arg("60").spawn().unwrap())
    }
    fn pid(&self) -> i32 {
        self.0.id().try_into().unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let mut cgroup = Cgroup::make(&plan, &layout).unwrap();
    let sleeper = Sleeper::start();
    cgroup.attach(&plan, sleeper.pid()).unwrap();
    let Tree::V1(paths) = &cgroup.tree else { panic!("v1") };
    let read = |controller, file: &str| {
        let directory = v1::directory_of(paths, controller).unwrap();
        fs::read_to_string(directory.join(file)).unwrap().trim().to_string()
    };
    assert_eq!(read("pids", "pids.max"), "7");
    assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    let devices = read("devices", "devices.list");
    assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
    assert_eq!(cgroup.pids(Reach::Own).unwrap(), [sleeper.pid()]);

    cgroup.set_state(State::Frozen).unwrap();
    assert_eq!(Cgroup::reopen(&cgroup.facts()).state().unwrap(), State::Frozen);
    cgroup.set_state(State::Thawed).unwrap();
    assert_eq!(cgroup.state().unwrap(), State::Thawed);

    let again = Cgroup::make(&plan, &layout).unwrap_err().to_string();
    assert!(again.contains("container's cgroup is not empty: 1 process(es) found"), "{again}");

    let paths = paths.clone();
    cgroup.signal_all(libc::SIGKILL).unwrap();
    drop(sleeper);
    drop(cgroup);
    assert!(paths.values().all(|path| !path.exists() && !path.parent().unwrap().exists()));
}

#[test]
fn v1_lifts_and_lowers_quota_with_period_and_memory_with_swap_in_either_order() {
    let Some(layout) = layout(Version::V1) else { return };
    let path = path("update");
    let cgroup = Cgroup::make(&plan(&path, &json!({"pids": {"limit": 7}}), Version::V1), &layout).unwrap();
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
    let found = layout
        .hierarchies()
        .unwrap()
        .iter()
        .find(|one| one.controllers.iter().any(|name| name == controller));
    found.is_some_and(|hierarchy| hierarchy.own.join(file).exists())
}

#[test]
fn v1_leaves_nothing_behind_when_a_limit_is_refused() {
    let Some(layout) = layout(Version::V1) else { return };
    let path = path("refused");
    let resources = json!({"cpu": {"cpus": "4000-4001"}});
    let error = Cgroup::make(&plan(&path, &resources, Version::V1), &layout).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.cpu.cpus: write \"4000-4001\""), "{error}");
    for hierarchy in layout.hierarchies().unwrap() {
        assert!(!hierarchy.point.join(top(&path)).exists(), "{hierarchy:?}");
    }
}

#[test]
fn v1_names_a_controller_that_is_not_mounted() {
    let Some(layout) = layout(Version::V1) else { return };
    if layout_has(&layout, "rdma", "cgroup.procs") {
        eprintln!("skipped: rdma is mounted here");
        return;
    }
    let resources = json!({"rdma": {"mlx": {"hcaHandles": 1}}});
    let error = Cgroup::make(&plan(&path("rdma"), &resources, Version::V1), &layout).unwrap_err().to_string();
    assert!(
        error.contains("linux.resources.rdma.mlx: cannot set rdma limit: container could not join"),
        "{error}"
    );
}

/// A v2 tree without controllers, as beside v1, has the tree's own files all the same.
fn made_v2(test: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
    let top = unified()?;
    let path = top.join(path(test).trim_start_matches('/'));
    let made = v2::make(&top, &path).unwrap();
    Some((path, made))
}

#[test]
fn a_v2_cgroup_freezes_kills_and_goes() {
    let Some((path, made)) = made_v2("v2") else { return };
    let mut cgroup =
        Cgroup { tree: Tree::V2 { open: Some(v2::open(&path).unwrap()), path: path.clone() }, made };
    let mut sleeper = Sleeper::start();
    directory::attach(&path, sleeper.pid()).unwrap();
    cgroup.set_state(State::Frozen).unwrap();
    assert_eq!(cgroup.state().unwrap(), State::Frozen);
    assert!(v2::refuse_used(&path).unwrap_err().to_string().contains("is not empty"));
    let below = path.join("below/deeper");
    fs::create_dir_all(&below).unwrap();
    let mut other = Sleeper::start();
    directory::attach(&below, other.pid()).unwrap();
    let mut pids = cgroup.pids(Reach::Recursive).unwrap();
    pids.sort_unstable();
    let mut both = [sleeper.pid(), other.pid()];
    both.sort_unstable();
    assert_eq!(pids, both);
    cgroup.signal_all(libc::SIGKILL).unwrap();
    sleeper.0.wait().unwrap();
    other.0.wait().unwrap();
    cgroup.remove().unwrap();
    assert!(!path.exists());
    directory::unmake(&[path.parent().unwrap().to_path_buf()]);
}

#[test]
fn a_busy_cgroup_is_named_with_its_processes() {
    let Some((path, made)) = made_v2("busy") else { return };
    let sleeper = Sleeper::start();
    directory::attach(&path, sleeper.pid()).unwrap();
    let error = directory::remove(&path).unwrap_err();
    let report = crate::fault::Report::of(&error);
    assert!(report.line.contains("/leaf: Device or resource busy"), "{}", report.line);
    assert!(report.remedy.unwrap().ends_with(&sleeper.pid().to_string()));
    drop(sleeper);
    directory::remove(&path).unwrap();
    directory::unmake(&made);
}

#[test]
fn a_device_program_decides_in_the_kernel_and_is_replaced() {
    let Some((path, made)) = made_v2("devices") else { return };
    let open = v2::open(&path).unwrap();
    let attach = |listed: &serde_json::Value| {
        let rules = plan("/x", &json!({ "devices": listed }), Version::V2).limits.devices.unwrap();
        device_program::attach(open.as_fd(), &rules, &path)
    };
    let deny = json!({"allow": false, "access": "rwm"});
    if let Err(error) = attach(&json!([deny])) {
        eprintln!("skipped: {error:#}");
        directory::unmake(&made);
        return;
    }
    // A kernel log's buffer stands for a device that is not among the defaults.
    let reads = |device: &str| {
        let script = format!("echo $$ >{}/cgroup.procs; : <{device}", path.display());
        Command::new("sh")
            .args(["-c", &script])
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap()
            .success()
    };
    assert!(reads("/dev/null"));
    assert!(!reads("/dev/kmsg"));
    attach(&json!([deny, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}])).unwrap();
    assert!(reads("/dev/kmsg"));
    assert_eq!(crate::kernel::bpf::attached(open.as_fd()).unwrap().len(), 1);
    attach(&json!([{"allow": true, "access": "rwm"}])).unwrap();
    assert_eq!(crate::kernel::bpf::attached(open.as_fd()).unwrap().len(), 0);
    directory::remove(&path).unwrap();
    directory::unmake(&made);
}

#[test]
fn v2_limits_hold_what_was_asked() {
    let Some(layout) = layout(Version::V2) else { return };
    let resources = json!({
        "pids": {"limit": 7},
        "memory": {"limit": 67_108_864, "swap": 67_108_864},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000},
    });
    let path = path("limits");
    let plan = plan(&path, &resources, Version::V2);
    let cgroup = Cgroup::make(&plan, &layout).unwrap();
    let directory = cgroup.facts().v2.unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!(read("pids.max"), "7");
    assert_eq!(read("memory.max"), "67108864");
    assert_eq!(read("cpu.weight"), "100");
    assert_eq!(read("cpu.max"), "50000 100000");
    drop(cgroup);
    assert!(!directory.parent().unwrap().exists());
}

#[test]
fn a_hierarchy_that_may_not_be_written_is_left_out_only_if_nothing_asked() {
    // sysfs, where nobody makes directories, stands for it.
    let Some(_) = layout(Version::V1) else { return };
    let hierarchy = Hierarchy { controllers: vec!["pids".into()], point: "/sys".into(), own: "/sys".into() };
    let layout = Layout::assumed(Version::V1, vec![hierarchy]);
    let asked = plan("/x", &json!({"pids": {"limit": 1}}), Version::V1);
    let error = Cgroup::make(&asked, &layout).unwrap_err();
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
    assert!(Cgroup::make(&unasked, &layout).unwrap().facts().is_none());
}
