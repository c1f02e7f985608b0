//! Freezes and thaws a container.

use super::identity::is_ending;
use super::locks::Freezing;
use super::{Container, Status};
use crate::cgroup::State;
use crate::fault::Fault;

/// Freezes every process of the container, and waits until they are.
///
/// # Errors
/// A container that does not run, or that has no cgroup.
pub fn pause(container: &Container) -> anyhow::Result<()> {
    let _alone = Freezing::of(container.directory_fd())?;
    match container.status()? {
        Status::Running | Status::Created => container.cgroup().set_state(State::Frozen)?,
        status => return Err(not_running(status)),
    }
    // Whoever was killed meanwhile would never end: a frozen cgroup v1 keeps even SIGKILL back.
    match container.init() {
        Some(init) if is_ending(init)? => {
            container.cgroup().set_state(State::Thawed)?;
            Err(not_running(Status::Stopped))
        }
        _ => Ok(()),
    }
}

fn not_running(status: Status) -> anyhow::Error {
    Fault::doing(format!("container not running: {status}"))
        .remedy("only a created or running container can be paused")
        .into()
}

/// Thaws them.
pub fn resume(container: &Container) -> anyhow::Result<()> {
    let _alone = Freezing::of(container.directory_fd())?;
    match container.status()? {
        Status::Paused => container.cgroup().set_state(State::Thawed),
        status => Err(Fault::doing(format!("container not paused: it is {status}"))
            .remedy("only a paused container can be resumed")
            .into()),
    }
}
