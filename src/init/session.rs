//! What tells a container's process from whoever started it: session, signals, keyring, ids.

use super::attributes::{self, Executor};
use super::sysctl::Procfs;
use crate::fault::{Fault, OrFault};
use crate::kernel::process;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::process::Groups;
use crate::trace;
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::unistd::setsid;
use rootless::caller::Caller;
use std::ffi::CStr;

/// Begins a session, which this process leads.
pub fn lead() -> anyhow::Result<()> {
    setsid().or_fault(|| Fault::doing("start a session")).map(drop)
}

/// Begins a session if this process is the one that executes the program, takes signals by default, and joins the
/// session keyring of this name, if one is given, with this label of SELinux's. All that this process makes inherits
/// the last two.
///
/// # Errors
/// A label that the policy does not have; not that there are no keys to be had.
pub fn begin(
    executor: Executor,
    keyring: Option<&CStr>,
    label: Option<&str>,
    proc: &Procfs,
) -> anyhow::Result<()> {
    trace::step("session");
    if executor == Executor::Own {
        lead()?;
    }
    // The handlers are the defaults already (CLONE_CLEAR_SIGHAND), but what kase's caller ignores stays ignored, as by
    // a shell for what it starts in the background.
    process::reset_signals()?;
    SigSet::empty().thread_set_mask()?;
    match keyring {
        Some(name) => attributes::label_keys(label, proc, || join_keyring(name)),
        None => Ok(()),
    }
}

/// Without keys in the kernel, or with the user's quota used up, containers still run.
fn join_keyring(name: &CStr) {
    let Err(error) = process::join_session_keyring(name) else { return };
    let errno = crate::kernel::errno(&error);
    if errno == Errno::ENOSYS {
        return;
    }
    let caller = Caller::look().ok().filter(|_| errno == Errno::EDQUOT);
    let diagnosis = caller.and_then(|caller| rootless::diagnose::keys(&caller));
    let why =
        diagnosis.map_or(String::new(), |diagnosis| format!(" ({}; {})", diagnosis.cause, diagnosis.remedy));
    tracing::warn!("the container shares the session keyring of its caller: {error}{why}");
}

/// Becomes the root of the container's user namespace, if it has one, or the container's user where that has no
/// root.
pub fn take_root(plan: &Plan<'_>) -> anyhow::Result<()> {
    if !plan.namespaces.has(Kind::User) {
        return Ok(());
    }
    let user = &plan.process.user;
    let (uid, gid) = match &plan.maps {
        Some(maps) => (
            if maps.uids.outside(0).is_some() { 0 } else { user.uid },
            if maps.gids.outside(0).is_some() { 0 } else { user.gid },
        ),
        None => (0, 0),
    };
    take_ids(uid, gid, plan.process.groups)
}

/// Becomes this user of a user namespace, without groups of the caller's where the kernel lets them go and
/// nobody wants them.
pub fn take_ids(uid: u32, gid: u32, groups: Groups) -> anyhow::Result<()> {
    process::set_ids(uid, gid)
        .or_fault(|| Fault::at("linux.namespaces", format!("become uid {uid} of the user namespace")))?;
    if groups == Groups::Configured {
        // Denied under a map of one id; then the groups stay what they are.
        let _ = process::set_groups(&[]);
    }
    Ok(())
}
