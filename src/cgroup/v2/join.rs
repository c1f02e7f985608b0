//! How a process is added to a cgroup of v2.

use super::rights::{may_move, of_process, open};
use crate::cgroup::directory::is_gone;
use crate::cgroup::join::{Join, below};
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use std::path::{Path, PathBuf};

/// Into the container's cgroup, or the one that a `sub` names below it; `inner` is where in it the container is.
///
/// It may have got cgroups of its own, and then takes no process, or be gone because init moved on: without a `sub`, the
/// one that init is in now does as well.
///
/// # Errors
/// A `sub` that leads out of the container's cgroup or is not there.
pub fn join(path: &Path, inner: Option<&Path>, subs: &[String], init: i32) -> anyhow::Result<Join> {
    let target = target(path, inner, subs, init)?;
    let open = open(&target).or_fault(|| {
        Fault::doing(format!("open the cgroup {}", target.display())).remedy("give --cgroup one that exists")
    })?;
    // clone3(2) asks for the same rights as a move.
    let own = of_process(std::process::id().cast_signed())?;
    let may = own
        .map_or(Ok(true), |own| may_move(&own, &target))
        .or_fault(|| Fault::doing(format!("see whose the cgroup {} is", target.display())))?;
    Ok(Join { directory: Some(target), open: Some(open).filter(|_| may), ..Join::default() })
}

fn target(path: &Path, inner: Option<&Path>, subs: &[String], init: i32) -> anyhow::Result<PathBuf> {
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
        Err(error) if is_gone(&error) => Ok(false),
        list => Ok(list.or_fault(|| Fault::doing(format!("read {}", file.display())))?.trim().is_empty()),
    }
}
