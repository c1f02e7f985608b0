//! A container's cgroup: made, limited, watched, removed.
//!
//! ```text
//!            begin ──▶ clone_target ──▶ finish ──▶ attach ──▶ doors ──▶ keep ──▶ facts ─ ─▶ reopen ──▶ any verb
//! v2         mkdir     that directory   nothing left to do
//! v1         mkdir in  that directory   mkdirs     –          init goes
//!            its tree                   for init              through them
//! systemd    –         –                –          has a scope made around init
//! ```
//!
//! Limits are written before init goes on, as early as there is something to write them into. What was made
//! is removed on drop unless it is kept.

mod device_program;
pub mod directory;
mod freezer;
mod join;
pub mod layout;
mod make;
mod oom;
mod stats;
pub mod systemd;
mod v1;
mod v2;
mod write;

pub use directory::Reach;
pub use freezer::{Host, State};
pub use join::Join;
pub use oom::Heard;

use crate::fault::{Fault, OrFault};
use crate::kernel::pidfd::{pidfd_open, pidfd_send_signal};
use crate::kernel::text::read_text;
use crate::plan::cgroup::limits::Limits;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use systemd::UnitFacts;
use write::Written;

/// What later commands need to know, on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupFacts {
    /// The cgroup in the one tree of v2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v2: Option<PathBuf>,
    /// The cgroup in each hierarchy of v1.
    #[serde(default, skip_serializing_if = "v1::Paths::is_empty")]
    pub v1: v1::Paths,
    /// The systemd unit that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitFacts>,
    /// Where in the unit's cgroup the container is, if not in itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<PathBuf>,
}

impl CgroupFacts {
    /// Whether there is a cgroup at all.
    pub fn is_none(&self) -> bool {
        self.v2.is_none() && self.v1.is_empty() && self.unit.is_none()
    }

    /// Whether the cgroup is frozen.
    pub fn state(&self) -> anyhow::Result<State> {
        self.v2.as_deref().map_or_else(|| v1::frozen(&self.v1), freezer::v2)
    }
}

/// Of [`CgroupFacts`], where the freezer is.
#[derive(Debug, Default, Deserialize)]
pub struct Freezer<'a> {
    #[serde(borrow, default)]
    v2: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    v1: v1::Freezer<'a>,
}

impl<'a> Freezer<'a> {
    /// Finds it in the JSON without parsing all of that; nothing where it takes a parser. A quote within a value has a
    /// backslash before it, so what looks like one of these keys is one.
    pub fn find(json: &'a str) -> Option<Self> {
        let (v2, rest) = match json.strip_prefix(r#"{"v2":""#) {
            Some(rest) => (true, rest),
            None => (false, json.split_once(r#""freezer":""#)?.1),
        };
        let (path, _) = rest.split_once('"')?;
        let path = Some(Cow::Borrowed(path)).filter(|path| !path.contains('\\'))?;
        Some(match v2 {
            true => Self { v2: Some(path), v1: v1::Freezer(None) },
            false => Self { v2: None, v1: v1::Freezer(Some(path)) },
        })
    }

    /// As [`CgroupFacts::state`].
    pub fn state(&self, host: &Host) -> anyhow::Result<State> {
        match (&self.v2, &self.v1.0) {
            (Some(path), _) => host.state(path, freezer::V2),
            (None, Some(path)) => host.state(path, freezer::V1),
            (None, None) => Ok(State::Thawed),
        }
    }
}

/// A container's cgroup. Removed when dropped, unless it was [kept](Cgroup::keep) or reopened; so it has to
/// outlive the processes in it.
#[derive(Debug)]
pub struct Cgroup {
    tree: Tree,
    unit: Option<UnitFacts>,
    below: Option<PathBuf>,
    /// What we made, topmost first.
    made: Vec<PathBuf>,
    life: Life,
}

/// What becomes of a cgroup when this process is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It goes.
    Ours,
    /// It stays.
    Containers,
}

#[derive(Debug)]
enum Tree {
    /// The container is in its caller's cgroup.
    None,
    V2 {
        path: PathBuf,
        /// Open from its making until it is kept.
        open: Option<OwnedFd>,
    },
    /// Those of v1, and the one in the v2 tree beside them.
    V1(v1::Paths),
}

impl Cgroup {
    /// No cgroup.
    pub fn none() -> Self {
        Self::new(Tree::None, Vec::new())
    }

    fn new(tree: Tree, made: Vec<PathBuf>) -> Self {
        Self { tree, unit: None, below: None, made, life: Life::Ours }
    }

    /// For the record on disk.
    pub fn facts(&self) -> CgroupFacts {
        let (v2, v1) = match &self.tree {
            Tree::None => (None, v1::Paths::new()),
            Tree::V2 { path, .. } => (Some(path.clone()), v1::Paths::new()),
            Tree::V1(paths) => (None, paths.clone()),
        };
        CgroupFacts { v2, v1, unit: self.unit.clone(), below: self.below.clone() }
    }

    /// Leaves it in place when this is dropped.
    pub fn keep(&mut self) {
        self.life = Life::Containers;
        if let Tree::V2 { open, .. } = &mut self.tree {
            *open = None;
        }
    }

    /// The cgroup of a container that exists.
    pub fn reopen(facts: &CgroupFacts) -> Self {
        let tree = match &facts.v2 {
            Some(path) => Tree::V2 { path: path.clone(), open: None },
            None if facts.v1.is_empty() => Tree::None,
            None => Tree::V1(facts.v1.clone()),
        };
        let (unit, below) = (facts.unit.clone(), facts.below.clone());
        Self { tree, unit, below, made: Vec::new(), life: Life::Containers }
    }

    /// Writes limits; tells the files and values that were written.
    fn write(&self, limits: &Limits) -> anyhow::Result<Vec<Written>> {
        match &self.tree {
            Tree::None => match limits.first() {
                Some(at) => Err(Fault::at(at, "the container has no cgroup of its own to limit")
                    .remedy("create it again where cgroups are mounted at /sys/fs/cgroup and may be made")
                    .into()),
                None => Ok(Vec::new()),
            },
            Tree::V2 { path, open } => {
                let written = write::write(limits, |_| Some(path))?;
                if let (Some(rules), Some(open)) = (&limits.devices, open) {
                    device_program::attach(open.as_fd(), rules, path)?;
                }
                Ok(written)
            }
            Tree::V1(paths) => {
                let written = write::write(limits, |controller| v1::directory_of(paths, controller))?;
                match (&limits.devices, v1::directory_of(paths, "devices")) {
                    (Some(rules), Some(directory)) => write::devices_v1(rules, directory)?,
                    (Some(_), None) => {
                        return Err(Fault::doing(
                            "this host has no devices cgroup, which keeps containers from devices",
                        )
                        .remedy("mount the cgroup v1 controller devices")
                        .into());
                    }
                    (None, _) => {}
                }
                Ok(written)
            }
        }
    }

    /// Changes limits of a running container.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in the resources.
    pub fn update(&self, limits: &Limits) -> anyhow::Result<()> {
        let written = self.write(limits)?;
        let (Some(unit), Tree::V2 { path, .. }) = (&self.unit, &self.tree) else { return Ok(()) };
        let whole = whole(path, written)
            .or_fault(|| Fault::doing(format!("read the limits in {}", path.display())))?;
        systemd::update(unit, &whole)?;
        // systemd forgets the period of no quota.
        let lost = whole.iter().find(|(file, value)| file == "cpu.max" && value.starts_with("max "));
        lost.map_or(Ok(()), |(file, value)| directory::write(&path.join(file), value))
            .or_fault(|| Fault::doing(format!("write cpu.max in {}", path.display())))
    }

    /// Freezes or thaws, and waits until it is so.
    ///
    /// # Errors
    /// No cgroup, no freezer, processes that do not stop.
    pub fn set_state(&self, state: State) -> anyhow::Result<()> {
        match &self.tree {
            Tree::None => Err(Fault::doing("cannot toggle freezer: cgroups not configured for container")
                .remedy("create it again where cgroups may be made")
                .into()),
            Tree::V2 { path, .. } => freezer::set_v2(path, state),
            Tree::V1(paths) => v1::freeze(paths, state),
        }
    }

    /// The processes in it, in our pid namespace.
    pub fn pids(&self, reach: Reach) -> anyhow::Result<Vec<i32>> {
        match &self.tree {
            Tree::None => Ok(Vec::new()),
            Tree::V2 { path, .. } => directory::pids(path, reach),
            Tree::V1(paths) => v1::pids(paths, reach),
        }
        .or_fault(|| Fault::doing("list the container's processes"))
    }

    /// Signals every process in it. SIGKILL also ends what is frozen.
    pub fn signal_all(&self, number: i32) -> anyhow::Result<()> {
        match &self.tree {
            Tree::None => Ok(()),
            Tree::V2 { path, .. } if number == libc::SIGKILL => v2::kill_all(path),
            Tree::V1(paths) if number == libc::SIGKILL => v1::kill_all(paths),
            Tree::V2 { .. } | Tree::V1(_) => signal_each(|| self.pids(Reach::Recursive), number),
        }
    }

    /// Removes it and what is below it; with systemd, the unit. Its processes have to be gone. A systemd that does
    /// not answer is only warned of.
    ///
    /// # Errors
    /// The cgroup that stays, and why.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        self.life = Life::Containers;
        // Without a tree the unit was only planned, and one of that name is somebody else's.
        let started = self.unit.as_ref().filter(|_| !matches!(self.tree, Tree::None));
        let stopped = started.map_or(Ok(()), systemd::stop);
        let removed = self.leaves().map(directory::remove).fold(Ok(()), Result::and);
        match stopped {
            // systemd takes a scope back whose cgroup is gone, if it has not ended itself, with its user's login.
            Err(error) if removed.is_ok() => tracing::warn!("{error:#}"),
            stopped => stopped?,
        }
        removed
    }

    /// Removes what was only planned, if it was made: what is in use, or has cgroups below it, is somebody else's.
    pub fn remove_unused(&self) {
        for leaf in self.leaves() {
            if let Err(error) = directory::remove_empty(leaf) {
                tracing::warn!("the cgroup {} stays, since it is in use: {error}", leaf.display());
            }
        }
    }

    /// The cgroup's directories, one for each hierarchy.
    fn leaves(&self) -> impl Iterator<Item = &Path> {
        let (one, many) = match &self.tree {
            Tree::None => (None, None),
            Tree::V2 { path, .. } => (Some(path), None),
            Tree::V1(paths) => (None, Some(paths.values())),
        };
        one.into_iter().chain(many.into_iter().flatten()).map(PathBuf::as_path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.life == Life::Containers {
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
        let ours = |leaf: &&Path| self.made.iter().any(|made| made == leaf);
        self.leaves().filter(ours).map(directory::remove).for_each(&mut complain);
        directory::unmake(&self.made);
    }
}

/// Signals every process in a directory and below it.
fn signal(directory: &Path, number: i32) -> anyhow::Result<()> {
    let pids = || {
        directory::pids(directory, Reach::Recursive)
            .or_fault(|| Fault::doing(format!("list the processes in {}", directory.display())))
    };
    signal_each(pids, number)
}

/// Signals every process that `pids` lists, and lists again once there is a descriptor of it: before that its id could
/// have passed to a process of somebody else's.
fn signal_each(pids: impl Fn() -> anyhow::Result<Vec<i32>>, number: i32) -> anyhow::Result<()> {
    /// So many descriptors are open at once.
    const AT_ONCE: usize = 64;
    for some in pids()?.chunks(AT_ONCE) {
        let opened: Vec<_> = some.iter().map(|pid| (pid, pidfd_open(*pid))).collect();
        let now = pids()?;
        for (pid, pidfd) in opened.into_iter().filter(|(pid, _)| now.contains(pid)) {
            match pidfd.and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), number)) {
                // It may have ended meanwhile, as intended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                // A threaded cgroup lists threads; all of a process have what its first one gets.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {}
                sent => sent.or_fault(|| Fault::doing(format!("signal process {pid}")))?,
            }
        }
    }
    Ok(())
}

/// What was written, with what it means together with what was there: a quota alone is one of the old period, and
/// what ceases to be idle has a weight.
fn whole(path: &Path, mut written: Vec<Written>) -> io::Result<Vec<Written>> {
    let now = |file: &str| read_text(path.join(file)).map(|text| text.trim().to_string());
    for (_, value) in written.iter_mut().filter(|(file, _)| file == "cpu.max") {
        *value = now("cpu.max")?;
    }
    let weight = written.iter().any(|(file, _)| file == "cpu.weight");
    if written.iter().any(|(file, value)| file == "cpu.idle" && value == "0") && !weight {
        written.push(("cpu.weight".to_string(), now("cpu.weight")?));
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
