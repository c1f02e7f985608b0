//! Adds a process to a running container.

use super::create::write_pid_file;
use super::{Container, Status};
use crate::accounts;
use crate::bundle;
use crate::config::{self, Config};
use crate::fault::{Fault, OrFault};
use crate::kernel::capability;
use crate::kernel::path::{Resolve, openat2};
use crate::kernel::process::become_subreaper;
use crate::launch::join::{Target, join};
use crate::launch::relay::{self, Screen, Signals};
use crate::launch::{Init, Midwife, console};
use crate::plan::Notes;
use crate::plan::exec::{self, Changes};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// What the command line says.
#[derive(Debug)]
pub struct Request {
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
    /// `--detach`.
    pub detach: bool,
    /// `--tty`, which a process file's `terminal` gives way to.
    pub tty: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// `--no-subreaper`.
    pub no_subreaper: bool,
}

/// Runs the process. The code is its own; 0 when detached.
///
/// # Errors
/// A container that does not run, or whatever keeps the process from running.
pub fn exec(container: &Container, mut request: Request) -> anyhow::Result<i32> {
    match container.status() {
        Status::Running | Status::Created => {}
        status => {
            return Err(Fault::doing(format!(
                "cannot exec in container {:?}: it is {status}",
                container.id()
            ))
            .remedy(format!("start it first: kase start {}", container.id()))
            .into());
        }
    }
    let gone = || Fault::doing("container not running");
    let (pid, pidfd) = container.pid().zip(container.pidfd()).ok_or_else(gone)?;
    let facts = container.facts().ok_or_else(gone)?;
    let own = stored(container)?;
    let own = own.process.as_ref().ok_or_else(|| Fault::at("process", "the container has none"))?;
    request.changes.user = request.user.take().map(|user| look_up(pid, &user)).transpose()?;
    let process = wanted(own, &mut request)?;
    let mut notes = Notes::default();
    let last_capability = capability::last();
    let plan = exec::decide(&process, last_capability, &mut notes)?;
    super::create::say(&notes);
    let console = connect(&request, plan.terminal.is_some())?;
    let signals = if request.detach { None } else { Some(Signals::hold()?) };
    if !request.detach && !request.no_subreaper {
        become_subreaper()?;
    }
    let target = Target {
        pid,
        pidfd,
        id: container.id(),
        keyring: facts.keyring,
        namespaces: facts.namespaces,
        preserve_fds: request.preserve_fds,
        last_capability,
    };
    let mut witness = Witness { console, master: None };
    let mut init = join(&plan, target, &mut witness)?;
    if let Some(file) = &request.pid_file {
        write_pid_file(file, init.process.pid)?;
    }
    init.start()?;
    match signals {
        Some(signals) => attend(&signals, &mut init, witness.master),
        None => {
            init.keep();
            Ok(0)
        }
    }
}

fn attend(signals: &Signals, init: &mut Init, master: Option<OwnedFd>) -> anyhow::Result<i32> {
    let screen = match master {
        Some(master) => Some(Screen::join(master, console::own()?)?),
        None => None,
    };
    let end = relay::attend(signals, init.process.pid, init.process.pidfd.as_fd(), screen)?;
    init.keep();
    Ok(end.code())
}

/// The configuration that the container was created with, whatever has become of its bundle.
fn stored(container: &Container) -> anyhow::Result<Config> {
    let file =
        openat(container.directory_fd(), "config.json", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .or_fault(|| Fault::doing("open the container's configuration"))?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut fs::File::from(file), &mut text)?;
    Ok(bundle::parse(&text)?)
}

fn wanted(own: &config::Process, request: &mut Request) -> anyhow::Result<config::Process> {
    let Some(file) = &request.process else {
        return Ok(exec::change(own, std::mem::take(&mut request.changes)));
    };
    let text = fs::read(file).or_fault(|| {
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

/// `USER[:GROUP]` by the container's own files, resolved inside its root.
fn look_up(pid: i32, text: &str) -> anyhow::Result<(u32, u32)> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let root = open(
        format!("/proc/{pid}/root").as_str(),
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .or_fault(|| Fault::doing("open the container's root"))?;
    let file = |path: &CStr| {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        openat2(root.as_fd(), path, flags, 0, Resolve::IN_ROOT).and_then(accounts::read).unwrap_or_default()
    };
    let unknown = |what: &str, name: &str, path: &str| {
        Fault::doing(format!("--user: the container has no {what} {name:?}"))
            .remedy(format!("use a number, or a name from the container's {path}"))
    };
    let found = accounts::user(&file(c"/etc/passwd"), user);
    let uid = match (&found, user.parse()) {
        (Some(found), _) => found.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(unknown("user", user, "/etc/passwd").into()),
    };
    let gid = match group {
        Some(group) => accounts::group(&file(c"/etc/group"), group)
            .ok_or_else(|| unknown("group", group, "/etc/group"))?,
        None => found.map_or(0, |user| user.gid),
    };
    Ok((uid, gid))
}

fn connect(request: &Request, terminal: bool) -> anyhow::Result<Option<OwnedFd>> {
    match (&request.console_socket, terminal) {
        (Some(socket), true) => console::connect_to(socket).map(Some),
        (Some(_), false) => Err(Fault::doing("there is no terminal to send to --console-socket")
            .remedy("give --tty, or leave --console-socket out")
            .into()),
        (None, true) if request.detach => {
            Err(Fault::doing("cannot allocate tty if kase will detach without setting console socket")
                .remedy("give --console-socket, or leave --tty out")
                .into())
        }
        (None, true) => console::own().map(|_| None),
        (None, false) => Ok(None),
    }
}

struct Witness {
    console: Option<OwnedFd>,
    master: Option<OwnedFd>,
}

impl Midwife for Witness {
    fn born(&mut self, _: i32) -> anyhow::Result<()> {
        Ok(())
    }

    fn hooks(&mut self, _: i32) -> anyhow::Result<()> {
        Ok(())
    }

    fn terminal(&mut self, master: OwnedFd) -> anyhow::Result<()> {
        match &self.console {
            Some(socket) => console::send(socket.as_fd(), master.as_fd()),
            None => {
                console::copy_size(master.as_fd())?;
                self.master = Some(master);
                Ok(())
            }
        }
    }
}
