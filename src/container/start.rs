//! Starts a created container.

use super::readiness::Readiness;
use super::{Container, Status};
use crate::fault::{Fault, Report};
use crate::gate;
use crate::hook;
use nix::fcntl::{Flock, FlockArg};
use std::ffi::OsString;
use std::os::fd::AsFd;

/// Lets init execute the program, and runs the poststart hooks. With somebody behind `notify_socket`, who is told
/// when the container is ready, it stays until then.
///
/// # Errors
/// A container that is not waiting for it, a program that cannot be executed, a hook that fails: the
/// container is deleted then.
pub fn start(container: &Container, notify_socket: Option<OsString>) -> anyhow::Result<()> {
    // Of two at once, the second must find the container running.
    let own = container.directory_fd().try_clone_to_owned()?;
    let alone = Flock::lock(own, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let status = container.status();
    let wrong = match status {
        Status::Created => None,
        Status::Running => Some("cannot start an already running container".to_string()),
        Status::Stopped => Some("cannot start a container that has stopped".to_string()),
        Status::Creating | Status::Paused => {
            Some(format!("cannot start container {:?}: it is {status}", container.id()))
        }
    };
    if let Some(wrong) = wrong {
        return Err(Fault::doing(wrong).remedy(container.way_out(status)).into());
    }
    let readiness = match (notify_socket, container.pid()) {
        (Some(host), Some(pid)) => Readiness::listen(container.directory_fd(), host, pid)?,
        _ => None,
    };
    let pidfd = container.pidfd();
    gate::open_gate(container.directory_fd())?;
    let Some(facts) = container.facts() else { return Ok(()) };
    let Some(state) = container.hook_state("running", container.pid()) else { return Ok(()) };
    let hooks = hook::run(hook::Kind::Poststart, &facts.poststart, &state, hook::Around::host(&facts.bundle));
    if let Err(error) = hooks {
        // runtime.md, step 9: the container is stopped and destroyed, and the poststop hooks follow.
        if let Err(left) = super::delete::remove(container) {
            tracing::warn!("{}", Report::of(&left).line);
        }
        return Err(error);
    }
    drop(alone);
    if let (Some(readiness), Some(pidfd)) = (readiness, pidfd) {
        readiness.wait(pidfd.as_fd());
    }
    Ok(())
}
