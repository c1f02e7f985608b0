//! Where a process goes that is added to a container.

use super::directory;
use super::layout::MOUNT;
use super::{Cgroup, Tree, v1};
use crate::fault::{Fault, OrFault};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// A cgroup to join.
#[derive(Debug)]
pub struct Join {
    paths: Vec<PathBuf>,
    open: Option<OwnedFd>,
}

impl Cgroup {
    /// The container's cgroup, or `sub` below it; each `sub` may begin with `CONTROLLERS:` on v1.
    ///
    /// On v2 the cgroup may have got cgroups of its own, and then takes no process, or be gone because init
    /// moved on: without a `sub`, the one that init is in now does as well.
    ///
    /// # Errors
    /// A `sub` that leads out of the container's cgroup or is not there.
    pub fn join(&self, subs: &[String], init: i32) -> anyhow::Result<Join> {
        match &self.tree {
            Tree::None => Ok(Join { paths: Vec::new(), open: None }),
            Tree::V2 { path, .. } => join_v2(path, subs, init),
            Tree::V1(paths) => Ok(Join { paths: join_v1(paths, subs)?, open: None }),
        }
    }
}

fn join_v2(path: &Path, subs: &[String], init: i32) -> anyhow::Result<Join> {
    let target = match subs {
        [] if takes_processes(path) => path.to_path_buf(),
        [] => of_init(init).unwrap_or_else(|| path.to_path_buf()),
        [sub] => below(path, sub)?,
        [_, second, ..] => {
            return Err(Fault::doing(format!("--cgroup {second}: there is one tree only on cgroup v2"))
                .remedy("give --cgroup once")
                .into());
        }
    };
    let open = super::v2::open(&target).or_fault(|| {
        Fault::doing(format!("open the cgroup {}", target.display())).remedy("give --cgroup one that exists")
    })?;
    Ok(Join { paths: vec![target], open: Some(open) })
}

/// A cgroup that hands controllers down has processes in those below only, unless it is threaded.
fn takes_processes(path: &Path) -> bool {
    fs::read_to_string(path.join("cgroup.subtree_control")).is_ok_and(|list| list.trim().is_empty())
}

fn of_init(init: i32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{init}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(MOUNT).join(path))
}

fn join_v1(paths: &v1::Paths, subs: &[String]) -> anyhow::Result<Vec<PathBuf>> {
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
    Ok(targets.into_values().collect())
}

fn below(path: &Path, sub: &str) -> Result<PathBuf, Fault> {
    if Path::new(sub).components().any(|part| part == Component::ParentDir) {
        return Err(Fault::doing(format!("bad sub cgroup path: {sub}")).remedy("write it without .."));
    }
    Ok(path.join(sub.trim_start_matches('/')))
}

impl Join {
    /// The cgroup that clone3(2) can put the process into.
    pub fn clone_target(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(AsFd::as_fd)
    }

    /// Moves the process in, where clone3(2) did not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn attach(&self, pid: i32) -> anyhow::Result<()> {
        self.paths.iter().try_for_each(|path| {
            directory::attach(path, pid)
                .or_fault(|| Fault::doing(format!("move process {pid} into {}", path.display())))
        })
    }
}
