//! How processes go into v1's cgroups: by the open `tasks` files, to which each writes `0` itself.
//!
//! Whoever moves another process by `cgroup.procs` stops all of the host's forks, execs and exits meanwhile, and
//! waits for a grace period of RCU first if nobody has done so of late: 10 ms. A thread that moves itself alone by
//! `tasks` needs none of that (Linux 5.5), nor does clone3(2) into a cgroup of v2.

use super::paths::{Paths, tree_of};
use crate::cgroup::directory::{self, is_denied, is_gone};
use crate::cgroup::join::{ANOTHER, Join, below};
use crate::cgroup::v2::rights::open;
use crate::fault::{Fault, OrFault};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Into the container's cgroups, or those that `subs` name below them: `SUB` for every hierarchy, or
/// `CONTROLLER,…:SUB` for these alone.
///
/// # Errors
/// A `sub` that leads out of the container's cgroup or is not there.
pub fn join(paths: &Paths, subs: &[String]) -> anyhow::Result<Join> {
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
    let tasks_files = tasks_files(&targets)
        .or_fault(|| Fault::doing("add a process to the container's cgroups").remedy(ANOTHER))?;
    let directory = tree_of(&targets).map(Path::to_path_buf);
    // Where a move is all that is allowed, it says so itself.
    let open = match directory.as_deref().map(open) {
        Some(Err(error)) if is_denied(&error) || is_gone(&error) => None,
        open => open.transpose().or_fault(|| Fault::doing("open the container's cgroup").remedy(ANOTHER))?,
    };
    Ok(Join { directory, tasks_files, open, ..Join::default() })
}

/// Opens those of every hierarchy but a v2 tree: v1 looks at the rights of whoever opened the file, and lets others move
/// their own processes alone.
pub fn tasks_files(paths: &Paths) -> anyhow::Result<Vec<OwnedFd>> {
    paths.iter().filter(|(name, _)| !name.is_empty()).map(|(_, path)| tasks_file(path)).collect()
}

fn tasks_file(path: &Path) -> anyhow::Result<OwnedFd> {
    let opened = match directory::open(&path.join("tasks")) {
        // Whoever gave the directory away may have given this alone.
        Err(error) if is_denied(&error) => directory::open(&path.join("cgroup.procs")),
        opened => opened,
    };
    opened.map(OwnedFd::from).or_fault(|| Fault::doing(format!("open the cgroup {}", path.display())))
}
