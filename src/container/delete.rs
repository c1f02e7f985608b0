//! Deletes a container and all that kase made for it.

use super::store::Store;
use super::{Container, Status, kill, record};
use crate::fault::{Fault, OrFault};
use crate::hook;
use oci_spec::runtime::Hook;
use std::os::fd::AsFd;
use std::path::Path;

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
    if force == Force::Yes {
        super::id::check(id)?;
        return match store.remains(id)? {
            Some(container) => remove(&container.if_ours()?),
            None => Ok(()),
        };
    }
    let container = store.ours(id)?;
    match container.status() {
        Status::Stopped => remove(&container),
        // Whoever has just killed it need not wait for the kernel.
        Status::Running if kill::ends_soon(&container) => remove(&container),
        status => Err(Fault::doing(format!("cannot delete container {id} that is not stopped: {status}"))
            .remedy(format!("stop it first (kase kill {id}), or use kase delete --force {id}"))
            .into()),
    }
}

/// Kills what runs, removes what was made, and runs the poststop hooks.
///
/// # Errors
/// State that cannot be removed; that others have removed it meanwhile is none. A failing hook is only logged: the
/// container is gone by then.
pub fn remove(container: &Container) -> anyhow::Result<()> {
    // Of two at once, the second looks when the first is done: the id, and the cgroup with its name, may be a new
    // container's by then.
    let _alone = record::remover(container.own.as_fd());
    if !container.is_there() {
        return Ok(());
    }
    kill::end(container);
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

/// Runs the poststop hooks.
pub fn poststop(container: &Container) {
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
    // The bundle may have gone before its container.
    let bundle = Some(Path::new(&state.bundle)).filter(|bundle| bundle.is_dir());
    let around = hook::Around::host(bundle.unwrap_or(Path::new("/")));
    hook::run_all(hook::Kind::Poststop, hooks, state, around);
}
