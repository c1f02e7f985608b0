//! Settings that leave a container more open than one expects of it.

use super::findings::Findings;
use super::words::list;
use crate::json_tree::Tree;

/// Reports them.
pub fn check(config: &Tree, findings: &mut Findings) {
    let Some(linux) = config.get("linux") else { return };
    let at = config.find("linux");
    let isolated = namespaces(config, at, findings);
    if linux.get("seccomp").is_none() {
        findings.warning(
            at,
            "linux.seccomp",
            "is not set: the container may make every system call",
            "set a filter, such as Docker's or Podman's default profile",
        );
    }
    hidden(config, at, findings);
    if let Some(process) = config.get("process") {
        if !process.get("noNewPrivileges").is_some_and(Tree::is_true) {
            findings.warning(
                process.find("noNewPrivileges"),
                "process.noNewPrivileges",
                "is not true: a set-user-id program in the rootfs gains privileges",
                "set it to true, unless the container needs sudo or the like",
            );
        }
        if !isolated {
            privileges(process, findings);
        }
    }
    binds(config, findings);
    cgroups(config, findings);
    for (index, rule) in list(config, &["linux", "resources", "devices"]).iter().enumerate() {
        let everything = ["type", "major", "minor"].into_iter().all(|name| {
            rule.get(name).is_none_or(|value| value.text() == Some("a") || value.number() == Some(-1))
        });
        if everything && rule.get("allow").is_some_and(Tree::is_true) {
            findings.warning(
                rule.at,
                &format!("linux.resources.devices[{index}]"),
                "allows every device of the host",
                "allow the devices that the container needs, by type, major and minor",
            );
        }
    }
}

/// Those that the container shares with the host; whether it has a user namespace of its own.
fn namespaces(config: &Tree, at: usize, findings: &mut Findings) -> bool {
    let listed = list(config, &["linux", "namespaces"]);
    let has = |kind: &str| listed.iter().any(|entry| entry.get("type").and_then(Tree::text) == Some(kind));
    let place = match config.down(&["linux", "namespaces"]) {
        Some(namespaces) => namespaces.at,
        None => at,
    };
    for (kind, means) in [
        ("mount", "the container's mounts are the host's"),
        ("pid", "the container sees the host's processes"),
        ("network", "the container has the host's network, with its abstract sockets"),
        ("ipc", "the container sees the host's shared memory"),
    ] {
        if !has(kind) {
            let what = format!("there is no {kind} namespace: {means}");
            let remedy = format!("add {{\"type\": \"{kind}\"}}, unless that is meant");
            findings.warning(place, "linux.namespaces", what, remedy);
        }
    }
    has("user")
}

/// Parts of /proc and /sys that are the host's.
fn hidden(config: &Tree, at: usize, findings: &mut Findings) {
    let mounts = list(config, &["mounts"]);
    let mounted =
        |place: &str| mounts.iter().any(|mount| mount.get("destination").and_then(Tree::text) == Some(place));
    if !mounted("/proc") {
        return;
    }
    let has = |name: &str, path: &str| {
        list(config, &["linux", name]).iter().any(|listed| listed.text() == Some(path))
    };
    if list(config, &["linux", "maskedPaths"]).is_empty() {
        findings.warning(
            at,
            "linux.maskedPaths",
            "hides nothing: /proc shows the host's memory, keys and timers",
            "list at least /proc/kcore, /proc/keys, /proc/timer_list and /sys/firmware; `kase spec` has all",
        );
    } else if !has("maskedPaths", "/proc/kcore") {
        findings.warning(
            config.find("linux.maskedPaths"),
            "linux.maskedPaths",
            "does not hide /proc/kcore, the host's memory",
            "add it",
        );
    }
    for path in ["/proc/sys", "/proc/sysrq-trigger"] {
        if !has("readonlyPaths", path) && !has("maskedPaths", path) {
            findings.warning(
                config.find("linux.readonlyPaths"),
                "linux.readonlyPaths",
                format!("{path} can be written"),
                format!("add {path}"),
            );
        }
    }
}

/// Capabilities by which root in the container becomes root of the host.
fn privileges(process: &Tree, findings: &mut Findings) {
    const GREAT: [&str; 8] = [
        "CAP_SYS_ADMIN",
        "CAP_SYS_MODULE",
        "CAP_SYS_RAWIO",
        "CAP_SYS_PTRACE",
        "CAP_DAC_READ_SEARCH",
        "CAP_SYS_BOOT",
        "CAP_BPF",
        "CAP_MAC_ADMIN",
    ];
    let Some(bounding) = process.down(&["capabilities", "bounding"]) else { return };
    for (index, place, name) in bounding.words().filter(|(_, _, name)| GREAT.contains(name)) {
        findings.warning(
            place.at,
            &format!("process.capabilities.bounding[{index}]"),
            format!("{name} without a user namespace is as good as the host's root"),
            "leave it out, or add {\"type\": \"user\"} to linux.namespaces",
        );
    }
}

/// Parts of the host that lead out of the container.
fn binds(config: &Tree, findings: &mut Findings) {
    for (index, mount) in list(config, &["mounts"]).iter().enumerate() {
        let options: Vec<&str> =
            mount.get("options").into_iter().flat_map(Tree::words).map(|(_, _, word)| word).collect();
        let bound = options.iter().any(|word| matches!(*word, "bind" | "rbind"))
            || mount.get("type").and_then(Tree::text) == Some("bind");
        let source = mount.get("source").and_then(Tree::text).unwrap_or_default();
        let readonly = options.iter().any(|word| matches!(*word, "ro" | "rro"));
        let socket = source.ends_with("/docker.sock") || source.ends_with("/podman.sock");
        let what = match source {
            _ if !bound => continue,
            _ if socket => "whoever speaks to that socket is root of the host",
            "/" | "/etc" | "/root" | "/boot" | "/proc" | "/sys" | "/usr" if !readonly => {
                "the container can write to the host's own files there"
            }
            _ => continue,
        };
        let remedy = if socket { "leave the mount out" } else { "add ro to its options, or bind less" };
        findings.warning(mount.find("source"), &format!("mounts[{index}].source"), what, remedy);
    }
}

/// Without a cgroup namespace a mount of the cgroups shows the host's, and root of the host may change them.
fn cgroups(config: &Tree, findings: &mut Findings) {
    let of_type = |place: &[&str], kind: &str| {
        list(config, place).iter().any(|entry| entry.get("type").and_then(Tree::text) == Some(kind))
    };
    if of_type(&["linux", "namespaces"], "cgroup") || of_type(&["linux", "namespaces"], "user") {
        return;
    }
    for (index, mount) in list(config, &["mounts"]).iter().enumerate() {
        let kind = mount.get("type").and_then(Tree::text);
        let mut options = mount.get("options").into_iter().flat_map(Tree::words);
        if matches!(kind, Some("cgroup" | "cgroup2")) && !options.any(|(_, _, word)| word == "ro") {
            findings.warning(
                mount.at,
                &format!("mounts[{index}]"),
                "is writable, and without a cgroup namespace it has the host's cgroups",
                "add ro to its options, or {\"type\": \"cgroup\"} to linux.namespaces",
            );
        }
    }
}
