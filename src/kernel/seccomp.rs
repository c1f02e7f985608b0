//! seccomp(2).

use super::{answer, new_descriptor};
pub use libc::sock_filter;
use libc::sock_fprog;
use std::io;
use std::os::fd::OwnedFd;

/// SECCOMP_FILTER_FLAG_NEW_LISTENER.
const NEW_LISTENER: u32 = 1 << 3;

/// Puts this process under a filter, for good. Answers with the listener of a filter that has one.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a program that is not sound, or a flag
/// that the kernel does not know.
pub fn install(instructions: &[sock_filter], flags: u32) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = sock_fprog { len, filter: instructions.as_ptr().cast_mut() };
    let set = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: `program` describes a slice of `struct sock_filter`s; both outlive the call, which copies them.
    let answered = answer(unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) })?;
    if flags & NEW_LISTENER == 0 { Ok(None) } else { new_descriptor(answered).map(Some) }
}

/// Whether the kernel knows a flag: with no program, it complains of that and not of the flag.
pub fn knows_flag(flag: u32) -> bool {
    // WAIT_KILLABLE_RECV is taken only with a listener.
    const WAIT_KILLABLE_RECV: u32 = 1 << 5;
    let flags = if flag == WAIT_KILLABLE_RECV { flag | NEW_LISTENER } else { flag };
    let (set, none) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::null::<sock_fprog>());
    // SAFETY: the kernel does not read through a null pointer, and answers EFAULT.
    let answered = answer(unsafe { libc::syscall(libc::SYS_seccomp, set, flags, none) });
    matches!(answered, Err(error) if error.raw_os_error() == Some(libc::EFAULT))
}
