//! Extended attributes, of which kase only asks whether they are there.

use super::answer;
use std::ffi::CStr;
use std::ptr;

/// Whether the file system of `path` has a place for the attribute `name`, set or not; what cannot be told is a yes.
pub fn has_room(path: &CStr, name: &CStr) -> bool {
    // SAFETY: two C strings that outlive the call, and a buffer of no length, which is not written to.
    let size = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), ptr::null_mut(), 0) };
    !answer(size as libc::c_long).is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP))
}
