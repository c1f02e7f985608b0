//! Starts a created container.

use super::delete::Force;
use super::readiness::Readiness;
use super::{Container, Status};
use crate::fault::{Fault, OrFault, Report};
use crate::gate;
use crate::hook;
use crate::kernel::pidfd::ended_within;
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Lets init execute the program, and runs the poststart hooks. With somebody behind `notify_socket`, who is told
/// when the container is ready, it stays until then.
///
/// # Errors
/// A container that is not waiting for it, a program that cannot be executed, a hook that fails: the
/// container is deleted then.
pub fn start(container: &Container, notify_socket: Option<OsString>) -> anyhow::Result<()> {
    let alone = alone(container)?;
    check_status(container)?;
    let readiness = match (notify_socket, container.pid()?) {
        (Some(host), Some(pid)) => Readiness::listen(container.directory_fd(), host, pid)?,
        _ => None,
    };
    let pidfd = container.pidfd()?;
    open(container, pidfd.as_ref())?;
    let Some(facts) = container.facts() else { return Ok(()) };
    let Some(state) = container.hook_state("running", container.pid()?) else { return Ok(()) };
    let hooks = hook::run(hook::Name::Poststart, &facts.poststart, &state, hook::Around::host(&facts.bundle));
    if let Err(error) = hooks {
        // runtime.md, step 9: the container is stopped and destroyed, and the poststop hooks follow.
        if let Err(left) = super::delete::remove(container, Force::Yes) {
            tracing::warn!("{}", Report::of(&left).line);
        }
        return Err(error);
    }
    // If this fails, the lock ends with this process.
    let _ = alone.unlock();
    if let (Some(readiness), Some(pidfd)) = (readiness, pidfd) {
        readiness.wait(pidfd.as_fd());
    }
    Ok(())
}

/// Has init execute the program.
fn open(container: &Container, pidfd: Option<&OwnedFd>) -> anyhow::Result<()> {
    let answered = gate::open_gate(container.directory_fd());
    let refused = |error: &anyhow::Error| {
        matches!(error.root_cause().downcast_ref(), Some(Errno::ECONNREFUSED | Errno::ENOENT))
    };
    match answered {
        Ok(Ok(())) => Ok(()),
        Ok(Err(report)) => {
            if let Some(pidfd) = pidfd {
                // Init ends, now that it has said why. Whoever deletes the container next need not wait for that.
                ended_within(pidfd.as_fd(), Duration::from_secs(10))?;
            }
            Err(report.into_error())
        }
        Err(error) if refused(&error) => {
            check_status(container)?;
            // A start that was killed meanwhile has connected before, and init takes one connection only.
            Err(Fault::doing("cannot start a container that is being started").into())
        }
        // Init may still wait for another start.
        Err(error) => Err(error),
    }
}

/// Of two starts at once, the second must find the container running.
fn alone(container: &Container) -> anyhow::Result<File> {
    let own = File::from(container.directory_fd().try_clone_to_owned()?);
    while let Err(error) = own.lock() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error).or_fault(|| Fault::doing("lock the container's state directory"));
        }
    }
    Ok(own)
}

fn check_status(container: &Container) -> anyhow::Result<()> {
    let status = container.status()?;
    let wrong = match status {
        Status::Created => return Ok(()),
        Status::Running => "cannot start an already running container".to_string(),
        Status::Stopped => "cannot start a container that has stopped".to_string(),
        Status::Creating | Status::Paused => {
            format!("cannot start container {:?}: it is {status}", container.id())
        }
    };
    Err(Fault::doing(wrong).remedy(container.remedy_for(status)).into())
}
