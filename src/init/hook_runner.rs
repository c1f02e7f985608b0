//! Runs createContainer hooks where init makes its processes in a pid namespace that others are in.
//!
//! A hook has the host's root, at which whoever may trace there could look. So a process that was made before init came
//! to that point enters init's other namespaces, and makes the hooks.

use super::session;
use crate::fault::{Fault, OrFault, Report};
use crate::handshake::{InitEnd, LONGEST, pack, unpack};
use crate::hook;
use crate::kernel::clone::{Cloned, Parent, clone3};
use crate::kernel::descriptor::close_copies;
use crate::kernel::path::of_descriptor;
use crate::kernel::pidfd::pidfd_open;
use crate::kernel::process::{Dumpable, exit_now, set_dumpable, setns};
use crate::kernel::socket;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The way to that process, which ends when this is dropped.
#[derive(Debug)]
pub struct HookRunner(OwnedFd);

/// The word that asks for the hooks, and that says that they have run.
const HOOKS: &[u8] = b"h";

impl HookRunner {
    /// Makes it; none without such hooks.
    pub fn make(plan: &Plan<'_>, kase: &InitEnd, state: &hook::State) -> anyhow::Result<Option<Self>> {
        if plan.hooks.of(hook::Name::CreateContainer).is_empty() {
            return Ok(None);
        }
        let (ours, theirs) = socket::pair()?;
        match clone3(0, Parent::Us, None).or_fault(|| Fault::doing("make a process for hooks"))? {
            Cloned::Caller(_) => Ok(Some(Self(ours))),
            Cloned::New => {
                drop(ours);
                close_copies(&[kase.as_fd()]);
                set_dumpable(Dumpable::No);
                let (mut word, socket) = ([0], theirs.as_fd());
                if let Ok((1.., fds)) = socket::receive_all(socket, &mut word)
                    && let [init, root] = &fds[..]
                {
                    let done = run(plan, state, [init.as_fd(), root.as_fd()], socket);
                    let answer = done.map_or_else(|error| pack(&Report::of(&error)), |()| HOOKS.to_vec());
                    // With init gone there is nobody to tell.
                    let _ = socket::send(socket, &answer, None);
                }
                exit_now(0)
            }
        }
    }

    /// Has it run the hooks, in the directory `root`, and waits.
    pub fn run(&self, root: BorrowedFd<'_>) -> anyhow::Result<()> {
        let own = pidfd_open(std::process::id().cast_signed())?;
        let mut buffer = [0; LONGEST];
        let asked = socket::send_all(self.0.as_fd(), HOOKS, &[own.as_fd(), root]);
        let answered = asked.and_then(|()| socket::receive(self.0.as_fd(), &mut buffer));
        let (length, _) = answered.or_fault(|| Fault::doing("run createContainer hooks"))?;
        match &buffer[..length] {
            HOOKS => Ok(()),
            [] => Err(Fault::doing("the process that runs createContainer hooks has ended").into()),
            report => Err(unpack(&report[1..]).into_error()),
        }
    }
}

fn run(
    plan: &Plan<'_>,
    state: &hook::State,
    [init, root]: [BorrowedFd<'_>; 2],
    partner: BorrowedFd<'_>,
) -> anyhow::Result<()> {
    let namespaces = plan.namespaces.all() & !Kind::Pid.flag();
    setns(init, namespaces).or_fault(|| Fault::doing("enter the container's namespaces for its hooks"))?;
    session::take_root(plan)?;
    set_dumpable(Dumpable::No);
    let around = hook::Around {
        directory: &of_descriptor(root),
        environment: hook::Environment::Empty,
        partner: Some(partner),
    };
    let state = state.now("created", Some(std::os::unix::process::parent_id().cast_signed()));
    let hooks = plan.hooks.of(hook::Name::CreateContainer);
    hook::run(hook::Name::CreateContainer, hooks, &state, around)
}
