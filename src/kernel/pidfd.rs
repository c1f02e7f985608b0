//! Another process, by a descriptor that stays right when the id is reused.

use super::clone::{Cloned, Parent, clone3};
use super::deadline::Deadline;
use super::process::{End, exit_now, wait_for};
use super::text::read_text;
use super::{answer, done, new_descriptor};
use nix::poll::{PollFd, PollFlags};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// A descriptor for the process `pid`.
///
/// # Errors
/// ESRCH when there is none.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    new_descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends `signal` (0 only asks) to the process behind `pidfd`.
///
/// # Errors
/// ESRCH when it has ended and was waited for, EPERM, EINVAL.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    match send(pidfd, signal) {
        // Only a security module answers EACCES. The engines' AppArmor profiles let containers have signals from
        // processes that are unconfined, runc or crun, but not from one that has a profile by kase's name.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => send_unconfined(pidfd, signal, error),
        sent => sent,
    }
}

fn send(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let as_kill = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo means the one that kill(2) would send.
    done(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, as_kill, 0) })
}

/// Has a copy of this process leave its AppArmor profile for the signal: there is no way back into one, and what else
/// this process does is to stay under it.
fn send_unconfined(pidfd: BorrowedFd<'_>, signal: i32, denied: io::Error) -> io::Result<()> {
    match clone3(0, Parent::Us, None)? {
        Cloned::New => {
            let sent = become_unconfined().map_err(|_| denied).and_then(|()| send(pidfd, signal));
            exit_now(sent.map_or_else(|error| error.raw_os_error().unwrap_or(libc::EACCES), |()| 0));
        }
        Cloned::Caller(process) => match wait_for(process.pid)? {
            End::Exited(0) => Ok(()),
            End::Exited(errno) => Err(io::Error::from_raw_os_error(errno)),
            End::Signalled(_) => Err(denied),
        },
    }
}

/// Leaves an AppArmor profile that has no rules; one with rules does not let go.
fn become_unconfined() -> io::Result<()> {
    let command = "changeprofile unconfined";
    // Kernels before 5.8 have one set of files for all security modules.
    fs::write("/proc/self/attr/apparmor/current", command)
        .or_else(|_| fs::write("/proc/self/attr/current", command))
}

/// The id, in our pid namespace, of the process behind `pidfd`.
///
/// # Errors
/// ESRCH when it has ended.
pub fn pidfd_pid(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    let info = read_text(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    info.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// How the process behind `pidfd` ended, whoever's child it was.
///
/// # Errors
/// EAGAIN before its parent has waited for it, and always from a kernel before Linux 6.15, ESRCH when the descriptor
/// was opened too late, ENOTTY from a kernel before Linux 6.13.
pub fn pidfd_end(pidfd: BorrowedFd<'_>) -> io::Result<End> {
    const EXIT: u64 = libc::PIDFD_INFO_EXIT as u64;
    // SAFETY: plain integers, for which zero is a value.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = EXIT;
    // SAFETY: the number holds the size of `info`, which outlives the call.
    answer(unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) })?;
    match info.mask & EXIT {
        0 => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        _ => Ok(End::of_status(info.exit_code)),
    }
}

/// Whether the process behind `pidfd` ends within `limit`.
pub fn ended_within(pidfd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    Deadline::after(limit).poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)])
}
