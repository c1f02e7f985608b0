//! The system calls. Whatever fails ends the program.

use crate::die;
use libc::{c_int, c_long, c_ulong, pid_t};
use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;

/// Lets the container's process go on once its cgroups or ids are there; eventfd(2).
pub struct Gate(OwnedFd);

impl Gate {
    pub fn new() -> Self {
        // SAFETY: eventfd takes two numbers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        check("eventfd", c_long::from(fd));
        // SAFETY: the kernel just gave this descriptor to nobody else.
        Self(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    pub fn open(&self) {
        // SAFETY: an eventfd takes eight bytes.
        let count = unsafe { libc::write(self.0.as_raw_fd(), (&raw const ONE).cast(), 8) };
        check("eventfd", count as c_long);
    }

    pub fn wait(&self) {
        let mut count = 0_u64;
        // SAFETY: an eventfd gives eight bytes, which `count` has.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
        check("eventfd", read as c_long);
    }
}

// libc has it in a type that is too small.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

static ONE: u64 = 1;

fn check(what: &str, answer: c_long) -> c_long {
    if answer < 0 { die(what) } else { answer }
}

/// The program's arguments, as the C library hands them over.
pub fn arguments(count: c_int, arguments: *const *const libc::c_char) -> Vec<String> {
    let argument = |at: usize| {
        // SAFETY: there are `count` of them.
        let argument = unsafe { *arguments.wrapping_add(at) };
        // SAFETY: each is a C string, which stays.
        unsafe { CStr::from_ptr(argument) }.to_string_lossy().into_owned()
    };
    (0..usize::try_from(count).unwrap_or(0)).map(argument).collect()
}

pub fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| die("a NUL in an argument"))
}

pub fn clone(namespaces: c_int) -> pid_t {
    clone3(namespaces as u64, 0)
}

pub fn clone_into(cgroup: OwnedFd, namespaces: c_int) -> pid_t {
    clone3(namespaces as u64 | CLONE_INTO_CGROUP, cgroup.as_raw_fd() as u64)
}

/// 0 in the new process.
fn clone3(flags: u64, cgroup: u64) -> pid_t {
    // SAFETY: all zeros is a clone_args that asks for nothing.
    let mut args: libc::clone_args = unsafe { zeroed() };
    (args.flags, args.cgroup, args.exit_signal) = (flags, cgroup, libc::SIGCHLD as u64);
    // SAFETY: `args` lives and has the size it says; without CLONE_VM the child has its own copy of
    // everything, and this program has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    check("clone3", pid) as pid_t
}

/// The exit code, as a shell has it.
pub fn wait(pid: pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: `status` lives.
    let answer = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    check("waitpid", c_long::from(answer));
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Ends a process that waits for what will not come; without one, nothing.
pub fn kill(pid: pid_t) {
    if pid > 0 {
        // SAFETY: kill takes numbers, and this process's child is still its own.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

pub fn own_ids() -> (u32, u32) {
    // SAFETY: it only asks.
    let uid = unsafe { libc::geteuid() };
    // SAFETY: the same.
    (uid, unsafe { libc::getegid() })
}

/// A process may map its own id itself, if it gives up setgroups(2); user_namespaces(7).
pub fn map_one_id((uid, gid): (u32, u32)) {
    write(&open_for_writing("/proc/self/setgroups"), "deny");
    write(&open_for_writing("/proc/self/uid_map"), &format!("0 {uid} 1"));
    write(&open_for_writing("/proc/self/gid_map"), &format!("0 {gid} 1"));
}

pub fn open_for_writing(path: &str) -> File {
    OpenOptions::new().write(true).open(path).unwrap_or_else(|_| die(path))
}

pub fn write(mut file: &File, text: &str) {
    file.write_all(text.as_bytes()).unwrap_or_else(|_| die(text));
}

pub fn exists(path: &CStr) -> bool {
    // SAFETY: `path` ends in NUL.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}

pub fn chdir(path: &CStr) {
    // SAFETY: `path` ends in NUL.
    check("chdir", c_long::from(unsafe { libc::chdir(path.as_ptr()) }));
}

pub fn umask(mask: libc::mode_t) {
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(mask) };
}

pub fn mkdir(path: &CStr) {
    // SAFETY: `path` ends in NUL.
    check("mkdir", c_long::from(unsafe { libc::mkdir(path.as_ptr(), 0o755) }));
}

pub fn mknod(path: &CStr, major: u32, minor: u32) {
    // SAFETY: `path` ends in NUL.
    let answer = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o666, libc::makedev(major, minor)) };
    check("mknod", c_long::from(answer));
}

/// An empty file, as a place to bind to.
pub fn touch(path: &CStr) {
    // SAFETY: `path` ends in NUL.
    let answer = unsafe { libc::mknod(path.as_ptr(), libc::S_IFREG | 0o666, 0) };
    check("mknod", c_long::from(answer));
}

pub fn symlink(target: &CStr, path: &CStr) {
    // SAFETY: both end in NUL.
    check("symlink", c_long::from(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }));
}

pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: c_ulong, data: &CStr) {
    // SAFETY: all four end in NUL, and no file system of these wants other than text for its data.
    let answer =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    if answer < 0 {
        die(&format!("mount {}", target.to_string_lossy()));
    }
}

/// Makes one mount read-only; of a tree that is bound, only its top, as nobody else sees the rest.
pub fn readonly(path: &CStr) {
    // SAFETY: all zeros is a mount_attr that changes nothing.
    let mut change: libc::mount_attr = unsafe { zeroed() };
    change.attr_set = libc::MOUNT_ATTR_RDONLY;
    // SAFETY: `path` ends in NUL; `change` lives and has the size it says.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw mut change,
            size_of::<libc::mount_attr>(),
        )
    };
    check("mount_setattr", answer);
}

/// Makes the working directory the root and lets the old one go; pivot_root(2).
pub fn pivot() {
    // SAFETY: both texts end in NUL.
    check("pivot_root", unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) });
    // SAFETY: the text ends in NUL.
    check("umount2", c_long::from(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }));
    chdir(c"/");
}

pub fn unshare_cgroups() {
    // SAFETY: unshare takes a number.
    check("unshare", c_long::from(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }));
}

pub fn name_host(name: &CStr) {
    // SAFETY: `name` has the length that is told.
    let answer = unsafe { libc::sethostname(name.as_ptr(), name.count_bytes()) };
    check("sethostname", c_long::from(answer));
}

/// With a session keyring of its own.
pub fn begin_session() {
    const JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: setsid takes nothing.
    check("setsid", c_long::from(unsafe { libc::setsid() }));
    // SAFETY: a C string that lives for ever.
    check("keyctl", unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, c"floor".as_ptr()) });
}

/// Brings up the loopback interface of a new network namespace, as every runtime does; netdevice(7).
pub fn loopback_up() {
    // SAFETY: socket takes numbers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check("socket", c_long::from(socket));
    // SAFETY: the kernel just gave this descriptor to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: plain integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l', b'o'].map(|letter| letter as libc::c_char));
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request lives.
    let answer =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) };
    check("SIOCSIFFLAGS", c_long::from(answer));
}

pub fn limit_files(limit: u64) {
    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
    // SAFETY: `limit` lives.
    check("setrlimit", c_long::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }));
}

pub fn drop_groups() {
    // SAFETY: a list of length 0 is not read.
    check("setgroups", c_long::from(unsafe { libc::setgroups(0, null()) }));
}

/// Drops the others from the bounding set.
pub fn keep_capabilities(kept: u64) {
    // CAP_CHECKPOINT_RESTORE is the last one that has a number yet.
    for capability in (0..=40_u64).filter(|capability| kept & (1 << capability) == 0) {
        // SAFETY: this prctl takes a number.
        check("prctl", c_long::from(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability) }));
    }
}

/// As effective and permitted ones; capset(2), version 3.
pub fn set_capabilities(kept: u64) {
    let header = [0x2008_0522_u32, 0];
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: a header of two words and data of six are what version 3 has.
    let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
    check("capset", answer);
}

pub fn no_new_privileges() {
    // SAFETY: this prctl takes numbers.
    check("prctl", c_long::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }));
}

/// The smallest filter there is: everything is allowed.
pub fn filter() {
    let mut allow = libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
    let program = libc::sock_fprog { len: 1, filter: &raw mut allow };
    // SAFETY: `program` and its one instruction live.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    check("seccomp", answer);
}

pub fn exec(program: &CStr) -> ! {
    let arguments = [program.as_ptr(), null()];
    let environment = [c"PATH=/bin".as_ptr(), null()];
    // SAFETY: both lists end in null, and all their texts in NUL.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    die("execve")
}

/// Allows every device, in two instructions; bpf(2).
pub fn attach_device_program(cgroup: &OwnedFd) {
    const LOAD: c_int = 5;
    const ATTACH: c_int = 8;
    const CGROUP_DEVICE: u64 = 15;
    const ON_DEVICE: u64 = 6;
    // r0 = 1; exit
    let program: [u64; 2] = [0x1_0000_00b7, 0x95];
    let license = c"Apache-2.0";
    let mut load = [0_u64; 6];
    load[0] = CGROUP_DEVICE | 2 << 32;
    load[1] = program.as_ptr() as u64;
    load[2] = license.as_ptr() as u64;
    // SAFETY: `load` is the head of a bpf_attr (type, count, instructions, licence); all that it points to lives.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, LOAD, load.as_ptr(), size_of_val(&load)) };
    let fd = check("bpf", fd);
    let mut attach = [0_u64; 2];
    attach[0] = cgroup.as_raw_fd() as u64 | (fd as u64) << 32;
    attach[1] = ON_DEVICE;
    // SAFETY: `attach` is the head of a bpf_attr (target, program, type, flags).
    let answer = unsafe { libc::syscall(libc::SYS_bpf, ATTACH, attach.as_ptr(), size_of_val(&attach)) };
    check("bpf", answer);
}
