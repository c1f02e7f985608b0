//! What a process does to itself, and how its children end.

use super::descriptor::close_on_exec_from;
use super::{answer, done, new_descriptor, uninterrupted};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::ptr;

/// Joins the namespace behind `fd`; `kind` is its CLONE_NEW* flag, so that no other kind is joined.
pub fn setns(fd: BorrowedFd<'_>, kind: u64) -> io::Result<()> {
    // SAFETY: plain integers; a single-threaded process may change any of its namespaces.
    done(unsafe { libc::setns(fd.as_raw_fd(), kind as libc::c_int) })
}

/// The user namespace that owns the namespace behind `fd`; ioctl_nsfs(2).
///
/// # Errors
/// EPERM when it is none of ours.
pub fn owner_of(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument and answers with a new descriptor.
    new_descriptor(unsafe { libc::ioctl(fd.as_raw_fd(), libc::NS_GET_USERNS) })
}

/// Leaves namespaces for new ones (CLONE_NEW* flags).
pub fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: plain integers; a single-threaded process shares nothing with another thread.
    done(unsafe { libc::unshare(namespaces as libc::c_int) })
}

/// Whether other processes of the same user may look into this one (ptrace, /proc/PID/fd).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dumpable {
    /// They may not.
    No,
    /// They may.
    Yes,
}

/// Sets the dumpable attribute; an exec sets it to yes again.
pub fn set_dumpable(dumpable: Dumpable) {
    // The kernel takes either always.
    let _ = prctl::set_dumpable(dumpable == Dumpable::Yes);
}

/// Has what cannot be written be an error of write(2), and not the end of this process: a pipe without a reader, a file
/// at the limit of its size (RLIMIT_FSIZE). An exec brings the defaults back.
pub fn outlive_failed_writes() {
    extern "C" fn go_on(_: libc::c_int) {}
    let go_on = go_on as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for number in OUTLIVED {
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(number, go_on) };
    }
}

const OUTLIVED: [libc::c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];

/// Takes every signal as a process does that nobody has told otherwise, but for those of
/// [`outlive_failed_writes`]. Also those that a C library keeps to itself, which a caller may ignore all the same.
///
/// # Errors
/// None that rt_sigaction(2) is known to have.
pub fn reset_signals() -> io::Result<()> {
    /// As many as there are in a kernel's sigset_t.
    const LAST: libc::c_int = 64;
    // Of a struct sigaction of the kernel's, zeros are the default, no flags and an empty mask.
    let default = [0u64; 4];
    let fixed = [libc::SIGKILL, libc::SIGSTOP];
    for number in (1..=LAST).filter(|number| !fixed.contains(number) && !OUTLIVED.contains(number)) {
        // SAFETY: `default` outlives the call; there is no handler, and the old one is not asked for.
        answer(unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        })?;
    }
    Ok(())
}

/// Lets the signals that ask a process to end do so here, where nothing handles them: the kernel keeps them from
/// the first process of a pid namespace. An exec brings the defaults back.
pub fn heed_signals() {
    extern "C" fn end(number: libc::c_int) {
        // SAFETY: async-signal-safe, and no destructor is owed to anyone.
        unsafe { libc::_exit(128 + number) }
    }
    let end = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for number in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGTERM] {
        // SAFETY: the handler does nothing but end the process.
        unsafe { libc::signal(number, end) };
    }
}

/// Sets user, group or supplementary ids of this thread, the process's only one.
/// The raw calls: the C library's would first signal threads that are not there.
///
/// # Errors
/// EINVAL when an id is not mapped, EPERM.
pub fn set_ids(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain integers.
    answer(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: plain integers.
    done(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Sets the supplementary groups.
///
/// # Errors
/// EPERM where setgroups is denied, EINVAL when one is not mapped.
pub fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice of gid_t.
    done(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// An RLIMIT_*, as the C library has them.
#[cfg(target_env = "gnu")]
pub type Resource = libc::__rlimit_resource_t;
/// An RLIMIT_*, as the C library has them.
#[cfg(not(target_env = "gnu"))]
pub type Resource = libc::c_int;

/// Sets limits of the process `pid` (0: this one).
///
/// # Errors
/// EPERM when the hard limit would rise, EINVAL when soft is above hard.
pub fn prlimit(pid: i32, resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; the old limit is not asked for.
    done(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, ptr::null_mut::<libc::rlimit64>())
    })
}

/// The soft and hard limit of this process.
///
/// # Errors
/// EINVAL when there is no such resource.
pub fn limit(resource: Resource) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call; no new limit is given.
    answer(unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<libc::rlimit64>(), &raw mut limit)
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Starts an empty session keyring with this name.
///
/// # Errors
/// EDQUOT when the user's keys are used up, ENOSYS without keys in the kernel.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    // SAFETY: `name` is a C string that outlives the call.
    done(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
}

/// Replaces this process by the program at `path`. Returns only on failure.
pub fn execve(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end in null and point to C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this process by the program `file`, with the environment that this process was started with. Returns
/// only on failure.
pub fn execute_file(file: BorrowedFd<'_>, arguments: &[OsString]) -> io::Error {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let arguments: Vec<CString> = arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()).expect("arguments were C strings"))
        .collect();
    let pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).chain([ptr::null()]).collect();
    // SAFETY: the C library sets it before main, and kase never changes its environment (clippy's
    // disallowed methods), so that it is the array that the kernel gave to this process.
    let environment = unsafe { environ };
    // SAFETY: both arrays end in null and point to C strings that outlive the call, as does the empty path.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr(),
            environment,
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Ends this process at once: no destructor, no buffer flushed. For a copy of kase's memory.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: a plain integer.
    unsafe { libc::syscall(libc::SYS_exit_group, code) };
    // exit_group(2) returns where the container's filter refuses it, and libc's _exit(2) would try again for ever.
    // This instruction makes the kernel end the process with SIGILL, even the first one of a pid namespace.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: never returns.
    unsafe {
        std::arch::asm!("ud2", options(noreturn))
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: never returns.
    unsafe {
        std::arch::asm!("udf #0", options(noreturn))
    }
    // Of the C libraries' abort(3), such an instruction is the last resort.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    std::process::abort()
}

/// The program of `command` is to inherit no descriptor but the standard ones and no blocked signal, and not to
/// outlive this process.
pub fn confine(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The id is 0 where the parent is in another pid namespace, and then there is no way to tell.
        if ![parent, 0].contains(&parent_id()) {
            exit_now(1);
        }
        SigSet::empty().thread_set_mask()?;
        close_on_exec_from(3)
    };
    // SAFETY: kase has one thread, so that the copy of it may call whatever it may.
    unsafe { command.pre_exec(prepare) };
}

/// Sleeps until a signal ends this process, or its parent does.
pub fn pause() -> ! {
    // prctl(2) PR_SET_PDEATHSIG fails for a signal that is none, which SIGKILL is not.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// What a child left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

impl End {
    /// The code that a shell would give: 128 + N for signal N.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }

    /// What a status of waitpid(2) says.
    pub fn of_status(status: i32) -> Self {
        match libc::WIFSIGNALED(status) {
            true => Self::Signalled(libc::WTERMSIG(status)),
            false => Self::Exited(libc::WEXITSTATUS(status)),
        }
    }
}

/// Reaps the child `pid` (-1: any), waiting for it or not.
///
/// # Errors
/// ECHILD when there is no such child.
fn wait(pid: i32, flags: libc::c_int) -> io::Result<Option<(i32, End)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let found = uninterrupted(|| Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) }))?;
    Ok((found != 0).then(|| (found, End::of_status(status))))
}

/// Waits for the end of the child `pid`.
///
/// # Errors
/// ECHILD when it is not our child.
pub fn wait_for(pid: i32) -> io::Result<End> {
    wait(pid, 0).map(|end| end.expect("waitpid without WNOHANG answers with an end").1)
}

/// Reaps one child that has ended, if there is one.
///
/// # Errors
/// ECHILD when there are no children.
pub fn reap() -> io::Result<Option<(i32, End)>> {
    wait(-1, libc::WNOHANG)
}

/// The set of all signals, with those that the C library keeps to itself: musl has 34 among them, which is the first
/// of the real-time signals to everybody else.
pub fn every_signal() -> SigSet {
    // SAFETY: plain bits.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: they are as many bytes as the set has.
    unsafe { ptr::write_bytes(&raw mut set, 0xff, 1) };
    // SAFETY: whatever bits there are, they name signals or nothing.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Sets the NIS domain name of the uts namespace.
///
/// # Errors
/// EINVAL when it is longer than 64 bytes, EPERM.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length are those of one string.
    done(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) })
}
