//! kase's part of the mounts: before init is made, opens what init cannot reach or has no right to.
//!
//! The root of a user namespace may not enter directories of the host that only root may, nor map the ids of a file
//! system of the host's. The others are left to init, which costs less.

use super::mount_idmap;
use crate::host::Host;
use crate::init::Trees;
use crate::init::mounts::{PreparedMount, Source};
use crate::init::overlay::{self, Layers};
use crate::kernel::mount::{Propagation, Reach, clone_host_tree, set_propagation};
use crate::plan::Plan;
use crate::plan::host_paths::{rootfs_refused, source_refused};
use crate::plan::mount_options::Extension;
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::overlay::{Overlay, Upper};
use rootless::caller::Standing;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Prepares the rootfs, the directory of the overlay and each entry of `mounts`. `checked` is the overlay's directory.
pub fn prepare<'a>(
    plan: &'a Plan<'_>,
    host: &Host,
    checked: Option<BorrowedFd<'_>>,
) -> anyhow::Result<Trees<'a>> {
    let confines = confines_root(plan, host);
    let is_ours = confines && plan.namespaces.join(Kind::Mount).is_none();
    let rootfs = is_ours.then(|| rootfs_tree(plan)).transpose()?;
    let layers = match &plan.overlay {
        Some(Overlay { upper: Upper::Directory(directory), .. }) if confines => {
            Some(Layers::of_host(directory, checked)?)
        }
        _ => None,
    };
    let mounts = plan.mounts.iter().map(|entry| {
        let source = source(entry, confines, host)?;
        Ok(PreparedMount { entry, source })
    });
    Ok(Trees {
        rootfs,
        overlay: overlay::Prepared {
            layers,
            checked: checked.map(|checked| checked.try_clone_to_owned()).transpose()?,
        },
        mounts: mounts.collect::<anyhow::Result<_>>()?,
    })
}

fn source(entry: &Mount<'_>, confines: bool, host: &Host) -> anyhow::Result<Source> {
    let What::Bind { source, reach } = &entry.what else { return Ok(Source::ForInit) };
    if entry.options.extension == Extension::CopySymlink {
        match std::fs::read_link(source) {
            Ok(target) => return Ok(Source::Symlink(target)),
            // It is none, and is bound.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(source_refused(entry, source, error)),
        }
    }
    if entry.options.remount || !confines && entry.idmap.is_none() {
        return Ok(Source::ForInit);
    }
    let tree = slave_tree(source, *reach).map_err(|error| source_refused(entry, source, error))?;
    mount_idmap::map(entry, tree.as_fd(), &host.caller)?;
    Ok(Source::Tree(tree))
}

/// Whether init is root of a user namespace only, where kase is root of more.
pub fn confines_root(plan: &Plan<'_>, host: &Host) -> bool {
    host.caller.standing != Standing::User && plan.namespaces.has(Kind::User)
}

/// The rootfs, of which the host sees nothing that is mounted in it.
pub fn rootfs_tree(plan: &Plan<'_>) -> anyhow::Result<OwnedFd> {
    slave_tree(&plan.rootfs, Reach::Recursive).map_err(|error| rootfs_refused(&plan.rootfs, error))
}

fn slave_tree(path: &Path, reach: Reach) -> io::Result<OwnedFd> {
    let tree = clone_host_tree(path, reach)?;
    set_propagation(tree.as_fd(), Propagation::Slave, Reach::Recursive)?;
    Ok(tree)
}
