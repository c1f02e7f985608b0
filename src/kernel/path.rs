//! Opens paths: of the host, and by openat2(2) those that cannot leave the directory they start in.

use super::uninterrupted;
use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Opens a path of the host that is there. Not by open(2) of musl, by which std and nix do it: that sets close-on-exec
/// once more, for kernels that did not know it yet.
pub fn open<P: ?Sized + NixPath>(path: &P, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// The path by which a call that takes only paths reaches the file behind a descriptor of this process: of `proc`, so
/// that nothing in it is resolved anew (proc_pid_fd(5)).
pub fn of_descriptor(file: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// Opens what should be the file of a namespace. It may be anything: a FIFO would hold us up, a terminal become ours.
pub fn open_namespace<P: ?Sized + NixPath>(path: &P) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
}

/// Opens a file of a directory; an interrupted look is repeated.
pub fn openat<P: ?Sized + NixPath>(
    directory: impl AsFd,
    path: &P,
    flags: OFlag,
    mode: Mode,
) -> nix::Result<OwnedFd> {
    uninterrupted(|| nix::fcntl::openat(&directory, path, flags, mode))
}

/// How a path is resolved; the flags of `struct open_how`.
#[derive(Debug, Clone, Copy)]
pub struct Resolve(ResolveFlag);

impl Resolve {
    /// The directory is the root: `..`, absolute paths and symlinks stay below it, magic links are refused.
    pub const IN_ROOT: Self = Self(ResolveFlag::RESOLVE_IN_ROOT.union(ResolveFlag::RESOLVE_NO_MAGICLINKS));
    /// As [`Resolve::IN_ROOT`], and a symlink anywhere in the path is an error (ELOOP).
    pub const NO_SYMLINKS: Self = Self(Self::IN_ROOT.0.union(ResolveFlag::RESOLVE_NO_SYMLINKS));
    /// As the kernel resolves any path, but that a symlink anywhere in it is an error (ELOOP).
    pub const WITHOUT_SYMLINKS: Self = Self(ResolveFlag::RESOLVE_NO_SYMLINKS);
    /// Nothing may leave the directory or the mount it is on (EXDEV): for files of a verified procfs, and to tell whether
    /// something is mounted on a name.
    pub const SAME_MOUNT: Self = Self(
        ResolveFlag::RESOLVE_BENEATH
            .union(ResolveFlag::RESOLVE_NO_MAGICLINKS)
            .union(ResolveFlag::RESOLVE_NO_XDEV),
    );
}

/// Opens `path` relative to `directory` with these flags and O_CLOEXEC.
///
/// # Errors
/// Those of openat2(2). EAGAIN, the kernel's answer when a rename races with `..`, is retried, and so is an
/// interrupted look.
pub fn openat2<P: ?Sized + NixPath>(
    directory: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
    resolve: Resolve,
) -> io::Result<OwnedFd> {
    create_at(directory, path, flags, Mode::empty(), resolve)
}

/// As [`openat2`], with the mode of a file that O_CREAT makes.
pub fn create_at<P: ?Sized + NixPath>(
    directory: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
    mode: Mode,
    resolve: Resolve,
) -> io::Result<OwnedFd> {
    let mode = if flags.contains(OFlag::O_CREAT) { mode } else { Mode::empty() };
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve.0);
    let mut races = 0..64;
    loop {
        match nix::fcntl::openat2(directory, path, how) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if races.next().is_some() => {}
            opened => return Ok(opened?),
        }
    }
}
