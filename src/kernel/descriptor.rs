//! Descriptors as a whole: which of them cross an exec, and small deeds on one.

use super::done;
use super::listing::list;
use super::path::open;
use nix::fcntl::OFlag;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Marks every descriptor from `first` up close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: marking close-on-exec takes no descriptor away from anyone.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) })
}

/// Closes the descriptors from `first` up that this process was started with: whoever opened them may wait for
/// their end. They are those without close-on-exec, which all of kase's own have.
///
/// # Errors
/// Those of /proc/self/fd, and what it does not show is at least marked: close_range(2).
pub fn close_inherited_from(first: u32) -> io::Result<()> {
    let mut listed: Vec<i32> = Vec::new();
    let directory = open("/proc/self/fd", OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let number_of = |name: &CStr| name.to_str().ok()?.parse::<i32>().ok();
    list(directory.as_fd(), |name, _| {
        listed.extend(number_of(name).filter(|number| {
            *number != directory.as_raw_fd() && u32::try_from(*number).is_ok_and(|number| number >= first)
        }));
    })?;
    drop(directory);
    for number in listed {
        // What kase owns has close-on-exec, so nothing here owns this descriptor.
        close_if(number, 0);
    }
    close_on_exec_from(first)
}

/// Closes every descriptor from `first` up but `kept`, and those below it, standard ones aside, that no exec would
/// pass on. For a process that others may look into from its first instruction on: close-on-exec comes too late there.
pub fn close_all_but(kept: &[BorrowedFd<'_>], first: u32) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    kept.sort_unstable();
    let mut from = first;
    for number in kept.iter().copied().filter(|number| *number >= first) {
        if number > from {
            close_range(from, number - 1)?;
        }
        from = number + 1;
    }
    close_range(from, libc::c_uint::MAX)?;
    for number in (3..first).filter(|number| !kept.contains(number)) {
        // Its owner is in a frame of kase's, to which a copy of the process never comes back.
        close_if(number.cast_signed(), libc::FD_CLOEXEC);
    }
    Ok(())
}

/// Closes a descriptor with these flags (FD_CLOEXEC or none), whose owner does not use it any more.
fn close_if(number: i32, wanted: libc::c_int) {
    // SAFETY: F_GETFD only looks.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == wanted {
        // SAFETY: nobody uses it any more, as callers know.
        unsafe { libc::close(number) };
    }
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the owners are in frames of kase's, to which a copy of the process never comes back.
    done(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Closes the copies that a new process has of these descriptors, which are kase's alone.
pub fn close_copies(of_kase: &[BorrowedFd<'_>]) {
    for fd in of_kase {
        // SAFETY: its owner is in a frame of kase's, to which a copy of the process never comes back.
        unsafe { libc::close(fd.as_raw_fd()) };
    }
}

/// Owns the number that nix's accept4 has just answered with.
pub fn accepted(number: i32) -> OwnedFd {
    // SAFETY: the kernel made the descriptor for this call's caller; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Sets an extended attribute of the file behind `file`.
pub fn set_attribute(file: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` is a C string, pointer and length are those of one slice, and both outlive the call.
    done(unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })
}
