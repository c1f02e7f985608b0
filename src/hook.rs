//! Runs hooks: programs of the engine's that prepare or follow a container's life.
//!
//! Both halves run some, so this is below both. A hook gets the container's state on its standard input and no other
//! descriptor, and ends with whoever waits for it. Which environment it has, if its entry gives none, see
//! [`Environment`].

mod output;

pub use output::Output;

use crate::fault::{Fault, OrFault, Report};
use crate::interpreter;
use crate::kernel::deadline::Deadline;
use crate::kernel::pidfd::pidfd_open;
use crate::kernel::process::confine;
use crate::kernel::text::last_lines;
use crate::trace;
use nix::poll::{PollFd, PollFlags};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::Hook;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

/// The specification's kinds, by their names in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// By kase, before the root changes. Deprecated, and in use.
    Prestart,
    /// By kase, before the root changes.
    CreateRuntime,
    /// By init, before the root changes.
    CreateContainer,
    /// By init, before the exec.
    StartContainer,
    /// By kase, after the exec.
    Poststart,
    /// By kase, after the container is deleted.
    Poststop,
}

impl Name {
    /// Every kind, in the order of a container's life.
    pub const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The name under `hooks`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// What a hook hears about the container; runtime.md, "State".
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// `creating`, `created`, `running`, `stopped`.
    pub status: &'static str,
    /// Init's process id; left out when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The bundle's directory.
    pub bundle: String,
    /// From config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where hooks' output goes.
    #[serde(skip)]
    pub output: Rc<Output>,
}

impl State {
    /// The annotations of config.json, in order.
    pub fn annotations(listed: Option<&HashMap<String, String>>) -> BTreeMap<String, String> {
        listed.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The same container in another status, with another init.
    pub fn now(&self, status: &'static str, pid: Option<i32>) -> Self {
        Self { status, pid, ..self.clone() }
    }
}

/// What hooks have around them.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Their working directory.
    pub directory: &'a Path,
    /// For those whose entry says nothing of an environment.
    pub environment: Environment<'a>,
    /// A socket to whoever waits for them: when its other end is closed, they are killed.
    pub partner: Option<BorrowedFd<'a>>,
}

/// What the specification leaves open.
#[derive(Debug, Clone, Copy)]
pub enum Environment<'a> {
    /// kase's own, as with runc and crun: for hooks on the host's side.
    OfKase,
    /// None: the host's programs in the container's namespaces must see no variable that an image can set, such as
    /// LD_PRELOAD (CVE-2025-23266).
    Empty,
    /// The container's: for its own programs, which have its rights and no more, as with runc and crun.
    OfContainer(&'a [CString]),
}

impl<'a> Around<'a> {
    /// On the host's side, in `directory`.
    pub fn host(directory: &'a Path) -> Self {
        Self { directory, environment: Environment::OfKase, partner: None }
    }
}

/// Runs `hooks` one after another.
///
/// # Errors
/// The first hook that does not start, fails, or takes too long; `hooks.prestart[0]` is its place.
pub fn run(kind: Name, hooks: &[Hook], state: &State, around: Around<'_>) -> anyhow::Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    trace::step(kind.word());
    hooks.iter().enumerate().try_for_each(|numbered| one(kind, numbered, state, around))
}

/// Runs all of `hooks`, whatever becomes of each: failures are warnings.
pub fn run_all(kind: Name, hooks: &[Hook], state: &State, around: Around<'_>) {
    for numbered in hooks.iter().enumerate() {
        if let Err(error) = one(kind, numbered, state, around) {
            tracing::warn!("{}", Report::of(&error).line);
        }
    }
}

fn one(kind: Name, (index, hook): (usize, &Hook), state: &State, around: Around<'_>) -> anyhow::Result<()> {
    execute(kind, hook, &serde_json::to_vec(state)?, around, &state.output).or_fault(|| {
        Fault::at(
            format!("hooks.{}[{index}]", kind.word()),
            format!("error running {} hook #{index}: {}", kind.word(), hook.path().display()),
        )
        .remedy("run it by hand with the container's state (`kase state ID`) on its standard input")
    })
}

/// A file in memory. Not a pipe: a hook need not read what is in it, and may leave a process behind that keeps it
/// open.
fn memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"hook", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn execute(kind: Name, hook: &Hook, input: &[u8], around: Around<'_>, files: &Output) -> anyhow::Result<()> {
    let output = memory(&[])?;
    let mut command = command(hook, around);
    let stdout = files.stdout.as_ref().unwrap_or(&output).try_clone()?;
    let stderr = files.stderr.as_ref().unwrap_or(&output).try_clone()?;
    command.stdin(memory(input)?).stdout(stdout).stderr(stderr);
    // A startContainer hook runs under the container's filter, which may refuse these calls, as any of its processes.
    if kind != Name::StartContainer {
        confine(&mut command);
    }
    let mut child = command.spawn().map_err(|error| not_started(hook, error))?;
    let status = wait(&mut child, hook.timeout(), around.partner)?;
    if status.success() {
        return Ok(());
    }
    let ended = ending(status);
    match last_lines(&output).trim() {
        "" => anyhow::bail!("{ended}"),
        said => anyhow::bail!("{ended}, it said: {said}"),
    }
}

fn command(hook: &Hook, around: Around<'_>) -> Command {
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    match (hook.env(), around.environment) {
        (Some(own), _) => command.env_clear().envs(own.iter().filter_map(|entry| entry.split_once('='))),
        (None, Environment::OfKase) => &mut command,
        (None, Environment::Empty) => command.env_clear(),
        (None, Environment::OfContainer(own)) => {
            command.env_clear().envs(own.iter().filter_map(|entry| halves(entry)))
        }
    };
    command.current_dir(around.directory);
    command
}

/// The kernel says of a script, too, that there is no such file, if it is the interpreter that is missing.
fn not_started(hook: &Hook, error: io::Error) -> anyhow::Error {
    match interpreter::missing(hook.path()).filter(|_| error.kind() == io::ErrorKind::NotFound) {
        Some(missing) => missing.fault(hook.path()).into(),
        None => error.into(),
    }
}

/// How a hook ended; for the signal of a system call filter the words of strsignal(3), which runc has as well.
fn ending(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => format!("bad system call: {status}"),
        _ => status.to_string(),
    }
}

/// The name and the value of a variable.
fn halves(entry: &CStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = entry.to_bytes();
    let (name, value) = bytes.split_at_checked(bytes.iter().position(|byte| *byte == b'=')?)?;
    Some((OsStr::from_bytes(name), OsStr::from_bytes(&value[1..])))
}

/// Waits at most `timeout` seconds, and no longer than there is a partner; then kills.
fn wait(
    child: &mut Child,
    timeout: Option<i64>,
    partner: Option<BorrowedFd<'_>>,
) -> anyhow::Result<ExitStatus> {
    let seconds = timeout.filter(|seconds| *seconds > 0);
    if seconds.is_none() && partner.is_none() {
        return Ok(child.wait()?);
    }
    let pidfd = pidfd_open(child.id().cast_signed())?;
    // poll(2) reports POLLHUP without being asked for it.
    let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    fds.extend(partner.map(|partner| PollFd::new(partner, PollFlags::empty())));
    let limit = seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    let is_any_ready = limit.map_or(Deadline::NEVER, Deadline::after).poll(&mut fds)?;
    if fds[0].any().unwrap_or(false) {
        return Ok(child.wait()?);
    }
    child.kill()?;
    child.wait()?;
    match is_any_ready {
        true => anyhow::bail!("whoever waited for it has gone"),
        false => anyhow::bail!("it did not end within its timeout of {} s", seconds.unwrap_or_default()),
    }
}
