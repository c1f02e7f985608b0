//! What a process of a container has to be, whether `create` makes it as the first or `exec` adds it.

use super::attributes::ProcessAttributes;
use super::process::ProcessPlan;
use crate::seccomp::Program;
use std::ffi::CString;

/// Decided by `create`, and by `exec` from what that has written down.
#[derive(Debug)]
pub struct Payload<'a> {
    /// What is executed, and as whom.
    pub process: &'a ProcessPlan<'a>,
    /// How the kernel treats it.
    pub attributes: &'a ProcessAttributes<'a>,
    /// The container's system call filter.
    pub filter: Option<&'a Program>,
    /// The name of the container's session keyring, if it has one of its own.
    pub keyring: Option<CString>,
    /// Whether apt is told of `--fake-root`.
    pub tells_apt: bool,
    /// Descriptors from 3 on that the program inherits.
    pub preserve_fds: u32,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
}

/// What the session keyring of the container `id` is called, as with runc; an id has no NUL byte.
pub fn keyring(id: &str) -> Option<CString> {
    CString::new(format!("_ses.{id}")).ok()
}
