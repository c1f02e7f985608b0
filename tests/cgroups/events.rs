//! What a container uses, and what happens to it.

use super::limits::{disk, written};
use super::{MIB, added, counts_swap};
use crate::common::{Container, Ground, Value, json, wait_until};

in_settings! { each, memory: memory_is_told, a_kill_for_want_of_memory_is_told }
in_settings! { each, pids: processes_are_counted }
in_settings! { each, cpu: processor_time_and_throttling_are_told }
in_settings! { each, io: reads_and_writes_are_told }
in_settings! { each, hugetlb: huge_pages_are_told }
in_settings! { each, none: every_section_is_there }
in_settings! { each, memory: they_come_at_an_interval_and_end_with_the_container }

fn stats(container: &Container<'_>) -> Value {
    let event: Value = serde_json::from_str(container.call("events", ["--stats"]).stdout()).unwrap();
    assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("stats"), Some(container.id.as_str())));
    event["data"].clone()
}

fn memory_is_told(ground: &Ground) {
    let limits = json!({"memory": {"limit": 64 * MIB}});
    let container = ground.run_detached(&ground.limited(&limits).args(["/probe", "hold", "8"]));
    container.says("holding");
    let memory = &stats(&container)["memory"];
    assert_eq!(memory["usage"]["limit"], 64 * MIB, "{memory}");
    assert!(memory["usage"]["usage"].as_i64() > Some(8 * MIB), "{memory}");
    assert!(memory["raw"].as_object().unwrap().len() > 10, "{memory}");
}

fn a_kill_for_want_of_memory_is_told(ground: &Ground) {
    let mut memory = json!({"limit": 32 * MIB});
    if counts_swap(ground) {
        memory["swap"] = json!(32 * MIB);
    }
    let container = ground.sleeper(&json!({ "memory": memory }));
    let events = ground.spawn(ground.command(["events", "--interval", "50ms", &container.id]));
    events.says("stats");
    assert_eq!(ground.call(["exec", &container.id, "/probe", "allocate", "64"]).code, 137);
    events.says(r#""oom""#);
    let line = events.stdout().lines().find(|line| line.contains(r#""oom""#)).unwrap().to_owned();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("oom"), Some(container.id.as_str())));
    container.call("kill", ["KILL"]).succeeded();
    container.becomes("stopped");
    container.call("delete", []).succeeded();
    events.finish().succeeded();
}

fn processes_are_counted(ground: &Ground) {
    let container = ground.sleeper(&json!({"pids": {"limit": 20}}));
    assert_eq!(stats(&container)["pids"], json!({"current": 1, "limit": 20}));
    ground.call(["exec", "--detach", &container.id, "/probe", "sleep"]).succeeded();
    assert_eq!(stats(&container)["pids"]["current"], 2);
}

fn processor_time_and_throttling_are_told(ground: &Ground) {
    let limits = json!({"cpu": {"quota": 10_000, "period": 100_000}});
    let container = ground.run_detached(&ground.limited(&limits).args(["/probe", "burn"]));
    wait_until("throttling", || {
        stats(&container)["cpu"]["throttling"]["throttledPeriods"].as_u64() > Some(1)
    });
    let cpu = &stats(&container)["cpu"];
    assert!(cpu["usage"]["total"].as_u64() > Some(10_000_000), "in nanoseconds: {cpu}");
    assert!(cpu["throttling"]["throttledTime"].as_u64() > Some(0), "{cpu}");
}

fn reads_and_writes_are_told(ground: &Ground) {
    let bundle = ground.bundle().file("data", &"x".repeat(1 << 20)).args(["/probe", "sleep"]);
    if disk(bundle.dir()).is_none() {
        skip!("the temporary directory is on no disk");
    }
    written(&bundle);
    let container = ground.run_detached(&bundle);
    if added(&container, ["read-directly", "/data"]).contains("EINVAL") {
        skip!("the temporary directory's file system reads through the cache only");
    }
    wait_until("what was read to be told", || {
        let blkio = &stats(&container)["blkio"];
        let entries = blkio["ioServiceBytesRecursive"].as_array().map_or(&[][..], Vec::as_slice);
        let is_read = |entry: &&Value| entry["op"].as_str().is_some_and(|op| op.eq_ignore_ascii_case("read"));
        let read: u64 = entries.iter().filter(is_read).filter_map(|entry| entry["value"].as_u64()).sum();
        read >= 1 << 20
    });
}

fn huge_pages_are_told(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    let hugetlb = &stats(&container)["hugetlb"];
    assert!(hugetlb.as_object().unwrap().keys().any(|size| size.ends_with("MB")), "{hugetlb}");
}

fn every_section_is_there(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    let stats = stats(&container);
    for section in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(stats[section].is_object(), "{section}: {stats}");
    }
    assert!(stats.as_object().unwrap().contains_key("network_interfaces"), "{stats}");
    // On v2 runc tells nothing of it, and neither does kase.
    if ground.is_v1() && ground.has("cpuset") {
        assert!(stats["cpuset"]["cpus"].as_array().is_some_and(|cpus| !cpus.is_empty()), "{stats}");
    }
    // Since Linux 5.2, where it is not turned off; v1 has none.
    let pressure = std::path::Path::new("/proc/pressure/memory");
    if !ground.is_v1() && std::fs::read_to_string(pressure).is_ok() && ground.has("memory") {
        assert!(stats["memory"]["psi"]["some"]["total"].is_u64(), "{stats}");
    }
}

fn they_come_at_an_interval_and_end_with_the_container(ground: &Ground) {
    let container = ground.sleeper(&json!({}));
    let events = ground.spawn(ground.command(["events", "--interval", "20ms", &container.id]));
    wait_until("three events", || events.stdout().lines().count() >= 3);
    container.call("delete", ["--force"]).succeeded();
    let outcome = events.finish();
    for line in outcome.stdout().lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["type"], "stats");
    }
}
