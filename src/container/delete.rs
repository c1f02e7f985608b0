//! Deletes a container and all that kase made for it.

use super::locks::Remover;
use super::record::Record;
use super::store::{Store, absent};
use super::{Container, Status, kill};
use crate::fault::{Fault, OrFault};
use crate::hook;
use crate::kernel::deadline::Deadline;
use crate::kernel::pidfd::{ended_within, pidfd_open, pidfd_send_signal};
use oci_spec::runtime::Hook;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// What may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// What is running is killed; what is missing is no error (`--force`).
    Yes,
    /// What has stopped.
    No,
}

/// Deletes the container `id`.
///
/// # Errors
/// Without force: a container that runs, or that does not exist.
pub fn delete(store: &Store, id: &str, force: Force) -> anyhow::Result<()> {
    match store.unread(id)? {
        Some(container) => remove(&container.if_ours()?, force),
        None => has_gone(id, force),
    }
}

/// There is none: without force, only one of several at once can say that it has deleted it.
fn has_gone(id: &str, force: Force) -> anyhow::Result<()> {
    match force {
        Force::Yes => Ok(()),
        Force::No => Err(absent(id)),
    }
}

/// Kills what runs, removes what was made, and runs the poststop hooks. The record is read only now.
///
/// # Errors
/// State that cannot be removed; without force, that others have removed it meanwhile. A failing hook is only logged: the
/// container is gone by then.
pub fn remove(entry: &Container, force: Force) -> anyhow::Result<()> {
    // Of two at once, the second looks when the first is done: the id, and the cgroup with its name, may be a new
    // container's by then.
    let Some(alone) = Remover::of(entry.own.as_fd())? else { return has_gone(entry.id(), force) };
    end_creation(entry, &alone, force)?;
    if !entry.directory.is(entry.own.as_fd())? {
        return has_gone(entry.id(), force);
    }
    let container = &read_again(entry, force)?;
    if force == Force::No {
        check_status(container)?;
    }
    kill::end(container)?;
    container.cgroup().remove()?;
    if let Some(planned) = container.planned_cgroup() {
        planned.remove_unused();
    } else if let Some(share) = container.share() {
        share.leave().or_fault(|| Fault::at("linux.intelRdt", "remove the container's group"))?;
    }
    container
        .directory
        .remove(container.own.as_fd())
        .or_fault(|| Fault::doing(format!("remove the state of container {:?}", container.id())))?;
    poststop(container);
    Ok(())
}

/// The container of this entry as its record tells it now; with force, of a damaged one what can be read.
fn read_again(entry: &Container, force: Force) -> anyhow::Result<Container> {
    let read = match force {
        Force::Yes => Record::remains,
        Force::No => Record::read,
    };
    Container::read(entry.directory.clone(), entry.own.try_clone()?, read)
}

/// Without force, a container that is created or stopped may go, as with runc and crun.
fn check_status(container: &Container) -> anyhow::Result<()> {
    match container.status()? {
        Status::Stopped | Status::Created => Ok(()),
        // A caller that has just killed it need not wait until the kernel has ended it.
        Status::Running if kill::ends_soon(container)? => Ok(()),
        status => Err(not_stopped(container, status)),
    }
}

fn not_stopped(container: &Container, status: Status) -> anyhow::Error {
    let id = container.id();
    Fault::doing(format!("cannot delete container {id} that is not stopped: {status}"))
        .remedy(format!("stop it first (kase kill {id}), or use kase delete --force {id}"))
        .into()
}

/// Has its creation fail, by killing its init if there is one by now, and waits until its creator has cleared away:
/// what is made behind our back would be nobody's. A creator that does not come to its end is killed.
fn end_creation(entry: &Container, alone: &Remover, force: Force) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_millis(2);
    let deadline = Deadline::after(PATIENCE);
    while let Some(creator) = alone.creator()? {
        let container = read_again(entry, force)?;
        if force == Force::No {
            return Err(not_stopped(&container, Status::Creating));
        }
        if let Some(init) = container.pidfd()? {
            // It may have ended by itself, which is what is wanted.
            let _ = pidfd_send_signal(init.as_fd(), libc::SIGKILL);
        }
        if deadline.is_over() {
            kill_creator(&container, alone, creator)?;
        }
        sleep(MOMENT);
    }
    Ok(())
}

fn kill_creator(container: &Container, alone: &Remover, pid: i32) -> anyhow::Result<()> {
    let doing = || {
        Fault::doing(format!("the creation of container {:?} does not come to its end", container.id()))
            .remedy("end the kase that creates it, and delete it again")
    };
    if pid == 0 {
        return Err(doing().into());
    }
    let has_ended = |error: &io::Error| error.raw_os_error() == Some(libc::ESRCH);
    let pidfd = match pidfd_open(pid) {
        Err(error) if has_ended(&error) => return Ok(()),
        opened => opened.or_fault(doing)?,
    };
    // The id may have passed to another process before it was opened; the descriptor keeps that from happening later.
    if alone.creator()? == Some(pid) {
        tracing::warn!("process {pid}, which creates container {:?}, is killed", container.id());
        match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
            Err(error) if has_ended(&error) => return Ok(()),
            sent => sent.or_fault(doing)?,
        }
        if !ended_within(pidfd.as_fd(), Duration::from_secs(10)).or_fault(doing)? {
            // It waits in the kernel for a disk or a server that does not answer, which can take any time.
            return Err(doing().into());
        }
    }
    Ok(())
}

/// Runs the poststop hooks.
fn poststop(container: &Container) {
    let Some(facts) = container.facts().filter(|facts| !facts.poststop.is_empty()) else { return };
    if let Some(state) = container.hook_state("stopped", None) {
        after(&facts.poststop, &state);
    }
}

/// The poststop hooks of a container that may come to nothing: what its earlier hooks have set up, these take down.
/// They run when this is dropped, the last of all, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct Poststop(Option<(Vec<Hook>, hook::State)>);

impl Poststop {
    /// `hooks` of the container with this state.
    pub fn new(hooks: Vec<Hook>, state: &hook::State) -> Self {
        Self((!hooks.is_empty()).then(|| (hooks, state.now("stopped", None))))
    }

    /// Leaves them to the container's delete.
    pub fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Poststop {
    fn drop(&mut self) {
        if let Some((hooks, state)) = &self.0 {
            after(hooks, state);
        }
    }
}

fn after(hooks: &[Hook], state: &hook::State) {
    // The bundle may have been removed before its container.
    let bundle = Some(Path::new(&state.bundle)).filter(|bundle| bundle.is_dir());
    let around = hook::Around::host(bundle.unwrap_or(Path::new("/")));
    hook::run_all(hook::Name::Poststop, hooks, state, around);
}
