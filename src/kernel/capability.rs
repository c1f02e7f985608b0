//! capset(2) and the prctl(2) calls around it.

use super::{answer, done};
use std::io;

/// Sets the thread's effective, permitted and inheritable sets; bit n is capability n.
///
/// # Errors
/// EPERM when the permitted set would grow.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> io::Result<()> {
    let header = Header { version: 0x2008_0522, pid: 0 };
    let half = |shift: u32| Half {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: (inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 takes two halves, and both structs outlive the call.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) })
}

/// The thread's permitted set.
pub fn permitted() -> io::Result<u64> {
    let halves = own()?;
    Ok(u64::from(halves[0].permitted) | u64::from(halves[1].permitted) << 32)
}

/// The thread's effective set.
pub fn effective() -> io::Result<u64> {
    let halves = own()?;
    Ok(u64::from(halves[0].effective) | u64::from(halves[1].effective) << 32)
}

fn own() -> io::Result<[Half; 2]> {
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut halves = [Half::default(), Half::default()];
    // SAFETY: version 3 fills two halves, and both structs outlive the call.
    answer(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    Ok(halves)
}

/// Takes a capability out of the bounding set for good.
///
/// # Errors
/// EINVAL when the kernel does not know it, EPERM without CAP_SETPCAP.
pub fn drop_from_bounding_set(capability: u8) -> io::Result<()> {
    // SAFETY: plain integers.
    done(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) })
}

/// Puts a capability into the ambient set.
///
/// # Errors
/// EPERM when it is not both permitted and inheritable.
pub fn raise_ambient(capability: u8) -> io::Result<()> {
    const RAISE: libc::c_ulong = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    // SAFETY: plain integers.
    done(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, RAISE, libc::c_ulong::from(capability), 0, 0) })
}

/// The highest capability that this kernel knows, from the bounding set's own limits.
pub fn last() -> u8 {
    // Every kernel that kase runs on has this one (Linux 5.9).
    const CHECKPOINT_RESTORE: u8 = 40;
    // SAFETY: plain integers; PR_CAPBSET_READ answers EINVAL past the last one.
    (CHECKPOINT_RESTORE + 1..64)
        .take_while(
            |cap| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*cap), 0, 0, 0) } >= 0,
        )
        .last()
        .unwrap_or(CHECKPOINT_RESTORE)
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}
