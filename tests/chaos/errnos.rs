//! Which errors a system call may give, after its manual page, on a host that is short of something or goes wrong.
//!
//! ENOENT and its like are answers, not failures; they are left out.

#![allow(clippy::wildcard_imports)]

use libc::*;

const NONE: &[i32] = &[];
/// Of what looks at a file. That a path may not be entered is an answer, as it will be the next time.
const LOOK: &[i32] = &[ENOMEM, EIO];
/// Of what changes a directory.
const CHANGE: &[i32] = &[EACCES, EPERM, ENOMEM, EIO, ENOSPC, EROFS, EDQUOT];
const OPEN: &[i32] = &[EINTR, EACCES, EMFILE, ENFILE, ENOMEM, EIO];
const READ: &[i32] = &[EINTR, EIO, ENOMEM];
/// Without the call, or without the right to it, there is /dev/urandom.
const RANDOM: &[i32] = &[EINTR, ENOSYS, EPERM];
const WRITE: &[i32] = &[EINTR, EIO, ENOSPC, EDQUOT, EFBIG, EPERM];
/// EPIPE would say that the other end is closed: a process that still lives cannot give it.
const SEND: &[i32] = &[EINTR, ENOBUFS, ENOMEM, ETOOMANYREFS];
const RECEIVE: &[i32] = &[EINTR, ENOMEM, ECONNRESET];
const DESCRIPTOR: &[i32] = &[EMFILE, ENFILE, ENOMEM];
const RIGHT: &[i32] = &[EPERM, ENOMEM];
const WAIT: &[i32] = &[EINTR, ECHILD];
const POLL: &[i32] = &[EINTR, ENOMEM];
const MOUNT: &[i32] = &[EPERM, ENOMEM, EACCES, EBUSY, EINVAL, ENOSPC];
const CLONE: &[i32] = &[EAGAIN, ENOMEM, EPERM];
const LOCK: &[i32] = &[EINTR, ENOLCK];
const MEMORY: &[i32] = &[ENOMEM];

/// The name of a call and the errors that it may give.
pub fn of(number: i64) -> (String, &'static [i32]) {
    match rows().find(|(_, known, _)| *known == number) {
        Some((name, _, errnos)) => (name.trim_start_matches("SYS_").to_owned(), errnos),
        None => (number.to_string(), NONE),
    }
}

/// The number of the call with this name, or of one without a name here.
pub fn number(name: &str) -> Option<i64> {
    let named = rows().find(|(known, ..)| known.trim_start_matches("SYS_") == name);
    named.map(|(_, number, _)| *number).or_else(|| name.parse().ok())
}

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLES.iter().copied().flatten()
}

type Row = (&'static str, i64, &'static [i32]);

const TABLES: &[&[Row]] = &[OF_ALL, OLD];

macro_rules! table {
    ($($errnos:ident: $($name:ident)*;)*) => {
        &[ $( $( (stringify!($name), $name, $errnos), )* )* ]
    };
}

const OF_ALL: &[Row] = table! {
    OPEN: SYS_openat SYS_openat2;
    READ: SYS_read SYS_pread64 SYS_readv;
    RANDOM: SYS_getrandom;
    WRITE: SYS_write SYS_pwrite64 SYS_writev SYS_ftruncate;
    SEND: SYS_sendmsg SYS_sendto SYS_connect;
    RECEIVE: SYS_recvmsg SYS_recvfrom SYS_accept4;
    LOOK: SYS_newfstatat SYS_fstat SYS_statx SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_statfs SYS_fstatfs
        SYS_getdents64 SYS_getcwd SYS_name_to_handle_at;
    CHANGE: SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_symlinkat SYS_linkat SYS_mknodat SYS_fchmod
        SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_fsync;
    DESCRIPTOR: SYS_dup SYS_dup3 SYS_fcntl SYS_pipe2 SYS_socket SYS_socketpair SYS_memfd_create SYS_epoll_create1
        SYS_signalfd4 SYS_pidfd_open SYS_pidfd_getfd SYS_eventfd2 SYS_timerfd_create SYS_inotify_init1;
    MOUNT: SYS_mount SYS_umount2 SYS_fsopen SYS_fsconfig SYS_fsmount SYS_open_tree SYS_move_mount SYS_mount_setattr
        SYS_pivot_root SYS_chroot;
    RIGHT: SYS_unshare SYS_setns SYS_prctl SYS_seccomp SYS_capset SYS_capget SYS_setresuid SYS_setresgid SYS_setuid
        SYS_setgid SYS_setgroups SYS_setrlimit SYS_prlimit64 SYS_setpriority SYS_sched_setaffinity
        SYS_sched_getaffinity SYS_sched_setattr SYS_ioprio_set SYS_keyctl SYS_add_key SYS_setsid SYS_setpgid
        SYS_sethostname SYS_setdomainname SYS_bpf SYS_kill SYS_pidfd_send_signal SYS_chdir SYS_fchdir SYS_bind
        SYS_listen SYS_setsockopt SYS_getsockopt SYS_ioctl SYS_personality SYS_set_mempolicy SYS_fgetxattr
        SYS_getxattr SYS_setxattr SYS_fsetxattr;
    CLONE: SYS_clone SYS_clone3 SYS_execve SYS_execveat;
    LOCK: SYS_flock;
    WAIT: SYS_wait4 SYS_waitid;
    POLL: SYS_ppoll SYS_epoll_pwait SYS_pselect6;
    MEMORY: SYS_mmap SYS_mremap;
};

/// Those that newer machines have only with an `at` in their name.
#[cfg(target_arch = "x86_64")]
const OLD: &[Row] = table! {
    OPEN: SYS_open SYS_creat;
    LOOK: SYS_stat SYS_lstat SYS_readlink SYS_access;
    CHANGE: SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_symlink SYS_link SYS_mknod SYS_chmod SYS_chown SYS_lchown;
    DESCRIPTOR: SYS_dup2 SYS_pipe SYS_epoll_create;
    CLONE: SYS_fork SYS_vfork;
    POLL: SYS_poll SYS_epoll_wait SYS_select;
};
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[Row] = &[];
