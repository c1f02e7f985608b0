//! What each version of cgroups does in its own way: all that [`Cgroup`](super::Cgroup) asks of it.

use super::directory::Reach;
use super::facts::CgroupFacts;
use super::freezer::State;
use super::join::Join;
use super::layout::Layout;
use super::oom::Watch;
use super::stats::{Parts, Unreadable};
use super::write::{self, Written};
use crate::plan::cgroup::CgroupPlan;
use crate::plan::cgroup::devices::Rule;
use crate::plan::cgroup::limits::Limits;
use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A container's cgroup: one directory of v2's tree, or one in each hierarchy of v1.
pub trait Tree: Debug {
    /// For the record on disk.
    fn facts(&self) -> CgroupFacts;

    /// Its directories, one for each hierarchy.
    fn directories(&self) -> Vec<&Path>;

    /// The one that has a controller's files.
    fn directory_of(&self, controller: &str) -> Option<&Path>;

    /// The one in a tree of v2, which clone3(2) takes.
    fn unified(&self) -> Option<&Path>;

    /// Makes what clone3(2) takes, and adds to `made` what was not there, topmost first in each hierarchy. Tells whether
    /// there is a cgroup.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in config.json; a cgroup that is in use. A caller who may not make any gets
    /// none if nothing asked for one.
    fn begin(&mut self, plan: &CgroupPlan, layout: &Layout, made: &mut Vec<PathBuf>) -> anyhow::Result<bool>;

    /// Makes the rest, if there is one, as [`begin`](Self::begin).
    fn finish(&mut self, _: &CgroupPlan, _: &Layout, _: &mut Vec<PathBuf>) -> anyhow::Result<bool> {
        Ok(true)
    }

    /// The open `tasks` files of v1: a process that writes `0` to each is in that cgroup.
    fn tasks_files(&self) -> anyhow::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// How a process is added that `--cgroup` sends to these cgroups below; `init` is the container's.
    fn join(&self, subs: &[String], init: i32) -> anyhow::Result<Join>;

    /// Has the kernel keep its processes from devices.
    fn restrict_devices(&self, rules: &[Rule]) -> anyhow::Result<()>;

    /// Writes limits; tells the files and values that were written.
    fn write(&self, limits: &Limits) -> anyhow::Result<Vec<Written>> {
        let written = write::write(limits, |controller| self.directory_of(controller))?;
        limits.devices.as_deref().map_or(Ok(()), |rules| self.restrict_devices(rules))?;
        Ok(written)
    }

    /// Freezes or thaws, and waits until it is so.
    fn set_state(&self, state: State) -> anyhow::Result<()>;

    /// The processes in it.
    fn pids(&self, reach: Reach) -> io::Result<Vec<i32>>;

    /// Kills every process in it, also what is frozen.
    fn kill(&self) -> anyhow::Result<()>;

    /// What it has used. A file that is there and cannot be read is told.
    fn stats(&self, unreadable: &Unreadable) -> Parts;

    /// Begins to watch for processes that are killed for want of memory; nothing without a memory controller.
    fn watch(&self) -> io::Result<Option<Box<dyn Watch>>>;
}
