//! The container's view of the cgroup tree, in whichever version the host has.

use super::inside::Shape;
use super::mounts::Mounter;
use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::{self, Hierarchy};
use crate::kernel::mount::{self, Reach, attribute};
use crate::kernel::path::of_descriptor;
use crate::kernel::text::read_text;
use crate::plan::mounts::Mount;
use crate::trace;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const HOST: &str = hierarchies::USUAL;
const NO_PLACE: &str = "/proc/self/cgroup does not say where this process is in it";

/// What the container is to see of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// From its cgroup namespace's root down.
    Namespace,
    /// Its own cgroup, as part of the host's tree.
    Host,
}

/// A cgroup mount, writable if the entry says so, also without a cgroup namespace: `runc spec` and engines write `ro`,
/// and who writes `rw` (an engine's `--privileged --cgroupns=host`, for a systemd or an agent in the container) gets what
/// runc and crun give, the host's tree with the rights that the caller has in it. Read-only all the same, such
/// containers would not start; `kase lint` tells.
#[derive(Debug)]
pub enum CgroupMount<'a> {
    /// The host has nothing to show.
    None,
    /// The one tree of v2, which is not mounted yet.
    Unified,
    /// A tmpfs, mounted, that is to have a directory for each hierarchy of v1.
    Legacy(Hierarchies<'a>),
}

impl<'a> CgroupMount<'a> {
    /// Does as much of it as can be done before init is in its cgroup.
    pub fn begin(
        mounter: &Mounter<'_>,
        entry: &'a Mount<'a>,
        known: Option<&Rc<[Hierarchy]>>,
    ) -> anyhow::Result<Self> {
        match nix::sys::statfs::statfs(HOST).map(|stats| stats.filesystem_type()) {
            Ok(nix::sys::statfs::CGROUP2_SUPER_MAGIC) => Ok(Self::Unified),
            Ok(_) => Hierarchies::begin(mounter, entry, known).map(Self::Legacy),
            Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => {
                tracing::debug!("{}: the host has no {HOST}: nothing is mounted", entry.at);
                Ok(Self::None)
            }
            Err(error) => {
                Err(error).or_fault(|| Fault::at(entry.at, format!("see what is mounted at {HOST}")))
            }
        }
    }
}

/// /proc/self/cgroup: nothing on a kernel without cgroups.
///
/// # Errors
/// It cannot be read.
pub fn own() -> anyhow::Result<String> {
    match read_text("/proc/self/cgroup") {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        own => own.or_fault(|| Fault::doing("read /proc/self/cgroup")),
    }
}

/// Mounts v2's tree. Init must be in its cgroup and its cgroup namespace by now; `own` is /proc/self/cgroup as it was
/// before that namespace.
pub fn unified(mounter: &Mounter<'_>, mount: &Mount<'_>, view: View, own: &str) -> anyhow::Result<()> {
    let target = mounter.target(mount, Shape::Directory)?;
    let flags = mount.options.classic_flags();
    let error = match new_cgroup("cgroup2", "cgroup", flags, target.as_fd()) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let bound = match (error.kind(), view) {
        // A user namespace without a cgroup namespace may not mount it: the host's is bound.
        (ErrorKind::PermissionDenied | ErrorKind::ResourceBusy, View::Host) => PathBuf::from(HOST),
        // mount(2) mounts no file system on itself, which a /sys that is bound has there. A mount that is made first
        // may cover it; where that is not allowed either, the namespace's root is bound.
        (ErrorKind::PermissionDenied | ErrorKind::ResourceBusy, View::Namespace) => {
            let set = mount.options.attributes.set & !attribute::ATIME;
            let tree = mount::make_file_system(c"cgroup2", &[(c"source", Some(c"cgroup"))], set);
            if tree.and_then(|tree| mount::attach(tree.as_fd(), target.as_fd())).is_ok() {
                return Ok(());
            }
            hierarchies::unified(own, Path::new(HOST), Path::new("/")).own
        }
        _ => return Err(error).or_fault(|| Fault::at(mount.at, "mount cgroup2")),
    };
    mounter.bind(mount, host(mount, &bound)?)
}

/// A tmpfs for v1's hierarchies.
#[derive(Debug)]
pub struct Hierarchies<'a> {
    entry: &'a Mount<'a>,
    tmpfs: OwnedFd,
    mounted: Mounted,
}

/// What the host has.
#[derive(Debug)]
enum Mounted {
    /// As kase has found it.
    Known(Rc<[Hierarchy]>),
    /// By /proc/self/mountinfo, of where it has its own place.
    Mountinfo(String),
}

impl<'a> Hierarchies<'a> {
    /// Mounts the tmpfs for them.
    pub fn begin(
        mounter: &Mounter<'_>,
        entry: &'a Mount<'a>,
        known: Option<&Rc<[Hierarchy]>>,
    ) -> anyhow::Result<Self> {
        let target = mounter.target(entry, Shape::Directory)?;
        let data = "mode=755";
        let set = entry.options.attributes.set & !attribute::RDONLY;
        let options = [(c"source", Some(c"tmpfs")), (c"mode", Some(c"755"))];
        let tmpfs = mount::make_file_system(c"tmpfs", &options, set)
            .or_fault(|| Fault::at(entry.at, format!("mount a tmpfs ({data}) for the cgroup hierarchies")))?;
        mount::attach(tmpfs.as_fd(), target.as_fd())
            .or_fault(|| Fault::at(entry.at, "mount the cgroup hierarchies' tmpfs"))?;
        let mounted = match known {
            Some(known) => Mounted::Known(Rc::clone(known)),
            None => {
                let mountinfo = read_text("/proc/self/mountinfo")
                    .or_fault(|| Fault::at(entry.at, "read the cgroup hierarchies of the host"))?;
                // Others are part of a /sys that is bound in the rootfs, which is covered by now.
                let hosts = hierarchies::mounts(&mountinfo)
                    .filter(|line| line.point().is_some_and(|point| point.starts_with(HOST)));
                Mounted::Mountinfo(hosts.flat_map(|line| [line.text, "\n"]).collect())
            }
        };
        Ok(Self { entry, tmpfs, mounted })
    }

    /// Mounts them, as [`unified`] does. Returns the tmpfs if it is to be read-only when all else is done.
    pub fn fill(self, view: View, own: &str) -> anyhow::Result<Option<OwnedFd>> {
        trace::step("cgroup mount");
        let Self { entry, tmpfs, mounted } = self;
        let all = match mounted {
            Mounted::Known(all) => all,
            Mounted::Mountinfo(mountinfo) => hierarchies::parse(&mountinfo, own).into(),
        };
        for hierarchy in all.iter().filter(|one| !one.is_unified() && one.point.starts_with(HOST)) {
            let fault = || Fault::at(entry.at, format!("mount the cgroup hierarchy {}", hierarchy.name()));
            let own = hierarchy.of(own).ok_or_else(|| fault().caused_by(Fault::doing(NO_PLACE)))?;
            one(entry, tmpfs.as_fd(), hierarchy, &own, view).or_fault(fault)?;
        }
        Ok((entry.options.attributes.set & attribute::RDONLY != 0).then_some(tmpfs))
    }
}

fn one(
    entry: &Mount<'_>,
    tmpfs: BorrowedFd<'_>,
    hierarchy: &Hierarchy,
    own: &Path,
    view: View,
) -> io::Result<()> {
    // As it is called below /sys/fs/cgroup.
    let name = CString::new(hierarchy.point.file_name().unwrap_or_default().as_bytes())?;
    // The tmpfs is new and nobody else's: what is in it is what we have put there.
    match mkdirat(tmpfs, name.as_c_str(), Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let wanted = entry.options.attributes.set | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let set = wanted & !attribute::ATIME;
    let tree = match view {
        // A new mount in a cgroup namespace begins at the namespace's root.
        View::Namespace => new_hierarchy(hierarchy, set).or_else(|_| own_part(own, set))?,
        View::Host => own_part(own, set)?,
    };
    mount::attach_at(tree.as_fd(), tmpfs, &name)?;
    let joined = hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1);
    for controller in joined {
        match nix::unistd::symlinkat(name.as_c_str(), tmpfs, controller.as_str()) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn new_hierarchy(hierarchy: &Hierarchy, set: u64) -> io::Result<OwnedFd> {
    let mut options = vec![(CString::from(c"source"), Some(CString::from(c"cgroup")))];
    for option in &hierarchy.controllers {
        let (name, value) =
            option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value)));
        options.push((CString::new(name)?, value.map(CString::new).transpose()?));
    }
    let options: Vec<_> = options.iter().map(|(name, value)| (name.as_c_str(), value.as_deref())).collect();
    mount::make_file_system(c"cgroup", &options, set)
}

fn own_part(own: &Path, set: u64) -> io::Result<OwnedFd> {
    let tree = host_tree(own)?;
    mount::set_attributes(tree.as_fd(), mount::Attributes { set, clear: 0 }, Reach::Recursive)?;
    Ok(tree)
}

fn host(mount: &Mount<'_>, path: &Path) -> anyhow::Result<OwnedFd> {
    host_tree(path).or_fault(|| Fault::at(mount.at, format!("bind {}", path.display())))
}

fn host_tree(path: &Path) -> io::Result<OwnedFd> {
    mount::clone_host_tree(&CString::new(path.as_os_str().as_bytes())?, Reach::Recursive)
}

fn new_cgroup(kind: &str, source: &str, flags: libc::c_ulong, target: BorrowedFd<'_>) -> io::Result<()> {
    sys_mount::Mount::builder()
        .fstype(kind)
        .flags(sys_mount::MountFlags::from_bits_retain(flags))
        .mount(source, of_descriptor(target))
        .map(drop)
}
