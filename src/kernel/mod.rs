//! System calls as safe, named functions over owned or borrowed descriptors.
//!
//! The only room of kase with `unsafe` in it, one call each. What nix wraps safely is used from nix where it
//! is needed; here is what nix lacks. Knows nobody of kase.

pub mod allocator;
pub mod bpf;
pub mod capability;
pub mod clock;
pub mod clone;
pub mod descriptor;
#[cfg(early)]
pub mod early;
pub mod eventfd;
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
fn answer(value: libc::c_long) -> io::Result<libc::c_long> {
    if value == -1 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The result of a system call that answers with a new descriptor.
fn descriptor(value: libc::c_long) -> io::Result<OwnedFd> {
    let fd = answer(value)?;
    let fd = i32::try_from(fd).expect("the kernel's descriptors are ints");
    // SAFETY: the kernel has just made this descriptor for the caller; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
