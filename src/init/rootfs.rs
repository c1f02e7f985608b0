//! Makes the rootfs a mount of its own and, once all is mounted in it, the root.

use super::mounts::clone_source;
use super::{Trees, inside};
use crate::fault::{Fault, OrFault};
use crate::host::mountinfo;
use crate::kernel::mount::{self, Attributes, Propagation, Reach, attribute};
use crate::kernel::path::{of_descriptor, open};
use crate::kernel::text::read_text;
use crate::plan::host_paths::rootfs_refused;
use crate::plan::mount_options::Remount;
use crate::plan::mounts::What;
use crate::plan::namespaces::Kind;
use crate::plan::{Pivot, Plan};
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::unistd::{chdir, chroot, fchdir};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The rootfs as a mount at its own place, with its root open. `trees` has it already where init may not reach the
/// path, and afterwards the sources that stay tied to the host's mounts.
///
/// # Errors
/// No rootfs, or a mount that the kernel refuses.
pub fn prepare(plan: &Plan<'_>, trees: &mut Trees) -> anyhow::Result<OwnedFd> {
    trace::step("rootfs");
    let path = plan.rootfs.as_path();
    clone_tied(plan, trees)?;
    separate(plan)?;
    let tree = match trees.rootfs.take() {
        Some(tree) => tree,
        None => clone(path)?,
    };
    put(tree, path)
}

/// Clones the sources that a shared rootfs leaves tied, before it is cut off. Any other leaves all of them slaves.
fn clone_tied(plan: &Plan<'_>, trees: &mut Trees) -> anyhow::Result<()> {
    if !matches!(plan.propagation, Some((Propagation::Shared, _))) {
        return Ok(());
    }
    trees.sources.resize_with(plan.mounts.len(), || None);
    for (index, mount) in plan.mounts.iter().enumerate() {
        let What::Bind { source, reach } = &mount.what else { continue };
        let is_tied = |(propagation, _): &(Propagation, Reach)| {
            matches!(propagation, Propagation::Shared | Propagation::Slave)
        };
        let there = trees.sources[index].is_some() || trees.links.contains_key(&index);
        if !there && mount.options.remount == Remount::No && mount.options.propagation.iter().any(is_tied) {
            trees.sources[index] = Some(clone_source(mount, source, *reach)?);
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
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    let tree =
        mount::clone_host_tree(&c_path, Reach::Recursive).map_err(|error| rootfs_refused(path, error))?;
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
    for point in full_views(&read_text("/proc/self/mountinfo")?, &rootfs) {
        // Busy or locked mounts stay; the kernel then refuses unmasked ones to the container by itself.
        let _ = umount2(Path::new(&point), MntFlags::MNT_DETACH);
    }
    let top = host_root()?;
    fchdir(root)?;
    mount::attach(root, top.as_fd())?;
    chroot(".")?;
    Ok(())
}

/// Mount points of proc and sysfs outside of the rootfs.
fn full_views(mountinfo: &str, rootfs: &Path) -> Vec<String> {
    mountinfo::mounts(mountinfo)
        .filter(|mount| matches!(mount.kind, "proc" | "sysfs"))
        .filter_map(|mount| mount.point())
        .filter(|point| !Path::new(point).starts_with(rootfs))
        .map(String::from)
        .collect()
}

/// Makes the root read-only.
pub fn make_readonly(root: BorrowedFd<'_>) -> anyhow::Result<()> {
    let change = Attributes { set: attribute::RDONLY, clear: 0 };
    mount::set_attributes(root, change, Reach::One)
        .or_fault(|| Fault::at("root.readonly", "make the root read-only"))
}
