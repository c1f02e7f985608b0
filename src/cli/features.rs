//! `kase features`: the features structure of the runtime specification, features.md and features-linux.md.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use super::table::print;
use crate::hook;
use crate::host;
use crate::plan::memory_policy;
use crate::plan::mount_options;
use crate::plan::namespaces::Kind;
use crate::seccomp::{Arch, known};
use serde_json::{Value, json};

pub fn run(_: Context, _: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": hook::Name::ALL.map(hook::Name::word),
        "mountOptions": mount_options::known().collect::<Vec<_>>(),
        "linux": linux(),
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
        // What whoever passes annotations of strangers on had better not: each changes what kase does on the
        // host. A dot at the end stands for all that begins so.
        "potentiallyUnsafeConfigAnnotations": ["kase.", "org.systemd.property.", "run.oci."],
    });
    print(serde_json::to_string_pretty(&features)? + "\n")?;
    Ok(ExitCode::SUCCESS)
}

fn linux() -> Value {
    let mut namespaces = Kind::ALL.map(Kind::word);
    namespaces.sort_unstable();
    let last = host::last_capability();
    let mut capabilities: Vec<_> =
        caps::all().into_iter().filter(|capability| capability.index() <= last).collect();
    capabilities.sort_unstable_by_key(caps::Capability::index);
    json!({
        "namespaces": namespaces,
        "capabilities": capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
        "seccomp": seccomp(),
        "apparmor": { "enabled": true },
        "selinux": { "enabled": true },
        "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
        "memoryPolicy": {
            "modes": memory_policy::MODES.map(|mode| mode.to_string()),
            "flags": memory_policy::FLAGS.map(|flag| flag.to_string()),
        },
        "netDevices": { "enabled": true },
        "mountExtensions": { "idmap": { "enabled": true } },
    })
}

fn seccomp() -> Value {
    let words = |flags: Vec<_>| flags.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "enabled": Arch::native().is_some(),
        "actions": known::ACTIONS.map(|action| action.to_string()),
        "operators": known::OPERATORS.map(|operator| operator.to_string()),
        "archs": Arch::ALL.map(Arch::word),
        "knownFlags": words(known::FLAGS.map(|(flag, _)| flag).to_vec()),
        "supportedFlags": words(host::seccomp_flags(known::FLAGS)),
    })
}
