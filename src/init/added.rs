//! The second recipe: a process that joins a container which runs already.

use super::attributes::Executor;
use super::sysctl::Procfs;
use super::terminal::{self, Console};
use super::{affinity, attributes, fake_root, filter, pid_namespace, process, program, session, tasks_files};
use crate::fault::{Fault, OrFault, Report};
use crate::handshake::{InitEnd, ToInit, ToKase};
use crate::kernel::descriptor;
use crate::kernel::path::open;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, setns};
use crate::log;
use crate::plan::attributes::ProcessAttributes;
use crate::plan::namespaces::Kind;
use crate::plan::process::ProcessPlan;
use crate::seccomp::Program;
use crate::trace::{self, Who};
use nix::fcntl::OFlag;
use nix::unistd::{chdir, chroot, fchdir};
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// What kase inputs to the added process beside its plan.
#[derive(Debug)]
pub struct Added {
    /// The way to speak to kase.
    pub kase: InitEnd,
    /// The container's init, whose namespaces are joined.
    pub target: OwnedFd,
    /// The container's root, where it has no mount namespace of its own.
    pub root: Option<OwnedFd>,
    /// CLONE_NEW* flags of the namespaces that the container does not share with us.
    pub namespaces: u64,
    /// The container's session keyring, if it has one.
    pub keyring: Option<CString>,
    /// Descriptors from 3 on that the process inherits.
    pub preserve_fds: u32,
    /// The highest capability that the kernel knows.
    pub last_capability: u8,
    /// The container's system call filter.
    pub filter: Option<Program>,
}

/// Runs the added process. Never returns.
pub fn run(plan: &ProcessPlan<'_>, attributes: &ProcessAttributes<'_>, added: Added) -> ! {
    trace::enter(Who::Init);
    let Err(error) = recipe(plan, attributes, &added);
    // When kase is gone there is nobody left to tell.
    let _ = added.kase.say(&ToKase::Failed(Report::of(&error)));
    exit_now(1)
}

fn recipe(
    plan: &ProcessPlan<'_>,
    attributes: &ProcessAttributes<'_>,
    added: &Added,
) -> anyhow::Result<Infallible> {
    // The host's: what the container has at /proc is its own choice.
    let proc = Procfs::open()?;
    if let Some(score) = plan.oom_score_adj {
        process::set_oom_score(score)?;
    }
    // In its cgroup first: joining a cgroup namespace from outside of it shows another root.
    trace::step("wait for the cgroup");
    tasks_files::enter(added.kase.expect(ToInit::Begin)?)?;
    affinity::settle(&attributes.affinity)?;
    if added.namespaces != 0 {
        trace::step("join namespaces");
        setns(added.target.as_fd(), added.namespaces).or_fault(not_joined)?;
    }
    if let Some(root) = &added.root {
        fchdir(root)?;
        chroot(".").or_fault(|| Fault::doing("enter the container's root"))?;
        chdir("/")?;
    }
    if added.namespaces & Kind::User.flag() != 0 {
        take_root(plan)?;
        set_dumpable(Dumpable::No);
    }
    session::begin(added.keyring.as_deref(), attributes.labels.selinux, &proc)?;
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    match plan.terminal {
        Some(size) => terminal::take(root.as_fd(), size, plan.user.uid, Console::Untouched, &added.kase)?,
        None => process::adopt_stdio(root.as_fd(), &proc, &plan.user, false)?,
    }
    let mut environment = process::environment(plan, root.as_fd());
    if added.filter.is_some() {
        fake_root::tell(&mut environment, root.as_fd());
    }
    // Before the privileges go, and before a filter that may know nothing of these calls.
    let joins_pid = added.namespaces & Kind::Pid.flag() != 0;
    let executor = if joins_pid { Executor::Successor } else { Executor::Own };
    attributes::set(attributes, &proc, executor)?;
    drop((proc, root));
    process::tell_missing(&plan.capabilities)?;
    log::leave();
    // Nothing of the host's is left then that the program, or the path to it, could lead through (CVE-2024-21626).
    let kept: Vec<_> = [added.kase.as_fd()].into_iter().chain(trace::descriptor()).collect();
    descriptor::close_all_but(&kept, 3 + added.preserve_fds)?;
    process::become_user(plan, added.last_capability)?;
    let mut filter = added.filter.as_ref();
    filter::reduce(plan, filter)?;
    if joins_pid {
        filter = pid_namespace::enter(&added.kase, plan, filter)?;
    }
    // Only now: the path may be one of procfs's, which shows nothing of a process outside.
    let name = plan.arguments.first().ok_or_else(|| Fault::doing("there is no program to run"))?;
    let program = program::find(name, &environment)?;
    session::lead()?;
    if plan.terminal.is_some() {
        terminal::make_controlling()?;
    }
    let early = filter.filter(|filter| filter.notifies());
    if let Some(filter) = early {
        filter::install(plan, filter, Some(&added.kase))?;
    }
    added.kase.say(&ToKase::Ready)?;
    added.kase.expect(ToInit::Start)?;
    // The profile need not allow it.
    process::set_limits(&plan.limits)?;
    if let (Some(filter), None) = (filter, early) {
        filter::install(plan, filter, None)?;
    }
    Err(program::execute(&program, &plan.arguments, &environment))
}

fn not_joined() -> Fault {
    Fault::doing("join the container's namespaces").remedy("run it as the user who created the container")
}

/// Root of the user namespace, or, where it maps no root, the user that the process will be.
fn take_root(plan: &ProcessPlan<'_>) -> anyhow::Result<()> {
    session::take_ids(0, 0, plan.groups)
        .or_else(|_| session::take_ids(plan.user.uid, plan.user.gid, plan.groups))
}
