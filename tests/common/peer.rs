//! Other runtimes: in kase's place (`KASE=/usr/sbin/runc`), to see what the tests themselves are worth, and beside it,
//! to compare.

use super::caller::{Caller, Identity, is_root};
use super::{programs, ranges};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where version 2 of the cgroups lies beside version 1.
const SECOND_HIERARCHY: &str = "/sys/fs/cgroup/unified";

/// A runtime to compare with: Debian's newest, where `scripts/peers` has put it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: &'static str,
    pub program: PathBuf,
}

impl Peer {
    /// crun or runc, unless it is not there or cannot run here.
    pub fn find(name: &'static str) -> Option<Self> {
        let program = Path::new(&std::env::var_os("PEERS")?).join(name);
        let found = Self { name, program };
        (found.program.exists() && (is_root() || found.mounts().is_empty())).then_some(found)
    }

    /// What root does for it beforehand: crun takes no machine that has controllers in both versions of cgroups.
    pub fn mounts(&self) -> String {
        let controllers = std::fs::read_to_string(format!("{SECOND_HIERARCHY}/cgroup.controllers"));
        match self.name == "crun" && !controllers.unwrap_or_default().trim().is_empty() {
            true => format!("umount {SECOND_HIERARCHY}\n"),
            false => String::new(),
        }
    }
}

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
    map_ids(spec, identity);
}

/// Maps all ids that the caller has, its own as root.
pub fn map_ids(spec: &mut Value, identity: &Identity) {
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
