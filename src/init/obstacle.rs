//! What in the rootfs is in the way of a path that cannot be opened or made there.

use super::inside;
use crate::fault::{Fault, Place};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// The fault of what is being done at `path`, with the cause in its line and a remedy where there is one.
pub fn fault(at: Place, doing: &str, root: BorrowedFd<'_>, path: &Path, error: io::Error) -> anyhow::Error {
    let errno = crate::kernel::errno(&error);
    match explain(root, path, errno) {
        Some((cause, remedy)) => Fault::at(at, format!("{doing}: {cause}")).remedy(remedy),
        None => Fault::at(at, doing),
    }
    .caused_by(error)
}

fn explain(root: BorrowedFd<'_>, path: &Path, errno: Errno) -> Option<(String, String)> {
    let shown = path.display();
    let (there, file) = deepest(root, path)?;
    let above = there.display();
    Some(match errno {
        Errno::EROFS => (
            format!("{above} in the container is read-only"),
            match there.parent() {
                None => format!("create {shown} in the rootfs beforehand, or use --overlay"),
                Some(_) => format!("create it in what {above} shows beforehand, or mount that writable"),
            },
        ),
        Errno::EACCES | Errno::EPERM => (
            format!(
                "{} in the container does not let the container's root in or write",
                owned(&there, &file)?
            ),
            format!("create {shown} beforehand, or give {above} to the container's root by chown"),
        ),
        Errno::ENOTDIR => (
            format!("{above} in the container is not a directory"),
            format!("remove {above} from the rootfs, or correct the path"),
        ),
        Errno::ELOOP => (
            format!("symlinks below {above} in the container lead in a circle"),
            "correct the symlinks in the rootfs, or give the path that they should lead to".into(),
        ),
        Errno::ENAMETOOLONG => {
            ("a name in it is longer than 255 bytes, or all of it than 4,095".into(), "shorten it".into())
        }
        Errno::ENOSPC | Errno::EDQUOT => (
            format!("there is no room on the file system of {above}"),
            format!("free some space or inodes there, or create {shown} beforehand"),
        ),
        _ => return None,
    })
}

/// The last directory or file on the way that can be opened.
fn deepest(root: BorrowedFd<'_>, path: &Path) -> Option<(PathBuf, OwnedFd)> {
    let mut there = PathBuf::from("/");
    let mut file = inside::open(root, &there).ok()?;
    for part in path.components().filter(|part| *part != Component::RootDir) {
        let next = there.join(part);
        match inside::open(root, &next) {
            Ok(found) => (there, file) = (next, found),
            Err(_) => break,
        }
    }
    Some((there, file))
}

fn owned(path: &Path, file: &OwnedFd) -> Option<String> {
    let stat = fstat(file.as_fd()).ok()?;
    let mode = stat.st_mode & 0o7777;
    Some(format!("{} (mode {mode:03o}, owner {}:{})", path.display(), stat.st_uid, stat.st_gid))
}
