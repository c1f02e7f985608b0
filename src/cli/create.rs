//! `kase create`.

use super::{Context, ExitCode};
use crate::container::create::{self, Request, StartedBy, Strictness, Terminal};
use crate::fault::Fault;
use crate::plan::overlay::MEMORY;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

pub fn arguments(command: Command) -> Command {
    shared(command)
}

/// What `create` and `run` both take.
pub fn shared(command: Command) -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let path = |name, help| flag(name, help).value_parser(super::path());
    command
        .arg(super::id())
        .arg(bundle())
        .arg(config())
        .arg(path("console-socket", "Unix socket to send the terminal's master to").value_name("SOCKET"))
        .arg(path("pid-file", "File to write init's process id to").value_name("FILE"))
        .arg(
            flag("no-pivot", "Do not use pivot_root: for a host that runs from an initramfs")
                .action(ArgAction::SetTrue),
        )
        .arg(
            flag("fake-root", "With one id only: let calls that change owners or users succeed without effect, for package managers; no security")
                .action(ArgAction::SetTrue),
        )
        .arg(
            path("overlay", "Lay an overlay over the rootfs, so that it stays as it is: what changes goes to DIR, or to memory (tmpfs, or no DIR)")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(MEMORY)
                .value_parser(value_parser!(OsString))
                .value_name("DIR"),
        )
        .arg(
            flag("strict", "Refuse a config.json in which kase lint finds an error")
                .action(ArgAction::SetTrue),
        )
        .arg(flag("no-new-keyring", "Keep the caller's session keyring").action(ArgAction::SetTrue))
        .arg(
            flag("no-subreaper", "Do not adopt the container's orphans, which only run and exec do")
                .action(ArgAction::SetTrue),
        )
        .arg(path("pidfd-socket", "Unix socket to send a pidfd of init to").value_name("SOCKET"))
        .arg(
            flag("preserve-fds", "Pass N descriptors, from 3 on, to the container")
                .value_parser(value_parser!(u32))
                .default_value("0")
                .value_name("N"),
        )
}

/// `--bundle`.
pub fn bundle() -> Arg {
    Arg::new("bundle")
        .short('b')
        .long("bundle")
        .value_parser(super::path())
        .default_value(".")
        .value_name("DIR")
        .help("The bundle's directory")
}

/// `--config`.
pub fn config() -> Arg {
    Arg::new("config")
        .short('f')
        .long("config")
        .value_parser(super::path())
        .value_name("FILE")
        .help("The configuration, if not config.json; relative to the bundle")
}

/// The request that the arguments make.
pub fn request(context: &Context, matches: &ArgMatches) -> anyhow::Result<Request> {
    let path = |name| super::path_of(matches, name);
    let own: u32 = matches.get_one("preserve-fds").copied().unwrap_or(0);
    let preserve_fds = own.checked_add(listen_fds()).context("--preserve-fds is too large")?;
    Ok(Request {
        id: super::id_of(matches).to_string(),
        bundle: path("bundle").unwrap_or_default(),
        config: path("config"),
        console_socket: path("console-socket"),
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        environment: listen_environment(),
        notify_socket: super::start::notify_socket(),
        adapt: context.adapt,
        no_pivot: matches.get_flag("no-pivot"),
        strictness: if matches.get_flag("strict") { Strictness::Strict } else { Strictness::Lenient },
        no_new_keyring: matches.get_flag("no-new-keyring"),
        preserve_fds,
        cgroup_driver: context.cgroup_driver,
        fake_root: matches.get_flag("fake-root"),
        overlay: matches.get_one::<OsString>("overlay").map(absolute).transpose()?,
    })
}

/// From here, unless it is no path.
fn absolute(path: &OsString) -> anyhow::Result<PathBuf> {
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

/// Refuses descriptors to preserve that are not open: kase's own would come to have their numbers.
///
/// # Errors
/// The first that is not.
pub fn check_preserved(matches: &ArgMatches) -> anyhow::Result<()> {
    let Ok(Some(count)) = matches.try_get_one::<u32>("preserve-fds") else { return Ok(()) };
    let listen = match matches.try_get_one::<String>("cwd") {
        // `exec` has no part in socket activation.
        Ok(_) => 0,
        Err(_) => listen_fds(),
    };
    for number in 3..3_u32.saturating_add(listen).saturating_add(*count) {
        if fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_err() {
            let option = if number - 3 < listen { "LISTEN_FDS" } else { "--preserve-fds" };
            return Err(Fault::doing(format!("{option}: descriptor {number} is not open"))
                .remedy("open every descriptor from 3 on that is to be passed, or pass fewer")
                .into());
        }
    }
    Ok(())
}

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = request(&context, matches)?;
    let doing = || format!("create {}", request.id);
    let store = context.store().with_context(doing)?;
    let mut created = create::create(&store, context.caller, &request, StartedBy::Gate, Terminal::Socket)
        .with_context(doing)?;
    created.keep();
    Ok(ExitCode::SUCCESS)
}
