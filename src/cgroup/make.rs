//! Makes a container's cgroup, and puts init into it.

use super::directory::{self, Reach, is_denied};
use super::freezer::State;
use super::layout::{Layout, MOUNT};
use super::systemd::UnitFacts;
use super::{Cgroup, CgroupFacts, Tree, join, systemd, v1, v2};
use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::Hierarchy;
use crate::plan::cgroup::unit::{self, Bus, Unit};
use crate::plan::cgroup::{CgroupPlan, Location, Version};
use rootless::caller::{Caller, Standing};
use rootless::delegation::{self, Delegation};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

impl Cgroup {
    /// Where it will be. Written down before anything is made, so that an interrupted creation can be cleared.
    pub fn planned(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<CgroupFacts> {
        let mut facts = CgroupFacts::default();
        match (&plan.location, layout.version()) {
            (Location::Nowhere, _) | (_, None) => {}
            (Location::Unit(unit), _) => facts.unit = Some(UnitFacts::of(unit)),
            (_, Some(Version::V2)) => facts.v2 = v2_place(plan, v2_own(layout)?)?,
            (_, Some(Version::V1)) => {
                for hierarchy in layout.hierarchies()? {
                    let path = v1::path(plan, hierarchy);
                    facts.v1.extend(path.map(|path| (hierarchy.name(), path)));
                }
            }
        }
        Ok(facts)
    }

    /// Whether [`begin`](Self::begin), [`finish`](Self::finish) and [`attach`](Self::attach) have a chance,
    /// as far as owners and modes say; makes nothing.
    pub fn possible(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<()> {
        if plan.asked.is_none() {
            return Ok(());
        }
        if let Location::Unit(_) = &plan.location {
            return delegated(plan);
        }
        for hierarchy in layout.hierarchies()? {
            let unified = layout.version() == Some(Version::V2);
            let path = if unified { v2_place(plan, &hierarchy.own)? } else { v1::path(plan, hierarchy) };
            let Some(path) = path else { continue };
            may_make(hierarchy, &path).map_err(|error| not_made(plan, &path, error))?;
        }
        Ok(())
    }

    /// Makes what clone3(2) can put init into: with v2, all that is planned, and writes the limits; with v1, the
    /// cgroup in the v2 tree beside it.
    ///
    /// # Errors
    /// What the kernel refuses, by its place in config.json. A caller who may not make any gets none if
    /// nothing asked for one.
    pub fn begin(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        match (&plan.location, layout.version()) {
            // systemd makes the unit around a process: see `attach`.
            (Location::Nowhere | Location::Unit(_), _) | (_, None) => Ok(Self::none()),
            (_, Some(Version::V2)) => {
                let mut made = Self::make_v2(plan, layout)?;
                made.limit(plan)?;
                Ok(made)
            }
            (_, Some(Version::V1)) => {
                let made = v1::make_tree(plan, layout)?;
                Ok(Self::new(Tree::V1(made.paths), made.directories))
            }
        }
    }

    /// Makes the rest: with v1, what init walks into while it mounts, and writes the limits.
    pub fn finish(&mut self, plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<()> {
        let Tree::V1(paths) = &mut self.tree else { return Ok(()) };
        let mut made = v1::Made { paths: mem::take(paths), directories: mem::take(&mut self.made) };
        let done = v1::make(plan, layout, &mut made);
        // Init may be in one of them, so all go when it has gone.
        *self = Self::new(Tree::V1(made.paths), made.directories);
        done?;
        self.limit(plan)
    }

    fn limit(&mut self, plan: &CgroupPlan) -> anyhow::Result<()> {
        if self.facts().is_none() {
            self.do_without();
            *self = Self::none();
        }
        self.write(&plan.limits).map(drop)
    }

    fn make_v2(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Self> {
        let top = Path::new(MOUNT);
        let own = v2_own(layout)?;
        let Some(path) = v2_place(plan, own)? else { return Ok(Self::none()) };
        let made = match v2::may_move(own, &path) {
            Ok(true) => v2::make(top, &path),
            Ok(false) => Err(io::Error::from_raw_os_error(libc::EACCES)),
            Err(error) => Err(error),
        };
        let made = match made {
            Err(error) if is_denied(&error) && plan.asked.is_none() => return Ok(Self::none()),
            made => made.map_err(|error| not_made(plan, &path, error))?,
        };
        // From here on dropped, and thereby removed, when something fails.
        let is_new = made.last() == Some(&path);
        let mut cgroup = Self::new(Tree::V2 { path: path.clone(), open: None }, made);
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
    pub fn clone_target(&self) -> anyhow::Result<Option<OwnedFd>> {
        match &self.tree {
            Tree::V2 { open, .. } => Ok(open.as_ref().map(OwnedFd::try_clone).transpose()?),
            Tree::V1(paths) => v1::tree_of(paths)
                .map(|tree| v2::open(tree).or_fault(|| Fault::doing(format!("open {}", tree.display()))))
                .transpose(),
            Tree::None => Ok(None),
        }
    }

    /// What init writes `0` to, to be in v1's cgroups.
    pub fn tasks_files(&self) -> anyhow::Result<Vec<OwnedFd>> {
        match &self.tree {
            Tree::V1(paths) => v1::tasks_files(paths),
            Tree::None | Tree::V2 { .. } => Ok(Vec::new()),
        }
    }

    /// The caller may not, and nothing asked.
    fn do_without(&self) {
        tracing::info!("no cgroup may be made here, so the container is in its caller's");
    }

    /// Moves init in, but for what has [`tasks_files`](Self::tasks_files); for systemd, makes the unit around it. For a cgroup
    /// without a [`clone_target`](Self::clone_target), or a hop, which is not cloned into it.
    pub fn attach(&mut self, plan: &CgroupPlan, pid: i32) -> anyhow::Result<()> {
        if let Location::Unit(unit) = &plan.location {
            return self.start(plan, unit, pid);
        }
        let path = match &self.tree {
            Tree::None => None,
            Tree::V2 { path, .. } => Some(path.as_path()),
            Tree::V1(paths) => v1::tree_of(paths),
        };
        let Some(path) = path else { return Ok(()) };
        match directory::attach(path, pid) {
            Ok(()) => Ok(()),
            Err(error) if plan.asked.is_none() && is_denied(&error) => {
                self.do_without();
                *self = Self::none();
                Ok(())
            }
            Err(error) => Err(not_made(plan, path, error)),
        }
    }

    fn start(&mut self, plan: &CgroupPlan, unit: &Unit, pid: i32) -> anyhow::Result<()> {
        // systemd takes a cgroup as it finds it, and in a frozen one init would never answer.
        let there = unit_place(unit)?;
        // Of one that is not there, all of it says no.
        v2::refuse_used(&there)?;
        match systemd::start(unit, &plan.limits, pid) {
            Err(error) if plan.asked.is_none() => {
                tracing::warn!("{error:#}; the container stays in its caller's cgroup");
                return Ok(());
            }
            started => self.unit = Some(started?),
        }
        // What systemd made of the slice is told best by where init is now.
        let path = join::of_process(pid)?.filter(|path| path.ends_with(&unit.name)).ok_or_else(|| {
            Fault::doing(format!("find process {pid} in the systemd unit {}", unit.name))
                .remedy("see whether another service moved it")
        })?;
        if let Some(below) = &unit.subgroup {
            let inner = path.join(below);
            let moved = directory::make(&path, &inner, |_| {}).and_then(|_| directory::attach(&inner, pid));
            moved.or_fault(|| {
                Fault::at("annotations", format!("move process {pid} into {}", inner.display()))
            })?;
            // Only now, since a cgroup with processes hands no controllers down.
            v2::enable(&path);
            self.below = Some(below.clone());
        }
        if let Some(uid) = plan.owner {
            v2::give(&path, uid)?;
        }
        let open = v2::open(&path).map_err(|error| not_made(plan, &path, error))?;
        v2::hand_down(Path::new(MOUNT), &path);
        self.tree = Tree::V2 { path, open: Some(open) };
        let mut written = self.write(&plan.limits)?;
        // The unit was given the one that was planned, of BFQ's.
        let planned = |file: &str| plan.limits.writes.iter().any(|write| write.file == file);
        written.retain(|(file, _)| file == "io.weight" && !planned(file));
        match (&self.unit, written.is_empty()) {
            (Some(unit), false) => systemd::update(unit, &written),
            _ => Ok(()),
        }
    }
}

/// Where systemd makes the unit's cgroup.
fn unit_place(unit: &Unit) -> anyhow::Result<PathBuf> {
    let mut place = PathBuf::from(MOUNT);
    if unit.bus == Bus::User {
        place.push(delegation::manager_cgroup(&Caller::look()?));
    }
    place.extend(unit::expand(&unit.slice));
    Ok(place.join(&unit.name))
}

/// Whether systemd was given what the limits of its unit need.
fn delegated(plan: &CgroupPlan) -> anyhow::Result<()> {
    let caller = Caller::look()?;
    if caller.standing == Standing::Root {
        return Ok(());
    }
    let given = Delegation::look(&caller)?;
    let mut missing = plan.limits.writes.iter().filter(|write| !given.has(&write.controller));
    let Some(write) = missing.next() else { return Ok(()) };
    let words = format!("cannot set {} limit", write.controller);
    Err(match delegation::missing(&write.controller) {
        Some(diagnosis) => Fault::at(&write.at, format!("{words} ({})", diagnosis.cause))
            .remedy(format!("leave the limit out, or {}", diagnosis.remedy)),
        None => Fault::at(&write.at, words),
    }
    .into())
}

fn v2_own(layout: &Layout) -> anyhow::Result<&Path> {
    Ok(layout.hierarchies()?.next().map_or(Path::new(MOUNT), |tree| &tree.own))
}

fn v2_place(plan: &CgroupPlan, own: &Path) -> anyhow::Result<Option<PathBuf>> {
    let top = Path::new(MOUNT);
    Ok(match &plan.location {
        Location::FromRoot(path) => Some(top.join(path)),
        Location::FromOwn(path) => {
            let place = beside(own, top)
                .or_fault(|| Fault::doing(format!("see whose the cgroup {} is", own.display())))?;
            Some(place.join(path))
        }
        Location::Nowhere | Location::Unit(_) => None,
    })
}

/// Whether the cgroup may be made, or be used if it is there, as far as owners and modes say.
fn may_make(hierarchy: &Hierarchy, path: &Path) -> io::Result<()> {
    let mut nearest = path;
    while !nearest.try_exists()? {
        nearest = nearest.parent().unwrap_or(Path::new("/"));
    }
    let movable = !hierarchy.is_unified() || v2::may_move(&hierarchy.own, path)?;
    if movable && v2::may_write(nearest)? { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EACCES)) }
}

/// Where a cgroup goes that nobody named: beside ours, since ours has us in it, and a cgroup with processes hands
/// no controllers down. In ours, if that is all that we were given.
fn beside<'a>(own: &'a Path, top: &'a Path) -> io::Result<&'a Path> {
    let above = own.parent().filter(|above| above.starts_with(top)).unwrap_or(top);
    Ok(if v2::may_write(above)? || !v2::may_write(own)? { above } else { own })
}

/// A cgroup that cannot be made, in the words that engines and tests know, with whose it would have to be.
pub(super) fn not_made(plan: &CgroupPlan, path: &Path, error: io::Error) -> anyhow::Error {
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
    let diagnosis = if denied { delegation::missing(controller) } else { None };
    if let Some(diagnosis) = &diagnosis {
        words = format!("{words} ({})", diagnosis.cause);
    }
    let fault = match (limit, plan.asked) {
        (Some(limit), _) if denied => Fault::at(&limit.at, words),
        (_, Some(at)) => Fault::at(at, words),
        (_, None) => Fault::doing(words),
    };
    match diagnosis {
        Some(diagnosis) => fault.remedy(diagnosis.remedy),
        None => fault.remedy("name another cgroup in linux.cgroupsPath"),
    }
    .caused_by(error)
}

pub(super) fn refuse_populated(path: &Path) -> anyhow::Result<()> {
    let pids = directory::pids(path, Reach::Recursive)
        .or_fault(|| Fault::at("linux.cgroupsPath", format!("list the processes in {}", path.display())))?;
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

pub(super) fn refuse_frozen(state: State, path: &Path) -> anyhow::Result<()> {
    if state == State::Thawed {
        return Ok(());
    }
    Err(Fault::at("linux.cgroupsPath", format!("container's cgroup unexpectedly frozen: {}", path.display()))
        .remedy("thaw it, or name another")
        .into())
}
