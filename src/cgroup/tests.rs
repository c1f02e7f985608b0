//! On the real kernel, in cgroups of our own. Each test says why when it cannot run here.

mod systemd;
mod v1;
mod v2;

use super::layout::Layout;
use super::*;
use crate::plan::cgroup::annotated::Properties;
use crate::plan::cgroup::{CgroupPlan, Driver, Location, Manager, Setting, Version, decide};
use crate::plan::notes::Notes;
use nix::unistd::geteuid;
use rootless::caller::{Caller, Standing};
use serde_json::json;
use std::fs;
use std::io;
use std::process::{Child, Command};

/// Says why a test cannot run here, and adds it to the list that `make test` ends with.
fn skip(why: &str) {
    let line = format!("{}: {why}\n", std::thread::current().name().unwrap_or("a test"));
    print!("skipped {line}");
    if let Some(list) = std::env::var_os("KASE_SKIPPED") {
        let file = fs::OpenOptions::new().create(true).append(true).open(list);
        io::Write::write_all(&mut file.unwrap(), line.as_bytes()).unwrap();
    }
}

/// The host's layout, or why there is none to test with.
fn layout(version: Version) -> Option<Layout> {
    let layout = Layout::look().unwrap();
    if !geteuid().is_root() {
        skip("only root may make cgroups here");
        return None;
    }
    if layout.version() == Some(version) {
        return Some(layout);
    }
    skip(&format!("this host has cgroups {:?}, not {version:?}", layout.version()));
    None
}

/// The v2 tree of this host, wherever it is mounted.
fn unified() -> Option<PathBuf> {
    let layout = Layout::look().unwrap();
    let tree = layout.hierarchies().unwrap().find(|hierarchy| hierarchy.is_unified()).cloned();
    match tree {
        Some(tree) if geteuid().is_root() => Some(tree.point),
        _ => {
            skip("no v2 tree here, or not root");
            None
        }
    }
}

fn plan(path: &str, resources: &serde_json::Value, version: Version) -> CgroupPlan {
    let linux = json!({"cgroupsPath": path, "resources": resources});
    let setting = Setting {
        version: Some(version),
        systemd: None,
        manager: Manager { driver: Driver::Cgroupfs, properties: Properties::Scope },
        standing: Standing::Root,
        id: "test",
        owner: None,
    };
    decide(Some(&serde_json::from_value(linux).unwrap()), None, &setting, &mut Notes::default()).unwrap()
}

fn make(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Cgroup> {
    let mut cgroup = Cgroup::planned(plan, layout)?;
    cgroup.begin(plan, layout)?;
    cgroup.finish(plan, layout)?;
    Ok(cgroup)
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
fn a_process_that_is_no_longer_listed_once_it_is_open_is_not_signalled() {
    let mut sleeper = Sleeper::start();
    let pid = sleeper.pid();
    let looks = std::cell::Cell::new(0);
    let leaves = || {
        looks.set(looks.get() + 1);
        Ok(if looks.get() == 1 { vec![pid] } else { Vec::new() })
    };
    signal_each(leaves, libc::SIGKILL).unwrap();
    assert_eq!(looks.get(), 2);
    signal_each(|| Ok(vec![pid]), libc::SIGTERM).unwrap();
    let end = sleeper.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(libc::SIGTERM));
}

#[test]
fn the_threads_of_a_threaded_cgroup_are_no_processes() {
    let all = fs::read_dir("/proc/self/task").unwrap();
    let all = all.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    // The test program's main one has the process's id.
    let others: Vec<i32> = all.filter(|id| *id != std::process::id().cast_signed()).collect();
    signal_each(|| Ok(others.clone()), 0).unwrap();
}

#[test]
fn the_freezer_is_found_among_what_is_known_of_a_cgroup() {
    // By which way: without a parser, or by one.
    let (at_once, parsed) = (true, false);
    let (v1, v2) = ("freezer.self_freezing", "cgroup.freeze");
    for (facts, expected, way) in [
        (r#"{"v1":{"":"/u","cpu":"/c","freezer":"/f","memory":"/m"}}"#, Some(("/f", v1)), at_once),
        (r#"{"v1":{"":"/u","cpu":"/c","pids,freezer":"/f","memory":"/m"}}"#, Some(("/f", v1)), parsed),
        (r#"{"v1":{"cpu":"/\"freezer\":\"/x","freezer":"/f"}}"#, Some(("/f", v1)), at_once),
        (r#"{"v1":{"freezer":"/a \"b\""}}"#, Some(("/a \"b\"", v1)), parsed),
        (r#"{"v1":{"cpu":"/c","freezers":"/x"},"below":"b"}"#, None, parsed),
        (r#"{"v2":"/a","below":"\"freezer\":\"/x"}"#, Some(("/a", v2)), at_once),
        (r#"{"v2":"/a \"b\"","unit":{"name":"a.scope","bus":"system"}}"#, Some(("/a \"b\"", v2)), parsed),
        ("{}", None, parsed),
    ] {
        serde_json::from_str::<CgroupFacts>(facts).unwrap();
        let found = Freezer::find(facts);
        assert_eq!(found.is_some(), way, "{facts}");
        let freezer = found.unwrap_or_else(|| serde_json::from_str(facts).unwrap());
        let freezer = freezer.0.as_ref().map(|(directory, file)| (directory.as_ref(), *file));
        assert_eq!(freezer, expected, "{facts}");
    }
}
