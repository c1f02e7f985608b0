//! The recipe of a process that joins a container which runs already.

use super::attributes::Executor;
use super::execute::execute;
use super::partner::Partner;
use super::placed::Placed;
use super::sysctl::Procfs;
use super::terminal::{self, Console};
use super::{process, session};
use crate::fault::{Fault, OrFault};
use crate::handshake::InitEnd;
use crate::kernel::path::open;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, setns};
use crate::plan::namespaces::Kind;
use crate::plan::payload::Payload;
use crate::plan::process::ProcessPlan;
use crate::trace::{self, Who};
use nix::fcntl::OFlag;
use nix::unistd::{chdir, chroot, fchdir};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

/// The container that is joined.
#[derive(Debug)]
pub struct Container {
    /// Its init, whose namespaces are joined.
    pub init: OwnedFd,
    /// Its root, where it has no mount namespace of its own.
    pub root: Option<OwnedFd>,
    /// CLONE_NEW* flags of the namespaces that it does not share with us.
    pub namespaces: u64,
}

/// Runs the added process. Never returns.
pub fn run(payload: &Payload<'_>, container: &Container, kase: InitEnd) -> ! {
    trace::enter(Who::Init);
    let mut partner = Partner::new(kase, None, Dumpable::No);
    let Err(error) = recipe(payload, container, &mut partner);
    partner.refuse(&error);
    exit_now(1)
}

fn recipe(payload: &Payload<'_>, container: &Container, partner: &mut Partner) -> anyhow::Result<Infallible> {
    let plan = payload.process;
    let executor = if container.joins(Kind::Pid) { Executor::Successor } else { Executor::Own };
    // The host's: what the container has at /proc is its own choice.
    let proc = Procfs::open()?;
    if let Some(score) = plan.oom_score_adj {
        process::set_oom_score(score)?;
    }
    // In its cgroup first: joining a cgroup namespace from outside of it shows another root.
    let placed = Placed::wait(&partner.kase, &payload.attributes.affinity)?;
    container.enter(&placed)?;
    if container.joins(Kind::User) {
        take_root(plan)?;
        set_dumpable(Dumpable::No);
    }
    session::begin(executor, payload.keyring.as_deref(), payload.attributes.labels.selinux, &proc)?;
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    match plan.terminal {
        Some(size) => terminal::take(root.as_fd(), size, plan.user.uid, Console::Untouched, &partner.kase)?,
        None => process::adopt_stdio(None, &proc, &plan.user)?,
    }
    execute(payload, executor, partner, root, proc, None)
}

impl Container {
    /// Whether the process enters a namespace of this kind.
    pub fn joins(&self, kind: Kind) -> bool {
        self.namespaces & kind.flag() != 0
    }

    /// Takes proof that the process is in its cgroup: a cgroup namespace that is joined from outside shows another root.
    fn enter(&self, _: &Placed) -> anyhow::Result<()> {
        if self.namespaces != 0 {
            trace::step("join namespaces");
            setns(self.init.as_fd(), self.namespaces).or_fault(|| {
                Fault::doing("join the container's namespaces")
                    .remedy("run it as the user who created the container")
            })?;
        }
        if let Some(root) = &self.root {
            fchdir(root)?;
            chroot(".").or_fault(|| Fault::doing("enter the container's root"))?;
            chdir("/")?;
        }
        Ok(())
    }
}

/// Root of the user namespace, or, where it maps no root, the user that the process will be.
fn take_root(plan: &ProcessPlan<'_>) -> anyhow::Result<()> {
    session::take_ids(0, 0, plan.groups)
        .or_else(|_| session::take_ids(plan.user.uid, plan.user.gid, plan.groups))
}
