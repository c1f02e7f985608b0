//! Where a process goes that is added to a container.

use super::directory::{self, is_denied};
use super::layout::MOUNT;
use super::systemd::{self, UnitFacts};
use super::{Cgroup, Tree, v1};
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What to do about a cgroup that a process cannot be added to.
const ANOTHER: &str = "give --cgroup one that exists and that takes processes";

/// A cgroup to join.
#[derive(Debug, Default)]
pub struct Join {
    /// In the tree of v2, also the one beside v1.
    path: Option<PathBuf>,
    tasks_files: Vec<OwnedFd>,
    open: Option<OwnedFd>,
    /// The systemd unit and where in it, for a caller who may not go there alone.
    unit: Option<(UnitFacts, PathBuf)>,
}

impl Cgroup {
    /// The container's cgroup, or the one that `--cgroup` names below it; on v1 for the controllers before a
    /// colon alone.
    ///
    /// On v2 the cgroup may have got cgroups of its own, and then takes no process, or be gone because init
    /// moved on: without a `sub`, the one that init is in now does as well.
    ///
    /// # Errors
    /// A `sub` that leads out of the container's cgroup or is not there.
    pub fn join(&self, subs: &[String], init: i32) -> anyhow::Result<Join> {
        match &self.tree {
            Tree::None => Ok(Join::default()),
            Tree::V2 { path, .. } => {
                let target = v2_target(path, self.below.as_deref(), subs, init)?;
                let open = super::v2::open(&target).or_fault(|| {
                    Fault::doing(format!("open the cgroup {}", target.display()))
                        .remedy("give --cgroup one that exists")
                })?;
                let inside = target.strip_prefix(path).ok().map(Path::to_path_buf);
                let unit = self.unit.clone().zip(inside);
                // clone3(2) asks for the same rights as a move.
                let own = of_process(std::process::id().cast_signed())?;
                let may = own.map_or(Ok(true), |own| super::v2::may_move(&own, &target));
                let may =
                    may.or_fault(|| Fault::doing(format!("see whose the cgroup {} is", target.display())))?;
                let open = Some(open).filter(|_| may);
                Ok(Join { path: Some(target), tasks_files: Vec::new(), open, unit })
            }
            Tree::V1(paths) => join_v1(paths, subs),
        }
    }
}

fn v2_target(path: &Path, inner: Option<&Path>, subs: &[String], init: i32) -> anyhow::Result<PathBuf> {
    let usual = || inner.map_or_else(|| path.to_path_buf(), |inner| path.join(inner));
    match subs {
        [] if takes_processes(&usual())? => Ok(usual()),
        [] => Ok(of_process(init)?.unwrap_or_else(usual)),
        [sub] => Ok(below(path, sub)?),
        [_, second, ..] => {
            Err(Fault::doing(format!("--cgroup {second}: there is one tree only on cgroup v2"))
                .remedy("give --cgroup once")
                .into())
        }
    }
}

/// A cgroup that hands controllers down has processes in those below only, unless it is threaded. One that has gone
/// takes none.
fn takes_processes(path: &Path) -> anyhow::Result<bool> {
    let file = path.join("cgroup.subtree_control");
    match read_text(&file) {
        Err(error) if has_gone(&error) => Ok(false),
        list => Ok(list.or_fault(|| Fault::doing(format!("read {}", file.display())))?.trim().is_empty()),
    }
}

/// The v2 cgroup of a process; nothing where the process has gone or has none.
pub(super) fn of_process(pid: i32) -> anyhow::Result<Option<PathBuf>> {
    let file = format!("/proc/{pid}/cgroup");
    let text = match read_text(&file) {
        Err(error) if has_gone(&error) => return Ok(None),
        text => text.or_fault(|| Fault::doing(format!("read {file}")))?,
    };
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(path.map(|path| Path::new(MOUNT).join(path)))
}

fn has_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || [libc::ENODEV, libc::ESRCH].map(Some).contains(&error.raw_os_error())
}

fn join_v1(paths: &v1::Paths, subs: &[String]) -> anyhow::Result<Join> {
    let mut targets = paths.clone();
    for sub in subs {
        match sub.split_once(':') {
            None => targets.values_mut().try_for_each(|path| {
                *path = below(path, sub)?;
                anyhow::Ok(())
            })?,
            Some((controllers, sub)) => {
                for controller in controllers.split(',') {
                    let name = paths.keys().find(|name| name.split(',').any(|one| one == controller));
                    let name = name.ok_or_else(|| {
                        Fault::doing(format!("unknown controller {controller} in --cgroup"))
                            .remedy("name controllers that are mounted under /sys/fs/cgroup")
                    })?;
                    targets.insert(name.clone(), below(&paths[name], sub)?);
                }
            }
        }
    }
    let tasks_files = v1::tasks_files(&targets)
        .or_fault(|| Fault::doing("add a process to the container's cgroups").remedy(ANOTHER))?;
    let path = v1::tree_of(&targets).map(Path::to_path_buf);
    // Where a move is all that is allowed, it says so itself.
    let open = match path.as_deref().map(super::v2::open) {
        Some(Err(error)) if is_denied(&error) || has_gone(&error) => None,
        open => open.transpose().or_fault(|| Fault::doing("open the container's cgroup").remedy(ANOTHER))?,
    };
    Ok(Join { path, tasks_files, open, unit: None })
}

fn below(path: &Path, sub: &str) -> Result<PathBuf, Fault> {
    if Path::new(sub).components().any(|part| part == Component::ParentDir) {
        return Err(Fault::doing(format!("bad sub cgroup path: {sub}")).remedy("write it without .."));
    }
    Ok(path.join(sub.trim_start_matches('/')))
}

impl Join {
    /// The cgroup that clone3(2) can put the process into.
    pub fn clone_target(&mut self) -> Option<OwnedFd> {
        self.open.take()
    }

    /// What the process writes `0` to, to be in v1's cgroups.
    pub fn tasks_files(&mut self) -> Vec<OwnedFd> {
        mem::take(&mut self.tasks_files)
    }

    /// Moves the process in, where clone3(2) did not, but for what has tasks_files.
    pub fn attach(&self, pid: i32) -> anyhow::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match (directory::attach(path, pid), &self.unit) {
            // A user may not move processes between their session and their manager; systemd may.
            (Err(error), Some((unit, inside))) if is_denied(&error) => systemd::attach(unit, inside, pid),
            (done, _) => done
                .or_fault(|| Fault::doing(format!("adding pid {pid} to {}", path.display())).remedy(ANOTHER)),
        }
    }
}
