//! The hierarchies of cgroup v1: the same cgroup once in each.
//!
//! Everything about v1 is here and in `layout`, so that it can be deleted one day. A v2 tree beside the
//! controllers counts as one more hierarchy.
//!
//! Whoever moves another process by `cgroup.procs` stops all of the host's forks, execs and exits meanwhile, and
//! waits for a grace period of RCU first if nobody has done so of late: 10 ms. A thread that moves itself alone by
//! `tasks` needs none of that (Linux 5.5), nor does clone3(2) into a cgroup of v2. So init walks through the
//! [`tasks_files`] itself, and is cloned into the tree of v2.

use super::directory::{self, Reach, is_denied};
use super::freezer::{self, State};
use super::layout::Layout;
use super::make::not_made;
use super::signal;
use super::v2::{may_move, may_write};
use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::Hierarchy;
use crate::kernel::text::read_value;
use crate::plan::cgroup::{CgroupPlan, Location};
use rootless::caller::{Caller, Standing};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const FREEZER: &str = "freezer";

/// The container's cgroup in each hierarchy, by the hierarchy's name: `cpu,cpuacct`, `name=systemd`, and
/// the empty name for a v2 tree.
pub type Paths = BTreeMap<String, PathBuf>;

/// Of [`Paths`], the one in the freezer's hierarchy.
#[derive(Debug, Default)]
pub struct Freezer<'a>(pub Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Freezer<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Find).map(Self)
    }
}

struct Find;

impl<'de> Visitor<'de> for Find {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the paths of a cgroup by its hierarchies")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Word(name)) = map.next_key()? {
            if has(&name, FREEZER) {
                found = Some(map.next_value::<Word<'de>>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Borrowed if there is nothing to unescape.
#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

/// What was made.
#[derive(Debug, Default)]
pub struct Made {
    /// Where the container is.
    pub paths: Paths,
    /// The directories that were not there, topmost first in each hierarchy.
    pub directories: Vec<PathBuf>,
}

/// Makes the cgroup in the v2 tree beside the controllers, for clone3(2): nothing where there is none, or the caller
/// may not.
///
/// # Errors
/// The kernel's; a cgroup that is in use.
pub fn make_tree(plan: &CgroupPlan, layout: &Layout) -> anyhow::Result<Made> {
    let mut made = Made::default();
    let trees = layout.hierarchies()?.filter(|hierarchy| hierarchy.is_unified());
    make_in(plan, trees, &mut made)?;
    Ok(made)
}

/// Makes the cgroup in every other hierarchy where the caller may. None of these stays when that fails. The tree's was
/// made before the clone or, for a reason, was not.
///
/// A user may have been given a directory in some hierarchies alone; a limit that needs another is refused when
/// it is written.
///
/// # Errors
/// The kernel's; a cgroup that is in use; something asks for a cgroup, and a user may make none, or root not all.
pub fn make(plan: &CgroupPlan, layout: &Layout, made: &mut Made) -> anyhow::Result<()> {
    let left = layout.hierarchies()?.filter(|hierarchy| !hierarchy.is_unified());
    let denied = make_in(plan, left, made)?;
    // A user may have been given some. That one refuses is no part of how root's are shared out: a container that is
    // outside of it is not where its config wants it.
    let root = || anyhow::Ok(!denied.is_empty() && Caller::look()?.standing == Standing::Root);
    if plan.asked.is_some() && (made.paths.is_empty() || root()?) {
        // Where no other hierarchy is, it was the tree that refused before.
        let tree = || {
            let path = path(plan, layout.hierarchies().ok()?.next()?)?;
            Some((path, io::Error::from_raw_os_error(libc::EACCES)))
        };
        let first = denied.into_iter().map(|(_, path, error)| (path, error)).next().or_else(tree);
        return first.map_or(Ok(()), |(path, error)| Err(not_made(plan, &path, error)));
    }
    let denied: Vec<_> =
        denied.iter().map(|(name, ..)| name.as_str()).filter(|name| !name.is_empty()).collect();
    if !denied.is_empty() {
        tracing::info!("no cgroup may be made in {}: nothing is limited there", denied.join(", "));
    }
    Ok(())
}

fn make_in<'a>(
    plan: &CgroupPlan,
    hierarchies: impl IntoIterator<Item = &'a Hierarchy>,
    made: &mut Made,
) -> anyhow::Result<Vec<Denied>> {
    let mut denied = Vec::new();
    let before = made.directories.len();
    for hierarchy in hierarchies {
        if let Err(error) = one(plan, hierarchy, made, &mut denied) {
            directory::unmake(&made.directories.split_off(before));
            return Err(error);
        }
    }
    Ok(denied)
}

/// A hierarchy where the caller may not, with the cgroup that it would have had.
type Denied = (String, PathBuf, io::Error);

/// The container's cgroup in a hierarchy.
pub fn path(plan: &CgroupPlan, hierarchy: &Hierarchy) -> Option<PathBuf> {
    match &plan.location {
        Location::FromRoot(path) => Some(hierarchy.point.join(path)),
        Location::FromOwn(path) => Some(hierarchy.own.join(path)),
        Location::Nowhere | Location::Unit(_) => None,
    }
}

fn one(
    plan: &CgroupPlan,
    hierarchy: &Hierarchy,
    made: &mut Made,
    denied: &mut Vec<Denied>,
) -> anyhow::Result<()> {
    let Some(path) = path(plan, hierarchy) else { return Ok(()) };
    let mut deny = |path, error| {
        denied.push((hierarchy.name(), path, error));
        Ok(())
    };
    // A user may have a directory in the v2 tree, and be outside of it.
    let may = |done: io::Result<bool>| done.map_err(|error| not_made(plan, &path, error));
    if hierarchy.is_unified() && !may(may_move(&hierarchy.own, &path))? {
        return deny(path, io::Error::from_raw_os_error(libc::EACCES));
    }
    let directories = match directory::make_plain(&hierarchy.point, &path) {
        Err(error) if is_denied(&error) => return deny(path, error),
        directories => directories.map_err(|error| not_made(plan, &path, error))?,
    };
    let is_new = directories.last() == Some(&path);
    if hierarchy.controllers.iter().any(|controller| controller == "cpuset")
        && let Err(error) = inherit(&hierarchy.point, &path, &directories)
    {
        // The container does without, so nobody will know of it.
        directory::unmake(&directories);
        return match is_denied(&error) {
            true => deny(path, error),
            false => Err(not_made(plan, &path, error)),
        };
    }
    made.directories.extend(directories);
    if !is_new {
        // Somebody else's: no process can be put there.
        if !may(may_write(&path.join("cgroup.procs")))? {
            return deny(path, io::Error::from_raw_os_error(libc::EACCES));
        }
        super::make::refuse_populated(&path)?;
        super::make::refuse_frozen(freezer::v1(&path)?, &path)?;
    }
    made.paths.insert(hierarchy.name(), path);
    Ok(())
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

/// The directory that has a controller's files.
pub fn directory_of<'a>(paths: &'a Paths, controller: &str) -> Option<&'a Path> {
    paths.iter().find(|(name, _)| has(name, controller)).map(|(_, path)| path.as_path())
}

/// Whether a hierarchy of this name has the controller.
fn has(name: &str, controller: &str) -> bool {
    !name.is_empty() && name.split(',').any(|one| one == controller)
}

/// The cgroup in the v2 tree beside the controllers.
pub fn tree_of(paths: &Paths) -> Option<&Path> {
    paths.get("").map(PathBuf::as_path)
}

/// What a thread writes `0` to, to be in every other of them: v1 looks at the rights of whoever opened it, and lets
/// others move their own processes alone.
pub fn tasks_files(paths: &Paths) -> anyhow::Result<Vec<OwnedFd>> {
    paths.iter().filter(|(name, _)| !name.is_empty()).map(|(_, path)| door(path)).collect()
}

fn door(path: &Path) -> anyhow::Result<OwnedFd> {
    let opened = match directory::open(&path.join("tasks")) {
        // Whoever gave the directory away may have given this alone.
        Err(error) if is_denied(&error) => directory::open(&path.join("cgroup.procs")),
        opened => opened,
    };
    opened.map(OwnedFd::from).or_fault(|| Fault::doing(format!("open the cgroup {}", path.display())))
}

/// The processes in it; v1 has them in every hierarchy, so one is asked.
pub fn pids(paths: &Paths, reach: Reach) -> io::Result<Vec<i32>> {
    main(paths).map_or(Ok(Vec::new()), |path| directory::pids(path, reach))
}

/// The hierarchy that is asked for what is the same in all.
fn main(paths: &Paths) -> Option<&Path> {
    directory_of(paths, "devices")
        .or_else(|| freezer_of(paths))
        .or(paths.values().next().map(PathBuf::as_path))
}

fn freezer_of(paths: &Paths) -> Option<&Path> {
    directory_of(paths, FREEZER)
}

/// Sets the state.
///
/// # Errors
/// No freezer, or processes that do not stop.
pub fn freeze(paths: &Paths, state: State) -> anyhow::Result<()> {
    let freezer = freezer_of(paths).ok_or_else(|| {
        Fault::doing("cannot toggle freezer: the container has no freezer cgroup")
            .remedy("mount the cgroup v1 controller freezer, and create the container again")
    })?;
    freezer::set_v1(freezer, state)
}

/// Tells the state.
pub fn frozen(paths: &Paths) -> anyhow::Result<State> {
    freezer_of(paths).map_or(Ok(State::Thawed), freezer::v1)
}

/// Kills every process in it.
pub fn kill_all(paths: &Paths) -> anyhow::Result<()> {
    // The v2 tree beside the controllers does it at once, also for processes that are being forked.
    let killed = tree_of(paths).is_some_and(|tree| directory::write(&tree.join("cgroup.kill"), "1").is_ok());
    if killed && frozen(paths)? == State::Thawed {
        return Ok(());
    }
    let Some(path) = main(paths) else { return Ok(()) };
    // A frozen process cannot fork, and one that was frozen by somebody else must be thawed to end.
    let freezer = freezer_of(paths).map(|freezer| freezer::set_v1(freezer, State::Frozen));
    let done = signal(path, libc::SIGKILL);
    if freezer.is_some() {
        freeze(paths, State::Thawed)?;
    }
    done
}
