//! Enters a pid namespace that others are in already.
//!
//! Whoever has CAP_SYS_PTRACE there may look into any process of it (CVE-2016-9962), and through one that still has the
//! host's root or a descriptor of the host's, at the host. So a process prepares all outside of it, and the one that it
//! makes inside has the container's root, user and capabilities from its first instruction on.

use super::filter;
use super::namespaces::Entry;
use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::kernel::clone::{Cloned, Parent, SIBLING, clone_sibling, clone3};
use crate::kernel::descriptor::{close_all_but, close_copies};
use crate::kernel::mount::{attribute, make_file_system, open_file_system};
use crate::kernel::pidfd::{ended_within, pidfd_send_signal};
use crate::kernel::process::{End, exit_now, wait_for};
use crate::kernel::seccomp::{self, sock_filter};
use crate::kernel::socket;
use crate::plan::process::ProcessPlan;
use crate::seccomp::{Arch, Program};
use crate::trace;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{chroot, fchdir};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Makes the process that goes on, as kase's child, and ends this one. Returns only in the new process.
///
/// This process must have joined the namespace, which counts for what it makes, and have no descriptor that the program
/// may not have but the way to kase, and the trace's, which is closed here.
///
/// A filter that takes a privilege to install is installed before, if all that is left to be done is allowed under it: so
/// the new process never has that privilege. Returns the filter that is still to be installed.
pub fn enter<'a>(
    kase: &InitEnd,
    plan: &ProcessPlan<'_>,
    filter: Option<&'a Program>,
) -> anyhow::Result<Option<&'a Program>> {
    let early = filter.filter(|filter| {
        !filter.notifies()
            && filter::surplus(plan, filter) != 0
            && LAST_CALLS.iter().all(|(call, arguments)| filter.allows(*call as u32, *arguments))
    });
    trace::leave();
    close_copies(trace::descriptor().as_slice());
    let cloned = match early {
        Some(early) => {
            filter::install(plan, early, kase)?;
            clone_sibling()
        }
        None => clone3(0, Parent::Same, None),
    };
    match cloned.or_fault(|| Fault::doing("make the process in the pid namespace"))? {
        // What it says must not come before what its maker says of it.
        Cloned::New => kase.expect(ToInit::Begin).map(|_| filter.filter(|_| early.is_none())),
        Cloned::Caller(process) => {
            // If kase does not hear of it, it ends at its first word.
            kase.say(&ToKase::Continues(process.pidfd))?;
            exit_now(0)
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the C libraries have it in different types")]
const MAKE_CONTROLLING: u64 = libc::TIOCSCTTY as u64;

/// What is done after a filter that is installed before the clone, and until the exec; arguments that no filter can
/// judge are zero.
const LAST_CALLS: [(libc::c_long, [u64; 6]); 22] = [
    (libc::SYS_capset, [0; 6]),
    (libc::SYS_clone, [SIBLING, 0, 0, 0, 0, 0]),
    (libc::SYS_sendmsg, [0; 6]),
    (libc::SYS_recvmsg, [0; 6]),
    (libc::SYS_statx, [0; 6]),
    (libc::SYS_faccessat, [0; 6]),
    (libc::SYS_faccessat2, [0; 6]),
    (libc::SYS_setsid, [0; 6]),
    (libc::SYS_ioctl, [0, MAKE_CONTROLLING, 0, 0, 0, 0]),
    (libc::SYS_rt_sigaction, [0; 6]),
    (libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
    (libc::SYS_accept4, [0; 6]),
    (libc::SYS_shutdown, [0; 6]),
    (libc::SYS_fcntl, [0; 6]),
    (libc::SYS_prlimit64, [0; 6]),
    (libc::SYS_close, [0; 6]),
    (libc::SYS_brk, [0; 6]),
    (libc::SYS_mmap, [0; 6]),
    (libc::SYS_munmap, [0; 6]),
    (libc::SYS_mremap, [0; 6]),
    (libc::SYS_exit_group, [0; 6]),
    (libc::SYS_execve, [0; 6]),
];

/// Opens what a procfs of that namespace is made from. The kernel gives it only to who is in there: a process for that
/// alone, with nothing but an empty root, and under a filter that leaves nothing to whoever traces it.
pub fn open_procfs(entry: &mut Entry) -> io::Result<OwnedFd> {
    let (ours, theirs) = socket::pair()?;
    let outside = match clone3(0, Parent::Us, None)? {
        Cloned::Caller(outside) => outside,
        Cloned::New => {
            let done = send_procfs(entry, theirs.as_fd());
            exit_now(done.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EPERM)))
        }
    };
    drop(theirs);
    match wait_for(outside.pid)? {
        End::Exited(0) => {}
        End::Exited(errno) => return Err(io::Error::from_raw_os_error(errno)),
        End::Signalled(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
    }
    // It is there by now, or never comes: somebody who traces may hold the other end.
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let (_, context) = socket::receive(ours.as_fd(), &mut [0])?;
    context.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn send_procfs(entry: &mut Entry, socket: BorrowedFd<'_>) -> io::Result<()> {
    entry.enter().map_err(|error| error.downcast().unwrap_or_else(io::Error::other))?;
    let empty = make_file_system("tmpfs", [], attribute::RDONLY)?;
    fchdir(&empty)?;
    chroot(".")?;
    // Those of kase's that are closed here are its own in another process.
    std::mem::forget(empty);
    close_all_but(&[socket], 0)?;
    seccomp::install(&nothing_but_procfs(), 0)?;
    match clone3(0, Parent::Us, None)? {
        Cloned::New => {
            let sent = open_file_system("proc").and_then(|procfs| {
                let sent = socket::send(socket, b"p", Some(procfs.as_fd()));
                std::mem::forget(procfs);
                sent
            });
            exit_now(sent.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EPERM)))
        }
        Cloned::Caller(inside) => {
            const PATIENCE: Duration = Duration::from_secs(10);
            // Whoever may stop or trace it there must not hold kase for longer.
            if !ended_within(inside.pidfd.as_fd(), PATIENCE)? {
                pidfd_send_signal(inside.pidfd.as_fd(), libc::SIGKILL)?;
                exit_now(libc::ETIMEDOUT)
            }
            match wait_for(inside.pid)? {
                End::Exited(code) => exit_now(code),
                End::Signalled(_) => exit_now(libc::EPERM),
            }
        }
    }
}

/// A filter with the calls of [`send_procfs`] and of each clone, and those of the allocator. Another file system could
/// be opened under it, but not be made or mounted.
fn nothing_but_procfs() -> Vec<sock_filter> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NUMBER: u32 = 0;
    const ARCHITECTURE: u32 = 4;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, k| sock_filter { code, jt: 0, jf: 0, k };
    let skip_if_equal = |k| sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k };
    let calls = [
        libc::SYS_clone3,
        libc::SYS_rt_sigaction,
        libc::SYS_wait4,
        libc::SYS_waitid,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_restart_syscall,
        libc::SYS_clock_gettime,
        libc::SYS_pidfd_send_signal,
        libc::SYS_fsopen,
        libc::SYS_sendmsg,
        libc::SYS_exit_group,
        libc::SYS_exit,
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_madvise,
    ];
    let native = Arch::native().map_or(0, Arch::audit);
    let mut program =
        vec![step(LOAD, ARCHITECTURE), skip_if_equal(native), step(RETURN, KILL), step(LOAD, NUMBER)];
    for call in calls {
        program.push(sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: call as u32 });
        program.push(step(RETURN, ALLOW));
    }
    program.push(step(RETURN, KILL));
    program
}
