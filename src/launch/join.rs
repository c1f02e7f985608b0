//! Adds a process to a container.

use super::child::{Child, Successor, clone_into};
use crate::fault::{Fault, OrFault};
use crate::handshake;
use crate::init::added::{self, Container};
use crate::init::affinity;
use crate::init::namespaces::not_made;
use crate::kernel::clone::Cloned;
use crate::kernel::path::open;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{Dumpable, set_dumpable};
use crate::plan::attributes::ProcessAttributes;
use crate::plan::namespaces::Kind;
use crate::plan::process::ProcessPlan;
use crate::seccomp::Program;
use crate::trace;
use nix::fcntl::OFlag;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which container, and how.
#[derive(Debug)]
pub struct Target<'a> {
    /// The cgroup v2 directory to clone the process into.
    pub cgroup: Option<OwnedFd>,
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Its id, which names the session keyring.
    pub id: &'a str,
    /// Whether it has a session keyring of its own.
    pub keyring: bool,
    /// CLONE_NEW* flags of the namespaces that it does not share with us.
    pub namespaces: u64,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
    /// The container's system call filter.
    pub filter: Option<Program>,
    /// Whether apt is told of `--fake-root` in it.
    pub tells_apt: bool,
}

/// Makes the process, which waits until it is let go on.
///
/// # Errors
/// A container that has ended meanwhile.
pub fn join(
    plan: &ProcessPlan<'_>,
    attributes: &ProcessAttributes<'_>,
    target: Target<'_>,
) -> anyhow::Result<Child> {
    trace::step("join namespaces");
    affinity::begin(&attributes.affinity)?;
    let (kase, process_end) = handshake::pair()?;
    let joins = |kind: Kind| target.namespaces & kind.flag() != 0;
    let root = match joins(Kind::Mount) {
        true => None,
        false => Some(open_root(target.pid, target.pidfd.as_fd())?),
    };
    // In the container's user namespace, those who are root there could trace the process, if this did not forbid it
    // (CVE-2016-9962).
    set_dumpable(Dumpable::No);
    let container = Container {
        init: target.pidfd,
        root,
        namespaces: target.namespaces,
        keyring: target.keyring.then(|| CString::new(format!("_ses.{}", target.id))).transpose()?,
        filter: target.filter,
        tells_apt: target.tells_apt,
        preserve_fds: target.preserve_fds,
        last_capability: target.last_capability,
    };
    trace::step("clone");
    let process = match clone_into(0, target.cgroup.as_ref().map(AsFd::as_fd)) {
        Ok((Cloned::New, _)) => {
            drop(kase);
            added::run(plan, attributes, &container, process_end)
        }
        Ok((Cloned::Caller(process), place)) => (process, place),
        Err(error) => {
            let doing = match target.cgroup {
                Some(_) => "start a process in the container's cgroup",
                None => "make the process",
            };
            return Err(not_made(Fault::doing(doing), error));
        }
    };
    let successor = if joins(Kind::Pid) { Successor::Awaited } else { Successor::None };
    Ok(Child::new("the added process", process, kase, successor))
}

fn open_root(pid: i32, pidfd: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let doing = || Fault::doing(format!("open {path}"));
    let root = open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY).or_fault(doing)?;
    // The number is still init's.
    pidfd_send_signal(pidfd, 0).or_fault(doing)?;
    Ok(root)
}
