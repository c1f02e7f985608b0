//! The host's time zone.

use std::io;
use std::mem::MaybeUninit;

/// A time as people here read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// In full, as in 2026.
    pub year: i32,
    /// 0 is January.
    pub month: usize,
    /// From 1.
    pub day: i32,
    /// From 0.
    pub hour: i32,
    /// From 0.
    pub minute: i32,
}

/// Seconds since 1970 in the time zone of /etc/localtime, or that of TZ; localtime_r(3).
///
/// # Errors
/// EOVERFLOW when the year is none.
pub fn local(seconds: i64) -> io::Result<Local> {
    let mut time = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are to live objects of this function; the environment, which the call reads, is
    // never changed in this process (clippy's disallowed methods).
    if unsafe { libc::localtime_r(&raw const seconds, time.as_mut_ptr()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: filled by the call, which has answered that it did.
    let time = unsafe { time.assume_init() };
    Ok(Local {
        year: time.tm_year + 1900,
        month: usize::try_from(time.tm_mon).unwrap_or(0),
        day: time.tm_mday,
        hour: time.tm_hour,
        minute: time.tm_min,
    })
}
