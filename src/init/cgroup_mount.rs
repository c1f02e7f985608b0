//! The container's view of the cgroup tree, in whichever version the host has.

use super::bind::bind;
use super::file_system::mount_on;
use super::inside::Shape;
use super::mount_point::Rootfs;
use super::placed::Placed;
use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::{self, Hierarchy};
use crate::kernel::mount::{self, Reach, attribute};
use crate::kernel::text::read_text;
use crate::plan::Plan;
use crate::plan::mounts::Mount;
use crate::plan::namespaces::Kind;
use crate::trace;
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const HOST: &str = hierarchies::USUAL;
const NO_PLACE: &str = "/proc/self/cgroup does not say where this process is in it";

/// Mounts the cgroups. Returns what is to be read-only when all else is done; `known` are v1's hierarchies, where kase has
/// found them.
///
/// They are writable if the entry says so, also without a cgroup namespace: `runc spec` and engines write `ro`, and who
/// writes `rw` (an engine's `--privileged --cgroupns=host`, for a systemd or an agent in the container) gets what runc
/// and crun give, the host's tree with the rights that the caller has in it. Read-only all the same, such containers
/// would not start; `kase lint` tells.
pub fn mount(
    rootfs: &Rootfs<'_>,
    entry: &Mount<'_>,
    plan: &Plan<'_>,
    known: Option<&Rc<[Hierarchy]>>,
    placed: &Placed,
) -> anyhow::Result<Option<OwnedFd>> {
    match statfs(HOST).map(|stats| stats.filesystem_type()) {
        Ok(CGROUP2_SUPER_MAGIC) => unified(rootfs, entry, plan, placed).map(|()| None),
        Ok(_) => HierarchiesMount::begin(rootfs, entry, known)?.fill(plan, placed),
        Err(Errno::ENOENT | Errno::ENOTDIR) => {
            tracing::debug!("{}: the host has no {HOST}: nothing is mounted", entry.at);
            Ok(None)
        }
        Err(errno) => Err(errno).or_fault(|| Fault::at(entry.at, format!("see what is mounted at {HOST}"))),
    }
}

/// /proc/self/cgroup: nothing on a kernel without cgroups.
pub fn own() -> anyhow::Result<String> {
    match read_text("/proc/self/cgroup") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        own => own.or_fault(|| Fault::doing("read /proc/self/cgroup")),
    }
}

/// Mounts v2's tree.
fn unified(rootfs: &Rootfs<'_>, entry: &Mount<'_>, plan: &Plan<'_>, placed: &Placed) -> anyhow::Result<()> {
    let target = rootfs.target(entry, Shape::Directory)?;
    let flags = entry.options.mount_flags();
    let bound = match mount_on(target.as_fd(), "cgroup2", "cgroup", flags, "") {
        // A user namespace without a cgroup namespace may not mount it: the host's is bound.
        Err(Errno::EPERM | Errno::EACCES | Errno::EBUSY) if !plan.namespaces.has(Kind::Cgroup) => {
            PathBuf::from(HOST)
        }
        // mount(2) mounts no file system on itself, which a /sys that is bound has there. A mount that is made first
        // may cover it; where that is not allowed either, the namespace's root is bound.
        Err(Errno::EPERM | Errno::EACCES | Errno::EBUSY) => {
            let set = entry.options.attributes.set & !attribute::ATIME;
            let tree = mount::make_file_system("cgroup2", [("source", Some("cgroup"))], set);
            if tree.and_then(|tree| mount::attach(tree.as_fd(), target.as_fd())).is_ok() {
                return Ok(());
            }
            hierarchies::unified(&placed.own_cgroups, Path::new(HOST), Path::new("/")).own
        }
        done => return done.or_fault(|| Fault::at(entry.at, "mount cgroup2")),
    };
    let tree = mount::clone_host_tree(&bound, Reach::Recursive)
        .or_fault(|| Fault::at(entry.at, format!("bind {}", bound.display())))?;
    bind(rootfs, entry, &tree)
}

/// The mount of v1: a tmpfs, with a directory for each hierarchy, on which that is mounted once init is in its cgroups.
#[derive(Debug)]
pub struct HierarchiesMount<'a> {
    entry: &'a Mount<'a>,
    tmpfs: OwnedFd,
    host: HostHierarchies,
}

/// What the host has.
#[derive(Debug)]
enum HostHierarchies {
    /// As kase has found it.
    Known(Rc<[Hierarchy]>),
    /// By /proc/self/mountinfo, of where it has its own place.
    Mountinfo(String),
}

impl<'a> HierarchiesMount<'a> {
    /// Mounts the tmpfs, which needs no place in the cgroups yet.
    pub fn begin(
        rootfs: &Rootfs<'_>,
        entry: &'a Mount<'a>,
        known: Option<&Rc<[Hierarchy]>>,
    ) -> anyhow::Result<Self> {
        let target = rootfs.target(entry, Shape::Directory)?;
        let set = entry.options.attributes.set & !attribute::RDONLY;
        let options = [("source", Some("tmpfs")), ("mode", Some("755"))];
        let tmpfs = mount::make_file_system("tmpfs", options, set)
            .or_fault(|| Fault::at(entry.at, "mount a tmpfs (mode=755) for the cgroup hierarchies"))?;
        mount::attach(tmpfs.as_fd(), target.as_fd())
            .or_fault(|| Fault::at(entry.at, "mount the cgroup hierarchies' tmpfs"))?;
        let host = match known {
            Some(known) => HostHierarchies::Known(Rc::clone(known)),
            None => {
                let mountinfo = read_text("/proc/self/mountinfo")
                    .or_fault(|| Fault::at(entry.at, "read the cgroup hierarchies of the host"))?;
                // Others are part of a /sys that is bound in the rootfs, which is covered by now.
                let hosts = hierarchies::mounts(&mountinfo)
                    .filter(|line| line.point().is_some_and(|point| point.starts_with(HOST)));
                HostHierarchies::Mountinfo(hosts.flat_map(|line| [line.text, "\n"]).collect())
            }
        };
        Ok(Self { entry, tmpfs, host })
    }

    /// Mounts the hierarchies in it. Returns it if it is to be read-only when all else is done.
    pub fn fill(self, plan: &Plan<'_>, placed: &Placed) -> anyhow::Result<Option<OwnedFd>> {
        trace::step("cgroup mount");
        let own = placed.own_cgroups.as_str();
        let Self { entry, tmpfs, host } = self;
        let all = match host {
            HostHierarchies::Known(all) => all,
            HostHierarchies::Mountinfo(mountinfo) => hierarchies::parse(&mountinfo, own).into(),
        };
        for hierarchy in all.iter().filter(|one| !one.is_unified() && one.point.starts_with(HOST)) {
            let fault = || Fault::at(entry.at, format!("mount the cgroup hierarchy {}", hierarchy.name()));
            let own = hierarchy.of(own).ok_or_else(|| fault().caused_by(Fault::doing(NO_PLACE)))?;
            one(entry, tmpfs.as_fd(), hierarchy, &own, plan).or_fault(fault)?;
        }
        Ok((entry.options.attributes.set & attribute::RDONLY != 0).then_some(tmpfs))
    }
}

fn one(
    entry: &Mount<'_>,
    tmpfs: BorrowedFd<'_>,
    hierarchy: &Hierarchy,
    own: &Path,
    plan: &Plan<'_>,
) -> io::Result<()> {
    // As it is called below /sys/fs/cgroup.
    let name = hierarchy.point.file_name().unwrap_or_default();
    // The tmpfs is new and nobody else's: what is in it is what we have put there.
    match mkdirat(tmpfs, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let wanted = entry.options.attributes.set | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let set = wanted & !attribute::ATIME;
    let tree = match plan.namespaces.has(Kind::Cgroup) {
        // A new mount in a cgroup namespace begins at the namespace's root.
        true => new_hierarchy(hierarchy, set).or_else(|_| own_part(own, set))?,
        false => own_part(own, set)?,
    };
    mount::attach_at(tree.as_fd(), tmpfs, name)?;
    let joined = hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1);
    for controller in joined {
        match nix::unistd::symlinkat(name, tmpfs, controller.as_str()) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn new_hierarchy(hierarchy: &Hierarchy, set: u64) -> io::Result<OwnedFd> {
    let own = hierarchy.controllers.iter().map(|controller| mount::option(controller));
    mount::make_file_system("cgroup", [("source", Some("cgroup"))].into_iter().chain(own), set)
}

fn own_part(own: &Path, set: u64) -> io::Result<OwnedFd> {
    let tree = mount::clone_host_tree(own, Reach::Recursive)?;
    mount::add_attributes(tree.as_fd(), set, Reach::Recursive)?;
    Ok(tree)
}
