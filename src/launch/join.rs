//! Adds a process to a container.

use super::{Init, Midwife, Successor, limits};
use crate::fault::{Fault, OrFault};
use crate::handshake::{self, ToInit};
use crate::init::added::{self, Added};
use crate::init::affinity;
use crate::init::namespaces::not_made;
use crate::kernel::clone::{Child, Cloned, clone3};
use crate::kernel::path::open;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{Dumpable, set_dumpable};
use crate::plan::attributes::Attributes;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
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
    /// The `tasks` of v1's cgroups, for the process to enter.
    pub doors: Vec<OwnedFd>,
    /// Its init.
    pub pid: i32,
    /// Its init.
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
}

/// Makes the process and brings it to where only the exec is missing.
///
/// # Errors
/// A container that has ended meanwhile, or whatever the process refuses.
pub fn join(
    plan: &Process<'_>,
    attributes: &Attributes<'_>,
    target: Target<'_>,
    midwife: &mut dyn Midwife,
) -> anyhow::Result<Init> {
    trace::step("join namespaces");
    affinity::begin(&attributes.affinity)?;
    let (kase, process_end) = handshake::pair()?;
    let root = match target.namespaces & Kind::Mount.flag() {
        0 => Some(open_root(target.pid, target.pidfd.as_fd())?),
        _ => None,
    };
    // In the container's user namespace, those who are root there could trace the process, if this did not forbid it
    // (CVE-2016-9962).
    set_dumpable(Dumpable::No);
    let added = Added {
        kase: process_end,
        doors: target.doors,
        target: target.pidfd,
        root,
        namespaces: target.namespaces,
        keyring: target.keyring.then(|| CString::new(format!("_ses.{}", target.id))).transpose()?,
        preserve_fds: target.preserve_fds,
        last_capability: target.last_capability,
        filter: target.filter,
    };
    let joins_pid = target.namespaces & Kind::Pid.flag() != 0;
    trace::step("clone");
    let cloned = match clone3(0, Child::Ours, target.cgroup.as_ref().map(AsFd::as_fd)) {
        // It may do as well to be moved there afterwards.
        Err(error) if target.cgroup.is_some() => {
            midwife.outside(error)?;
            clone3(0, Child::Ours, None)
        }
        cloned => cloned,
    };
    let process = match cloned.map_err(|error| not_made(Fault::doing("make the process"), error))? {
        Cloned::New => {
            drop(kase);
            added::run(plan, attributes, added)
        }
        Cloned::Caller(process) => process,
    };
    drop(added);
    let mut init = Init::new("the added process", process, kase);
    if joins_pid {
        init.successor = Successor::Awaited;
    }
    trace::step("cgroup and limits");
    midwife.born(&init.process)?;
    limits::raise(&plan.limits, init.process.pid)?;
    init.say(ToInit::Begin)?;
    init.attend(midwife, None)?;
    if joins_pid {
        init.schedule(attributes.scheduler.as_ref())?;
    }
    Ok(init)
}

fn open_root(pid: i32, pidfd: BorrowedFd<'_>) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let doing = || Fault::doing(format!("open {path}"));
    let root = open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY).or_fault(doing)?;
    // The number is still init's.
    pidfd_send_signal(pidfd, 0).or_fault(doing)?;
    Ok(root)
}
