//! How a process comes into the cgroup of a container that runs.

use super::directory::{self, is_denied};
use super::refusals::moved;
use super::systemd::{self, UnitFacts};
use crate::fault::Fault;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What to do about a cgroup that a process cannot be added to.
pub const ANOTHER: &str = "give --cgroup one that exists and that takes processes";

/// A cgroup to join.
#[derive(Debug, Default)]
pub struct Join {
    /// In the tree of v2, also the one beside v1.
    pub(super) directory: Option<PathBuf>,
    /// The same for clone3(2), if the caller may.
    pub open: Option<OwnedFd>,
    /// See [`Tree::tasks_files`](super::tree::Tree::tasks_files).
    pub tasks_files: Vec<OwnedFd>,
    /// The systemd unit and where in it, for a caller who may not go there alone.
    pub(super) unit: Option<(UnitFacts, PathBuf)>,
}

/// A cgroup that `--cgroup` names below the container's.
///
/// # Errors
/// It leads out of that.
pub fn below(path: &Path, sub: &str) -> Result<PathBuf, Fault> {
    if Path::new(sub).components().any(|part| part == Component::ParentDir) {
        return Err(Fault::doing(format!("bad sub cgroup path: {sub}")).remedy("write it without .."));
    }
    Ok(path.join(sub.trim_start_matches('/')))
}

impl Join {
    /// Moves the process in, where clone3(2) did not, but for what has [`tasks_files`](Self::tasks_files).
    pub fn attach(&self, pid: i32) -> anyhow::Result<()> {
        let Some(path) = &self.directory else { return Ok(()) };
        match (directory::attach(path, pid), &self.unit) {
            // A user may not move processes between their session and their manager; systemd may.
            (Err(error), Some((unit, inside))) if is_denied(&error) => systemd::attach(unit, inside, pid),
            (done, _) => moved(done, || {
                Fault::doing(format!("adding pid {pid} to {}", path.display())).remedy(ANOTHER)
            }),
        }
    }
}
