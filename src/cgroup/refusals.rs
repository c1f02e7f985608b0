//! Why a cgroup cannot be made, or cannot be used.

use super::directory::{self, Reach, is_denied};
use super::freezer::{self, State};
use crate::fault::{Fault, OrFault};
use crate::plan::cgroup::CgroupPlan;
use crate::plan::cgroup::limits::Write;
use rootless::delegation;
use std::io;
use std::path::Path;

/// A cgroup that cannot be made, in the words that engines and tests know, with whose it would have to be.
pub fn not_made(plan: &CgroupPlan, path: &Path, error: io::Error) -> anyhow::Error {
    let limit = plan.limits.writes.first();
    let controller = limit.map_or("pids", |write| &write.controller);
    let shown = path.display();
    let denied = is_denied(&error);
    let mut words = match limit {
        Some(_) if denied => {
            format!("cannot set {controller} limit: container could not join or create cgroup {shown}")
        }
        _ if denied => format!("unable to apply cgroup configuration, permission denied: make {shown}"),
        _ => format!("unable to apply cgroup configuration: make {shown}"),
    };
    let diagnosis = if denied { delegation::missing(controller) } else { None };
    if let Some(diagnosis) = &diagnosis {
        words = format!("{words} ({})", diagnosis.cause);
    }
    let fault = match (limit, plan.asked) {
        (Some(limit), _) if denied => Fault::at(&limit.at, words),
        (_, Some(at)) => Fault::at(at, words),
        (_, None) => Fault::doing(words),
    };
    let remedy = match (diagnosis, error.raw_os_error()) {
        (Some(diagnosis), _) => diagnosis.remedy,
        (None, Some(libc::EAGAIN)) => {
            "raise cgroup.max.descendants or cgroup.max.depth of a cgroup above it".into()
        }
        (None, Some(libc::ENOSPC)) => "remove cgroups that nobody uses: this host can have no more".into(),
        (None, _) => "name another cgroup in linux.cgroupsPath".into(),
    };
    fault.remedy(remedy).caused_by(error)
}

/// The fault of a limit whose controller the container does not have: it is not mounted, or was not given to the user.
pub fn no_controller(write: &Write, words: &str) -> Fault {
    let controller = &write.controller;
    match delegation::missing(controller) {
        Some(diagnosis) => Fault::at(&write.at, format!("{words} ({})", diagnosis.cause))
            .remedy(format!("leave the limit out, or {}", diagnosis.remedy)),
        None => Fault::at(&write.at, words)
            .remedy(format!("mount the cgroup v1 controller {controller}, or leave the limit out")),
    }
}

/// The end of a move of a process into a cgroup.
pub fn moved(done: io::Result<()>, fault: impl FnOnce() -> Fault) -> anyhow::Result<()> {
    match done {
        // What is short there is no disk.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Err(fault()
            .remedy("give it processors and memory: its cpuset.cpus or cpuset.mems is empty")
            .caused_by(error)),
        done => done.or_fault(fault),
    }
}

/// Refuses a cgroup that somebody else uses; `freezer` is the file that says whether it is frozen.
///
/// # Errors
/// It has processes, or it is frozen.
pub fn refuse_used(path: &Path, freezer: &str) -> anyhow::Result<()> {
    let refused = |words: String, remedy| Err(Fault::at("linux.cgroupsPath", words).remedy(remedy).into());
    let pids = directory::pids(path, Reach::Recursive)
        .or_fault(|| Fault::at("linux.cgroupsPath", format!("list the processes in {}", path.display())))?;
    if !pids.is_empty() {
        let (number, path) = (pids.len(), path.display());
        let words = format!("container's cgroup is not empty: {number} process(es) found in {path}");
        return refused(words, "name a cgroup of its own for each container");
    }
    match freezer::asked(path, freezer)? {
        State::Thawed => Ok(()),
        State::Frozen => refused(
            format!("container's cgroup unexpectedly frozen: {}", path.display()),
            "thaw it, or name another",
        ),
    }
}
