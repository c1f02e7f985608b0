//! Every limit by what it does to processes, in each setting that this host has.

use super::systemd::systemd_setting;
use super::*;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The settings to try: what kase would do here by itself, and systemd.
fn settings() -> Vec<Setting<'static>> {
    let caller = Caller::look().unwrap();
    let version = Layout::look().version();
    let own = Setting {
        version,
        systemd: None,
        driver: Driver::Cgroupfs,
        standing: caller.standing,
        id: "kase-effects",
        owner: None,
    };
    let own = (caller.standing == Standing::Root && version.is_some()).then_some(own);
    let settings: Vec<_> = own.into_iter().chain(systemd_setting(&caller)).collect();
    if settings.is_empty() {
        skip("no cgroup may be made here");
    }
    settings
}

/// A shell in a cgroup of its own.
struct Shell {
    cgroup: Cgroup,
    process: Child,
}

impl Shell {
    fn start(setting: &Setting<'_>, name: &str, resources: &serde_json::Value, script: &str) -> Self {
        let id = format!("kase-effects-{}-{name}", std::process::id());
        let linux = json!({ "resources": resources });
        let setting = Setting { id: &id, ..*setting };
        let linux = serde_json::from_value(linux).unwrap();
        let plan = decide(Some(&linux), None, &setting, &mut Notes::default()).unwrap();
        let mut cgroup = Cgroup::make(&plan, &Layout::look()).unwrap();
        let mut process = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = process.id().try_into().unwrap();
        cgroup.attach(&plan, pid).unwrap_or_else(|error| panic!("{setting:?}: {error:#}"));
        process.stdin.take().unwrap().write_all(b"\n").unwrap();
        Self { cgroup, process }
    }

    fn end(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.cgroup.signal_all(libc::SIGKILL).unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_pids_limit_stops_forks_until_an_update_lifts_it() {
    for setting in settings() {
        let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done";
        let limit = |limit| json!({"pids": {"limit": limit}});
        let mut shell = Shell::start(&setting, "pids", &limit(4), forks);
        assert!(!shell.end().success(), "{setting:?}");
        drop(shell);

        let mut shell = Shell::start(&setting, "update", &limit(1), &format!("sleep 1 & sleep 1; {forks}"));
        assert!(!shell.end().success(), "{setting:?}");
        drop(shell);
        let mut shell = Shell::start(&setting, "lift", &limit(1), &format!("kill -STOP $$; {forks}"));
        let version = setting.version.unwrap();
        let lifted = serde_json::from_value(limit(50)).unwrap();
        let lifted = crate::plan::cgroup::limits::decide(
            &lifted,
            version,
            crate::plan::cgroup::limits::Occasion::Update,
            &mut Notes::default(),
        );
        shell.cgroup.update(&lifted.unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        shell.cgroup.signal_all(libc::SIGCONT).unwrap();
        assert!(shell.end().success(), "{setting:?}");
    }
}

#[test]
fn a_memory_limit_kills_and_the_watch_hears_it() {
    for setting in settings() {
        let resources = json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}});
        let swap = setting.version == Some(Version::V2) || memsw();
        let resources = if swap { resources } else { json!({"memory": {"limit": 33_554_432}}) };
        let mut shell =
            Shell::start(&setting, "memory", &resources, "kill -STOP $$; tail /dev/zero; sleep 9");
        let mut watch = shell.cgroup.watch().unwrap();
        assert_eq!(watch.wait(Duration::from_millis(100)).unwrap(), Heard::Nothing);
        std::thread::sleep(Duration::from_millis(300));
        shell.cgroup.signal_all(libc::SIGCONT).unwrap();
        assert_eq!(next(&mut watch), Heard::Oom, "{setting:?}");
        let stats = shell.cgroup.stats();
        assert_eq!(stats["memory"]["usage"]["limit"], 33_554_432);
        assert!(stats["memory"]["raw"].as_object().unwrap().len() > 10);
        shell.cgroup.signal_all(libc::SIGKILL).unwrap();
        assert_eq!(shell.end().signal(), Some(libc::SIGKILL));
        if setting.version == Some(Version::V2) {
            assert_eq!(next(&mut watch), Heard::Gone);
        }
    }
}

/// What happens next. A change that tells nothing new is heard as nothing.
fn next(watch: &mut Watch) -> Heard {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match watch.wait(Duration::from_secs(1)).unwrap() {
            Heard::Nothing if Instant::now() < deadline => {}
            heard => return heard,
        }
    }
}

/// Whether v1 here counts swap.
fn memsw() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

#[test]
fn a_cpu_quota_throttles() {
    for setting in settings() {
        let resources = json!({"cpu": {"quota": 10_000, "period": 100_000}});
        let shell = Shell::start(&setting, "cpu", &resources, "while :; do :; done");
        let deadline = Instant::now() + Duration::from_secs(20);
        let throttled = loop {
            let stats = shell.cgroup.stats();
            let periods = stats["cpu"]["throttling"]["throttledPeriods"].as_u64().unwrap_or_default();
            if periods > 2 || Instant::now() > deadline {
                break stats;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        assert!(
            throttled["cpu"]["throttling"]["throttledPeriods"].as_u64() > Some(2),
            "{setting:?} {throttled}"
        );
        assert!(throttled["cpu"]["usage"]["total"].as_u64() > Some(0), "{throttled}");
        assert_eq!(throttled["pids"]["current"], 1, "{throttled}");
    }
}

#[test]
fn a_device_that_is_not_allowed_is_refused() {
    for setting in settings().into_iter().filter(|setting| setting.standing == Standing::Root) {
        let rules = |rest: &[serde_json::Value]| {
            let mut rules = vec![json!({"allow": false, "access": "rwm"})];
            rules.extend_from_slice(rest);
            json!({ "devices": rules })
        };
        let opens = ": </dev/null; : </dev/kmsg";
        assert!(!Shell::start(&setting, "denied", &rules(&[]), opens).end().success(), "{setting:?}");
        let kmsg = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
        assert!(Shell::start(&setting, "allowed", &rules(&[kmsg]), opens).end().success(), "{setting:?}");
    }
}

#[test]
fn frozen_processes_stand_still() {
    for setting in settings() {
        let file = std::env::temp_dir().join(format!("kase-freeze-{}", std::process::id()));
        let script = format!("while :; do echo; done >{}", file.display());
        let shell = Shell::start(&setting, "freeze", &json!({}), &script);
        let grows = || {
            let size = || fs::metadata(&file).map_or(0, |found| found.len());
            let before = size();
            std::thread::sleep(Duration::from_millis(300));
            size() > before
        };
        assert!(grows(), "{setting:?}");
        shell.cgroup.set_state(State::Frozen).unwrap();
        assert_eq!(shell.cgroup.state().unwrap(), State::Frozen);
        assert!(!grows(), "{setting:?}");
        shell.cgroup.set_state(State::Thawed).unwrap();
        assert!(grows(), "{setting:?}");
        // Killed though frozen.
        shell.cgroup.set_state(State::Frozen).unwrap();
        drop(shell);
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn processors_are_those_of_the_set() {
    for setting in settings() {
        let resources = json!({"cpu": {"cpus": "0"}});
        let script = "grep -q 'Cpus_allowed_list:[[:space:]]*0$' /proc/self/status";
        assert!(Shell::start(&setting, "cpus", &resources, script).end().success(), "{setting:?}");
    }
}
