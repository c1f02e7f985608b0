//! The one tree of cgroup v2.

use super::directory::{self, is_gone};
use super::freezer::{self, State};
use crate::fault::{Fault, OrFault};
use crate::kernel;
use crate::kernel::text::read_text;
use crate::plan::cgroup::CgroupPlan;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

/// Controllers that know processes only; no limit of theirs works in a threaded cgroup.
const DOMAIN: [&str; 4] = ["memory", "io", "hugetlb", "rdma"];

/// Makes the cgroup, with the controllers enabled down to it; returns what was made, topmost first.
pub fn make(top: &Path, path: &Path) -> io::Result<Vec<PathBuf>> {
    directory::make(top, path, enable)
}

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

/// What is needed before a process can be in it: a type that takes one.
///
/// # Errors
/// A limit of a controller that cannot work in a threaded cgroup.
pub fn settle(path: &Path, plan: &CgroupPlan) -> anyhow::Result<()> {
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

/// Whether the caller may move processes from the cgroup `own` into the one at `path`: whoever may write to the
/// process list of the nearest one above both; cgroups(7), "Cgroup delegation containment".
pub fn may_move(own: &Path, path: &Path) -> io::Result<bool> {
    let both = own.components().zip(path.components()).take_while(|(one, other)| one == other);
    let above: PathBuf = both.map(|(part, _)| part).collect();
    may_write(&above.join("cgroup.procs"))
}

/// Whether the caller may write to it, as far as its mode says. Nobody may write to what is not there.
pub fn may_write(path: &Path) -> io::Result<bool> {
    use nix::Error as E;
    match access(path, AccessFlags::W_OK) {
        Ok(()) => Ok(true),
        Err(E::EACCES | E::EPERM | E::EROFS | E::ENOENT | E::ENOTDIR | E::ENODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens it, for clone3(2) and for a device program.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(kernel::path::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)
}

/// Gives it to `uid`, in the way that lets them rule over what is below it but not over its limits.
pub fn give(path: &Path, uid: u32) -> anyhow::Result<()> {
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

/// Kills every process in it and below it, those too that it is about to fork.
pub fn kill_all(path: &Path) -> anyhow::Result<()> {
    match directory::write(&path.join("cgroup.kill"), "1") {
        Ok(()) => Ok(()),
        Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            // Before Linux 5.14, or threaded. A frozen process cannot fork.
            let frozen = freezer::set_v2(path, State::Frozen);
            let done = super::signal(path, libc::SIGKILL);
            if frozen.is_ok() {
                freezer::set_v2(path, State::Thawed)?;
            }
            done
        }
        Err(error) => {
            Err(error).or_fault(|| Fault::doing(format!("kill the processes in {}", path.display())))
        }
    }
}

/// Refuses a cgroup that somebody else uses.
///
/// # Errors
/// It has processes, or it is frozen.
pub fn refuse_used(path: &Path) -> anyhow::Result<()> {
    super::make::refuse_populated(path)?;
    super::make::refuse_frozen(freezer::v2(path)?, path)
}
