//! systemd, the system's as root and the user's own as an ordinary user.

use super::super::systemd;
use super::*;

/// The systemd that makes our scopes, on a v2 host.
pub fn systemd_setting(caller: &Caller) -> Option<Setting<'static>> {
    let version = Layout::look().unwrap().version();
    let systemd = systemd::which(caller);
    (version == Some(Version::V2) && systemd.is_some()).then_some(Setting {
        version,
        systemd,
        manager: Manager { driver: Driver::Systemd, properties: Properties::Scope },
        standing: caller.standing,
        id: "kasetest",
        owner: None,
    })
}

fn show(unit: &UnitFacts, property: &str) -> String {
    let mut command = Command::new("systemctl");
    if unit.bus == crate::plan::cgroup::Systemd::User {
        command.arg("--user");
    }
    let output = command.args(["show", "--value", "-p", property, &unit.name]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn systemd_makes_a_scope_with_the_limits_and_takes_it_back() {
    let caller = Caller::look().unwrap();
    let Some(setting) = systemd_setting(&caller) else {
        return skip("no systemd on cgroup v2 here");
    };
    let linux = |resources: serde_json::Value| {
        serde_json::from_value::<oci_spec::runtime::Linux>(json!({ "resources": resources })).unwrap()
    };
    let resources = json!({
        "pids": {"limit": 20},
        "memory": {"limit": 67_108_864, "swap": 67_108_864},
        "cpu": {"shares": 512, "quota": 49_999, "period": 100_000},
    });
    let annotations =
        [("org.systemd.property.TimeoutStopUSec".to_string(), "uint64 5000000".to_string())].into();
    let decide =
        |resources| decide(Some(&linux(resources)), Some(&annotations), &setting, &mut Notes::default());
    let plan = decide(resources).unwrap();
    let mut cgroup = make(&plan, &Layout::look().unwrap()).unwrap();
    assert!(cgroup.clone_target().unwrap().is_none());
    let mut sleeper = Sleeper::start();
    cgroup.attach(&plan, sleeper.pid()).unwrap();
    let facts = cgroup.facts();
    let unit = facts.unit.clone().unwrap();
    let directory = facts.v2.clone().unwrap();
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap().trim().to_string();
    assert_eq!(read("pids.max"), "20");
    assert_eq!(read("cpu.max"), "50000 100000");
    assert_eq!(read("memory.swap.max"), "0");
    for (property, value) in [
        ("ActiveState", "active"),
        ("Delegate", "yes"),
        ("TasksMax", "20"),
        ("MemoryMax", "67108864"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "500ms"),
        ("TimeoutStopUSec", "5s"),
    ] {
        assert_eq!(show(&unit, property), value, "{property}");
    }
    let later = Cgroup::reopen(&facts);
    later.update(&decide(json!({"pids": {"limit": 30}, "cpu": {"quota": 25_000}})).unwrap().limits).unwrap();
    assert_eq!(show(&unit, "TasksMax"), "30");
    assert_eq!(show(&unit, "CPUQuotaPerSecUSec"), "250ms");
    assert_eq!(read("cpu.max"), "25000 100000");

    // A second one of that name is refused, and the first is left alone.
    let other = Sleeper::start();
    let mut second = make(&plan, &Layout::look().unwrap()).unwrap();
    let error = second.attach(&plan, other.pid()).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("not empty: ") && error.contains("kase-kasetest.scope"), "{error}");
    drop(second);
    assert_eq!(show(&unit, "ActiveState"), "active");

    let joined = later.join(&[], sleeper.pid()).unwrap();
    joined.attach(other.pid()).unwrap();
    later.signal_all(libc::SIGKILL).unwrap();
    sleeper.0.wait().unwrap();
    drop(other);
    Cgroup::reopen(&facts).remove().unwrap();
    assert!(!directory.exists());
    assert_eq!(show(&unit, "LoadState"), "not-found");
    drop(cgroup); // gone already is as good
}

#[test]
fn a_scope_that_is_not_kept_is_stopped_with_what_is_in_it() {
    let caller = Caller::look().unwrap();
    let Some(setting) = systemd_setting(&caller) else {
        return skip("no systemd on cgroup v2 here");
    };
    let setting = Setting { id: "kasedropped", ..setting };
    let annotations = [("run.oci.systemd.subgroup".to_string(), "inner".to_string())].into();
    let plan = decide(None, Some(&annotations), &setting, &mut Notes::default()).unwrap();
    let mut cgroup = make(&plan, &Layout::look().unwrap()).unwrap();
    let mut sleeper = Sleeper::start();
    cgroup.attach(&plan, sleeper.pid()).unwrap();
    let facts = cgroup.facts();
    let inner = fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid())).unwrap();
    assert!(inner.trim().ends_with("kase-kasedropped.scope/inner"), "{inner}");
    let join = cgroup.join(&[], sleeper.pid()).unwrap();
    // From a session, only systemd may move a process into a scope of the user's manager.
    assert_eq!(join.open.is_some(), caller.standing == Standing::Root);
    drop(cgroup);
    sleeper.0.wait().unwrap();
    assert!(!facts.v2.unwrap().exists());
    assert_eq!(show(&facts.unit.unwrap(), "LoadState"), "not-found");
}
