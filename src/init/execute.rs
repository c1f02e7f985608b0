//! The end of both recipes: a process that has the container's mounts, ids and cgroup becomes its program.
//!
//! The order is what keeps it safe. When the user changes, nothing of the host's is open but the ways to kase and to
//! hooks; all privileges that the program does not get go before the wait for the start; and the filter comes after
//! that, but for one that notifies.

use super::attributes::{self, Executor};
use super::partner::Partner;
use super::sysctl::Procfs;
use super::{fake_root, filter, pid_namespace, process, program, session, terminal};
use crate::hook;
use crate::kernel::descriptor::close_all_but;
use crate::kernel::process::exit_now;
use crate::log;
use crate::plan::payload::Payload;
use crate::trace;
use oci_spec::runtime::Hook;
use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The hooks in the container right before its first program.
#[derive(Debug, Clone, Copy)]
pub struct StartContainer<'a> {
    /// `hooks.startContainer`.
    pub hooks: &'a [Hook],
    /// What they are told.
    pub state: &'a hook::State,
}

/// Becomes the program, in this process or, as `executor` has it, in one that it makes. `root` is the container's, `proc`
/// the host's.
pub fn execute(
    payload: &Payload<'_>,
    executor: Executor,
    partner: &mut Partner,
    root: OwnedFd,
    proc: Procfs,
    start_container: Option<StartContainer<'_>>,
) -> anyhow::Result<Infallible> {
    let plan = payload.process;
    let mut environment = process::environment(plan, root.as_fd());
    if payload.tells_apt {
        fake_root::tell(&mut environment, root.as_fd());
    }
    // Before the privileges go, and before a filter that may know nothing of these calls.
    attributes::set(payload.attributes, &proc, executor)?;
    drop((proc, root));
    process::tell_missing(&plan.capabilities)?;
    log::leave();
    // Nothing of the host's is left then that the program, or the path to it, could lead through (CVE-2024-21626).
    let of_hooks = start_container.iter().flat_map(|start| start.state.output.descriptors());
    let kept: Vec<_> = partner.descriptors().chain(trace::descriptor()).chain(of_hooks).collect();
    close_all_but(&kept, 3 + payload.preserve_fds)?;
    process::become_user(plan, payload.last_capability)?;
    filter::reduce(plan, payload.filter)?;
    let filter = match executor {
        Executor::Own => payload.filter,
        Executor::Successor => {
            let filter = pid_namespace::enter(&partner.kase, plan, payload.filter)?;
            session::lead()?;
            filter
        }
    };
    // Only now: the path may be one of procfs's, which shows nothing of a process outside.
    let program = plan.arguments.first().map(|name| program::find(name, &environment)).transpose()?;
    if plan.terminal.is_some() {
        terminal::make_controlling()?;
    }
    // The listener has to reach the agent while the container is created.
    let (early, last) = match filter {
        Some(filter) if filter.notifies() => (Some(filter), None),
        filter => (None, filter),
    };
    early.map_or(Ok(()), |filter| filter::install(plan, filter, &partner.kase))?;
    partner.wait_for_start()?;
    // The profile need not allow prlimit64(2), nor kase what it does before.
    process::set_limits(&plan.limits)?;
    last.map_or(Ok(()), |filter| filter::install(plan, filter, &partner.kase))?;
    start_container.map_or(Ok(()), |start| start.run(&environment))?;
    let Some(program) = program else { exit_now(0) };
    Err(program::exec(&program, &plan.arguments, &environment))
}

impl StartContainer<'_> {
    fn run(self, environment: &[CString]) -> anyhow::Result<()> {
        let state = self.state.now("created", Some(std::process::id().cast_signed()));
        let environment = hook::Environment::OfContainer(environment);
        let around = hook::Around { directory: Path::new("."), environment, partner: None };
        hook::run(hook::Name::StartContainer, self.hooks, &state, around)
    }
}
