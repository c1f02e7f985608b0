//! Creates and starts a container, and stays with it until it ends.

use super::create::{Created, create};
use super::delete::{self, Force};
use super::readiness::Readiness;
use super::request::{Request, StartedBy, Terminal};
use super::store::Store;
use crate::fault::Report;
use crate::hook;
use crate::launch::relay::{self, Aside, Signals};
use crate::trace;
use nix::sys::prctl::set_child_subreaper;
use rootless::caller::Caller;
use std::mem;
use std::os::fd::AsFd;
use std::path::Path;

/// How to run.
#[derive(Debug, Clone, Copy)]
pub struct How {
    /// `--detach`.
    pub detach: bool,
    /// `--keep`.
    pub keep: bool,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
}

/// Runs a container. The code is its own: of its exit, or 128 and the signal that ended it; 0 when detached.
///
/// # Errors
/// As for create and start; nothing is left of the container then.
pub fn run(store: &Store, caller: Caller, request: &Request, how: How) -> anyhow::Result<i32> {
    if how.detach {
        let mut created = create(store, caller, request, StartedBy::Us, Terminal::Socket)?;
        let readiness = readiness(&created, request, created.init.process.pid)?;
        start(&mut created)?;
        created.keep();
        if let Some(readiness) = readiness {
            readiness.wait(created.init.process.pidfd.as_fd());
        }
        return Ok(0);
    }
    // Orphans of a container without a pid namespace of its own come to us, and end with us.
    if !how.no_subreaper {
        set_child_subreaper(true)?;
    }
    let signals = Signals::hold()?;
    let mut created = create(store, caller, request, StartedBy::Us, Terminal::Ours)?;
    // For whoever watches over it, the service is this process: it ends with the container.
    let mut readiness = readiness(&created, request, std::process::id().cast_signed())?;
    start(&mut created)?;
    let aside = readiness.as_mut().map(|readiness| readiness as &mut dyn Aside);
    let console = mem::take(&mut created.console);
    let end = relay::attend(signals, &created.init.process, console, aside)?;
    created.keep();
    let ended = created.entry.container().and_then(|container| {
        if how.keep {
            container.record_exit(end.code());
            return Ok(());
        }
        delete::remove(&container, Force::Yes)
    });
    // How the program has ended is known all the same, and what is left can be deleted as any stopped container.
    if let Err(left) = ended {
        let left =
            left.context(format!("remove the container {:?}, which has ended", created.entry.directory.id));
        tracing::warn!("{}", Report::of(&left).line);
    }
    Ok(end.code())
}

fn start(created: &mut Created) -> anyhow::Result<()> {
    trace::step("start");
    created.init.start()?;
    created.entry.ready()?;
    created.entry.release();
    let state = created.state.now("running", Some(created.init.process.pid));
    hook::run(
        hook::Name::Poststart,
        &created.poststart,
        &state,
        hook::Around::host(Path::new(&state.bundle)),
    )?;
    // What follows is the container's time.
    trace::finish();
    Ok(())
}

fn readiness(created: &Created, request: &Request, main: i32) -> anyhow::Result<Option<Readiness>> {
    match &request.notify_socket {
        Some(host) => Readiness::listen(created.entry.directory.open()?.as_fd(), host.clone(), main),
        None => Ok(None),
    }
}
