//! seccomp(2).

use super::{answer, new_descriptor};
use std::io;
use std::os::fd::OwnedFd;

/// An instruction of classic BPF, `struct sock_filter`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct SockFilter {
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub jt: u8,
    /// How many to skip if it does not.
    pub jf: u8,
    pub k: u32,
}

/// What a filter gives.
#[derive(Debug)]
pub enum Installed {
    /// It is in force.
    Silent,
    /// It is in force, and its notifications come here.
    Listener(OwnedFd),
}

/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
const NEW_LISTENER: u32 = 1 << 3;

/// Puts this process under a filter, for good.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program that is not sound, or a flag
/// that the kernel does not know.
pub fn install(instructions: &[SockFilter], flags: u32) -> io::Result<Installed> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = SockFprog { length, instructions: instructions.as_ptr() };
    // SAFETY: `program` describes a slice of `struct sock_filter`s; both outlive the call, which copies them.
    let answered = answer(unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    if flags & NEW_LISTENER == 0 {
        return Ok(Installed::Silent);
    }
    new_descriptor(answered).map(Installed::Listener)
}

/// Whether the kernel knows a flag: with no program, it complains of that and not of the flag.
pub fn knows_flag(flag: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    // WAIT_KILLABLE_RECV is taken only with a listener.
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let flags = if flag == WAIT_KILLABLE_RECV { flag | NEW_LISTENER } else { flag };
    let none = std::ptr::null::<SockFprog>();
    // SAFETY: the kernel does not read through a null pointer, and answers EFAULT.
    let answered = answer(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, none) });
    matches!(answered, Err(error) if error.raw_os_error() == Some(libc::EFAULT))
}

/// `struct sock_fprog`.
#[repr(C)]
struct SockFprog {
    length: libc::c_ushort,
    instructions: *const SockFilter,
}
