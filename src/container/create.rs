//! Creates a container: plans, claims the id, makes init, and gives it what it asks for until it waits for its start.

use super::announcement::Announcement;
use super::delete::Poststop;
use super::identity::{self, boot};
use super::record::Facts;
use super::request::{Request, StartedBy, Terminal};
use super::store::{Entry, Store};
use super::{draft, hook_state, readiness};
use crate::bundle::Bundle;
use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroup, CgroupFacts};
use crate::config::Config;
use crate::fault::{Fault, OrFault};
use crate::gate::Gate;
use crate::handshake::{ToInit, ToKase};
use crate::hook;
use crate::host::Host;
use crate::kernel::clone::Process;
use crate::launch::child::Child;
use crate::launch::console::Console;
use crate::launch::ids::Unmapped;
use crate::launch::intel_rdt::Share;
use crate::launch::notify::Agent;
use crate::launch::own_terminal::OwnTerminal;
use crate::launch::pidfd::Receiver;
use crate::launch::spawn::{self, Inputs};
use crate::launch::{fuse, limits, mount_idmap, mounts, net_devices};
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::payload::{self, Payload};
use crate::trace;
use oci_spec::runtime::Hook;
use rootless::caller::Caller;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

/// A container whose init waits for its start.
#[derive(Debug)]
pub struct Created {
    // Dropped from the first to the last: a cgroup can go when nothing is in it any more.
    pub init: Child,
    pub cgroup: Cgroup,
    /// Its place in the state root.
    pub entry: Entry,
    /// Where its terminal went.
    pub console: Console,
    /// What hooks are told.
    pub state: hook::State,
    /// The hooks after the start.
    pub poststart: Vec<Hook>,
    /// The hooks after the end, should it come to nothing.
    pub poststop: Poststop,
}

/// Creates the container. Nothing of it is left when that fails, or when what this returns is dropped before
/// it is kept.
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
        draft::check_process(&bundle.config)?;
    }
    draft::log_notes(&plan.notes);
    // What may not be there is looked for before anything is made.
    let console = console(&plan, request, terminal)?;
    let listener = plan.seccomp.as_ref().and_then(|filter| filter.listener);
    let agent = listener.map(Agent::connect).transpose()?;
    let announcement = announcement(request, &bundle.config)?;
    let ids = Unmapped::of(&plan, &host)?;

    let facts = facts(bundle, &plan, &request.id)?;
    let output = hook::Output::open(&facts.annotations)?;
    let state = hook_state(&facts, &request.id, "creating", None, output);
    let (poststart, after) = (facts.poststart.clone(), facts.poststop.clone());
    let share = facts.intel_rdt.as_deref().cloned();
    trace::step("state");
    // Dropped after the entry: its hooks follow when nothing is left.
    let poststop;
    let entry = store.claim(&request.id, &host.caller, facts, &bundle.text)?;
    poststop = Poststop::new(after, &state);
    keep_for_later(&entry, &plan, request)?;
    let overlay = super::overlay::ready(&plan, &host.caller, store, &request.id)?;
    let gate = match by {
        StartedBy::Gate => Some(Gate::build(entry.directory.open()?.as_fd())?),
        StartedBy::Us => None,
    };
    // Dropped after init, which is in it.
    let mut cgroup = Cgroup::none();
    let creation = Creation {
        plan: &plan,
        host: &host,
        layout: &layout,
        entry: &entry,
        state: &state,
        overlay: overlay.as_ref().map(AsFd::as_fd),
    };
    let (init, console) = creation.launch(gate, share, ids, &mut cgroup, console, agent.as_ref())?;
    trace::step("record");
    // What `run` starts is ready with that.
    if by == StartedBy::Gate {
        entry.ready()?;
    }
    announcement.make(&init, b"standard")?;
    Ok(Created { init, cgroup, entry, console, state, poststart, poststop })
}

/// A container that is claimed and has no init yet.
struct Creation<'a> {
    plan: &'a Plan<'a>,
    host: &'a Host,
    layout: &'a Layout,
    entry: &'a Entry,
    /// What hooks are told.
    state: &'a hook::State,
    /// The overlay's directory, which was checked.
    overlay: Option<BorrowedFd<'a>>,
}

impl Creation<'_> {
    /// Makes init and brings it to where only the exec is missing. Nothing is left of it if that fails; what there is
    /// of a cgroup is in `cgroup`.
    fn launch(
        &self,
        gate: Option<Gate>,
        share: Option<Share>,
        mut ids: Unmapped<'_>,
        cgroup: &mut Cgroup,
        console: Console,
        agent: Option<&Agent<'_>>,
    ) -> anyhow::Result<(Child, Console)> {
        let plan = self.plan;
        let mut written = CgroupFacts::default();
        let target = self.begin_cgroup(cgroup, &mut written)?;
        let mut init = spawn::spawn(
            plan,
            self.host,
            &self.payload(),
            self.inputs(gate)?,
            target.as_ref().map(AsFd::as_fd),
            &self.entry.descriptors(),
            &mut ids,
        )?;
        drop(target);
        let pid = init.process.pid;
        trace::step("record and cgroup");
        tracing::debug!("init of container {:?} is process {pid}", self.entry.directory.id);
        self.finish_cgroup(cgroup, &mut written, &init)?;
        limits::raise(&plan.process.limits, pid)?;
        if let (Some(rdt), Some(share)) = (&plan.intel_rdt, share) {
            init.share.insert(share).enter(rdt, pid)?;
        }
        init.devices = net_devices::hand_over(plan, pid)?;
        ids.write(pid)?;
        let user_namespace = match &plan.overlay {
            Some(_) => fuse::user_namespace(plan, pid)?,
            None => None,
        };
        init.say(ToInit::Begin, &cgroup.tasks_files()?)?;
        let needs = fuse::Needs { host: self.host, user_namespace, checked: self.overlay };
        let console = self.serve(&mut init, &needs, console, agent)?;
        if plan.namespaces.joins_pid() {
            init.set_scheduler(plan.attributes.scheduler.as_ref())?;
        }
        Ok((init, console))
    }

    fn inputs(&self, gate: Option<Gate>) -> anyhow::Result<Inputs<'_>> {
        // Init has other mounts than these in a mount namespace that it joins.
        let hierarchies = match self.plan.namespaces.join(Kind::Mount) {
            Some(_) => None,
            None => self.layout.v1()?,
        };
        let trees = mounts::prepare(self.plan, self.host, self.overlay)?;
        Ok(Inputs { gate, trees, hierarchies, state: self.state.clone() })
    }

    fn payload(&self) -> Payload<'_> {
        let plan = self.plan;
        Payload {
            process: &plan.process,
            attributes: &plan.attributes,
            filter: plan.seccomp.as_ref().map(|filter| &filter.program),
            keyring: if plan.keyring { payload::keyring(&self.entry.directory.id) } else { None },
            tells_apt: plan.tells_apt,
            preserve_fds: plan.preserve_fds,
            last_capability: self.host.last_capability,
        }
    }

    /// Gives init what it asks for, until it is ready.
    fn serve(
        &self,
        init: &mut Child,
        overlay: &fuse::Needs<'_>,
        mut console: Console,
        agent: Option<&Agent<'_>>,
    ) -> anyhow::Result<Console> {
        loop {
            match init.next()? {
                ToKase::MapMountIds(index, tree) => {
                    let entry = self.plan.mounts.get(usize::try_from(index)?);
                    let entry = entry.ok_or_else(|| init.vanished())?;
                    mount_idmap::map(entry, tree.as_fd(), &self.host.caller)?;
                    init.say(ToInit::IdsMapped, &[])?;
                }
                ToKase::Serve(socket) => {
                    let log = self.entry.directory.log("fuse-overlayfs.log");
                    let output = log.or_write_fault(|| Fault::doing("make the overlay's log"))?;
                    fuse::serve(self.plan, overlay, &socket, &output)?;
                    init.output = Some(output);
                }
                ToKase::RunHooks => {
                    self.run_hooks(init.process.pid)?;
                    init.say(ToInit::HooksDone, &[])?;
                }
                ToKase::Terminal(master) => console.take(master)?,
                ToKase::Listener(listener) => {
                    let pid = init.process.pid;
                    let state = self.state.now("creating", Some(pid));
                    agent.map_or(Ok(()), |agent| agent.send(listener.as_fd(), &state, pid))?;
                }
                ToKase::Continues(pidfd) => {
                    init.continue_as(pidfd)?;
                    self.write_init(&init.process)?;
                    init.say(ToInit::Begin, &[])?;
                }
                ToKase::Ready => return Ok(console),
                ToKase::MapOwnIds | ToKase::Namespaces | ToKase::Failed(_) => return Err(init.vanished()),
            }
        }
    }

    fn run_hooks(&self, pid: i32) -> anyhow::Result<()> {
        let state = self.state.now("created", Some(pid));
        let around = hook::Around::host(Path::new(&state.bundle));
        for kind in [hook::Name::Prestart, hook::Name::CreateRuntime] {
            hook::run(kind, self.plan.hooks.of(kind), &state, around)?;
        }
        Ok(())
    }

    /// Makes what init is cloned into: the cgroup from the start, but for a hop's, which only the hop could put there.
    /// Of v1 it is the v2 tree's; the many other directories are made while init mounts.
    fn begin_cgroup(
        &self,
        cgroup: &mut Cgroup,
        written: &mut CgroupFacts,
    ) -> anyhow::Result<Option<OwnedFd>> {
        trace::step("cgroup");
        // It is written down where, before it is made.
        *cgroup = Cgroup::planned(&self.plan.cgroup, self.layout)?;
        self.write_cgroup(written, cgroup.facts())?;
        cgroup.begin(&self.plan.cgroup, self.layout)?;
        match self.plan.namespaces.needs_hop() {
            true => Ok(None),
            false => cgroup.clone_target(),
        }
    }

    /// Makes the rest of the cgroup, and writes down who init is before it is moved there.
    fn finish_cgroup(
        &self,
        cgroup: &mut Cgroup,
        written: &mut CgroupFacts,
        init: &Child,
    ) -> anyhow::Result<()> {
        cgroup.finish(&self.plan.cgroup, self.layout)?;
        // Who may make none does without. With an init, what is written down counts as the container's.
        self.write_cgroup(written, cgroup.facts())?;
        self.write_init(&init.process)?;
        if !init.in_cgroup {
            cgroup.attach(&self.plan.cgroup, init.process.pid)?;
        }
        // Systemd says where.
        self.write_cgroup(written, cgroup.facts())
    }

    fn write_init(&self, init: &Process) -> anyhow::Result<()> {
        let doing = || Fault::doing(format!("read /proc/{}/stat", init.pid)).remedy("mount /proc");
        self.entry.journal().init(identity::of(init).or_fault(doing)?.ok_or_else(doing)?)
    }

    /// Writes the cgroup down, if it is another than the last that was.
    fn write_cgroup(&self, written: &mut CgroupFacts, facts: CgroupFacts) -> anyhow::Result<()> {
        if facts != *written {
            self.entry.journal().cgroup(&facts)?;
            *written = facts;
        }
        Ok(())
    }
}

/// Where the terminal goes, found while nothing is made yet.
fn console(plan: &Plan<'_>, request: &Request, terminal: Terminal) -> anyhow::Result<Console> {
    match (plan.process.terminal, &request.console_socket, terminal) {
        (None, None, _) => Ok(Console::None),
        (None, Some(_), _) => {
            Err(Fault::at("process.terminal", "there is no terminal to send to --console-socket")
                .remedy("set process.terminal to true, or leave --console-socket out")
                .into())
        }
        (Some(_), Some(socket), _) => Console::connect(socket),
        (Some(_), None, Terminal::Ours) => Ok(Console::Own(Box::new(OwnTerminal::find()?), None)),
        (Some(_), None, Terminal::Socket) => Err(Fault::at(
            "process.terminal",
            "cannot allocate tty if kase will detach without setting console socket",
        )
        .remedy("give --console-socket, or set process.terminal to false")
        .into()),
    }
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

/// Puts into the container's state directory what later commands need.
fn keep_for_later(entry: &Entry, plan: &Plan<'_>, request: &Request) -> anyhow::Result<()> {
    if let Some(filter) = &plan.seccomp {
        entry.directory.keep("filter", &filter.program.to_bytes())?;
    }
    if request.notify_socket.is_some() {
        readiness::prepare(entry.directory.open()?.as_fd())?;
    }
    Ok(())
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
        tells_apt: plan.tells_apt,
        annotations: hook::State::annotations(bundle.config.annotations.as_ref()),
        poststart: plan.hooks.of(hook::Name::Poststart).to_vec(),
        poststop: plan.hooks.of(hook::Name::Poststop).to_vec(),
        overlay: super::overlay::directory(plan),
        intel_rdt: plan.intel_rdt.as_ref().map(|rdt| Box::new(Share::choose(rdt, id))),
    })
}
