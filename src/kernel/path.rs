//! Opens paths: of the host, and by openat2(2) those that cannot leave the directory they start in.

use super::{new_descriptor, uninterrupted};
use nix::NixPath;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::io::{self, ErrorKind};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;

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
pub struct Resolve(u64);

impl Resolve {
    /// The directory is the root: `..`, absolute paths and symlinks stay below it, magic links are refused.
    pub const IN_ROOT: Self = Self(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
    /// As [`Resolve::IN_ROOT`], and a symlink anywhere in the path is an error (ELOOP).
    pub const NO_SYMLINKS: Self = Self(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS);
    /// As the kernel resolves any path, but that a symlink anywhere in it is an error (ELOOP).
    pub const WITHOUT_SYMLINKS: Self = Self(RESOLVE_NO_SYMLINKS);
    /// Nothing may leave the directory or the mount it is on (EXDEV): for files of a verified procfs, and to tell whether
    /// something is mounted on a name.
    pub const SAME_MOUNT: Self = Self(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
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
    let how = OpenHow {
        flags: (flags | OFlag::O_CLOEXEC).bits() as u64,
        mode: if flags.contains(OFlag::O_CREAT) { mode.bits().into() } else { 0 },
        resolve: resolve.0,
    };
    path.with_nix_path(|path| open_how(directory, path, &how))?
}

fn open_how(directory: BorrowedFd<'_>, path: &CStr, how: &OpenHow) -> io::Result<OwnedFd> {
    let mut races = 0;
    loop {
        // SAFETY: `path` is a C string and `how` a struct of the size given; both outlive the call.
        let opened = new_descriptor(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                directory.as_raw_fd(),
                path.as_ptr(),
                ptr::from_ref(how),
                size_of::<OpenHow>(),
            )
        });
        match opened {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && races < RETRIES => races += 1,
            opened => return opened,
        }
    }
}

const RETRIES: u32 = 64;
const RESOLVE_NO_XDEV: u64 = 0x01;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// `struct open_how` of linux/openat2.h.
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}
