//! Limits that change while a container runs, and what it has used.

use crate::common::{Kase, json};

deeds! {
    an_event_begins_with_its_type_and_id,
    a_share_of_caches_needs_resctrl,
}

fn an_event_begins_with_its_type_and_id(kase: &Kase) {
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    let stats = container.call("events", ["--stats"]);
    let head = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{", container.id);
    assert!(stats.stdout().starts_with(&head), "runc's order, which some take for granted: {stats}");
    let stats: crate::common::Value = serde_json::from_str(&stats.out).unwrap();
    assert_eq!(stats["data"]["intel_rdt"], json!({}));
}

fn a_share_of_caches_needs_resctrl(kase: &Kase) {
    if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
        skip!("this host has resctrl");
    }
    let container = kase.run_detached(&kase.bundle().args(["/probe", "sleep"]));
    for (flag, value) in [("--l3-cache-schema", "L3:0=f"), ("--mem-bw-schema", "MB:0=20")] {
        container.call("update", [flag, value]).refused(&["linux.intelRdt", "Intel RDT is not enabled"]);
    }
    container.call("update", []).refused(&["nothing is to be changed"]);
}
