//! `kase create`.

use super::arguments::Arguments;
use super::context::Context;
use super::exit::ExitCode;
use crate::container::create;
use crate::container::request::{Request, StartedBy, Strictness, Terminal};
use crate::fault::Fault;
use crate::plan::overlay::MEMORY;
use anyhow::Context as _;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::mem;
use std::path::PathBuf;

/// What `--bundle` names.
pub fn bundle_of(arguments: &Arguments<'_>) -> PathBuf {
    arguments.path("bundle").unwrap_or_default()
}

/// The request that the arguments make.
pub fn request(context: &Context, arguments: &Arguments<'_>) -> anyhow::Result<Request> {
    let path = |name| arguments.path(name);
    let own: u32 = arguments.number("preserve-fds")?;
    let preserve_fds = own.checked_add(listen_fds()).context("--preserve-fds is too large")?;
    Ok(Request {
        id: arguments.id().to_string(),
        bundle: bundle_of(arguments),
        config: path("config"),
        console_socket: path("console-socket"),
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        environment: listen_environment(),
        notify_socket: super::start::notify_socket(),
        adapt: context.adapt,
        no_pivot: arguments.flag("no-pivot"),
        strictness: if arguments.flag("strict") { Strictness::Strict } else { Strictness::Lenient },
        no_new_keyring: arguments.flag("no-new-keyring"),
        preserve_fds,
        cgroups: context.cgroups,
        fake_root: arguments.flag("fake-root"),
        overlay: arguments.given("overlay").map(absolute).transpose()?,
    })
}

/// From here, unless it is no path.
fn absolute(path: &OsStr) -> anyhow::Result<PathBuf> {
    match path.is_empty() || path == MEMORY {
        true => Ok(PathBuf::from(path)),
        false => Ok(std::path::absolute(path)?),
    }
}

/// Descriptors that systemd's socket activation, or Podman, handed to kase for the container; sd_listen_fds(3).
fn listen_fds() -> u32 {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    match number("LISTEN_PID") {
        // Meant for another process, which has passed its environment on to us. Podman says 1, as if from inside.
        Some(pid) if pid != 1 && pid != std::process::id() => 0,
        _ => number("LISTEN_FDS").unwrap_or(0),
    }
}

/// What tells the container of them.
fn listen_environment() -> Vec<String> {
    let count = listen_fds();
    if count == 0 {
        return Vec::new();
    }
    let mut variables = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_string()];
    variables.extend(env::var("LISTEN_FDNAMES").map(|names| format!("LISTEN_FDNAMES={names}")));
    variables
}

/// Refuses descriptors to preserve that are not open: each of an activation's, and of `--preserve-fds` the last. Where
/// numbers below that are free, as in crun, they are taken, so that no descriptor of kase's own comes to have them; the
/// container does not get these.
///
/// # Errors
/// The first that has to be open and is not; those of open(2).
pub fn check_preserved(arguments: &Arguments<'_>) -> anyhow::Result<()> {
    let listen = match arguments.command.name {
        "create" | "run" => listen_fds(),
        // `exec` has no part in socket activation.
        "exec" => 0,
        _ => return Ok(()),
    };
    let count: u32 = arguments.number("preserve-fds")?;
    let is_open = |number: u32| fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    let refuse = |option: &str, number: u32| {
        Err(Fault::doing(format!("{option}: descriptor {number} is not open"))
            .remedy("open the descriptors from 3 on that are to be passed, or pass fewer")
            .into())
    };
    let (first, end) = (3_u32.saturating_add(listen), 3_u32.saturating_add(listen).saturating_add(count));
    if let Some(number) = (3..first).find(|number| !is_open(*number)) {
        return refuse("LISTEN_FDS", number);
    }
    if count > 0 && !is_open(end - 1) {
        return refuse("--preserve-fds", end - 1);
    }
    for _ in (first..end).filter(|number| !is_open(*number)) {
        // The lowest free number is the one; it is kept until the program's exec closes it.
        mem::forget(File::open("/dev/null")?);
    }
    Ok(())
}

pub fn run(context: Context, arguments: &Arguments<'_>) -> anyhow::Result<ExitCode> {
    let request = request(&context, arguments)?;
    let doing = || format!("create {}", request.id);
    let store = context.store().with_context(doing)?;
    let mut created = create::create(&store, context.caller, &request, StartedBy::Gate, Terminal::Socket)
        .with_context(doing)?;
    created.keep();
    Ok(ExitCode::SUCCESS)
}
