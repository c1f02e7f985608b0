//! Creates a container: plans, claims the id, launches init.

use super::announcement::Announcement;
use super::delete::Poststop;
use super::identity::{self, boot};
use super::record::Facts;
use super::store::{Entry, Store};
use super::{draft, readiness};
use crate::bundle::Bundle;
use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroup, CgroupFacts};
use crate::config::Config;
use crate::fault::{Fault, OrFault};
use crate::gate::Gate;
use crate::hook;
use crate::kernel::clone::Process;
use crate::launch::intel_rdt::Share;
use crate::launch::pidfd::Receiver;
use crate::launch::{self, Init, Making, Midwife, console, notify};
use crate::plan::cgroup::{Manager, Version};
use crate::plan::{Plan, adapt::Adapt, notes::Notes};
use crate::trace;
use oci_spec::runtime::Hook;
use rootless::caller::Caller;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

/// What the command line says about a container that is to be made.
#[derive(Debug)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// `--bundle`.
    pub bundle: PathBuf,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`, relative to the working directory.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `NAME=value` for the container, beside config.json's.
    pub environment: Vec<String>,
    /// Where somebody waits to hear that the container is ready.
    pub notify_socket: Option<OsString>,
    /// `--rootless`.
    pub adapt: Adapt,
    /// `--strict`.
    pub strictness: Strictness,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`, and those of LISTEN_FDS.
    pub preserve_fds: u32,
    /// `--cgroup-manager`, `--systemd-cgroup`, `--systemd-properties`.
    pub cgroups: Manager,
    /// `--overlay`: a directory, or `tmpfs`.
    pub overlay: Option<PathBuf>,
    /// `--fake-root`.
    pub fake_root: bool,
}

/// Whether config.json must be without fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// As the specification has it: what is unknown is ignored.
    Lenient,
    /// What `kase lint` calls an error is refused.
    Strict,
}

/// Who lets init go on to the exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// `kase start`, later.
    Gate,
    /// This process.
    Us,
}

/// Where the container's terminal is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// On our own, in the foreground.
    Ours,
    /// By whoever listens on `--console-socket`.
    Socket,
}

/// A container whose init waits for its start.
#[derive(Debug)]
pub struct Created {
    // Dropped from the first to the last: a cgroup can go when nothing is in it any more.
    /// Its init.
    pub init: Init,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its place in the state root.
    pub entry: Entry,
    /// The master of its terminal, for the foreground.
    pub master: Option<OwnedFd>,
    /// What hooks are told.
    pub state: hook::State,
    /// The hooks after the start.
    pub poststart: Vec<Hook>,
    /// The hooks after the end, should it come to nothing.
    pub poststop: Poststop,
}

/// Creates the container. Nothing of it is left when that fails, or when what this returns is dropped before
/// it is kept.
///
/// # Errors
/// Whatever is wrong with the bundle, the request or the host.
pub fn create(
    store: &Store,
    caller: Caller,
    request: &Request,
    by: StartedBy,
    terminal: Terminal,
) -> anyhow::Result<Created> {
    trace::step("bundle");
    // Never taken apart, which is a walk through all of it: this process has not much longer to live, or waits.
    let bundle = Box::leak(Box::new(draft::open(store, request)?));
    let (host, layout, plan) = draft::draw(bundle, caller, request)?;
    if by == StartedBy::Us {
        check_process(&bundle.config)?;
    }
    say(&plan.notes);
    let console = console(&plan, request, terminal)?;
    let agent =
        plan.seccomp.as_ref().and_then(|filter| filter.listener).map(notify::connect_to).transpose()?;
    let announcement = announcement(request, &bundle.config)?;

    let facts = facts(bundle, &plan, &request.id)?;
    let state = hook_state(&facts, &request.id)?;
    let (poststart, after) = (facts.poststart.clone(), facts.poststop.clone());
    let share = facts.intel_rdt.as_deref().cloned();
    trace::step("state");
    // Dropped after the entry: its hooks follow when nothing is left.
    let poststop;
    let entry = store.claim(&request.id, &host.caller, facts, &bundle.text)?;
    poststop = Poststop::new(after, &state);
    furnish(&entry, &plan, request)?;
    let checked = super::overlay::ready(&plan, &host.caller, store, &request.id)?;
    let gate = match by {
        StartedBy::Gate => Some(Gate::build(entry.directory.open()?.as_fd())?),
        StartedBy::Us => None,
    };
    let mut cgroup = Cgroup::none();
    let mut midwife = Witness {
        entry: &entry,
        plan: &plan,
        layout: &layout,
        state: &state,
        cgroup: &mut cgroup,
        written: CgroupFacts::default(),
        place: Place::ToTake,
        console,
        agent,
        master: None,
    };
    let target = midwife.clone_target()?;
    let checked = checked.as_ref().map(AsFd::as_fd);
    let hierarchies = match layout.version() {
        Some(Version::V1) => Some(Rc::clone(layout.all()?)),
        _ => None,
    };
    let making = Making {
        gate,
        private: entry.descriptors(),
        id: &request.id,
        state: state.clone(),
        share,
        cgroup: target,
        hierarchies,
        checked,
    };
    let init = launch::launch(&plan, &host, making, &mut midwife)?;
    let master = midwife.master;
    trace::step("record");
    // What `run` starts is ready with that.
    if by == StartedBy::Gate {
        entry.ready()?;
    }
    announcement.make(&init, b"standard")?;
    Ok(Created { init, cgroup, entry, master, state, poststart, poststop })
}

impl Created {
    /// Leaves all of it in place.
    pub fn keep(&mut self) {
        self.init.keep();
        self.cgroup.keep();
        self.entry.keep();
        self.poststop.keep();
    }
}

fn announcement<'a>(request: &'a Request, config: &Config) -> anyhow::Result<Announcement<'a>> {
    let by_option = request.pidfd_socket.as_deref().map(Receiver::of_option).transpose()?;
    let by_annotation = Receiver::of_annotation(config.annotations.as_ref())?;
    Ok(Announcement {
        receivers: by_option.into_iter().chain(by_annotation).collect(),
        pid_file: request.pid_file.as_deref(),
    })
}

fn hook_state(facts: &Facts, id: &str) -> anyhow::Result<hook::State> {
    Ok(hook::State {
        oci_version: facts.oci_version.clone(),
        id: id.to_string(),
        status: "creating",
        pid: None,
        bundle: facts.bundle.display().to_string(),
        annotations: facts.annotations.clone(),
        output: Rc::new(hook::Output::open(&facts.annotations)?),
    })
}

/// Puts into the container's state directory what later commands need.
fn furnish(entry: &Entry, plan: &Plan<'_>, request: &Request) -> anyhow::Result<()> {
    if let Some(filter) = &plan.seccomp {
        entry.directory.keep("filter", &filter.program.to_bytes())?;
    }
    if request.notify_socket.is_some() {
        readiness::prepare(entry.directory.open()?.as_fd())?;
    }
    Ok(())
}

/// Refuses a container that could not even be started.
///
/// # Errors
/// config.json without a process.
pub fn check_process(config: &Config) -> anyhow::Result<()> {
    if config.process.is_some() {
        return Ok(());
    }
    Err(Fault::at("process", "is missing, and there is nothing to run without it")
        .remedy("add process to config.json; `kase spec` writes a complete one")
        .into())
}

/// Logs what planning has to say.
pub fn say(notes: &Notes) {
    for (level, text) in notes.iter() {
        match *level {
            tracing::Level::WARN => tracing::warn!("{text}"),
            tracing::Level::INFO => tracing::info!("{text}"),
            _ => tracing::debug!("{text}"),
        }
    }
}

/// Where the master will go, checked while nothing is made yet.
#[derive(Debug)]
enum Console {
    None,
    Keep,
    Send(OwnedFd),
}

fn console(plan: &Plan<'_>, request: &Request, terminal: Terminal) -> anyhow::Result<Console> {
    match (plan.process.terminal, &request.console_socket, terminal) {
        (None, None, _) => Ok(Console::None),
        (None, Some(_), _) => {
            Err(Fault::at("process.terminal", "there is no terminal to send to --console-socket")
                .remedy("set process.terminal to true, or leave --console-socket out")
                .into())
        }
        (Some(_), Some(socket), _) => console::connect_to(socket).map(Console::Send),
        (Some(_), None, Terminal::Ours) => console::own().map(|_| Console::Keep),
        (Some(_), None, Terminal::Socket) => Err(Fault::at(
            "process.terminal",
            "cannot allocate tty if kase will detach without setting console socket",
        )
        .remedy("give --console-socket, or set process.terminal to false")
        .into()),
    }
}

fn facts(bundle: &Bundle, plan: &Plan<'_>, id: &str) -> anyhow::Result<Facts> {
    Ok(Facts {
        oci_version: bundle.config.oci_version.clone(),
        bundle: bundle.directory.clone(),
        rootfs: plan.rootfs.clone(),
        created: humantime::format_rfc3339_nanos(SystemTime::now()).to_string(),
        boot: boot()?.to_string(),
        namespaces: plan.namespaces.all(),
        keyring: plan.keyring,
        annotations: hook::State::annotations(bundle.config.annotations.as_ref()),
        poststart: plan.hooks.of(hook::Kind::Poststart).to_vec(),
        poststop: plan.hooks.of(hook::Kind::Poststop).to_vec(),
        overlay: super::overlay::directory(plan),
        intel_rdt: plan.intel_rdt.as_ref().map(|rdt| Box::new(Share::choose(rdt, id))),
    })
}

/// How far init is from being in its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Init is outside.
    ToTake,
    /// It is cloned into it.
    Taken,
}

struct Witness<'a> {
    entry: &'a Entry,
    plan: &'a Plan<'a>,
    state: &'a hook::State,
    layout: &'a Layout,
    cgroup: &'a mut Cgroup,
    /// What the journal knows of it.
    written: CgroupFacts,
    place: Place,
    console: Console,
    agent: Option<OwnedFd>,
    master: Option<OwnedFd>,
}

impl Witness<'_> {
    /// What init is cloned into: the cgroup from the start, but for a hop's, which only the hop could put there.
    /// Of v1 it is the v2 tree's; the many other directories are made while init mounts.
    fn clone_target(&mut self) -> anyhow::Result<Option<OwnedFd>> {
        trace::step("cgroup");
        // It is written down where, before it is made.
        self.write_cgroup(Cgroup::planned(&self.plan.cgroup, self.layout)?)?;
        *self.cgroup = Cgroup::begin(&self.plan.cgroup, self.layout)?;
        let target = match self.plan.namespaces.needs_hop() {
            true => None,
            false => self.cgroup.clone_target()?,
        };
        if target.is_some() {
            self.place = Place::Taken;
        }
        Ok(target)
    }

    fn write_init(&self, init: &Process) -> anyhow::Result<()> {
        let doing = || Fault::doing(format!("read /proc/{}/stat", init.pid)).remedy("mount /proc");
        self.entry.journal().init(identity::of(init).or_fault(doing)?.ok_or_else(doing)?)
    }

    /// Writes the cgroup down, if it is another than the last that was.
    fn write_cgroup(&mut self, facts: CgroupFacts) -> anyhow::Result<()> {
        if facts == self.written {
            return Ok(());
        }
        self.entry.journal().cgroup(&facts)?;
        self.written = facts;
        Ok(())
    }
}

impl Midwife for Witness<'_> {
    fn born(&mut self, init: &Process) -> anyhow::Result<Vec<OwnedFd>> {
        tracing::debug!("init of container {:?} is process {}", self.entry.directory.id, init.pid);
        self.cgroup.finish(&self.plan.cgroup, self.layout)?;
        // Who may make none does without. With an init, what is written down counts as the container's.
        if self.written.unit.is_none() {
            self.write_cgroup(self.cgroup.facts())?;
        }
        self.write_init(init)?;
        if self.place == Place::ToTake {
            self.cgroup.attach(&self.plan.cgroup, init.pid)?;
        }
        // Systemd says where.
        self.write_cgroup(self.cgroup.facts())?;
        self.cgroup.doors()
    }

    fn succeeded(&mut self, init: &Process) -> anyhow::Result<()> {
        self.write_init(init)
    }

    fn outside(&mut self, error: io::Error) -> anyhow::Result<()> {
        self.cgroup.give_up(&self.plan.cgroup, error)
    }

    fn hooks(&mut self, pid: i32) -> anyhow::Result<()> {
        let state = self.state.now("created", Some(pid));
        let around = hook::Around::host(Path::new(&state.bundle));
        for kind in [hook::Kind::Prestart, hook::Kind::CreateRuntime] {
            hook::run(kind, self.plan.hooks.of(kind), &state, around)?;
        }
        Ok(())
    }

    fn listener(&mut self, listener: OwnedFd, pid: i32) -> anyhow::Result<()> {
        let asked = self.plan.seccomp.as_ref().and_then(|filter| filter.listener);
        let (Some(agent), Some(asked)) = (&self.agent, asked) else { return Ok(()) };
        let state = self.state.now("creating", Some(pid));
        notify::send(agent.as_fd(), listener.as_fd(), asked.metadata, &state, pid)
    }

    fn log(&mut self) -> anyhow::Result<File> {
        self.entry.directory.log("fuse-overlayfs.log").or_fault(|| Fault::doing("make the overlay's log"))
    }

    fn terminal(&mut self, master: OwnedFd) -> anyhow::Result<()> {
        match &self.console {
            Console::Send(socket) => console::send(socket.as_fd(), master.as_fd()),
            Console::Keep | Console::None => {
                // Before the program can ask: later only changes are passed on.
                console::fit(master.as_fd())?;
                self.master = Some(master);
                Ok(())
            }
        }
    }
}
