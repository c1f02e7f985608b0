//! Another runtime in kase's place (`KASE=/usr/sbin/runc`), to see what the tests themselves are worth.

use super::caller::{Caller, Identity};
use super::programs;
use super::ranges;
use serde_json::{Value, json};

/// Whether the runtime under test is kase: texts and the ordinary user's case are asked only of it.
pub fn is_ours() -> bool {
    peer() == "kase"
}

/// The name of the runtime under test.
pub fn peer() -> String {
    programs::kase().file_name().unwrap().to_string_lossy().into_owned()
}

/// Makes a config that is written for root one that other runtimes take from an ordinary user, which
/// kase does by itself.
pub fn adapt(spec: &mut Value, caller: Caller, identity: &Identity) {
    if is_ours() || caller == Caller::Root || !spec["linux"].is_object() {
        return;
    }
    let namespaces = spec["linux"]["namespaces"].as_array_mut();
    let Some(namespaces) = namespaces else { return };
    if namespaces.iter().any(|namespace| namespace["type"] == "user") {
        return;
    }
    namespaces.push(json!({"type": "user"}));
    for (name, own, file) in
        [("uidMappings", identity.uid, "/etc/subuid"), ("gidMappings", identity.gid, "/etc/subgid")]
    {
        let mut mappings = vec![json!({"containerID": 0, "hostID": own, "size": 1})];
        let mut next = 1;
        for (start, size) in ranges(file, identity) {
            mappings.push(json!({"containerID": next, "hostID": start, "size": size}));
            next += size;
        }
        spec["linux"][name] = mappings.into();
    }
}
