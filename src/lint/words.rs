//! Words that the kernel would have to know: capabilities, system calls, mount options.

use super::fields::nearest;
use super::findings::Findings;
use crate::json_tree::Tree;
use crate::plan::mount_options;
use crate::seccomp;
use std::str::FromStr;

/// Reports those that it does not.
pub fn check(config: &Tree, findings: &mut Findings) {
    if let Some(sets) = config.down(&["process", "capabilities"]) {
        capabilities(sets, findings);
    }
    for (index, entry) in list(config, &["linux", "seccomp", "syscalls"]).iter().enumerate() {
        system_calls(entry, &format!("linux.seccomp.syscalls[{index}].names"), findings);
    }
    for (index, entry) in list(config, &["mounts"]).iter().enumerate() {
        options(entry, &format!("mounts[{index}].options"), findings);
    }
    for name in ["maskedPaths", "readonlyPaths"] {
        paths(config, name, findings);
    }
}

/// The elements at a path of names.
pub fn list<'tree>(config: &'tree Tree, path: &[&str]) -> &'tree [Tree] {
    config.down(path).map_or(&[], Tree::elements)
}

fn did_you_mean<'known>(word: &str, known: impl Iterator<Item = &'known str>, otherwise: &str) -> String {
    match nearest(word, known) {
        Some(meant) => format!("did you mean {meant}?"),
        None => otherwise.to_string(),
    }
}

fn capabilities(sets: &Tree, findings: &mut Findings) {
    let known: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    for set in sets.fields() {
        for (index, place, name) in set.value.words() {
            if caps::Capability::from_str(name).is_ok() {
                continue;
            }
            let remedy = did_you_mean(
                name,
                known.iter().map(String::as_str),
                "name one of capabilities(7), or leave it out: runtimes do",
            );
            let path = format!("process.capabilities.{}[{index}]", set.name);
            findings.error(place.at, &path, format!("there is no capability {name}"), remedy);
        }
    }
}

fn system_calls(entry: &Tree, path: &str, findings: &mut Findings) {
    let Some(names) = entry.get("names") else { return };
    for (index, place, name) in names.words() {
        if seccomp::names().any(|known| known == name) {
            continue;
        }
        let remedy = did_you_mean(name, seccomp::names(), "leave it out: it is passed over");
        // Engines' profiles name system calls of kernels that are newer than this table.
        let what = format!("no architecture has the system call {name}");
        findings.warning(place.at, &format!("{path}[{index}]"), what, remedy);
    }
}

/// The options of a file system's own, by its type; mount(8) and Documentation/filesystems. Of one that is not
/// here anything is possible.
const OF_TYPE: [(&str, &str); 8] = [
    (
        "tmpfs",
        "size nr_blocks nr_inodes mode uid gid huge mpol noswap inode32 inode64 quota usrquota grpquota casefold \
         strict_encoding",
    ),
    ("proc", "gid hidepid subset pidns"),
    ("devpts", "uid gid mode ptmxmode newinstance max"),
    ("sysfs", ""),
    ("mqueue", ""),
    (
        "overlay",
        "lowerdir lowerdir+ datadir+ upperdir workdir redirect_dir index metacopy userxattr volatile xino \
         nfs_export default_permissions uuid verity fsync override_creds nooverride_creds",
    ),
    ("cgroup", OF_CGROUPS),
    ("cgroup2", OF_CGROUPS),
];

const OF_CGROUPS: &str =
    "nsdelegate favordynmods nofavordynmods memory_localevents memory_recursiveprot pids_localevents";

/// SELinux gives these to every type.
const OF_ANY: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

fn options(entry: &Tree, path: &str, findings: &mut Findings) {
    let Some(options) = entry.get("options") else { return };
    let kind = entry.get("type").and_then(Tree::text).unwrap_or_default();
    let bound = kind == "bind" || options.words().any(|(_, _, word)| matches!(word, "bind" | "rbind"));
    let own = match OF_TYPE.iter().find(|(name, _)| *name == kind) {
        _ if bound => "",
        Some((_, own)) => own,
        None => return,
    };
    for (index, place, word) in options.words() {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let known = || mount_options::known().chain(own.split_whitespace());
        if known().any(|known| known == name) || OF_ANY.contains(&name) {
            continue;
        }
        let at = format!("{path}[{index}]");
        match (nearest(name, known()), bound) {
            (Some(meant), _) => {
                let what = format!("there is no mount option {name}");
                findings.error(place.at, &at, what, format!("did you mean {meant}?"));
            }
            (None, true) => {
                let what = format!("{word} has no effect on a bind mount");
                findings.warning(place.at, &at, what, "leave it out");
            }
            (None, false) => {
                let what = format!("{kind} has no option {name}, so the kernel refuses the mount");
                findings.error(place.at, &at, what, "leave it out");
            }
        }
    }
}

/// What engines hide and write-protect; a path that is almost one of these is one of these.
pub const PATHS: [&str; 19] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/interrupts",
    "/proc/irq",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs",
];

fn paths(config: &Tree, name: &str, findings: &mut Findings) {
    let Some(listed) = config.down(&["linux", name]) else { return };
    // These paths are known too, so that none of them is taken for a slip of one in the list.
    let others = ["/proc/cmdline", "/proc/mounts", "/proc/net", "/proc/stat", "/proc/tty", "/proc/self"];
    for (index, place, path) in listed.words() {
        let known = PATHS.iter().chain(&others).any(|known| {
            path.strip_prefix(known).is_some_and(|left| left.is_empty() || left.starts_with('/'))
        });
        let at = format!("linux.{name}[{index}]");
        if let Some(meant) = nearest(path, PATHS.into_iter()).filter(|_| !known) {
            let what = format!("nothing is at {path}, so nothing is protected");
            findings.error(place.at, &at, what, format!("did you mean {meant}?"));
        }
    }
}
