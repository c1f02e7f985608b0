//! The container's cgroup in the hierarchies of v1: made, used, ended.

use super::paths::{FREEZER, Paths, directory_of, tree_of};
use super::{devices, freezer, join, oom, stats};
use crate::cgroup::directory::{self, Reach, is_denied};
use crate::cgroup::facts::CgroupFacts;
use crate::cgroup::freezer::State;
use crate::cgroup::join::Join;
use crate::cgroup::layout::Layout;
use crate::cgroup::oom::Watch;
use crate::cgroup::processes::signal_each;
use crate::cgroup::refusals::{not_made, refuse_used};
use crate::cgroup::stats::{Parts, Unreadable};
use crate::cgroup::tree::Tree;
use crate::cgroup::v2::rights::{may_move, may_write};
use crate::host::hierarchies::Hierarchy;
use crate::kernel::text::read_value;
use crate::plan::cgroup::devices::Rule;
use crate::plan::cgroup::{CgroupPlan, Location};
use rootless::caller::{Caller, Standing};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The cgroup in each hierarchy.
#[derive(Debug)]
pub struct Hierarchies(pub Paths);

/// A hierarchy where the caller may not, with the cgroup that it would have had.
type Denied = (String, PathBuf, io::Error);

impl Hierarchies {
    /// Where the cgroup will be; nothing is made.
    pub fn planned(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        let path = |hierarchy: &Hierarchy| match &plan.location {
            Location::FromRoot(path) => Some(hierarchy.point.join(path)),
            Location::FromOwn(path) => Some(hierarchy.own.join(path)),
            Location::Nowhere | Location::Unit(_) => None,
        };
        let paths = layout.hierarchies()?.filter_map(|one| Some((one.name(), path(one)?)));
        Ok(Self(paths.collect()))
    }

    /// Makes the cgroup in these hierarchies. Where the caller may not, there is none.
    fn make<'a>(
        &mut self,
        plan: &CgroupPlan,
        hierarchies: impl Iterator<Item = &'a Hierarchy>,
        made: &mut Vec<PathBuf>,
    ) -> anyhow::Result<Vec<Denied>> {
        let mut denied = Vec::new();
        for hierarchy in hierarchies {
            let Some(path) = self.0.get(&hierarchy.name()) else { continue };
            if let Err(error) = make_one(hierarchy, path, made) {
                let error = match error.downcast::<io::Error>() {
                    Ok(error) if is_denied(&error) => error,
                    Ok(error) => return Err(not_made(plan, path, error)),
                    Err(in_use) => return Err(in_use),
                };
                denied.extend(self.0.remove_entry(&hierarchy.name()).map(|(name, path)| (name, path, error)));
            }
        }
        Ok(denied)
    }

    /// The hierarchy that is asked for what is the same in all.
    fn main(&self) -> Option<&Path> {
        let first = self.0.values().next().map(PathBuf::as_path);
        self.directory_of("devices").or_else(|| self.directory_of(FREEZER)).or(first)
    }
}

/// The kernel's error as it is.
fn make_one(hierarchy: &Hierarchy, path: &Path, made: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let denied = || io::Error::from_raw_os_error(libc::EACCES);
    // A user may have a directory in the v2 tree, and be outside of it.
    if hierarchy.is_unified() && !may_move(&hierarchy.own, path)? {
        return Err(denied().into());
    }
    let directories = directory::make_plain(&hierarchy.point, path)?;
    let is_new = directories.last().is_some_and(|last| last == path);
    if hierarchy.controllers.iter().any(|controller| controller == "cpuset")
        && let Err(error) = inherit(&hierarchy.point, path, &directories)
    {
        // The container does without, so nobody will know of it.
        directory::unmake(&directories);
        return Err(error.into());
    }
    made.extend(directories);
    if is_new {
        return Ok(());
    }
    // Somebody else's: no process can be put there.
    if !may_write(&path.join("cgroup.procs"))? {
        return Err(denied().into());
    }
    refuse_used(path, freezer::STATE)
}

/// A cpuset begins empty, and then takes no process; so does one above that somebody else has made.
fn inherit(point: &Path, path: &Path, new: &[PathBuf]) -> io::Result<()> {
    let mut below: Vec<_> = path.ancestors().take_while(|directory| *directory != point).collect();
    below.reverse();
    for directory in below {
        let Some(parent) = directory.parent() else { continue };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = directory.join(file);
            if new.iter().any(|new| new == directory) || read_value(&own)?.is_empty() {
                directory::write(&own, &read_value(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

impl Tree for Hierarchies {
    fn facts(&self) -> CgroupFacts {
        CgroupFacts { v1: self.0.clone(), ..CgroupFacts::default() }
    }

    fn directories(&self) -> Vec<&Path> {
        self.0.values().map(PathBuf::as_path).collect()
    }

    fn directory_of(&self, controller: &str) -> Option<&Path> {
        directory_of(&self.0, controller)
    }

    fn unified(&self) -> Option<&Path> {
        tree_of(&self.0)
    }

    fn begin(&mut self, plan: &CgroupPlan, layout: &Layout, made: &mut Vec<PathBuf>) -> anyhow::Result<bool> {
        let denied = self.make(plan, layout.hierarchies()?.filter(|one| one.is_unified()), made)?;
        match denied.into_iter().next() {
            // There is no other where it could be.
            Some((_, path, error)) if plan.asked.is_some() && self.0.is_empty() => {
                Err(not_made(plan, &path, error))
            }
            _ => Ok(true),
        }
    }

    /// A user may have been given a directory in some hierarchies alone; a limit that needs another is refused when it is
    /// written. That one refuses is no part of how root's are shared out: a container that is outside of it is not where
    /// its config wants it.
    fn finish(
        &mut self,
        plan: &CgroupPlan,
        layout: &Layout,
        made: &mut Vec<PathBuf>,
    ) -> anyhow::Result<bool> {
        let denied = self.make(plan, layout.hierarchies()?.filter(|one| !one.is_unified()), made)?;
        let names: Vec<_> = denied.iter().map(|(name, ..)| name.clone()).collect();
        if let Some((_, path, error)) = denied.into_iter().next() {
            let must = || anyhow::Ok(self.0.is_empty() || Caller::look()?.standing == Standing::Root);
            if plan.asked.is_some() && must()? {
                return Err(not_made(plan, &path, error));
            }
            tracing::info!("no cgroup may be made in {}: nothing is limited there", names.join(", "));
        }
        if self.0.is_empty() {
            return Ok(false);
        }
        self.write(&plan.limits)?;
        Ok(true)
    }

    fn tasks_files(&self) -> anyhow::Result<Vec<OwnedFd>> {
        join::tasks_files(&self.0)
    }

    fn join(&self, subs: &[String], _: i32) -> anyhow::Result<Join> {
        join::join(&self.0, subs)
    }

    fn restrict_devices(&self, rules: &[Rule]) -> anyhow::Result<()> {
        devices::restrict(rules, self.directory_of("devices"))
    }

    fn set_state(&self, state: State) -> anyhow::Result<()> {
        freezer::set(&self.0, state)
    }

    /// v1 has them in every hierarchy, so one is asked.
    fn pids(&self, reach: Reach) -> io::Result<Vec<i32>> {
        self.main().map_or(Ok(Vec::new()), |path| directory::pids(path, reach))
    }

    fn kill(&self) -> anyhow::Result<()> {
        // The v2 tree beside the controllers does it at once, also for processes that are being forked.
        let killed =
            self.unified().is_some_and(|tree| directory::write(&tree.join("cgroup.kill"), "1").is_ok());
        if killed && self.facts().state()? == State::Thawed {
            return Ok(());
        }
        // A frozen process cannot fork, and one that was frozen by somebody else must be thawed to end.
        let has_freezer = freezer::directory(&self.0).is_some();
        if has_freezer && let Err(error) = self.set_state(State::Frozen) {
            tracing::debug!("{error:#}");
        }
        let done = signal_each(|| self.pids(Reach::Recursive), libc::SIGKILL);
        if has_freezer {
            self.set_state(State::Thawed)?;
        }
        done
    }

    fn stats(&self, unreadable: &Unreadable) -> Parts {
        stats::parts(&self.0, unreadable)
    }

    fn watch(&self) -> io::Result<Option<Box<dyn Watch>>> {
        self.directory_of("memory").map(oom::watch).transpose()
    }
}
