//! Which file it is.

use nix::NixPath;
use nix::sys::stat::{FileStat, fstat, stat};
use std::os::fd::AsFd;

/// The device and the inode number, which together are those of one file only (inode(7)). So it is with the files that
/// stand for namespaces (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    /// The file system that it is on.
    pub device: libc::dev_t,
    inode: libc::ino_t,
}

impl FileId {
    /// Of the file behind a descriptor.
    pub fn of(file: impl AsFd) -> nix::Result<Self> {
        Ok((&fstat(file)?).into())
    }

    /// Of the file at a path of the host; symlinks are followed.
    pub fn at<P: ?Sized + NixPath>(path: &P) -> nix::Result<Self> {
        Ok((&stat(path)?).into())
    }
}

impl From<&FileStat> for FileId {
    fn from(stat: &FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}
