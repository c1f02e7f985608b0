//! `copy-symlink`: a bind mount's source that is a symlink, made again in the rootfs instead of followed.

use super::{inside, obstacle};
use crate::fault::Fault;
use crate::plan::mounts::Mount;
use nix::fcntl::readlinkat;
use nix::unistd::symlinkat;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Makes the symlink to `target` at the mount's destination. One that leads there already is as good.
///
/// # Errors
/// Anything else that is there.
pub fn copy(root: BorrowedFd<'_>, mount: &Mount<'_>, target: &Path) -> anyhow::Result<()> {
    let at = mount.at.field(".destination");
    let path = mount.destination;
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
