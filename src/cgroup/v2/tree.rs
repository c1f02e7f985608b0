//! The container's cgroup in the tree of v2: made, used, ended.

use super::rights::{may_move, may_write};
use super::{controllers, device_program, freezer, join, oom, stats};
use crate::cgroup::directory::{self, Reach, is_denied, is_gone};
use crate::cgroup::facts::CgroupFacts;
use crate::cgroup::freezer::State;
use crate::cgroup::join::Join;
use crate::cgroup::layout::{Layout, MOUNT};
use crate::cgroup::oom::Watch;
use crate::cgroup::processes::signal_each;
use crate::cgroup::refusals::{not_made, refuse_used};
use crate::cgroup::stats::{Files, Parts, Unreadable};
use crate::cgroup::tree::Tree;
use crate::fault::{Fault, OrFault};
use crate::plan::cgroup::devices::Rule;
use crate::plan::cgroup::{CgroupPlan, Location};
use std::io;
use std::path::{Path, PathBuf};

/// The cgroup.
#[derive(Debug)]
pub struct Unified {
    /// Its directory.
    pub path: PathBuf,
    /// Where in it the container is, if not in itself.
    pub below: Option<PathBuf>,
}

impl Unified {
    /// Where the cgroup will be; nothing is made.
    pub fn planned(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Option<Self>> {
        let top = Path::new(MOUNT);
        let path = match &plan.location {
            Location::FromRoot(path) => top.join(path),
            Location::FromOwn(path) => {
                let own = own(layout)?;
                let parent = parent(own, top)
                    .or_fault(|| Fault::doing(format!("see whose the cgroup {} is", own.display())))?;
                parent.join(path)
            }
            Location::Nowhere | Location::Unit(_) => return Ok(None),
        };
        Ok(Some(Self { path, below: None }))
    }
}

/// The caller's own cgroup.
fn own(layout: &Layout) -> anyhow::Result<&Path> {
    Ok(layout.hierarchies()?.next().map_or(Path::new(MOUNT), |tree| &tree.own))
}

/// Where a cgroup goes that nobody named: into the one above ours, since ours has us in it, and a cgroup with processes
/// hands no controllers down. Into ours, if that is all that we were given.
fn parent<'a>(own: &'a Path, top: &'a Path) -> io::Result<&'a Path> {
    let above = own.parent().filter(|above| above.starts_with(top)).unwrap_or(top);
    Ok(if may_write(above)? || !may_write(own)? { above } else { own })
}

impl Tree for Unified {
    fn facts(&self) -> CgroupFacts {
        CgroupFacts { v2: Some(self.path.clone()), below: self.below.clone(), ..CgroupFacts::default() }
    }

    fn directories(&self) -> Vec<&Path> {
        vec![&self.path]
    }

    fn directory_of(&self, _: &str) -> Option<&Path> {
        Some(&self.path)
    }

    fn unified(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn begin(&mut self, plan: &CgroupPlan, layout: &Layout, made: &mut Vec<PathBuf>) -> anyhow::Result<bool> {
        let path = &self.path;
        let directories = may_move(own(layout)?, path).and_then(|may| match may {
            true => directory::make(Path::new(MOUNT), path, controllers::enable),
            false => Err(io::Error::from_raw_os_error(libc::EACCES)),
        });
        let directories = match directories {
            Err(error) if is_denied(&error) && plan.asked.is_none() => return Ok(false),
            directories => directories.map_err(|error| not_made(plan, path, error))?,
        };
        let is_new = directories.last() == Some(path);
        made.extend(directories);
        if !is_new {
            refuse_used(path, freezer::STATE)?;
        }
        controllers::make_fit(path, plan)?;
        if let Some(uid) = plan.owner {
            controllers::give_to(path, uid)?;
        }
        self.write(&plan.limits)?;
        Ok(true)
    }

    fn join(&self, subs: &[String], init: i32) -> anyhow::Result<Join> {
        join::join(&self.path, self.below.as_deref(), subs, init)
    }

    fn restrict_devices(&self, rules: &[Rule]) -> anyhow::Result<()> {
        device_program::attach(&self.path, rules)
    }

    fn set_state(&self, state: State) -> anyhow::Result<()> {
        freezer::set(&self.path, state)
    }

    fn pids(&self, reach: Reach) -> io::Result<Vec<i32>> {
        directory::pids(&self.path, reach)
    }

    /// Those too that its processes are about to fork.
    fn kill(&self) -> anyhow::Result<()> {
        match directory::write(&self.path.join("cgroup.kill"), "1") {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                // Before Linux 5.14, or threaded. A frozen process cannot fork.
                let frozen = self.set_state(State::Frozen);
                let done = signal_each(|| self.pids(Reach::Recursive), libc::SIGKILL);
                if frozen.is_ok() {
                    self.set_state(State::Thawed)?;
                }
                done
            }
            killed => {
                killed.or_fault(|| Fault::doing(format!("kill the processes in {}", self.path.display())))
            }
        }
    }

    fn stats(&self, unreadable: &Unreadable) -> Parts {
        stats::parts(&Files { directory: &self.path, unreadable })
    }

    fn watch(&self) -> io::Result<Option<Box<dyn Watch>>> {
        oom::watch(&self.path).map(Some)
    }
}
