//! Extended attributes, of which kase only asks whether they are there.

use super::answer;
use nix::NixPath;
use std::ffi::CStr;
use std::path::Path;
use std::ptr;

/// Whether the file system of `path` has a place for the attribute `name`, set or not; what cannot be told is a yes.
pub fn has_room(path: &Path, name: &CStr) -> bool {
    // SAFETY: two C strings that outlive the call, and a buffer of no length, which is not written to.
    let get = |path: &CStr| unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), ptr::null_mut(), 0) };
    let size = path.with_nix_path(|path| answer(get(path) as libc::c_long));
    !size.unwrap_or(Ok(0)).is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP))
}
