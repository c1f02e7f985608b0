//! Makes a container's cgroup, and puts init into it.

use super::directory::{self, is_denied};
use super::layout::{Layout, MOUNT};
use super::refusals::{moved, no_controller, not_made, refuse_used};
use super::systemd::{self, UnitFacts};
use super::tree::Tree;
use super::v2::rights::{may_move, may_write, of_process, open};
use super::{Cgroup, v1, v2};
use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::Hierarchy;
use crate::plan::cgroup::unit::{self, Unit};
use crate::plan::cgroup::{CgroupPlan, Location, Systemd, Version};
use rootless::caller::{Caller, Standing};
use rootless::delegation::{self, Delegation};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

impl Cgroup {
    /// The one that is to be made. Written down before anything is made, so that an interrupted creation can be cleared.
    pub fn planned(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        let (tree, unit): (Option<Box<dyn Tree>>, _) = match (&plan.location, layout.version()) {
            (Location::Nowhere, _) | (_, None) => (None, None),
            (Location::Unit(unit), _) => (None, Some(UnitFacts::of(unit))),
            (_, Some(Version::V2)) => {
                (v2::Unified::planned(plan, layout)?.map(|tree| Box::new(tree) as Box<dyn Tree>), None)
            }
            (_, Some(Version::V1)) => (Some(Box::new(v1::Hierarchies::planned(plan, layout)?)), None),
        };
        Ok(Self::new(tree, unit))
    }

    /// Whether [`begin`](Self::begin), [`finish`](Self::finish) and [`attach`](Self::attach) can succeed, as far as owners
    /// and modes say; makes nothing.
    pub fn check_rights(&self, plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<()> {
        if plan.asked.is_none() {
            return Ok(());
        }
        if let Location::Unit(_) = &plan.location {
            return check_delegated(plan);
        }
        for hierarchy in layout.hierarchies()? {
            if let Some(path) = self.directories().find(|path| path.starts_with(&hierarchy.point)) {
                may_make(hierarchy, path).map_err(|error| not_made(plan, path, error))?;
            }
        }
        Ok(())
    }

    /// Makes what clone3(2) can put init into: with v2, all that is planned, and writes the limits; with v1, the
    /// cgroup in the v2 tree beside it.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in config.json. A caller who may not make any gets none if
    /// nothing asked for one.
    pub fn begin(&mut self, plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<()> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        self.kept = false;
        if tree.begin(plan, layout, &mut self.made)? { Ok(()) } else { self.do_without(plan) }
    }

    /// Makes the rest: with v1, what init moves itself into while it mounts, and writes the limits.
    pub fn finish(&mut self, plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<()> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if tree.finish(plan, layout, &mut self.made)? { Ok(()) } else { self.do_without(plan) }
    }

    /// The caller may not, and nothing asked.
    fn do_without(&mut self, plan: &CgroupPlan) -> anyhow::Result<()> {
        tracing::info!("no cgroup may be made here, so the container is in its caller's");
        *self = Self::none();
        self.write(&plan.limits).map(drop)
    }

    /// The cgroup that clone3(2) can put init into, which spares the move and leaves no moment outside of it.
    pub fn clone_target(&self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(path) = self.unified() else { return Ok(None) };
        open(path).map(Some).or_fault(|| Fault::doing(format!("open the cgroup {}", path.display())))
    }

    /// The open `tasks` files of v1: init writes `0` to each, and is in that cgroup.
    pub fn tasks_files(&self) -> anyhow::Result<Vec<OwnedFd>> {
        self.tree.as_ref().map_or(Ok(Vec::new()), |tree| tree.tasks_files())
    }

    /// Moves init in, but for what has [`tasks_files`](Self::tasks_files); for systemd, makes the unit around it. For an
    /// init that was not cloned into the [`clone_target`](Self::clone_target).
    ///
    /// # Errors
    /// What the kernel or systemd refuses. A caller who may not move it does without a cgroup if nothing asked for one.
    pub fn attach(&mut self, plan: &CgroupPlan, pid: i32) -> anyhow::Result<()> {
        if let Location::Unit(unit) = &plan.location {
            return self.start(plan, unit, pid);
        }
        let Some(path) = self.unified() else { return Ok(()) };
        match directory::attach(path, pid) {
            Err(error) if plan.asked.is_none() && is_denied(&error) => self.do_without(plan),
            done => moved(done, || Fault::doing(format!("move process {pid} into {}", path.display()))),
        }
    }

    fn start(&mut self, plan: &CgroupPlan, unit: &Unit, pid: i32) -> anyhow::Result<()> {
        // systemd takes a cgroup as it finds it, and in a frozen one init would never answer.
        let there = unit_place(unit)?;
        // Of one that is not there, all of it says no.
        refuse_used(&there, v2::freezer::STATE)?;
        match systemd::start(unit, &plan.limits, pid) {
            Err(error) if plan.asked.is_none() => {
                tracing::warn!("{error:#}; the container stays in its caller's cgroup");
                self.unit = None;
                return Ok(());
            }
            started => started?,
        }
        self.kept = false;
        // What systemd made of the slice is told best by where init is now.
        let path = of_process(pid)?.filter(|path| path.ends_with(&unit.name)).ok_or_else(|| {
            Fault::doing(format!("find process {pid} in the systemd unit {}", unit.name))
                .remedy("see whether another service moved it")
        })?;
        if let Some(below) = &unit.subgroup {
            let inner = path.join(below);
            let done = directory::make(&path, &inner, |_| {}).and_then(|_| directory::attach(&inner, pid));
            moved(done, || Fault::at("annotations", format!("move process {pid} into {}", inner.display())))?;
            // Only now, since a cgroup with processes hands no controllers down.
            v2::enable(&path);
        }
        if let Some(uid) = plan.owner {
            v2::give_to(&path, uid)?;
        }
        v2::hand_down(Path::new(MOUNT), &path);
        self.tree = Some(Box::new(v2::Unified { path, below: unit.subgroup.clone() }));
        let mut written = self.write(&plan.limits)?;
        // The unit was given the one that was planned, of BFQ's.
        let planned = |file: &str| plan.limits.writes.iter().any(|write| write.file == file);
        written.retain(|(file, _)| file == "io.weight" && !planned(file));
        match (&self.unit, self.unified()) {
            (Some(unit), Some(path)) if !written.is_empty() => systemd::update(unit, path, written),
            _ => Ok(()),
        }
    }
}

/// Where systemd makes the unit's cgroup.
fn unit_place(unit: &Unit) -> anyhow::Result<PathBuf> {
    let mut place = PathBuf::from(MOUNT);
    if unit.bus == Systemd::User {
        place.push(delegation::manager_cgroup(&Caller::look()?));
    }
    place.extend(unit::expand(&unit.slice));
    Ok(place.join(&unit.name))
}

/// Whether systemd was given what the limits of its unit need.
fn check_delegated(plan: &CgroupPlan) -> anyhow::Result<()> {
    let caller = Caller::look()?;
    if caller.standing == Standing::Root {
        return Ok(());
    }
    let given = Delegation::look(&caller)?;
    let mut missing = plan.limits.writes.iter().filter(|write| !given.has(&write.controller));
    let Some(write) = missing.next() else { return Ok(()) };
    Err(no_controller(write, &format!("cannot set {} limit", write.controller)).into())
}

/// Whether the cgroup may be made, or be used if it is there, as far as owners and modes say.
fn may_make(hierarchy: &Hierarchy, path: &Path) -> io::Result<()> {
    let mut nearest = path;
    while !nearest.try_exists()? {
        nearest = nearest.parent().unwrap_or(Path::new("/"));
    }
    let movable = !hierarchy.is_unified() || may_move(&hierarchy.own, path)?;
    if movable && may_write(nearest)? { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EACCES)) }
}
