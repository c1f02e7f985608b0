//! `kase spec`: a config.json to begin with.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::has_cgroup_v2;
use crate::fault::{Fault, OrFault};
use rootless::caller::Caller;
use std::fs::OpenOptions;
use std::io::Write;

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let bundle = super::create::bundle_of(arguments);
    let file = bundle.join("config.json");
    let text = match arguments.flag("rootless") {
        true => rootless(&context.caller),
        false => DEFAULT.to_string(),
    };
    let text = if has_cgroup_v2()? { text } else { text.replace(CGROUP_NAMESPACE, "") };
    let open = OpenOptions::new().write(true).create_new(true).open(&file);
    open.and_then(|mut out| out.write_all(text.as_bytes())).or_write_fault(|| {
        Fault::doing(format!("write {}", file.display()))
            .remedy("remove the file if it is there and not needed, or name another directory with --bundle")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// For an ordinary user without ranges, on the host's network, as `runc spec --rootless` has it.
fn rootless(caller: &Caller) -> String {
    let map = |id| format!("[{{ \"containerID\": 0, \"hostID\": {id}, \"size\": 1 }}]");
    let maps =
        format!("\t\t\"uidMappings\": {},\n\t\t\"gidMappings\": {},\n", map(caller.uid), map(caller.gid));
    let sys = "\t\t{ \"destination\": \"/sys\", \"type\": \"none\", \"source\": \"/sys\", \
               \"options\": [\"rbind\", \"nosuid\", \"noexec\", \"nodev\", \"ro\"] },\n";
    let mut text = String::with_capacity(DEFAULT.len() + 512);
    for line in DEFAULT.split_inclusive('\n') {
        match line.trim_start() {
            field if field.starts_with("\"resources\"") => text.push_str(&maps),
            mount if mount.contains("\"/sys\"") => text.push_str(sys),
            namespace if namespace.starts_with("{ \"type\": \"network\"") => {
                text.push_str(&line.replace("network", "user"));
            }
            _ => text.push_str(&line.replace(", \"gid=5\"", "")),
        }
    }
    text
}

/// What follows the other namespaces. On v1 it is left out, as in runc's: there a container sees which cgroups of
/// the host's it is in, and tools look for these.
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{ \"type\": \"cgroup\" }";

const DEFAULT: &str = r#"{
	"ociVersion": "1.3.0",
	"process": {
		"terminal": true,
		"user": { "uid": 0, "gid": 0 },
		"args": ["sh"],
		"env": [
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"TERM=xterm"
		],
		"cwd": "/",
		"capabilities": {
			"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
		},
		"rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
		"noNewPrivileges": true
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
		{ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
	],
	"linux": {
		"resources": { "devices": [{ "allow": false, "access": "rwm" }] },
		"namespaces": [
			{ "type": "pid" },
			{ "type": "network" },
			{ "type": "ipc" },
			{ "type": "uts" },
			{ "type": "mount" },
			{ "type": "cgroup" }
		],
		"maskedPaths": [
			"/proc/acpi",
			"/proc/asound",
			"/proc/interrupts",
			"/proc/kcore",
			"/proc/keys",
			"/proc/latency_stats",
			"/proc/timer_list",
			"/proc/timer_stats",
			"/proc/sched_debug",
			"/proc/scsi",
			"/sys/firmware",
			"/sys/devices/virtual/powercap"
		],
		"readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
	}
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use rootless::caller::Standing;

    #[test]
    fn both_configurations_can_be_read() {
        let root: Config = serde_json::from_str(DEFAULT).unwrap();
        assert_eq!(root.mounts.unwrap().len(), 7);
        let v1: Config = serde_json::from_str(&DEFAULT.replace(CGROUP_NAMESPACE, "")).unwrap();
        assert_eq!(v1.linux.unwrap().namespaces().as_ref().unwrap().len(), 5);
        let caller = Caller::assumed(Standing::User, 1000, 1001);
        let user: Config = serde_json::from_str(&rootless(&caller)).unwrap();
        let linux = user.linux.unwrap();
        assert_eq!(linux.gid_mappings().as_ref().unwrap()[0].host_id(), 1001);
        assert!(linux.resources().is_none());
        assert_eq!(user.mounts.unwrap().len(), 7);
    }
}
