//! `kase spec`: a config.json to begin with.

use super::Context;
use crate::fault::{Fault, OrFault};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use oci_spec::runtime::Spec;
use rootless::caller::Caller;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("bundle")
                .short('b')
                .long("bundle")
                .value_parser(value_parser!(PathBuf))
                .default_value(".")
                .value_name("DIR")
                .help("The bundle's directory"),
        )
        .arg(
            Arg::new("rootless")
                .long("rootless")
                .action(ArgAction::SetTrue)
                .help("For an ordinary user: with a user namespace that maps you to root"),
        )
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let bundle = matches.get_one::<PathBuf>("bundle").cloned().unwrap_or_default();
    let file = bundle.join("config.json");
    let mut config = default();
    if matches.get_flag("rootless") {
        make_rootless(&mut config, &context.caller);
    }
    // Through the types, so that fields come in the specification's order and what we write can be read.
    let spec: Spec = serde_json::from_value(config)?;
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    serde::Serialize::serialize(&spec, &mut serde_json::Serializer::with_formatter(&mut text, indent))?;
    text.push(b'\n');
    let mut out = OpenOptions::new().write(true).create_new(true).open(&file).or_fault(|| {
        Fault::doing(format!("write {}", file.display()))
            .remedy("remove the file if it is there and not needed, or name another directory with --bundle")
    })?;
    out.write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn default() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "kase",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/devices/virtual/powercap", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// The same for a user without ranges, on the host's network: as `runc spec --rootless` has it.
fn make_rootless(config: &mut Value, caller: &Caller) {
    let linux = &mut config["linux"];
    linux["namespaces"] = json!([{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }, { "type": "user" }]);
    linux["uidMappings"] = json!([{ "containerID": 0, "hostID": caller.uid, "size": 1 }]);
    linux["gidMappings"] = json!([{ "containerID": 0, "hostID": caller.gid, "size": 1 }]);
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    let Some(mounts) = config["mounts"].as_array_mut() else { return };
    mounts.retain(|mount| !mount["destination"].as_str().unwrap_or_default().starts_with("/sys"));
    for mount in mounts.iter_mut() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| option != "gid=5");
        }
    }
    mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] }));
}
