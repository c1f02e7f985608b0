//! Adds a process to a running container.

use super::announcement::Announcement;
use super::locks::GUARDED;
use super::{Container, Status};
use crate::accounts;
use crate::bundle;
use crate::cgroup::Join;
use crate::config::{self, Config};
use crate::fault::{Fault, OrFault};
use crate::handshake::{ToInit, ToKase};
use crate::hook;
use crate::host::facilities::Facilities;
use crate::kernel::capability;
use crate::kernel::path::openat;
use crate::kernel::text::read_bytes;
use crate::launch::child::Child;
use crate::launch::console::Console;
use crate::launch::join;
use crate::launch::limits;
use crate::launch::notify::Agent;
use crate::launch::own_terminal::OwnTerminal;
use crate::launch::pidfd::Receiver;
use crate::launch::relay::{self, Signals};
use crate::plan::adapt::Adapt;
use crate::plan::attributes;
use crate::plan::exec::{self, Changes};
use crate::plan::namespaces::Kind;
use crate::plan::notes::Notes;
use crate::plan::payload::{self, Payload};
use crate::plan::process::{self, Limit};
use crate::plan::seccomp::Listener;
use crate::seccomp::Program;
use crate::trace;
use nix::fcntl::OFlag;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::stat::Mode;
use oci_spec::runtime::Linux;
use rootless::caller::Standing;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// What the command line says.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line's, and is read once")]
pub struct Request {
    /// `--rootless`.
    pub adapt: Adapt,
    pub standing: Standing,
    /// `--process`, which replaces all that `changes` could say.
    pub process: Option<PathBuf>,
    /// The single flags.
    pub changes: Changes,
    /// `--user`, as given: names are the container's.
    pub user: Option<String>,
    /// `--console-socket`.
    pub console_socket: Option<PathBuf>,
    /// `--pid-file`.
    pub pid_file: Option<PathBuf>,
    /// `--pidfd-socket`.
    pub pidfd_socket: Option<PathBuf>,
    /// `--detach`.
    pub detach: bool,
    /// `--tty`, which a process file's `terminal` gives way to.
    pub tty: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
    /// `--cgroup`.
    pub cgroups: Vec<String>,
    /// `--ignore-paused`.
    pub ignore_paused: bool,
}

/// Runs the process. The code is its own; 0 when detached.
///
/// # Errors
/// A container that does not run, or whatever keeps the process from running.
pub fn exec(container: &Container, mut request: Request) -> anyhow::Result<i32> {
    trace::step("container");
    check_status(container, &request)?;
    let gone = || Fault::doing("container not running");
    let (init, pidfd) = container.init().zip(container.pidfd()?).ok_or_else(gone)?;
    let pid = init.pid;
    let facts = container.facts().ok_or_else(gone)?;
    let config = stored(container)?;
    let own = config.process.as_deref().ok_or_else(|| Fault::at("process", "the container has none"))?;
    request.changes.user = request.user.take().map(|user| look_up(pid, pidfd.as_fd(), &user)).transpose()?;
    let process = wanted(own, &mut request)?;
    trace::step("plan");
    let mut notes = Notes::default();
    let last_capability = capability::last();
    // Its ids are not checked against maps: the kernel knows those of the namespace that is joined.
    let plan = process::decide(Some(&process), None, last_capability, &mut notes)?
        .with_groups(process::groups(config.annotations.as_ref()));
    let facilities = Facilities::look(&attributes::needs(Some(&process), None))?;
    // As of the container.
    let confined = facts.namespaces & Kind::User.flag() != 0 || request.standing != Standing::Root;
    let adapt = if confined { request.adapt } else { Adapt::No };
    let linux = config.linux.as_deref();
    let attributes = attributes::decide(Some(&process), linux, &facilities, adapt, &mut notes)?;
    super::draft::log_notes(&notes);
    let mut console = console(&request, plan.terminal.is_some())?;
    let receiver = request.pidfd_socket.as_deref().map(Receiver::of_option).transpose()?;
    let announcement =
        Announcement { receivers: receiver.into_iter().collect(), pid_file: request.pid_file.as_deref() };
    let signals = if request.detach { None } else { Some(Signals::hold()?) };
    if !request.detach && !request.no_subreaper {
        set_child_subreaper(true)?;
    }
    trace::step("cgroup");
    let mut cgroup = container.cgroup().join(&request.cgroups, pid)?;
    let filter = filter(container)?;
    let payload = Payload {
        process: &plan,
        attributes: &attributes,
        filter: filter.as_ref(),
        keyring: if facts.keyring { payload::keyring(container.id()) } else { None },
        tells_apt: facts.tells_apt,
        preserve_fds: request.preserve_fds,
        last_capability,
    };
    let agent = agent(payload.filter, linux)?;
    let state = container.hook_state("running", Some(pid)).ok_or_else(gone)?;
    let joined = join::open_container(pid, pidfd, facts.namespaces)?;
    let target = cgroup.open.take();
    let mut added = join::join(&payload, &joined, target.as_ref().map(AsFd::as_fd))?;
    place(container, &added, cgroup, &plan.limits)?;
    serve(&mut added, &mut console, agent.as_ref(), &state)?;
    if joined.joins(Kind::Pid) {
        added.set_scheduler(attributes.scheduler.as_ref())?;
    }
    // Not to be held open as long as the process lives.
    drop((joined, target));
    announcement.make(&added, b"setns")?;
    trace::step("start");
    added.start()?;
    trace::finish();
    let code = match signals {
        Some(signals) => relay::attend(signals, &added.process, console, None)?.code(),
        None => 0,
    };
    added.keep();
    Ok(code)
}

/// Puts the process where the container's are, and lets it go on.
fn place(container: &Container, added: &Child, cgroup: Join, limits: &[Limit]) -> anyhow::Result<()> {
    trace::step("cgroup and limits");
    let pid = added.process.pid;
    tracing::debug!("the process that is added to container {:?} is process {pid}", container.id());
    if !added.in_cgroup {
        cgroup.attach(pid)?;
    }
    container.share().map_or(Ok(()), |share| share.add(pid))?;
    limits::raise(limits, pid)?;
    added.say(ToInit::Begin, &cgroup.tasks_files)
}

/// The agent that the listener of the filter goes to, if it has one.
fn agent<'a>(filter: Option<&Program>, linux: Option<&'a Linux>) -> anyhow::Result<Option<Agent<'a>>> {
    let listener = linux.and_then(|linux| linux.seccomp().as_ref()).and_then(Listener::of);
    match filter {
        Some(filter) if filter.notifies() => listener.map(Agent::connect).transpose(),
        _ => Ok(None),
    }
}

/// Gives the process what it asks for, until it is ready.
fn serve(
    added: &mut Child,
    console: &mut Console,
    agent: Option<&Agent<'_>>,
    state: &hook::State,
) -> anyhow::Result<()> {
    loop {
        match added.next()? {
            ToKase::Terminal(master) => console.take(master)?,
            ToKase::Listener(listener) => {
                let pid = added.process.pid;
                agent.map_or(Ok(()), |agent| agent.send(listener.as_fd(), state, pid))?;
            }
            ToKase::Continues(pidfd) => {
                added.continue_as(pidfd)?;
                added.say(ToInit::Begin, &[])?;
            }
            ToKase::Ready => return Ok(()),
            _ => return Err(added.vanished()),
        }
    }
}

fn check_status(container: &Container, request: &Request) -> anyhow::Result<()> {
    let id = container.id();
    let status = container.status()?;
    let wrong = match status {
        Status::Running | Status::Created => return Ok(()),
        Status::Paused if request.ignore_paused => return Ok(()),
        Status::Paused => format!("cannot exec in a paused container {id:?}"),
        Status::Creating | Status::Stopped => format!("cannot exec in container {id:?}: it is {status}"),
    };
    Err(Fault::doing(wrong).remedy(container.remedy_for(status)).into())
}

/// Reads a file beside the record, which is no symlink. More than kase takes for a configuration is none of its own.
fn read_kept(container: &Container, name: &str) -> io::Result<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let file = openat(container.directory_fd(), name, OFlag::O_RDONLY | GUARDED, Mode::empty())?;
    let mut bytes = Vec::new();
    match File::from(file).take(MOST + 1).read_to_end(&mut bytes)? as u64 {
        0..=MOST => Ok(bytes),
        _ => Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {} MiB", MOST >> 20))),
    }
}

/// The configuration that the container was created with, whatever has become of its bundle.
pub(super) fn stored(container: &Container) -> anyhow::Result<Config> {
    let text = read_kept(container, "config.json")
        .or_fault(|| Fault::doing("read the container's configuration in its state directory"))?;
    Ok(bundle::parse(&text)?)
}

/// The filter as it was compiled at the container's creation.
fn filter(container: &Container) -> anyhow::Result<Option<Program>> {
    let doing = || Fault::doing("read the container's system call filter in its state directory");
    let bytes = match read_kept(container, "filter") {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.or_fault(doing)?,
    };
    let damaged = || Fault::doing("the container's system call filter in its state directory is damaged");
    Ok(Some(Program::from_bytes(&bytes).ok_or_else(damaged)?))
}

fn wanted(own: &config::Process, request: &mut Request) -> anyhow::Result<config::Process> {
    let Some(file) = &request.process else {
        return Ok(exec::change(own, std::mem::take(&mut request.changes)));
    };
    let text = read_bytes(file).or_fault(|| {
        Fault::doing(format!("read {}", file.display()))
            .remedy("give --process the file with the process's JSON")
    })?;
    let given: config::Process =
        bundle::parse(&text).map_err(|fault| fault.within(format!("parse {}", file.display())))?;
    let mut process = exec::complete(own, given);
    if request.tty {
        process.terminal = Some(true);
    }
    Ok(process)
}

/// `USER[:GROUP]`, names by the container's own files. Nothing of the container is opened for numbers alone, which as in
/// crun are of group 0.
fn look_up(pid: i32, pidfd: BorrowedFd<'_>, text: &str) -> anyhow::Result<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    if let Some(ids) = accounts::id(user).zip(group.map_or(Some(0), accounts::id)) {
        return Ok(ids);
    }
    let root = join::open_root(pid, pidfd).or_fault(|| Fault::doing("open the container's root"))?;
    let file = |path: &CStr| {
        accounts::read_inside(root.as_fd(), path).or_fault(|| {
            Fault::doing(format!("--user: read the container's {}", path.to_string_lossy()))
                .remedy("give --user numbers, as in 1000:1000")
        })
    };
    let unknown = |what: &str, name: &str, path: &str| {
        Fault::doing(format!("--user: the container has no {what} {name:?}"))
            .remedy(format!("use a number, or a name from the container's {path}"))
    };
    let (uid, own_gid) = match accounts::id(user) {
        Some(uid) => (uid, 0),
        None => {
            let found = accounts::user(&file(c"/etc/passwd")?, user);
            let found = found.ok_or_else(|| unknown("user", user, "/etc/passwd"))?;
            (found.uid, found.gid)
        }
    };
    let gid = match group.map(|group| (group, accounts::id(group))) {
        None => own_gid,
        Some((_, Some(gid))) => gid,
        Some((name, None)) => accounts::group(&file(c"/etc/group")?, name)
            .ok_or_else(|| unknown("group", name, "/etc/group"))?,
    };
    Ok((uid, gid))
}

fn console(request: &Request, terminal: bool) -> anyhow::Result<Console> {
    match (&request.console_socket, terminal) {
        (Some(socket), true) => Console::connect(socket),
        (Some(_), false) => Err(Fault::doing("there is no terminal to send to --console-socket")
            .remedy("give --tty, or leave --console-socket out")
            .into()),
        (None, true) if request.detach => {
            Err(Fault::doing("cannot allocate tty if kase will detach without setting console socket")
                .remedy("give --console-socket, or leave --tty out")
                .into())
        }
        (None, true) => Ok(Console::Own(Box::new(OwnTerminal::find()?), None)),
        (None, false) => Ok(Console::None),
    }
}
