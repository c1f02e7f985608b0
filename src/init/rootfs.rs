//! Makes the rootfs a mount of its own and, once all is mounted in it, the root.

use super::bind::clone_source;
use super::mounts::{PreparedMount, Source};
use super::{Trees, inside};
use crate::fault::{Fault, OrFault};
use crate::host::mountinfo;
use crate::kernel::mount::{self, Propagation, Reach, attribute};
use crate::kernel::path::{of_descriptor, open};
use crate::kernel::text::read_text;
use crate::plan::host_paths::rootfs_refused;
use crate::plan::mounts::What;
use crate::plan::namespaces::Kind;
use crate::plan::{Pivot, Plan};
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir};
use std::borrow::Cow;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The rootfs as a mount at its own place, with its root open. `trees` has it already where init may not reach the
/// path, and afterwards the sources that still receive the host's mounts.
pub fn prepare(plan: &Plan<'_>, trees: &mut Trees<'_>) -> anyhow::Result<OwnedFd> {
    trace::step("rootfs");
    let path = plan.rootfs.as_path();
    clone_receiving(plan, &mut trees.mounts)?;
    separate(plan)?;
    let tree = match trees.rootfs.take() {
        Some(tree) => tree,
        None => clone(path)?,
    };
    put(tree, path)
}

/// Clones the sources that receive the host's mounts under a shared rootfs: afterwards all are private. Under any other,
/// all of them stay slaves of the host's.
fn clone_receiving(plan: &Plan<'_>, mounts: &mut [PreparedMount<'_>]) -> anyhow::Result<()> {
    if !matches!(plan.propagation, Some((Propagation::Shared, _))) {
        return Ok(());
    }
    let receives = |(propagation, _): &(Propagation, Reach)| {
        matches!(propagation, Propagation::Shared | Propagation::Slave)
    };
    for PreparedMount { entry, source: found } in mounts {
        if let (What::Bind { source, reach }, Source::ForInit) = (&entry.what, &found)
            && !entry.options.remount
            && entry.options.propagation.iter().any(receives)
        {
            *found = Source::Tree(clone_source(entry, source, *reach)?);
        }
    }
    Ok(())
}

fn put(tree: OwnedFd, path: &Path) -> anyhow::Result<OwnedFd> {
    // Hooks look for the container's mounts at this path. Where it cannot be reached, which happens only in a
    // user namespace that root has made, the tree goes on top of everything.
    let place = match open(path, OFlag::O_PATH) {
        Err(Errno::EACCES) => host_root(),
        opened => opened,
    };
    let place = place.or_fault(|| Fault::at("root.path", format!("open {}", path.display())))?;
    mount::attach(tree.as_fd(), place.as_fd())
        .or_fault(|| Fault::at("root.path", format!("mount {}", path.display())))?;
    Ok(tree)
}

/// Opens the root of the mount namespace.
fn host_root() -> nix::Result<OwnedFd> {
    open("/", OFlag::O_PATH | OFlag::O_DIRECTORY)
}

/// Cuts the new mount namespace off, so that nothing that is mounted here shows on the host.
fn separate(plan: &Plan<'_>) -> anyhow::Result<()> {
    let propagation = match plan.propagation {
        Some((Propagation::Private | Propagation::Shared, _)) => Propagation::Private,
        // The kernel has made all mounts slaves already when a user namespace came with the mount namespace.
        _ if plan.namespaces.makes(Kind::User) && plan.namespaces.makes(Kind::Mount) => return Ok(()),
        _ => Propagation::Slave,
    };
    mount::set_all_propagation(propagation).map_err(|error| {
        let doing = "separate the mounts from the host's";
        match error.raw_os_error() {
            Some(libc::EINVAL) => Fault::doing(format!("{doing}: / is no mount point here, as in a chroot"))
                .remedy("make it one before it is entered: mount --rbind DIR DIR, then chroot DIR"),
            _ => Fault::at("linux.rootfsPropagation", doing),
        }
        .caused_by(error)
    })
}

fn clone(path: &Path) -> anyhow::Result<OwnedFd> {
    let tree = mount::clone_host_tree(path, Reach::Recursive).map_err(|error| rootfs_refused(path, error))?;
    if !inside::is_directory(tree.as_fd())? {
        return Err(Fault::at("root.path", format!("{} is not a directory", path.display()))
            .remedy("name the directory that holds the container's files")
            .into());
    }
    Ok(tree)
}

/// Makes the rootfs the root, and leaves everything else behind.
pub fn enter(plan: &Plan<'_>, root: BorrowedFd<'_>) -> anyhow::Result<()> {
    trace::step("pivot");
    exchange(plan.pivot, root)?;
    chdir("/").or_fault(|| Fault::at("root.path", format!("enter {}", plan.rootfs.display())))?;
    // Slave and private are what the rootfs has been since `separate`.
    if let Some((propagation @ (Propagation::Shared | Propagation::Unbindable), reach)) = plan.propagation {
        mount::set_propagation(host_root()?.as_fd(), propagation, reach)
            .or_fault(|| Fault::at("linux.rootfsPropagation", "set the propagation of the root"))?;
    }
    Ok(())
}

/// Makes the mount `root` the root of this process.
pub fn exchange(how: Pivot, root: BorrowedFd<'_>) -> anyhow::Result<()> {
    match how {
        Pivot::Root => pivot(root).or_fault(|| Fault::at("root.path", "make the rootfs the root")),
        Pivot::Move => move_over(root).or_fault(|| Fault::at("root.path", "move the rootfs over the root")),
    }
}

fn pivot(root: BorrowedFd<'_>) -> anyhow::Result<()> {
    let old = host_root()?;
    fchdir(root)?;
    mount::pivot_root_here().map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => {
            Fault::doing("the root that kase has cannot be exchanged, as that of an initramfs")
                .remedy("use --no-pivot")
                .caused_by(error)
        }
        _ => error.into(),
    })?;
    // The old root lies on top of the new one now. It must pass nothing on when it goes: where the mount
    // namespace was joined, its mounts may be shared with the host.
    fchdir(&old)?;
    mount::set_propagation(old.as_fd(), Propagation::Slave, Reach::Recursive)?;
    umount2(".", MntFlags::MNT_DETACH)?;
    Ok(())
}

/// Without pivot_root the old mounts stay reachable for the kernel. A whole /proc or /sys among them would
/// let the container mount a new one without our masks, so those go first.
fn move_over(root: BorrowedFd<'_>) -> anyhow::Result<()> {
    let rootfs = fs::read_link(of_descriptor(root))?;
    let mounts = read_text("/proc/self/mountinfo")?;
    let whole = mountinfo::mounts(&mounts).filter(|mount| matches!(mount.kind, "proc" | "sysfs"));
    let outside = |point: &Cow<'_, str>| !Path::new(&**point).starts_with(&rootfs);
    for point in whole.filter_map(|mount| mount.point()).filter(outside) {
        // Busy or locked mounts stay; the kernel then refuses unmasked ones to the container by itself.
        let _ = umount2(&*point, MntFlags::MNT_DETACH);
    }
    let top = host_root()?;
    fchdir(root)?;
    mount::attach(root, top.as_fd())?;
    chroot(".")?;
    Ok(())
}

/// Makes the root read-only.
pub fn make_readonly(root: BorrowedFd<'_>) -> anyhow::Result<()> {
    mount::add_attributes(root, attribute::RDONLY, Reach::One)
        .or_fault(|| Fault::at("root.readonly", "make the root read-only"))
}
