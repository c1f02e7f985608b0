//! Bind mounts: of what the host has, and of what the rootfs has by then.

use super::flags;
use super::inside::{self, Shape};
use super::mount_point::{self, Rootfs};
use super::{obstacle, refusal};
use crate::fault::{Fault, OrFault};
use crate::kernel::mount::{self, Reach};
use crate::plan::host_paths::source_refused;
use crate::plan::mounts::Mount;
use nix::fcntl::readlinkat;
use nix::sys::stat::fstat;
use nix::unistd::symlinkat;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A detached copy of what the rootfs has by now at `path`.
pub fn clone_inside(
    rootfs: &Rootfs<'_>,
    entry: &Mount<'_>,
    path: &Path,
    reach: Reach,
) -> anyhow::Result<OwnedFd> {
    inside::open(rootfs.root, path).and_then(|source| mount::clone_mount(source.as_fd(), reach)).map_err(
        |error| match error.raw_os_error() {
            Some(libc::ENOENT) => source_refused(entry, path, error),
            _ => {
                let doing = format!("bind {} of the container", path.display());
                obstacle::fault(entry.at, &doing, rootfs.root, path, error)
            }
        },
    )
}

/// Attaches a cloned tree with the entry's flags.
pub fn bind(rootfs: &Rootfs<'_>, entry: &Mount<'_>, tree: &OwnedFd) -> anyhow::Result<()> {
    let source = fstat(tree).or_fault(|| Fault::at(entry.at, "look at the source"))?;
    let target = rootfs.target(entry, Shape::of(&source))?;
    mount_point::covers_no_proc(entry, target.as_fd(), tree.as_fd())?;
    flags::bind(entry, tree.as_fd(), rootfs.flags)?;
    attach(entry, tree.as_fd(), target.as_fd())?;
    propagate(entry, tree.as_fd())
}

/// Changes the flags of a mount that an earlier entry has made.
pub fn remount(rootfs: &Rootfs<'_>, entry: &Mount<'_>) -> anyhow::Result<()> {
    let (target, _) = rootfs.point(entry, Shape::Directory)?;
    flags::change(entry, target.as_fd(), entry.options.attributes).map_err(|error| {
        let doing = format!("remount {}", entry.destination.display());
        match error.raw_os_error() {
            Some(libc::EINVAL) => Fault::at(entry.at, format!("{doing}: nothing is mounted there"))
                .remedy("name a mount point that an earlier entry made"),
            _ => Fault::at(entry.at, doing),
        }
        .caused_by(error)
    })
}

/// A detached copy of what the host has at `source`.
pub fn clone_source(entry: &Mount<'_>, source: &Path, reach: Reach) -> anyhow::Result<OwnedFd> {
    mount::clone_host_tree(source, reach).map_err(|error| source_refused(entry, source, error))
}

/// Attaches a detached mount.
pub fn attach(entry: &Mount<'_>, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> anyhow::Result<()> {
    mount::attach(tree, target).map_err(|error| refusal::to_attach(entry, error))
}

/// Sets the entry's propagation of what is attached.
pub fn propagate(entry: &Mount<'_>, mounted: BorrowedFd<'_>) -> anyhow::Result<()> {
    for (propagation, reach) in &entry.options.propagation {
        mount::set_propagation(mounted, *propagation, *reach)
            .or_fault(|| Fault::at(entry.at.field(".options"), "set the mount's propagation"))?;
    }
    Ok(())
}

/// `copy-symlink`: the source is a symlink to `target`, which is made again in the rootfs in place of a mount. One that
/// leads there already is as good.
pub fn copy_symlink(root: BorrowedFd<'_>, entry: &Mount<'_>, target: &Path) -> anyhow::Result<()> {
    let at = entry.at.field(".destination");
    let path = entry.destination;
    let doing = format!("make {} a symlink to {}", path.display(), target.display());
    let (directory, name) =
        inside::parent(root, path).map_err(|error| obstacle::fault(at, &doing, root, path, error))?;
    match symlinkat(target, directory.as_fd(), name) {
        Err(nix::Error::EEXIST) if readlinkat(&directory, name).is_ok_and(|found| found == target) => Ok(()),
        Err(nix::Error::EEXIST) => Err(Fault::at(at, format!("{doing}: something else is there"))
            .remedy("remove what is there from the rootfs, or mount somewhere else")
            .caused_by(nix::Error::EEXIST)),
        made => made.map_err(|error| obstacle::fault(at, &doing, root, path, error.into())),
    }
}
