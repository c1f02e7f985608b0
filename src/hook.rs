//! Runs hooks: programs of the engine's that prepare or follow a container's life.
//!
//! Both halves run some, so this is below both. A hook gets the container's state on its standard input and
//! nothing else of ours: no environment, no descriptor. Only a startContainer hook, which is the image's, has the
//! container's environment where its entry gives none, as it has with runc.

mod output;

pub use output::Output;

use crate::fault::{Fault, OrFault, Report};
use crate::trace;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::Hook;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::rc::Rc;
use std::time::Duration;

/// The specification's kinds, by their names in config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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

impl Kind {
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

/// Where hooks run.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Their working directory.
    pub directory: &'a Path,
    /// For those whose entry says nothing of an environment.
    pub environment: &'a [CString],
}

impl<'a> Around<'a> {
    /// In `directory`, without an environment.
    pub fn directory(directory: &'a Path) -> Self {
        Self { directory, environment: &[] }
    }
}

/// Runs `hooks` one after another.
///
/// # Errors
/// The first hook that does not start, fails, or takes too long; `hooks.prestart[0]` is its place.
pub fn run(kind: Kind, hooks: &[Hook], state: &State, around: Around<'_>) -> anyhow::Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    trace::step(kind.word());
    hooks.iter().enumerate().try_for_each(|numbered| one(kind, numbered, state, around))
}

/// Runs all of `hooks`, whatever becomes of each: failures are warnings.
pub fn run_all(kind: Kind, hooks: &[Hook], state: &State, around: Around<'_>) {
    for numbered in hooks.iter().enumerate() {
        if let Err(error) = one(kind, numbered, state, around) {
            tracing::warn!("{}", Report::of(&error).line);
        }
    }
}

fn one(kind: Kind, (index, hook): (usize, &Hook), state: &State, around: Around<'_>) -> anyhow::Result<()> {
    execute(hook, &serde_json::to_vec(state)?, around, &state.output).or_fault(|| {
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

fn execute(hook: &Hook, input: &[u8], around: Around<'_>, files: &Output) -> anyhow::Result<()> {
    let mut output = memory(&[])?;
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    command.env_clear();
    match hook.env() {
        Some(own) => command.envs(own.iter().filter_map(|entry| entry.split_once('='))),
        None => command.envs(around.environment.iter().filter_map(|entry| halves(entry))),
    };
    let stdout = files.stdout.as_ref().unwrap_or(&output).try_clone()?;
    let stderr = files.stderr.as_ref().unwrap_or(&output).try_clone()?;
    command.stdin(memory(input)?).stdout(stdout).stderr(stderr);
    command.current_dir(around.directory);
    let status = wait(&mut command.spawn()?, hook.timeout())?;
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    output.rewind()?;
    // What it said may be no text; then its status has to do.
    let _ = output.read_to_string(&mut said);
    let ended = ending(status);
    match said.trim() {
        "" => anyhow::bail!("{ended}"),
        said => anyhow::bail!("{ended}, it said: {said}"),
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

/// Waits at most `timeout` seconds, then kills.
fn wait(child: &mut Child, timeout: Option<i64>) -> anyhow::Result<ExitStatus> {
    let Some(seconds) = timeout.filter(|seconds| *seconds > 0) else { return Ok(child.wait()?) };
    let pidfd = crate::kernel::process::pidfd_open(child.id().cast_signed())?;
    let limit = Duration::from_secs(seconds.unsigned_abs());
    if !ended_within(pidfd.as_fd(), limit)? {
        child.kill()?;
        child.wait()?;
        anyhow::bail!("it did not end within its timeout of {seconds} s");
    }
    Ok(child.wait()?)
}

/// Whether the process behind `pidfd` ends within `limit`.
///
/// # Errors
/// Those of poll(2).
pub fn ended_within(pidfd: std::os::fd::BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let deadline = std::time::Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}
