//! Adds a process to a container.

use super::child::{Child, Successor, clone_into};
use super::lent_score::LentScore;
use crate::fault::{Fault, OrFault};
use crate::handshake;
use crate::init::added;
pub use crate::init::added::Container;
use crate::init::affinity;
use crate::init::namespaces::not_made;
use crate::kernel::clone::Cloned;
use crate::kernel::path::open;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{Dumpable, set_dumpable};
use crate::plan::namespaces::Kind;
use crate::plan::payload::Payload;
use crate::trace;
use nix::fcntl::OFlag;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens what is needed of the container with this init; `namespaces` are the CLONE_NEW* flags of those that it does not
/// share with us.
pub fn open_container(pid: i32, pidfd: OwnedFd, namespaces: u64) -> anyhow::Result<Container> {
    let root = match namespaces & Kind::Mount.flag() {
        0 => Some(open_root(pid, pidfd.as_fd()).or_fault(|| Fault::doing(format!("open /proc/{pid}/root")))?),
        _ => None,
    };
    Ok(Container { init: pidfd, root, namespaces })
}

/// Makes the process, in this cgroup v2 directory if there is one; it waits until it is let go on.
///
/// # Errors
/// A container that has ended meanwhile.
pub fn join(
    payload: &Payload<'_>,
    container: &Container,
    cgroup: Option<BorrowedFd<'_>>,
) -> anyhow::Result<Child> {
    trace::step("join namespaces");
    affinity::begin(&payload.attributes.affinity)?;
    let (kase, process_end) = handshake::pair()?;
    let score = payload.process.oom_score_adj.and_then(LentScore::of_this_process);
    // In the container's user namespace, those who are root there could trace the process, if this did not forbid it
    // (CVE-2016-9962).
    set_dumpable(Dumpable::No);
    trace::step("clone");
    let process = match clone_into(0, cgroup) {
        Ok((Cloned::New, _)) => {
            drop((kase, score));
            added::run(payload, container, process_end)
        }
        Ok((Cloned::Caller(process), in_cgroup)) => (process, in_cgroup),
        Err(error) => {
            let doing = match cgroup {
                Some(_) => "start a process in the container's cgroup",
                None => "make the process",
            };
            return Err(not_made(Fault::doing(doing), error));
        }
    };
    drop(score);
    let successor = if container.joins(Kind::Pid) { Successor::Awaited } else { Successor::None };
    Ok(Child::new("the added process", process, kase, successor))
}

/// Opens the root of the process `pid`, which has to be the one behind `pidfd`.
pub fn open_root(pid: i32, pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let root = open(format!("/proc/{pid}/root").as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    // The number is still that process's.
    pidfd_send_signal(pidfd, 0)?;
    Ok(root)
}
