//! kase's half of a container's birth: makes init, gives it what only kase can, and hears it out.

pub mod console;
mod fuse;
mod id_mapped;
pub mod intel_rdt;
pub mod join;
pub mod limits;
mod net_devices;
pub mod notify;
pub mod own_terminal;
pub mod pidfd;
pub mod relay;
mod spawn;

use crate::fault::{Fault, OrFault};
use crate::gate::Gate;
use crate::handshake::{Expected, KaseEnd, ToInit, ToKase};
use crate::hook;
use crate::host::Host;
use crate::host::hierarchies::Hierarchy;
use crate::init::attributes;
use crate::kernel::clone::Process;
use crate::kernel::descriptor::close_on_exec_from;
use crate::kernel::pidfd::{pidfd_pid, pidfd_send_signal};
use crate::kernel::process::{Dumpable, End, set_dumpable, wait_for};
use crate::kernel::text::last_lines;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::scheduling::Scheduler;
use crate::trace;
use intel_rdt::Share;
use rootless::caller::Standing;
use rootless::id_writer::{self, Means};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// Init, made and not yet started. Killed and reaped when dropped before it is [kept](Init::keep).
#[derive(Debug)]
pub struct Init {
    /// Its process, as seen by kase.
    pub process: Process,
    /// What errors call it.
    called: &'static str,
    kase: KaseEnd,
    share: Option<Share>,
    successor: Successor,
    kept: bool,
}

/// Whether the process makes another one that goes on in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Successor {
    /// It does.
    Awaited,
    /// It does not, or has.
    None,
}

/// What happens on the way, done by whoever knows the container.
pub trait Midwife {
    /// This process is init: write it down. Returns the `tasks` of v1's cgroups, for init to enter.
    fn born(&mut self, init: &Process) -> anyhow::Result<Vec<OwnedFd>>;

    /// This process goes on in the place of the one before.
    fn succeeded(&mut self, init: &Process) -> anyhow::Result<()>;

    /// Init cannot be put into its cgroup; without an error it does without.
    fn outside(&mut self, error: io::Error) -> anyhow::Result<()>;

    /// The runtime's hooks are due.
    fn hooks(&mut self, pid: i32) -> anyhow::Result<()>;

    /// The container's filter has this listener.
    fn listener(&mut self, listener: OwnedFd, pid: i32) -> anyhow::Result<()>;

    /// A file for what the overlay's program says.
    fn log(&mut self) -> anyhow::Result<File>;

    /// The container's terminal has this master.
    fn terminal(&mut self, master: OwnedFd) -> anyhow::Result<()>;
}

/// Makes init and brings it to where only the exec is missing.
pub fn launch(
    plan: &Plan<'_>,
    host: &Host,
    hands: Making<'_>,
    midwife: &mut dyn Midwife,
) -> anyhow::Result<Init> {
    // Looked for before a process exists.
    let means = match &plan.maps {
        Some(maps) => Some(Means::choose(&host.caller, maps).map_err(|error| no_means(host, error))?),
        None => None,
    };
    trace::step("clone");
    let mut births = births(plan);
    let (share, checked) = (hands.share.clone(), hands.checked);
    // Nobody may look into init while it is made (CVE-2016-9962). Who maps ids for a user has to see that the process is
    // that user's: see init.
    if host.caller.standing != Standing::User {
        set_dumpable(Dumpable::No);
    }
    let mut init = spawn::spawn(plan, host, hands, midwife)?;
    let hop = (births > 0 && !plan.namespaces.joins_pid()).then_some(init.process.pid);
    if plan.namespaces.joins_pid() {
        init.successor = Successor::Awaited;
    }
    let mut mapped = false;
    while births > 0 {
        init.process = init.born()?;
        births -= 1;
        if births > 0 {
            // The hop itself needs the maps.
            map(plan, host, means.as_ref(), init.process.pid)?;
            mapped = true;
            init.say(ToInit::Begin)?;
        }
    }
    if let Some(hop) = hop {
        wait_for(hop)?;
    }
    trace::step("record and cgroup");
    let doors = midwife.born(&init.process)?;
    limits::raise(&plan.process.limits, init.process.pid)?;
    if let (Some(rdt), Some(share)) = (&plan.intel_rdt, share) {
        init.share.insert(share).enter(rdt, init.process.pid)?;
    }
    net_devices::hand_over(plan, init.process.pid)?;
    if !mapped {
        map(plan, host, means.as_ref(), init.process.pid)?;
    }
    let user_namespace = match &plan.overlay {
        Some(_) => fuse::user_namespace(plan, init.process.pid)?,
        None => None,
    };
    init.say_with(ToInit::Begin, &doors)?;
    drop(doors);
    init.attend(midwife, Some((plan, &fuse::Needs { host, user_namespace, checked })))?;
    if plan.namespaces.joins_pid() {
        init.schedule(plan.attributes.scheduler.as_ref())?;
    }
    Ok(init)
}

/// What [`launch`] makes init from, beside the plan.
#[derive(Debug)]
pub struct Making<'a> {
    /// For a container that `start` starts.
    pub gate: Option<Gate>,
    /// Descriptors of the container's state, which init must never have.
    pub private: [BorrowedFd<'a>; 3],
    /// Names the session keyring.
    pub id: &'a str,
    /// For the hooks that init runs.
    pub state: hook::State,
    /// Its place in resctrl.
    pub share: Option<Share>,
    /// The cgroup v2 directory to clone init into.
    pub cgroup: Option<OwnedFd>,
    /// The cgroup hierarchies of v1.
    pub hierarchies: Option<Rc<[Hierarchy]>>,
    /// The overlay's directory, which was checked.
    pub checked: Option<BorrowedFd<'a>>,
}

/// How often we are told of a process before it is init, or is as far as one: never without a hop, and twice when the hop
/// itself lives in the new user namespace.
fn births(plan: &Plan<'_>) -> u32 {
    match (plan.namespaces.needs_hop(), plan.namespaces.offsets.is_empty()) {
        (false, _) => 0,
        (true, false) if plan.namespaces.makes(Kind::User) => 2,
        (true, _) => 1,
    }
}

fn no_means(host: &Host, error: id_writer::Error) -> anyhow::Error {
    let fault = Fault::at("linux.uidMappings", "find the programs that map subordinate ids");
    let hurdle = error.hurdle(&host.caller);
    hurdle.into_iter().fold(fault, |fault, hurdle| fault.remedy(hurdle.remedy)).caused_by(error)
}

fn map(plan: &Plan<'_>, host: &Host, means: Option<&Means>, pid: i32) -> anyhow::Result<()> {
    let (Some(maps), Some(means)) = (&plan.maps, means) else { return Ok(()) };
    trace::step("id maps");
    if matches!(means, Means::Helpers { .. }) {
        // They are others' programs, with root's rights, and not to hold what kase was started with.
        close_on_exec_from(3)?;
    }
    id_writer::write(pid.unsigned_abs(), maps, means).map_err(|error| {
        let fault = Fault::doing("map the container's user and group ids");
        let fault = match error.hurdle(&host.caller) {
            Some(hurdle) => {
                Fault::doing(format!("map the container's user and group ids ({})", hurdle.cause))
                    .remedy(hurdle.remedy)
            }
            None => fault,
        };
        fault.caused_by(error)
    })
}

impl Init {
    fn new(called: &'static str, process: Process, kase: KaseEnd) -> Self {
        Self { called, process, kase, share: None, successor: Successor::None, kept: false }
    }

    /// Speaks to init; when it has gone, what it said last is the error.
    fn say(&self, word: ToInit) -> anyhow::Result<()> {
        self.say_with(word, &[])
    }

    fn say_with(&self, word: ToInit, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let Err(error) = self.kase.say(word, fds) else { return Ok(()) };
        // Init still waits for the word then, and has nothing to say.
        if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() != ErrorKind::BrokenPipe) {
            return Err(error).or_fault(|| Fault::doing("pass descriptors to the container's init"));
        }
        while let Some(heard) = self.kase.hear()? {
            if let ToKase::Failed(report) = heard {
                return Err(report.into_error());
            }
        }
        Err(error)
    }

    /// Waits for a word. If the process has ended without one, the one that it was to make may be there, which nobody
    /// else could name: it ends when it hears nothing more.
    ///
    /// # Errors
    /// It has ended.
    fn await_successor(&self) -> anyhow::Result<()> {
        match self.kase.expects(self.process.pidfd.as_fd())? {
            Expected::Word => Ok(()),
            Expected::Nothing => {
                self.kase.hang_up();
                Err(self.vanished())
            }
        }
    }

    /// Hears of the process that becomes init, from the hop.
    fn born(&self) -> anyhow::Result<Process> {
        self.await_successor()?;
        match self.kase.hear()? {
            Some(ToKase::Born(pidfd)) => {
                let pid = pidfd_pid(pidfd.as_fd())?;
                Ok(Process { pid, pidfd })
            }
            Some(ToKase::Failed(report)) => Err(report.into_error()),
            _ => Err(self.vanished()),
        }
    }

    /// Answers init until it is ready. The plan is that of a new container's.
    fn attend(
        &mut self,
        midwife: &mut dyn Midwife,
        made: Option<(&Plan<'_>, &fuse::Needs<'_>)>,
    ) -> anyhow::Result<()> {
        let mount = |index: u32| {
            let (plan, needs) = made?;
            let mount = plan.mounts.get(usize::try_from(index).ok()?)?;
            Some((mount, mount.idmap.as_ref()?, &needs.host.caller))
        };
        let mut log = None;
        loop {
            trace::step("wait for init");
            if self.successor == Successor::Awaited {
                self.await_successor()?;
            }
            match self.kase.hear()? {
                Some(ToKase::MapIds(index, tree)) => {
                    let (mount, idmap, caller) = mount(index).ok_or_else(|| self.vanished())?;
                    id_mapped::map(mount, idmap, tree.as_fd(), caller)?;
                    self.say(ToInit::IdsMapped)?;
                }
                Some(ToKase::Serve(socket)) => {
                    let (plan, needs) = made.ok_or_else(|| self.vanished())?;
                    fuse::serve(plan, needs, &socket, log.insert(midwife.log()?))?;
                }
                Some(ToKase::HooksPlease) => {
                    midwife.hooks(self.process.pid)?;
                    self.say(ToInit::HooksDone)?;
                }
                Some(ToKase::Terminal(master)) => midwife.terminal(master)?,
                Some(ToKase::Listener(listener)) => midwife.listener(listener, self.process.pid)?,
                Some(ToKase::Failed(mut report)) => {
                    let words = log.as_ref().map(last_lines).filter(|words| !words.is_empty());
                    report.line.extend(words.map(|words| format!(" ({words})")));
                    return Err(report.into_error());
                }
                Some(ToKase::Born(pidfd)) => self.passed_to(pidfd, midwife)?,
                Some(ToKase::Ready) => return Ok(()),
                None => return Err(self.vanished()),
            }
        }
    }

    /// The process has made another, which goes on in its place, and ends.
    fn passed_to(&mut self, pidfd: OwnedFd, midwife: &mut dyn Midwife) -> anyhow::Result<()> {
        let before = self.process.pid;
        self.process = Process { pid: pidfd_pid(pidfd.as_fd())?, pidfd };
        self.successor = Successor::None;
        wait_for(before)?;
        midwife.succeeded(&self.process)?;
        self.say(ToInit::Begin)
    }

    /// Gives a process that was made for the last step the scheduler that it does not inherit.
    fn schedule(&self, scheduler: Option<&Scheduler>) -> anyhow::Result<()> {
        match scheduler.filter(|scheduler| !scheduler.is_inherited()) {
            Some(scheduler) => attributes::set_scheduler(scheduler, self.process.pid),
            None => Ok(()),
        }
    }

    fn vanished(&self) -> anyhow::Error {
        // It has ended, or says what it must not.
        let _ = pidfd_send_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
        let end = match wait_for(self.process.pid) {
            Ok(End::Signalled(signal)) => format!(": signal {signal} ended it"),
            Ok(End::Exited(code)) => format!(": its exit code is {code}"),
            Err(_) => String::new(),
        };
        Fault::doing(format!("{} ended before it was ready{end}", self.called))
            .remedy("look for an out-of-memory kill or a crash in `dmesg`")
            .into()
    }

    /// Lets init execute the program, and waits until it has.
    ///
    /// # Errors
    /// Why the program could not be executed.
    pub fn start(&self) -> anyhow::Result<()> {
        self.say(ToInit::Start)?;
        match self.kase.hear()? {
            None => Ok(()),
            Some(ToKase::Failed(report)) => Err(report.into_error()),
            Some(_) => Err(self.vanished()),
        }
    }

    /// Leaves init alive when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.kept {
            // Gone already is as good.
            let _ = pidfd_send_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
            let _ = wait_for(self.process.pid);
            if let Some(Err(error)) = self.share.as_ref().map(Share::leave) {
                tracing::warn!("linux.intelRdt: the container's group stays: {error}");
            }
        }
    }
}
