//! Makes ready what an overlay keeps on the host.

use crate::fault::{Fault, OrFault};
use crate::plan::Plan;
use crate::plan::overlay::{Overlay, Upper, overlaps, within};
use nix::unistd::{Gid, Uid, chown};
use rootless::caller::{Caller, Standing};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes `upper` and `work` in the overlay's directory where they are missing, and the directory itself.
///
/// # Errors
/// A directory that leads into the rootfs, or that cannot be made.
pub fn ready(plan: &Plan<'_>, caller: &Caller) -> anyhow::Result<()> {
    let Some(overlay @ Overlay { upper: Upper::Directory(directory), .. }) = &plan.overlay else {
        return Ok(());
    };
    let doing = || {
        Fault::doing(format!("make the overlay's directory {}", directory.display()))
            .remedy("name one in a directory that exists and that you may write to")
    };
    // What the container marks set-user-ID in it is nobody else's to execute.
    make(directory, 0o700).or_fault(doing)?;
    let real = fs::canonicalize(directory).or_fault(doing)?;
    let rootfs = fs::canonicalize(&plan.rootfs).or_fault(doing)?;
    if overlaps(&real, &rootfs) {
        return Err(within("--overlay", directory).into());
    }
    let lower = fs::metadata(&rootfs).or_fault(doing)?;
    let layers = || -> io::Result<()> {
        for name in ["upper", "work"] {
            let path = real.join(name);
            if !make(&path, 0o700)? {
                continue;
            }
            if caller.standing != Standing::User {
                let (uid, gid) = owner(overlay, plan, (lower.uid(), lower.gid()));
                chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            // The root of the overlay is what the upper layer's is.
            if name == "upper" {
                fs::set_permissions(&path, Permissions::from_mode(lower.mode() & 0o7777))?;
            }
        }
        Ok(())
    };
    layers().or_fault(doing)
}

/// Whether it was made now.
fn make(path: &Path, mode: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The rootfs's, or where the container has not got that id, its root.
fn owner(overlay: &Overlay, plan: &Plan<'_>, lower: (u32, u32)) -> (u32, u32) {
    let known = plan
        .maps
        .as_ref()
        .is_none_or(|maps| maps.uids.inside(lower.0).is_some() && maps.gids.inside(lower.1).is_some());
    if known { lower } else { overlay.root.unwrap_or(lower) }
}
