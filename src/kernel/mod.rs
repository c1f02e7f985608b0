//! System calls as safe, named functions over owned or borrowed descriptors.
//!
//! The only room of kase with `unsafe` in it, one call each. Knows nobody of kase. Which interface a call comes by:
//!
//! - nix, wherever it wraps the call safely, with its own flags (`OFlag`, `MsFlags`, …) and `Mode`.
//! - std, for ordinary files of which nothing but the text is wanted.
//! - Here, what nix lacks: as libc's number and a struct of the kernel's, under the kernel's names. Whoever calls it sees
//!   neither. libc is named elsewhere only for constants that nix does not have.
//! - rustix only in tests: a second set of names for the same flags and errors would be in everybody's way.
//!
//! What fails is an [`io::Error`], or nix's [`Errno`] where it never leaves the function; which one the kernel has
//! answered, [`errno`] tells.

pub mod allocator;
pub mod bpf;
pub mod capability;
pub mod clock;
pub mod clone;
pub mod deadline;
pub mod descriptor;
#[cfg(early)]
pub mod early;
pub mod file_id;
pub mod listing;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod path;
pub mod pidfd;
pub mod process;
pub mod schedule;
pub mod seccomp;
pub mod socket;
pub mod start;
pub mod terminal;
pub mod text;
pub mod xattr;

use nix::errno::Errno;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// What the kernel has answered; `Errno::UnknownErrno` where the error is not the kernel's.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// Makes a system call again as long as a signal interrupts it.
pub fn uninterrupted<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The result of a system call that answers -1 on failure.
fn answer(value: impl Into<libc::c_long>) -> io::Result<libc::c_long> {
    let value = value.into();
    if value == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The same, of a call that answers with nothing else.
fn done(value: impl Into<libc::c_long>) -> io::Result<()> {
    answer(value).map(drop)
}

/// The result of a system call that answers with a new descriptor.
fn new_descriptor(value: impl Into<libc::c_long>) -> io::Result<OwnedFd> {
    let fd = answer(value)?;
    let fd = i32::try_from(fd).expect("the kernel's descriptors are ints");
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
