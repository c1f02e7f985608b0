//! A container's cgroup: made, limited, watched, removed.
//!
//! ```text
//!          planned ─▶ begin ─▶ clone_target ─▶ finish ─▶ attach ─▶ tasks_files ─▶ keep ─▶ facts ─ ─▶ reopen ─▶ any verb
//! v2                  mkdir    that directory  nothing left to do
//! v1                  mkdir in that directory  mkdirs    –         init moves itself
//!                     its tree                 for init            by them
//! systemd             –        –               –         has a scope made around init
//! ```
//!
//! Limits are written before init goes on, as early as there is something to write them into. What was made
//! is removed on drop unless it is kept.
//!
//! [`Cgroup`] asks both versions through one interface, [`Tree`]; which one it is, is decided in `make` (by the host) and
//! in [`Cgroup::reopen`] (by the record). A kase without cgroup v1 has lost `v1/`, `CgroupFacts::v1`, the layout of v1 in
//! `layout`, `plan/cgroup/v1.rs`, in `host/hierarchies.rs` all but `unified`, and in init the `tasks` files and the mounts
//! of hierarchies.

pub mod directory;
mod facts;
mod freezer;
mod join;
pub mod layout;
mod make;
mod oom;
mod processes;
mod refusals;
mod stats;
pub mod systemd;
mod tree;
mod v1;
mod v2;
mod write;

pub use directory::Reach;
pub use facts::{CgroupFacts, Freezer};
pub use freezer::{Host, State};
pub use join::Join;
pub use oom::Heard;

use crate::fault::{Fault, OrFault};
use crate::plan::cgroup::limits::Limits;
use oom::Watch;
use processes::signal_each;
use std::path::{Path, PathBuf};
use systemd::UnitFacts;
use tree::Tree;
use write::Written;

/// A container's cgroup. Removed when dropped, unless it was only planned, or [kept](Cgroup::keep) or reopened; so it has
/// to outlive the processes in it.
#[derive(Debug)]
pub struct Cgroup {
    /// Nothing where the container is in its caller's cgroup, or systemd has not made its own yet.
    tree: Option<Box<dyn Tree>>,
    unit: Option<UnitFacts>,
    /// What we made, topmost first.
    made: Vec<PathBuf>,
    /// Whether what was made stays when this is dropped.
    kept: bool,
}

impl Cgroup {
    /// No cgroup.
    pub fn none() -> Self {
        Self::new(None, None)
    }

    fn new(tree: Option<Box<dyn Tree>>, unit: Option<UnitFacts>) -> Self {
        Self { tree, unit, made: Vec::new(), kept: true }
    }

    /// For the record on disk.
    pub fn facts(&self) -> CgroupFacts {
        let facts = self.tree.as_ref().map(|tree| tree.facts()).unwrap_or_default();
        CgroupFacts { unit: self.unit.clone(), ..facts }
    }

    /// Leaves it in place when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// The cgroup of a container that exists.
    pub fn reopen(facts: &CgroupFacts) -> Self {
        let tree: Option<Box<dyn Tree>> = match &facts.v2 {
            Some(path) => Some(Box::new(v2::Unified { path: path.clone(), below: facts.below.clone() })),
            None if facts.v1.is_empty() => None,
            None => Some(Box::new(v1::Hierarchies(facts.v1.clone()))),
        };
        Self::new(tree, facts.unit.clone())
    }

    /// Writes limits; tells the files and values that were written.
    fn write(&self, limits: &Limits) -> anyhow::Result<Vec<Written>> {
        match (&self.tree, limits.first()) {
            (Some(tree), _) => tree.write(limits),
            (None, None) => Ok(Vec::new()),
            (None, Some(at)) => Err(Fault::at(at, "the container has no cgroup of its own to limit")
                .remedy("create it again where cgroups are mounted at /sys/fs/cgroup and may be made")
                .into()),
        }
    }

    /// Changes limits of a running container.
    pub fn update(&self, limits: &Limits) -> anyhow::Result<()> {
        let written = self.write(limits)?;
        match (&self.unit, self.unified()) {
            (Some(unit), Some(path)) => systemd::update(unit, path, written),
            _ => Ok(()),
        }
    }

    /// Freezes or thaws, and waits until it is so.
    ///
    /// # Errors
    /// No cgroup, no freezer, processes that do not stop.
    pub fn set_state(&self, state: State) -> anyhow::Result<()> {
        let Some(tree) = &self.tree else {
            return Err(Fault::doing("cannot toggle freezer: cgroups not configured for container")
                .remedy("create it again where cgroups may be made")
                .into());
        };
        tree.set_state(state)
    }

    /// The processes in it, in our pid namespace.
    pub fn pids(&self, reach: Reach) -> anyhow::Result<Vec<i32>> {
        let pids = self.tree.as_ref().map_or(Ok(Vec::new()), |tree| tree.pids(reach));
        pids.or_fault(|| Fault::doing("list the container's processes"))
    }

    /// Signals every process in it. SIGKILL also ends what is frozen.
    pub fn signal_all(&self, number: i32) -> anyhow::Result<()> {
        match &self.tree {
            Some(tree) if number == libc::SIGKILL => tree.kill(),
            Some(tree) => signal_each(|| tree.pids(Reach::Recursive), number),
            None => Ok(()),
        }
    }

    /// Everything that `events --stats` shows.
    pub fn stats(&self) -> anyhow::Result<serde_json::Value> {
        stats::read(|unreadable| self.tree.as_ref().map(|tree| tree.stats(unreadable)).unwrap_or_default())
    }

    /// Begins to watch for processes that are killed for want of memory.
    ///
    /// # Errors
    /// No cgroup with a memory controller.
    pub fn watch(&self) -> anyhow::Result<Box<dyn Watch>> {
        let watch = self.tree.as_ref().map_or(Ok(None), |tree| tree.watch());
        watch.or_fault(|| Fault::doing("watch for out-of-memory kills"))?.ok_or_else(|| {
            Fault::doing("watch for out-of-memory kills: the container has no memory cgroup")
                .remedy("create it again where cgroups may be made; see kase's message then")
                .into()
        })
    }

    /// How a process is added to the container's cgroup, or to the one that `--cgroup` names below it; on v1 for the
    /// controllers before a colon alone. `init` is the container's.
    ///
    /// # Errors
    /// A `sub` that leads out of the container's cgroup or is not there.
    pub fn join(&self, subs: &[String], init: i32) -> anyhow::Result<Join> {
        let Some(tree) = &self.tree else { return Ok(Join::default()) };
        let mut join = tree.join(subs, init)?;
        let inside = join.directory.as_ref().zip(tree.unified());
        let inside = inside.and_then(|(directory, path)| directory.strip_prefix(path).ok());
        join.unit = self.unit.clone().zip(inside.map(Path::to_path_buf));
        Ok(join)
    }

    /// Removes it and what is below it; with systemd, the unit. Its processes have to be gone. A systemd that does
    /// not answer is only warned of.
    ///
    /// # Errors
    /// The cgroup that stays, and why.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        self.kept = true;
        // Without a tree the unit was only planned, and one of that name is somebody else's.
        let started = self.unit.as_ref().filter(|_| self.tree.is_some());
        let stopped = started.map_or(Ok(()), systemd::stop);
        let removed = self.directories().map(directory::remove).fold(Ok(()), Result::and);
        match stopped {
            // systemd takes a scope back whose cgroup is gone, if it has not ended itself, with its user's login.
            Err(error) if removed.is_ok() => tracing::warn!("{error:#}"),
            stopped => stopped?,
        }
        removed
    }

    /// Removes what was only planned, if it was made: what is in use, or has cgroups below it, is somebody else's.
    pub fn remove_unused(&self) {
        for directory in self.directories() {
            if let Err(error) = directory::remove_empty(directory) {
                tracing::warn!("the cgroup {} stays, since it is in use: {error}", directory.display());
            }
        }
    }

    fn directories(&self) -> impl Iterator<Item = &Path> {
        self.tree.iter().flat_map(|tree| tree.directories())
    }

    /// The directory in a tree of v2.
    fn unified(&self) -> Option<&Path> {
        self.tree.as_ref().and_then(|tree| tree.unified())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let mut complain = |done: anyhow::Result<()>| {
            if let Err(error) = done {
                tracing::warn!("{error:#}");
            }
        };
        if let Some(unit) = &self.unit {
            complain(self.signal_all(libc::SIGKILL));
            complain(systemd::stop(unit));
        }
        // One that was there before stays.
        let ours = |directory: &&Path| self.made.iter().any(|made| made == directory);
        self.directories().filter(ours).map(directory::remove).for_each(&mut complain);
        directory::unmake(&self.made);
    }
}

#[cfg(test)]
mod tests;
