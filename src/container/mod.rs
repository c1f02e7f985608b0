//! Containers: their life on disk and in the kernel, one file a verb.

mod announcement;
pub mod create;
pub mod delete;
mod directory;
pub mod draft;
pub mod events;
pub mod exec;
pub mod explain;
pub mod gc;
pub mod id;
mod identity;
pub mod kill;
pub mod listed;
mod locks;
mod overlay;
pub mod pattern;
pub mod pause;
pub mod processes;
pub mod readiness;
pub mod record;
pub mod request;
pub mod run;
pub mod start;
pub mod state;
pub mod store;
mod strays;
pub mod update;
pub mod wait;

use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroup, CgroupFacts, State};
use crate::fault::{Fault, OrFault, Report};
use crate::gate;
use crate::hook;
use crate::launch::intel_rdt::Share;
use crate::plan::namespaces::Kind;
use directory::Directory;
use identity::{is_alive, living};
use locks::Lock;
use nix::sys::stat::fstat;
use nix::unistd::geteuid;
use record::{Complete, Facts, Init, Record};
use serde::Serialize;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Whether this host's controllers are those of cgroup v2.
///
/// # Errors
/// Those of [`Layout::look`].
pub fn has_cgroup_v2() -> anyhow::Result<bool> {
    Ok(Layout::look()?.is_unified())
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    /// Its directory in the state root.
    pub directory: Directory,
    own: OwnedFd,
    record: Option<Record>,
    /// Who owns the directory.
    pub owner: u32,
}

/// Where a container is in its life; runtime.md, "State", and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, and waiting for `start`.
    Created,
    /// Its program runs.
    Running,
    Paused,
    /// Init has ended, or never came to be.
    Stopped,
}

impl Status {
    /// As the specification has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// How much is asked of a record.
pub type Read = fn(BorrowedFd<'_>) -> anyhow::Result<Option<Record>>;

impl Container {
    /// The container whose directory this is, open as `own`.
    pub fn read(directory: Directory, own: OwnedFd, read: Read) -> anyhow::Result<Self> {
        let looked = || {
            let owner = fstat(&own)?.st_uid;
            let record = read(own.as_fd())?.map(Record::of_this_boot).transpose()?;
            anyhow::Ok((record, owner))
        };
        let (record, owner) = looked().or_fault(|| Fault::doing(format!("container {:?}", directory.id)))?;
        Ok(Self { directory, own, record, owner })
    }

    pub fn id(&self) -> &str {
        &self.directory.id
    }

    /// What was asked for; nothing when its creation was interrupted before that was written.
    pub fn facts(&self) -> Option<&Facts> {
        self.record.as_ref().map(|record| &record.facts)
    }

    /// Its place in resctrl.
    fn share(&self) -> Option<&Share> {
        let record = self.record.as_ref()?;
        record.share.as_deref().or(record.facts.intel_rdt.as_deref())
    }

    /// Who init was, dead or alive.
    fn init(&self) -> Option<Init> {
        self.record.as_ref().and_then(|record| record.init)
    }

    /// How init ended, once somebody who waited has written it down.
    pub fn exit(&self) -> Option<i32> {
        self.record.as_ref().and_then(|record| record.exit)
    }

    /// Writes down how init ended. That it cannot be is no error: the container may be deleted by now.
    pub fn record_exit(&self, code: i32) {
        if self.exit().is_none()
            && let Err(error) = record::add_exit(self.own.as_fd(), code)
        {
            tracing::debug!("keep the exit code of container {:?}: {error:#}", self.id());
        }
    }

    /// Its cgroup. Until there is an init, that is only where one was planned, and may be somebody else's.
    pub fn cgroup(&self) -> Cgroup {
        let record = self.record.as_ref().filter(|record| record.init.is_some());
        record.map_or_else(Cgroup::none, |record| Cgroup::reopen(&record.cgroup))
    }

    /// Whether it has a cgroup of its own.
    pub fn has_cgroup(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.init.is_some() && !record.cgroup.is_none())
    }

    /// Where its cgroup was to be, if its creation was interrupted before there was an init.
    fn planned_cgroup(&self) -> Option<Cgroup> {
        let record = self.record.as_ref().filter(|record| record.init.is_none())?;
        Some(Cgroup::reopen(&record.cgroup))
    }

    /// Whether its processes end with its init, because it has a pid namespace of its own.
    pub fn ends_with_init(&self) -> bool {
        self.facts().is_some_and(|facts| facts.namespaces & Kind::Pid.flag() != 0)
    }

    /// Init's process id while it lives.
    pub fn pid(&self) -> anyhow::Result<Option<i32>> {
        self.init().map_or(Ok(None), alive)
    }

    /// A descriptor for init, while it lives.
    ///
    /// # Errors
    /// The kernel does not say, or too many are open.
    pub fn pidfd(&self) -> anyhow::Result<Option<OwnedFd>> {
        let Some(init) = self.init() else { return Ok(None) };
        living(init).or_fault(|| looking(init))
    }

    /// Derives the status.
    pub fn status(&self) -> anyhow::Result<Status> {
        Ok(self.life()?.0)
    }

    /// The status, and init's process id if it lives.
    pub fn life(&self) -> anyhow::Result<(Status, Option<i32>)> {
        let Some(record) = &self.record else { return Ok((Status::Stopped, None)) };
        record.life(CgroupFacts::state, || gate::is_waited_at(self.own.as_fd(), "."))
    }

    /// The state directory, open.
    pub fn directory_fd(&self) -> BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// What hooks are told.
    pub fn hook_state(&self, status: &'static str, pid: Option<i32>) -> Option<hook::State> {
        self.facts().map(|facts| hook_state(facts, self.id(), status, pid, output(facts)))
    }

    /// What is to be done where its status is in the way.
    pub fn remedy_for(&self, status: Status) -> String {
        let id = self.id();
        match status {
            Status::Creating => "wait until the command that creates it has ended".to_string(),
            Status::Created => format!("start it first: kase start {id}"),
            Status::Running => format!("see it with `kase state {id}`"),
            Status::Paused => format!("resume it first: kase resume {id}"),
            Status::Stopped => format!("delete it and create it again: kase delete {id}"),
        }
    }

    /// Whether its state is the caller's own.
    pub fn is_ours(&self) -> bool {
        self.owner == geteuid().as_raw()
    }

    /// Refuses another user's state: its record names processes to signal, cgroups to remove, namespaces to join and
    /// hooks to run, so whoever may write it would have root do all that.
    pub fn if_ours(self) -> anyhow::Result<Self> {
        if self.is_ours() {
            return Ok(self);
        }
        let (id, owner) = (self.id(), self.owner);
        Err(Fault::doing(format!("the state of container {id:?} is user {owner}'s"))
            .remedy(format!("run kase as that user (sudo -u '#{owner}' kase …)"))
            .into())
    }
}

impl<F, C> Record<F, C> {
    /// The status, and init's process id if it lives. `state` tells of a cgroup whether it is frozen, `waits` whether
    /// init waits for its start.
    fn life(
        &self,
        state: impl FnOnce(&C) -> anyhow::Result<State>,
        waits: impl FnOnce() -> anyhow::Result<bool>,
    ) -> anyhow::Result<(Status, Option<i32>)> {
        let pid = self.init.map_or(Ok(None), alive)?;
        let status = match (self.complete, self.lock, pid) {
            // The second case is a creation that was killed, whose init has not noticed yet.
            (Complete::No, Lock::Held, _) | (Complete::No, _, Some(_)) => Status::Creating,
            (_, _, None) => Status::Stopped,
            _ if state(&self.cgroup)? == State::Frozen => Status::Paused,
            _ if waits()? => Status::Created,
            _ => Status::Running,
        };
        Ok((status, pid))
    }
}

fn alive(init: Init) -> anyhow::Result<Option<i32>> {
    Ok(is_alive(init).or_fault(|| looking(init))?.then_some(init.pid))
}

fn looking(init: Init) -> Fault {
    Fault::doing(format!("look whether the container's init, process {}, lives", init.pid))
}

/// What hooks are told of the container `id`.
fn hook_state(
    facts: &Facts,
    id: &str,
    status: &'static str,
    pid: Option<i32>,
    output: hook::Output,
) -> hook::State {
    hook::State {
        oci_version: facts.oci_version.clone(),
        id: id.to_string(),
        status,
        pid,
        bundle: facts.bundle.display().to_string(),
        annotations: facts.annotations.clone(),
        output: Rc::new(output),
    }
}

/// Where hooks' output goes. The container is what it is by now, so a file that is missing stops nothing.
fn output(facts: &Facts) -> hook::Output {
    hook::Output::open(&facts.annotations).unwrap_or_else(|error| {
        tracing::warn!("{}", Report::of(&error).line);
        hook::Output::default()
    })
}
