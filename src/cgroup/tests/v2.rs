//! cgroup v2, also without controllers, as beside v1.

use super::super::v2::{self, freezer};
use super::*;
use crate::cgroup::refusals::refuse_used;
use std::os::fd::AsFd;

/// A v2 tree without controllers, as beside v1, has the tree's own files all the same.
fn made_v2(test: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
    let top = unified()?;
    let path = top.join(path(test).trim_start_matches('/'));
    let made = directory::make(&top, &path, v2::enable).unwrap();
    Some((path, made))
}

fn facts(path: &Path) -> CgroupFacts {
    CgroupFacts { v2: Some(path.to_path_buf()), ..CgroupFacts::default() }
}

#[test]
fn a_v2_cgroup_freezes_kills_and_goes() {
    let Some((path, _)) = made_v2("v2") else { return };
    let mut cgroup = Cgroup::reopen(&facts(&path));
    let mut sleeper = Sleeper::start();
    directory::attach(&path, sleeper.pid()).unwrap();
    cgroup.set_state(State::Frozen).unwrap();
    assert_eq!(cgroup.facts().state().unwrap(), State::Frozen);
    assert!(refuse_used(&path, freezer::STATE).unwrap_err().to_string().contains("is not empty"));
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
    let tree = Cgroup::reopen(&facts(&path)).tree.take().unwrap();
    let open = v2::rights::open(&path).unwrap();
    let attach = |listed: &serde_json::Value| {
        let rules = plan("/x", &json!({ "devices": listed }), Version::V2).limits.devices.unwrap();
        tree.restrict_devices(&rules)
    };
    let deny = json!({"allow": false, "access": "rwm"});
    if let Err(error) = attach(&json!([deny])) {
        skip(&format!("{error:#}"));
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
    let cgroup = make(&plan, &layout).unwrap();
    let directory = cgroup.facts().v2.unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!(read("pids.max"), "7");
    assert_eq!(read("memory.max"), "67108864");
    assert_eq!(read("cpu.weight"), "100");
    assert_eq!(read("cpu.max"), "50000 100000");
    drop(cgroup);
    assert!(!directory.parent().unwrap().exists());
}

fn update(resources: &serde_json::Value) -> Limits {
    use crate::plan::cgroup::limits::{self, Occasion};
    let resources = serde_json::from_value(resources.clone()).unwrap();
    limits::decide(&resources, Version::V2, Occasion::Update, &mut Notes::default()).unwrap()
}

#[test]
fn v2_updates_of_one_limit_keep_the_others() {
    const MIB: u64 = 1 << 20;
    let Some(layout) = layout(Version::V2) else { return };
    let resources = json!({
        "memory": {"limit": 64 * MIB, "swap": 128 * MIB},
        "cpu": {"quota": 50_000, "period": 100_000},
        "unified": {"memory.high": "60000000\n"},
    });
    let plan = plan(&path("updates"), &resources, Version::V2);
    let cgroup = make(&plan, &layout).unwrap();
    let directory = cgroup.facts().v2.unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!(read("memory.swap.max"), (64 * MIB).to_string());
    cgroup.update(&update(&json!({"memory": {"swap": 96 * MIB}}))).unwrap();
    assert_eq!(read("memory.swap.max"), (32 * MIB).to_string());
    cgroup.update(&update(&json!({"memory": {"limit": 80 * MIB}}))).unwrap();
    assert_eq!(read("memory.swap.max"), (16 * MIB).to_string());
    let error = cgroup.update(&update(&json!({"memory": {"limit": 100 * MIB}}))).unwrap_err().to_string();
    assert!(error.starts_with("linux.resources.memory.limit: memory+swap limit"), "{error}");
    cgroup.update(&update(&json!({"cpu": {"quota": 20_000}}))).unwrap();
    assert_eq!(read("cpu.max"), "20000 100000");
    cgroup.update(&update(&json!({"cpu": {"period": 50_000, "burst": 10_000}}))).unwrap();
    assert_eq!(read("cpu.max"), "20000 50000");
    cgroup.update(&update(&json!({"cpu": {"idle": 1}}))).unwrap();
    assert_eq!(read("cpu.idle"), "1");
    cgroup.update(&update(&json!({"memory": {"limit": -1}}))).unwrap();
    assert_eq!((read("memory.max"), read("memory.swap.max")), ("max".into(), "max".into()));
    // An exec in it is charged to it.
    let script = format!("echo $$ >{}/cgroup.procs; echo; exec sleep 60", directory.display());
    let mut shell =
        Command::new("sh").args(["-c", &script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    io::Read::read_exact(&mut shell.stdout.take().unwrap(), &mut [0]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let error = cgroup.update(&update(&json!({"memory": {"limit": 1, "checkBeforeUpdate": true}})));
    cgroup.signal_all(libc::SIGKILL).unwrap();
    shell.wait().unwrap();
    let error = error.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.starts_with("linux.resources.memory.limit: rejecting memory limit 1 <= usage"), "{error}");
}

#[test]
fn v2_names_a_controller_that_is_not_there_and_leaves_nothing() {
    let Some(layout) = layout(Version::V2) else { return };
    let path = path("missing");
    for (file, words) in [
        ("nonsense.max", "controller \"nonsense\" not available"),
        ("memory.nonsense", "has no memory.nonsense: this kernel cannot limit that"),
    ] {
        let plan = plan(&path, &json!({"unified": {file: "1"}}), Version::V2);
        let error = make(&plan, &layout).unwrap_err().to_string();
        assert!(error.starts_with("linux.resources.unified.") && error.contains(words), "{error}");
        assert!(!Path::new("/sys/fs/cgroup").join(top(&path)).exists());
    }
}
