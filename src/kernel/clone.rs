//! clone3(2): the one way in which kase makes a process.

use super::process::outlive_failed_writes;
use super::{answer, new_descriptor};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Which side of the clone we are on.
#[derive(Debug)]
pub enum Cloned {
    /// The caller, with the new process's id in the caller's pid namespace.
    Caller(Process),
    /// The new process, in a copy of the caller's memory.
    New,
}

/// A process that we made: the id and the descriptor that stays right when the id is reused.
#[derive(Debug)]
pub struct Process {
    /// The id in our pid namespace.
    pub pid: i32,
    /// The pidfd, close-on-exec.
    pub pidfd: OwnedFd,
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// This one's: its end sends us SIGCHLD.
    Us,
    /// That of our own parent (CLONE_PARENT): the hop makes init so that kase can wait for it.
    Same,
}

/// Copies this process into `namespaces` (CLONE_NEW* flags) and, if given, straight into `cgroup` (an open
/// cgroup v2 directory). Signal handlers are reset to their defaults in the copy,
/// but for those of [`outlive_failed_writes`].
///
/// # Panics
/// Never, but the new process has one thread only: kase makes no threads, see clippy's disallowed methods.
pub fn clone3(namespaces: u64, parent: Parent, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND;
    let mut exit_signal = libc::SIGCHLD as u64;
    if parent == Parent::Same {
        // With CLONE_PARENT the exit signal is that of the caller, and the kernel refuses another.
        flags |= libc::CLONE_PARENT as u64;
        exit_signal = 0;
    }
    let mut arguments =
        CloneArgs { flags, pidfd: (&raw mut pidfd) as u64, exit_signal, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: no stack is passed, so both sides go on from here as after fork(2); `arguments` and the
    // place for the pidfd outlive the call; this process has a single thread.
    let pid = answer(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArgs>()) })?;
    if pid == 0 {
        outlive_failed_writes();
        return Ok(Cloned::New);
    }
    made(pid, pidfd)
}

/// The flags of [`clone_sibling`].
pub const SIBLING: u64 = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;

/// Copies this process as a child of its parent's, by the older call: many a system call filter looks at the flags of that
/// one and refuses [`clone3`], whose flags no filter sees. Signal handlers stay.
pub fn clone_sibling() -> io::Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let place = &raw mut pidfd;
    let none = std::ptr::null_mut::<libc::c_void>();
    #[cfg(not(target_arch = "s390x"))]
    let (first, second) = (SIBLING as *mut libc::c_void, none);
    #[cfg(target_arch = "s390x")]
    let (first, second) = (none, SIBLING as *mut libc::c_void);
    // SAFETY: no stack is passed, so both sides go on from here as after fork(2); the place for the pidfd outlives the
    // call; this process has a single thread.
    match answer(unsafe { libc::syscall(libc::SYS_clone, first, second, place, none, none) })? {
        0 => Ok(Cloned::New),
        pid => made(pid, pidfd),
    }
}

fn made(pid: i64, pidfd: libc::c_int) -> io::Result<Cloned> {
    let pid = i32::try_from(pid).expect("the kernel's process ids are ints");
    Ok(Cloned::Caller(Process { pid, pidfd: new_descriptor(pidfd)? }))
}

/// Not in libc as 64-bit values.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args` of linux/sched.h, in its size of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
