//! Waits for a container's end, and learns how it ended.
//!
//! Nobody but its parent is told how a process ended, and a detached container's parent is whoever adopts
//! orphans. But the kernel keeps the answer for whoever held a descriptor of the process while it was there
//! (PIDFD_INFO_EXIT, Linux 6.15), once its parent has asked; and until then the zombie shows it in /proc. So a
//! wait that begins before the end learns the code, and writes it into the record for those who ask later.

use super::identity::{ended_with, is_there, there};
use super::record::Init;
use super::store::Store;
use super::{Container, Status};
use crate::fault::{Fault, OrFault};
use crate::kernel::pidfd::pidfd_end;
use crate::kernel::process::End;
use crate::kernel::uninterrupted;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;
use std::time::Duration;

/// Waits until the container `id` ends. The code is its own: of its exit, or 128 and the signal that ended it;
/// nothing when it cannot be known.
pub fn wait(store: &Store, id: &str) -> anyhow::Result<Option<i32>> {
    let container = once_begun(store, id)?;
    if let Some(code) = container.exit() {
        return Ok(Some(code));
    }
    let Some(init) = container.init() else { return Ok(None) };
    // A zombie will do: what counts is that it is not reaped.
    let Some(pidfd) = there(init)? else { return late(store, id) };
    until(pidfd.as_fd(), PollFlags::POLLIN, PollTimeout::NONE)?;
    let end = match ended_with(init)? {
        Some(end) => Some(end),
        None => reaped(pidfd.as_fd(), init)?,
    };
    match end {
        Some(end) => {
            container.record_exit(end.code());
            Ok(Some(end.code()))
        }
        None => late(store, id),
    }
}

/// The container once it has an init, which whoever creates it may not have come to yet.
fn once_begun(store: &Store, id: &str) -> anyhow::Result<Container> {
    const LONGEST: Duration = Duration::from_millis(200);
    let mut moment = Duration::from_millis(5);
    loop {
        let container = store.container(id)?;
        if container.init().is_some() || container.status()? != Status::Creating {
            return Ok(container);
        }
        thread::sleep(moment);
        moment = LONGEST.min(moment * 2);
    }
}

/// The end of a process that is reaped meanwhile.
fn reaped(pidfd: BorrowedFd<'_>, init: Init) -> anyhow::Result<Option<End>> {
    const MOMENT: u16 = 100;
    loop {
        // The order matters: the kernel keeps the exit code before the process disappears.
        let there = is_there(init)?;
        match pidfd_end(pidfd) {
            Ok(end) => return Ok(Some(end)),
            Err(_) if !there => return Ok(None),
            // Older kernels do not tell when it is reaped.
            Err(_) => until(pidfd, PollFlags::empty(), MOMENT.into())?,
        }
    }
}

/// Whoever has waited for it may have written it down.
fn late(store: &Store, id: &str) -> anyhow::Result<Option<i32>> {
    Ok(store.look(id)?.and_then(|container| container.exit()))
}

/// POLLHUP, which comes when the process is reaped, is always waited for.
fn until(pidfd: BorrowedFd<'_>, what: PollFlags, timeout: PollTimeout) -> anyhow::Result<()> {
    let polled = uninterrupted(|| poll(&mut [PollFd::new(pidfd, what)], timeout));
    polled.map(drop).or_fault(|| Fault::doing("wait for the container's init"))
}
