//! A container's cgroup: made, limited, watched, removed.
//!
//! ```text
//!                      make ──▶ clone_target ──▶ attach ──▶ keep ──▶ facts ─ ─▶ reopen ──▶ any verb
//! v2                   mkdir    the directory    nothing left to do
//! v1                   mkdirs   –                moves init in
//! systemd              –        –                has a scope made around init
//! ```
//!
//! Limits are written before init goes on, as early as there is something to write them into. What was made
//! is removed on drop unless it is kept.

mod device_program;
pub mod directory;
mod freezer;
mod join;
pub mod layout;
mod v1;
mod v2;
mod write;

pub use directory::Reach;
pub use freezer::State;
pub use join::Join;

use crate::fault::{Fault, OrFault};
use crate::kernel::process::{pidfd_open, pidfd_send_signal};
use crate::plan::cgroup::limits::Limits;
use crate::plan::cgroup::{CgroupPlan, Location, Version};
use directory::is_denied;
use layout::{Layout, MOUNT};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

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
}

impl CgroupFacts {
    /// Whether there is a cgroup at all.
    pub fn is_none(&self) -> bool {
        self.v2.is_none() && self.v1.is_empty()
    }
}

/// A container's cgroup. Removed when dropped, unless it was [kept](Cgroup::keep) or reopened; so it has to
/// outlive the processes in it.
#[derive(Debug)]
pub struct Cgroup {
    tree: Tree,
    /// What we made, topmost first.
    made: Vec<PathBuf>,
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
    V1(v1::Paths),
}

impl Cgroup {
    /// No cgroup.
    pub fn none() -> Self {
        Self { tree: Tree::None, made: Vec::new() }
    }

    /// Makes what is planned, and writes the limits.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in config.json. A caller who may not make any gets none if
    /// nothing asked for one.
    pub fn make(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        let made = match (&plan.location, layout.version()) {
            (Location::Nowhere, _) | (_, None) => Self::none(),
            (Location::Unit(_), _) => todo_unit()?,
            (_, Some(Version::V2)) => Self::make_v2(plan, layout)?,
            (_, Some(Version::V1)) => {
                let made = v1::make(plan, layout)?;
                Self { tree: Tree::V1(made.paths), made: made.directories }
            }
        };
        if made.facts().is_none() && plan.location != Location::Nowhere {
            tracing::info!("no cgroup may be made here, so the container is in its caller's");
        }
        made.write(&plan.limits)?;
        Ok(made)
    }

    fn make_v2(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        let top = Path::new(MOUNT);
        let path = match &plan.location {
            Location::FromRoot(path) => top.join(path),
            Location::FromOwn(path) => match layout.hierarchies()? {
                // Ours has us in it, and a cgroup with processes hands no controllers down.
                [tree, ..] => {
                    tree.own.parent().filter(|above| above.starts_with(top)).unwrap_or(top).join(path)
                }
                [] => top.join(path),
            },
            Location::Nowhere | Location::Unit(_) => return Ok(Self::none()),
        };
        let made = match v2::make(top, &path) {
            Err(error) if is_denied(&error) && plan.asked.is_none() => return Ok(Self::none()),
            made => made.map_err(|error| not_made(plan, &path, error))?,
        };
        // From here on dropped, and thereby removed, when something fails.
        let is_new = made.last() == Some(&path);
        let mut cgroup = Self { tree: Tree::V2 { path: path.clone(), open: None }, made };
        if !is_new {
            v2::refuse_used(&path)?;
        }
        v2::settle(&path, plan)?;
        if let Some(uid) = plan.owner {
            v2::give(&path, uid)?;
        }
        let open = v2::open(&path).map_err(|error| not_made(plan, &path, error))?;
        cgroup.tree = Tree::V2 { path, open: Some(open) };
        Ok(cgroup)
    }

    /// The cgroup that clone3(2) can put init into, which spares the move and leaves no moment outside of it.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        match &self.tree {
            Tree::V2 { open, .. } => open.as_ref().map(AsFd::as_fd),
            Tree::None | Tree::V1(_) => None,
        }
    }

    /// Moves init in. For a cgroup without a [`clone_target`](Self::clone_target), or a kernel that did not
    /// take it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&mut self, _plan: &CgroupPlan, pid: i32) -> anyhow::Result<()> {
        match &self.tree {
            Tree::None => Ok(()),
            Tree::V2 { path, .. } => directory::attach(path, pid)
                .or_fault(|| Fault::doing(format!("move process {pid} into {}", path.display()))),
            Tree::V1(paths) => v1::attach(paths, pid),
        }
    }

    /// For the record on disk.
    pub fn facts(&self) -> CgroupFacts {
        match &self.tree {
            Tree::None => CgroupFacts::default(),
            Tree::V2 { path, .. } => CgroupFacts { v2: Some(path.clone()), ..CgroupFacts::default() },
            Tree::V1(paths) => CgroupFacts { v1: paths.clone(), ..CgroupFacts::default() },
        }
    }

    /// Leaves it in place when this is dropped.
    pub fn keep(&mut self) {
        self.made.clear();
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
        Self { tree, made: Vec::new() }
    }

    fn write(&self, limits: &Limits) -> anyhow::Result<()> {
        match &self.tree {
            Tree::None => Ok(()),
            Tree::V2 { path, open } => {
                write::write(limits, |_| Some(path))?;
                match (&limits.devices, open) {
                    (Some(rules), Some(open)) => device_program::attach(open.as_fd(), rules, path),
                    _ => Ok(()),
                }
            }
            Tree::V1(paths) => {
                write::write(limits, |controller| v1::directory_of(paths, controller))?;
                match (&limits.devices, v1::directory_of(paths, "devices")) {
                    (Some(rules), Some(directory)) => write::devices_v1(rules, directory),
                    (Some(_), None) => Err(Fault::doing(
                        "this host has no devices cgroup, which keeps containers from devices",
                    )
                    .remedy("mount the cgroup v1 controller devices")
                    .into()),
                    (None, _) => Ok(()),
                }
            }
        }
    }

    /// Changes limits of a running container.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in the resources.
    pub fn update(&self, limits: &Limits) -> anyhow::Result<()> {
        if matches!(self.tree, Tree::None) && !limits.writes.is_empty() {
            return Err(Fault::at(&limits.writes[0].at, "the container has no cgroup of its own to limit")
                .remedy("create it again where cgroups may be made")
                .into());
        }
        self.write(limits)
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

    /// Whether it is frozen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn state(&self) -> anyhow::Result<State> {
        match &self.tree {
            Tree::None => Ok(State::Thawed),
            Tree::V2 { path, .. } => freezer::v2(path),
            Tree::V1(paths) => v1::frozen(paths),
        }
    }

    /// The processes in it, in our pid namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pids(&self, reach: Reach) -> anyhow::Result<Vec<i32>> {
        match &self.tree {
            Tree::None => Ok(Vec::new()),
            Tree::V2 { path, .. } => directory::pids(path, reach),
            Tree::V1(paths) => v1::pids(paths, reach),
        }
        .or_fault(|| Fault::doing("list the container's processes"))
    }

    /// Signals every process in it. SIGKILL also ends what is frozen.
    ///
    /// # Errors
    /// The kernel's.
    pub fn signal_all(&self, number: i32) -> anyhow::Result<()> {
        match &self.tree {
            Tree::None => Ok(()),
            Tree::V2 { path, .. } if number == libc::SIGKILL => v2::kill_all(path),
            Tree::V1(paths) if number == libc::SIGKILL => v1::kill_all(paths),
            Tree::V2 { .. } | Tree::V1(_) => signal_each(&self.pids(Reach::Recursive)?, number),
        }
    }

    /// Removes it and what is below it.
    ///
    /// # Errors
    /// The cgroup that stays, and why.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        self.made.clear();
        match &self.tree {
            Tree::None => Ok(()),
            Tree::V2 { path, .. } => directory::remove(path),
            Tree::V1(paths) => paths.values().map(|path| directory::remove(path)).fold(Ok(()), Result::and),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        let leaves: Vec<&Path> = match &self.tree {
            Tree::None => Vec::new(),
            Tree::V2 { path, .. } => vec![path],
            Tree::V1(paths) => paths.values().map(PathBuf::as_path).collect(),
        };
        for leaf in leaves.into_iter().filter(|leaf| self.made.iter().any(|made| made == leaf)) {
            if let Err(error) = directory::remove(leaf) {
                tracing::warn!("{error:#}");
            }
        }
        directory::unmake(&self.made);
    }
}

fn todo_unit() -> anyhow::Result<Cgroup> {
    Err(Fault::doing("systemd units are not made yet").into())
}

/// A cgroup that cannot be made, in the words that engines and tests know, with whose it would have to be.
fn not_made(plan: &CgroupPlan, path: &Path, error: io::Error) -> anyhow::Error {
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
    let hurdle = if denied { rootless::delegation::missing(controller) } else { None };
    if let Some(hurdle) = &hurdle {
        words = format!("{words} ({})", hurdle.cause);
    }
    let fault = match (limit, plan.asked) {
        (Some(limit), _) if denied => Fault::at(&limit.at, words),
        (_, Some(at)) => Fault::at(at, words),
        (_, None) => Fault::doing(words),
    };
    match hurdle {
        Some(hurdle) => fault.remedy(hurdle.remedy),
        None => fault.remedy("name another cgroup in linux.cgroupsPath"),
    }
    .caused_by(error)
}

fn refuse_populated(pids: &[i32], path: &Path) -> anyhow::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    Err(Fault::at(
        "linux.cgroupsPath",
        format!("container's cgroup is not empty: {} process(es) found in {}", pids.len(), path.display()),
    )
    .remedy("name a cgroup of its own for each container")
    .into())
}

fn refuse_frozen(state: State, path: &Path) -> anyhow::Result<()> {
    if state == State::Thawed {
        return Ok(());
    }
    Err(Fault::at("linux.cgroupsPath", format!("container's cgroup unexpectedly frozen: {}", path.display()))
        .remedy("thaw it, or name another")
        .into())
}

/// Signals every process in a directory and below it.
fn signal(directory: &Path, number: i32) -> anyhow::Result<()> {
    let pids = directory::pids(directory, Reach::Recursive)
        .or_fault(|| Fault::doing(format!("list the processes in {}", directory.display())))?;
    signal_each(&pids, number)
}

fn signal_each(pids: &[i32], number: i32) -> anyhow::Result<()> {
    for pid in pids {
        // It may have ended meanwhile, as intended.
        let sent = pidfd_open(*pid).and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), number));
        match sent {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            sent => sent.or_fault(|| Fault::doing(format!("signal process {pid}")))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
