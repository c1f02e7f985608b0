//! Containers: their life on disk and in the kernel, one file a verb.

mod announcement;
pub mod create;
pub mod delete;
pub mod draft;
pub mod events;
pub mod exec;
pub mod explain;
pub mod gc;
pub mod glance;
pub mod id;
pub mod kill;
mod overlay;
pub mod pattern;
pub mod pause;
pub mod processes;
pub mod readiness;
pub mod record;
pub mod run;
pub mod start;
pub mod state;
pub mod store;
pub mod update;
pub mod wait;

use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroup, CgroupFacts, State};
use crate::fault::{Fault, Report};
use crate::hook;
use crate::kernel::clone::Process;
use crate::kernel::pidfd::pidfd_open;
use crate::kernel::process::End;
use crate::kernel::text::{read_record, read_value};
use crate::launch::intel_rdt::Share;
use crate::plan::cgroup::Version;
use crate::plan::namespaces::Kind;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::geteuid;
use record::{Complete, Facts, Init, Lock, Record};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use store::Directory;

/// Whether this host's controllers are those of cgroup v2.
///
/// # Errors
/// Those of [`Layout::look`].
pub fn has_cgroup_v2() -> anyhow::Result<bool> {
    Ok(Layout::look()?.version() == Some(Version::V2))
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
    /// Frozen.
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

impl Container {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.directory.id
    }

    /// Whether its id is still its own: others may have deleted it, and created one anew.
    fn is_there(&self) -> bool {
        self.directory.is(self.own.as_fd())
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
    pub fn pid(&self) -> Option<i32> {
        self.init().filter(|init| is_alive(*init)).map(|init| init.pid)
    }

    /// A descriptor for init, while it lives.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        let init = self.init()?;
        let pidfd = pidfd_open(init.pid).ok()?;
        // The id may have passed to another process; not after this, since the descriptor holds it.
        is_living(init, &pidfd).then_some(pidfd)
    }

    /// Derives the status.
    pub fn status(&self) -> Status {
        self.life().0
    }

    /// The status, and init's process id if it lives.
    pub fn life(&self) -> (Status, Option<i32>) {
        let Some(record) = &self.record else { return (Status::Stopped, None) };
        record.life(CgroupFacts::state)
    }

    /// The state directory, open.
    pub fn directory_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.own.as_fd()
    }

    /// What hooks are told.
    pub fn hook_state(&self, status: &'static str, pid: Option<i32>) -> Option<hook::State> {
        self.facts().map(|facts| hook::State {
            oci_version: facts.oci_version.clone(),
            id: self.id().to_string(),
            status,
            pid,
            bundle: facts.bundle.display().to_string(),
            annotations: facts.annotations.clone(),
            output: Rc::new(output(facts)),
        })
    }

    /// What is to be done where its status is in the way.
    pub fn way_out(&self, status: Status) -> String {
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
    ///
    /// # Errors
    /// It is another user's.
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
    /// The status, and init's process id if it lives. `state` tells of a cgroup whether it is frozen.
    fn life(&self, state: impl FnOnce(&C) -> anyhow::Result<State>) -> (Status, Option<i32>) {
        let alive = match (self.lock, self.complete) {
            // The kernel takes the lock from whoever ends, so init lives, and need not be looked for.
            (Lock::Held, Complete::Yes) => self.init,
            _ => self.init.filter(|init| is_alive(*init)),
        };
        let status = match (self.lock, self.complete) {
            (Lock::Held, Complete::No) => Status::Creating,
            _ if alive.is_none() => Status::Stopped,
            (lock, _) => match state(&self.cgroup) {
                Ok(State::Frozen) => Status::Paused,
                // A freezer that cannot be read has gone with its cgroup.
                _ if lock == Lock::Held => Status::Created,
                _ => Status::Running,
            },
        };
        (status, alive.map(|init| init.pid))
    }
}

/// Where hooks' output goes. The container is what it is by now, so a file that is missing stops nothing.
fn output(facts: &Facts) -> hook::Output {
    hook::Output::open(&facts.annotations).unwrap_or_else(|error| {
        tracing::warn!("{}", Report::of(&error).line);
        hook::Output::default()
    })
}

/// Of proc_pid_stat(5), what tells who a process is and how it is.
struct Stat {
    state: char,
    start_time: u64,
    /// As waitpid(2) would have it, once it has ended; 0 to whoever may not look.
    exit_code: i32,
}

impl Stat {
    /// Whether it is this process, dead or alive.
    fn is(&self, init: Init) -> bool {
        self.start_time == init.start_time
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn stat(pid: i32) -> Option<Stat> {
    // Twice what 52 numbers and a name can be.
    let mut buffer = [0; 2048];
    let stat = read_record(format!("/proc/{pid}/stat"), &mut buffer).ok()?;
    // The name in parentheses may itself hold anything.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(&stat[name_end..]).ok()?.split_ascii_whitespace().skip(1);
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    let mut stat = Stat { state, start_time, exit_code: 0 };
    if stat.has_ended() {
        stat.exit_code = fields.nth(29).and_then(|code| code.parse().ok()).unwrap_or(0);
    }
    Some(stat)
}

/// Facts about a process that has just been made.
fn init_facts(process: &Process) -> Option<Init> {
    // Older kernels give all of them one inode.
    let has_own = || fstatfs(&process.pidfd).is_ok_and(|stat| stat.filesystem_type() == PIDFS);
    let pid = process.pid;
    stat(pid).map(|stat| Init {
        pid,
        start_time: stat.start_time,
        inode: inode(&process.pidfd).filter(|_| has_own()),
    })
}

/// PID_FS_MAGIC of linux/magic.h.
const PIDFS: FsType = FsType(0x5049_4446);

fn inode(pidfd: &OwnedFd) -> Option<u64> {
    fstat(pidfd).ok().map(|stat| stat.st_ino)
}

/// What the kernel calls this boot; nothing where it does not say.
fn boot() -> String {
    read_value("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether it is still that process, and no zombie.
fn is_alive(init: Init) -> bool {
    match init.inode.map(|_| pidfd_open(init.pid)) {
        Some(Ok(pidfd)) => is_living(init, &pidfd),
        Some(Err(error)) if error.raw_os_error() == Some(libc::ESRCH) => false,
        // There is none to compare; or to open one is forbidden, or too many are open.
        Some(Err(_)) | None => started_then(init),
    }
}

/// As [`is_alive`], of the process that has init's id now.
fn is_living(init: Init, pidfd: &OwnedFd) -> bool {
    match init.inode {
        Some(own) => {
            inode(pidfd) == Some(own) && !hook::ended_within(pidfd.as_fd(), Duration::ZERO).unwrap_or(false)
        }
        None => started_then(init),
    }
}

/// As [`is_alive`], by the start time alone.
fn started_then(init: Init) -> bool {
    stat(init.pid).is_some_and(|stat| stat.is(init) && !stat.has_ended())
}

/// How a process has ended that nobody has waited for yet.
fn ended_with(init: Init) -> Option<End> {
    let stat = stat(init.pid).filter(|stat| stat.is(init) && stat.has_ended())?;
    // What may not be seen reads as 0; this file, under the same rule, cannot be read at all.
    let may_look = || fs::read(format!("/proc/{}/io", init.pid)).is_ok();
    (stat.exit_code != 0 || may_look()).then(|| End::of_status(stat.exit_code))
}
