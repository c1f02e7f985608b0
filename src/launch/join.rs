//! Adds a process to a container: one clone, after kase itself has entered what only children can be put into.

use super::{Init, Midwife, limits};
use crate::fault::{Fault, OrFault};
use crate::handshake::{self, ToInit};
use crate::init::added::{self, Added};
use crate::init::affinity;
use crate::kernel::clone::{Child, Cloned, clone3};
use crate::kernel::process::{Dumpable, set_dumpable, setns};
use crate::plan::attributes::Attributes;
use crate::plan::exec;
use crate::plan::namespaces::Kind;
use crate::plan::process::Process;
use crate::seccomp::Program;
use crate::trace;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

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
        0 => Some(open_root(target.pid)?),
        _ => None,
    };
    let ours = enter(&target)?;
    let added = Added {
        kase: process_end,
        doors: target.doors,
        target: target.pidfd,
        root,
        namespaces: target.namespaces & !ours,
        user_namespace: target.namespaces & Kind::User.flag() != 0,
        keyring: target.keyring.then(|| CString::new(format!("_ses.{}", target.id))).transpose()?,
        preserve_fds: target.preserve_fds,
        last_capability: target.last_capability,
        filter: target.filter,
    };
    trace::step("clone");
    let cloned = match clone3(0, Child::Ours, target.cgroup.as_ref().map(AsFd::as_fd)) {
        // It may do as well to be moved there afterwards.
        Err(error) if target.cgroup.is_some() => {
            midwife.outside(error)?;
            clone3(0, Child::Ours, None)
        }
        cloned => cloned,
    };
    let process = match cloned.or_fault(|| Fault::doing("make the process"))? {
        Cloned::New => {
            drop(kase);
            added::run(plan, attributes, added)
        }
        Cloned::Caller(process) => process,
    };
    drop(added);
    let init = Init::new(process, kase);
    trace::step("cgroup and limits");
    midwife.born(&init.process)?;
    limits::raise(&plan.limits, init.process.pid)?;
    init.say(ToInit::Begin)?;
    init.attend(midwife, None)?;
    Ok(init)
}

/// Puts kase where its child has to be born, and returns which namespaces these are. With the right to do so, that
/// is the pid namespace alone: the child then joins all others in one step, with the host's privileges over
/// those that the container's user namespace does not own. Anyone else has to become the user namespace's root.
fn enter(target: &Target<'_>) -> anyhow::Result<u64> {
    let pid = target.namespaces & Kind::Pid.flag();
    // In the container's pid or user namespace, those who are root there could trace us, if this did not forbid it
    // (CVE-2016-9962).
    set_dumpable(Dumpable::No);
    if pid == 0 {
        return Ok(0);
    }
    let ours = match setns(target.pidfd.as_fd(), pid) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => exec::ours(target.namespaces),
        joined => {
            joined.or_fault(not_joined)?;
            return Ok(pid);
        }
    };
    setns(target.pidfd.as_fd(), ours).or_fault(not_joined)?;
    Ok(ours)
}

fn not_joined() -> Fault {
    Fault::doing("join the container's user and pid namespaces")
        .remedy("run it as the user who created the container and, if that is not root, after its start")
}

fn open_root(pid: i32) -> anyhow::Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    open(path.as_str(), OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .or_fault(|| Fault::doing(format!("open {path}")))
}
