//! eventfd(2): a counter that can be waited for.

use super::new_descriptor;
use std::io;
use std::os::fd::OwnedFd;

/// A counter of 0, close-on-exec.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: plain integers.
    new_descriptor(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }.into())
}
