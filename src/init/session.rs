//! What tells a container's process from whoever started it: session, signals, keyring, ids.

use crate::fault::{Fault, OrFault};
use crate::kernel::process;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::unistd::setsid;
use std::ffi::CStr;

/// Begins a session with default signals, and joins the session keyring of this name, if one is given.
///
/// # Errors
/// Those of setsid(2); not that there are no keys to be had.
pub fn begin(keyring: Option<&CStr>) -> anyhow::Result<()> {
    setsid().or_fault(|| Fault::doing("start a session"))?;
    // The handlers are the defaults already (CLONE_CLEAR_SIGHAND). What is ignored stays ignored, and Rust
    // ignores SIGPIPE.
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    process::set_action(Signal::SIGPIPE, &default)?;
    SigSet::empty().thread_set_mask()?;
    let Some(name) = keyring else { return Ok(()) };
    match process::join_session_keyring(name) {
        // Without keys in the kernel, or with the user's quota used up, containers still run.
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
            tracing::warn!("the container shares the session keyring of its caller: {error}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Becomes this user of a user namespace, without groups of the caller's where the kernel lets them go.
///
/// # Errors
/// An id that is not mapped.
pub fn take_ids(uid: u32, gid: u32) -> anyhow::Result<()> {
    process::set_ids(uid, gid)
        .or_fault(|| Fault::at("linux.namespaces", format!("become uid {uid} of the user namespace")))?;
    // Denied under a map of one id; then the groups stay what they are.
    let _ = process::set_groups(&[]);
    Ok(())
}
