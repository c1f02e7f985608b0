//! What a cgroup of v2 needs before a process is in it: its controllers, a type that takes processes, its owner.

use crate::cgroup::directory::{self, is_gone};
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use crate::plan::cgroup::CgroupPlan;
use std::io::ErrorKind;
use std::os::unix::fs::chown;
use std::path::Path;

/// Controllers that know processes only; no limit of theirs works in a threaded cgroup.
const DOMAIN: [&str; 4] = ["memory", "io", "hugetlb", "rdma"];

/// Hands every controller of this cgroup on to those below. What fails shows as soon as a limit of that
/// controller is written, and then with its name.
pub fn enable(parent: &Path) {
    let read = |file| read_text(parent.join(file)).unwrap_or_default();
    let (there, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let enabled: Vec<&str> = enabled.split_whitespace().collect();
    let missing: Vec<String> = there
        .split_whitespace()
        .filter(|name| !enabled.contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    let file = parent.join("cgroup.subtree_control");
    if !missing.is_empty() && directory::write(&file, &missing.join(" ")).is_err() {
        // All or nothing; so one by one.
        for controller in missing {
            let _ = directory::write(&file, &controller);
        }
    }
}

/// Has every controller handed down to a cgroup of systemd's, which knows some only and hands those down that it
/// was given a limit for. Where the caller may not, a limit that needs it tells.
pub fn hand_down(top: &Path, path: &Path) {
    let mut current = top.to_path_buf();
    for part in path.strip_prefix(top).unwrap_or(Path::new("")) {
        enable(&current);
        current.push(part);
    }
}

/// Sees that it has a type that takes a process.
///
/// # Errors
/// A limit of a controller that cannot work in a threaded cgroup.
pub fn make_fit(path: &Path, plan: &CgroupPlan) -> anyhow::Result<()> {
    let file = path.join("cgroup.type");
    let kind = match read_text(&file) {
        // The tree's root has none, nor has any cgroup of an old kernel.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        kind => kind.or_fault(|| Fault::doing(format!("read {}", file.display())))?,
    };
    let kind = kind.trim();
    if !matches!(kind, "domain invalid" | "domain threaded" | "threaded") {
        return Ok(());
    }
    if let Some(write) = plan.limits.writes.iter().find(|write| DOMAIN.contains(&&*write.controller)) {
        return Err(Fault::at(
            &write.at,
            format!(
                "cannot enter cgroupv2 {:?} with domain controllers: it is {kind}",
                path.display().to_string()
            ),
        )
        .remedy("move the processes out of the cgroup above it, or name another in linux.cgroupsPath")
        .into());
    }
    if kind == "domain invalid" {
        // There are processes above it, so it can only be of their domain.
        directory::write(&file, "threaded")
            .or_fault(|| Fault::doing(format!("make the cgroup {} threaded", path.display())))?;
    }
    Ok(())
}

/// Gives it to `uid`, in the way that lets them rule over what is below it but not over its limits.
pub fn give_to(path: &Path, uid: u32) -> anyhow::Result<()> {
    const LIST: &str = "/sys/kernel/cgroup/delegate";
    let list = match read_text(LIST) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            "cgroup.procs\ncgroup.subtree_control\ncgroup.threads".to_string()
        }
        list => list.or_fault(|| Fault::doing(format!("read {LIST}")))?,
    };
    let chowned = |path: &Path| match chown(path, Some(uid), None) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done.or_fault(|| Fault::doing(format!("give {} to uid {uid}", path.display()))),
    };
    chowned(path)?;
    list.lines().try_for_each(|file| chowned(&path.join(file)))
}
