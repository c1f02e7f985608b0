//! What the program asks of itself, under the config that runc writes.

use super::{agree, side_with};
use crate::common::{Kase, Peer, Value, json};
use std::fs;

deeds! { a_rootless_config_of_runcs_gives_the_same_container }
deeds! { root: a_config_of_runcs_gives_the_same_container }

/// Whatever a process can ask of itself, but for numbers that the kernel hands out.
const QUESTIONS: [&[&str]; 7] = [
    &[
        "status",
        "Name",
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "NSpid",
        "NSpgid",
        "NSsid",
        "Threads",
        "Cpus_allowed",
    ],
    &["status", "SigQ", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "Seccomp", "Seccomp_filters"],
    &["caps"],
    &["env"],
    &["cwd"],
    &["rlimits"],
    &["oom"],
];

/// And where it is.
const PLACES: [&[&str]; 2] = [&["read", "/proc/self/cgroup"], &["mounts"]];

fn a_config_of_runcs_gives_the_same_container(kase: &Kase) {
    compare(kase, &["spec"]);
}

fn a_rootless_config_of_runcs_gives_the_same_container(kase: &Kase) {
    if kase.is_root() {
        skip!("runc writes a rootless config for ordinary users only");
    }
    compare(kase, &["spec", "--rootless"]);
}

fn compare(kase: &Kase, spec: &[&str]) {
    let Some(runc) = Peer::find("runc") else { skip!("needs runc of scripts/peers") };
    agree(kase, |kase| seen(kase, &runc, spec, &QUESTIONS));
    let why =
        "crun masks by binds, leaves the super blocks writable, and counts the cgroup from its own root";
    side_with(kase, "runc", why, |kase| seen(kase, &runc, spec, &PLACES));
}

/// What the probe answers to all questions, under the config that runc writes.
fn seen(kase: &Kase, runc: &Peer, spec: &[&str], questions: &[&[&str]]) -> String {
    let bundle = kase.bundle();
    let path = bundle.path("config.json");
    fs::remove_file(&path).unwrap();
    let mut writer = kase.program(&runc.program.to_string_lossy());
    writer.args(spec).current_dir(bundle.dir());
    kase.finish(writer).succeeded();
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let questions = questions.join(&"--");
    config["process"]["args"] = json!(["/probe"].into_iter().chain(questions).collect::<Vec<_>>());
    config["process"]["terminal"] = json!(false);
    fs::write(path, config.to_string()).unwrap();
    kase.run(&bundle).stdout().lines().map(|line| comparable(line) + "\n").collect()
}

/// A line of mountinfo without its numbers, and without what kase does deliberately otherwise: a masked directory is
/// nosuid, nodev and noexec beside read-only, a node of the host's nosuid and noexec as with crun, and the tmpfs over the
/// cgroup hierarchies is as read-only as its entry says.
fn comparable(line: &str) -> String {
    // How many signals wait is a matter of all of root's processes.
    if let Some((_, most)) = line.strip_prefix("SigQ: ").and_then(|line| line.split_once('/')) {
        return format!("SigQ: {most}");
    }
    // Real-time signals that the caller ignores: the peers pass them on, kase does not.
    if let Some(signals) = line.strip_prefix("SigIgn: ") {
        return format!("SigIgn: {:x}", u64::from_str_radix(signals, 16).unwrap() & 0x7fff_ffff);
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let Some(point) = fields.get(4).filter(|_| line.contains(" - ")) else { return line.to_string() };
    match (*point, line.contains(" - tmpfs ")) {
        ("/sys/fs/cgroup", true) => format!("{point} tmpfs"),
        (masked, true) if masked.starts_with("/proc/") || masked.starts_with("/sys/") => {
            format!("{masked} masked")
        }
        _ if line.contains(" - devtmpfs ") => format!("{point} bound"),
        _ => fields[3..].join(" "),
    }
}
