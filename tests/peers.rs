//! The same configuration under kase and under Debian's runc: what the program sees is the same.

use crate::common::{Bundle, Kase, Value, is_ours, json, words};
use std::fs;
use std::process::Command;

deeds! { a_rootless_config_of_runcs_gives_the_same_container }
deeds! { root: a_config_of_runcs_gives_the_same_container }

/// Whatever a process can ask of itself, but for numbers that the kernel hands out.
const QUESTIONS: [&[&str]; 9] = [
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
    &["read", "/proc/self/cgroup"],
    &["mounts"],
];

fn runc() -> Option<&'static str> {
    ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| fs::exists(path).unwrap_or(false))
}

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
    let Some(runc) = runc().filter(|_| is_ours()) else { skip!("needs runc beside kase") };
    let bundle = kase.bundle();
    fs::remove_file(bundle.path("config.json")).unwrap();
    let mut writer = kase.program(runc);
    writer.args(spec).current_dir(bundle.dir());
    kase.finish(writer).succeeded();
    ask(&bundle);
    // One id for both: the cgroup is named after it.
    let id = kase.id();
    let ours = seen(kase, &bundle, &id, kase.command([""; 0]));
    let theirs = seen(kase, &bundle, &id, peer(kase, runc));
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{ours}\n\n{theirs}");
}

fn peer(kase: &Kase, runc: &str) -> Command {
    let mut command = kase.program(runc);
    command.arg("--root").arg(kase.directory("peer"));
    command
}

/// Has the probe answer all questions, without a terminal.
fn ask(bundle: &Bundle) {
    let path = bundle.path("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let questions: Vec<&str> = QUESTIONS.join(&"--").to_vec();
    config["process"]["args"] = json!(["/probe"].into_iter().chain(questions).collect::<Vec<_>>());
    config["process"]["terminal"] = json!(false);
    fs::write(path, config.to_string()).unwrap();
}

fn seen(kase: &Kase, bundle: &Bundle, id: &str, mut command: Command) -> String {
    command.args(words(["run", "-b"], bundle.dir(), [id]));
    let outcome = kase.finish(command);
    outcome.stdout().lines().map(|line| comparable(line) + "\n").collect()
}

/// A line of mountinfo without its numbers, and without what kase does deliberately otherwise: a masked directory is
/// nosuid, nodev and noexec beside read-only, and the tmpfs over the cgroup hierarchies is as read-only as its entry says.
fn comparable(line: &str) -> String {
    // How many signals wait is a matter of all of root's processes.
    if let Some((_, most)) = line.strip_prefix("SigQ: ").and_then(|line| line.split_once('/')) {
        return format!("SigQ: {most}");
    }
    let fields: Vec<&str> = line.split(' ').collect();
    let Some(point) = fields.get(4).filter(|_| line.contains(" - ")) else { return line.to_string() };
    match (*point, line.contains(" - tmpfs ")) {
        ("/sys/fs/cgroup", true) => format!("{point} tmpfs"),
        (masked, true) if masked.starts_with("/proc/") || masked.starts_with("/sys/") => {
            format!("{masked} masked")
        }
        _ => fields[3..].join(" "),
    }
}
