//! `kase create`.

use super::{Building, Context, ExitCode, flag, given};
use crate::container::create;
use crate::container::request::{Request, StartedBy, Strictness, Terminal};
use crate::fault::Fault;
use crate::plan::overlay::MEMORY;
use anyhow::Context as _;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::mem;
use std::path::PathBuf;

pub fn arguments(command: Building<'_>) -> Building<'_> {
    shared(command)
}

/// What `create` and `run` both take.
pub fn shared(command: Building<'_>) -> Building<'_> {
    let path = |option: Arg| option.value_parser(super::path());
    let yes = |option: Arg| option.action(ArgAction::SetTrue);
    command
        .with(|command| command.arg(super::id()))
        .option("bundle", Some('b'), shape_bundle)
        .option("config", Some('f'), shape_config)
        .option("console-socket", None, |option| {
            path(option).value_name("SOCKET").help("Unix socket to send the terminal's master to")
        })
        .option("pid-file", None, |option| {
            path(option).value_name("FILE").help("File to write init's process id to")
        })
        .option("no-pivot", None, |option| {
            yes(option).help("Do not use pivot_root: for a host that runs from an initramfs")
        })
        .option("fake-root", None, |option| {
            yes(option).help("With one id only: let calls that change owners or users succeed without effect, for package managers; no security")
        })
        .option("overlay", None, |option| {
            option
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(MEMORY)
                .value_parser(value_parser!(OsString))
                .value_name("DIR")
                .help("Lay an overlay over the rootfs, so that it stays as it is: what changes goes to DIR, or to memory (tmpfs, or no DIR)")
        })
        .option("strict", None, |option| {
            yes(option).help("Refuse a config.json in which kase lint finds an error")
        })
        .option("no-new-keyring", None, |option| yes(option).help("Keep the caller's session keyring"))
        .option("no-subreaper", None, |option| {
            yes(option).help("Do not adopt the container's orphans, which only run and exec do")
        })
        .option("pidfd-socket", None, |option| {
            path(option).value_name("SOCKET").help("Unix socket to send a pidfd of init to")
        })
        .option("preserve-fds", None, |option| {
            option
                .value_parser(value_parser!(u32))
                .default_value("0")
                .value_name("N")
                .help("Pass N descriptors, from 3 on, to the container")
        })
}

/// `--bundle`.
pub fn bundle() -> Arg {
    shape_bundle(Arg::new("bundle").short('b').long("bundle"))
}

fn shape_bundle(option: Arg) -> Arg {
    option.value_parser(super::path()).default_value(HERE).value_name("DIR").help("The bundle's directory")
}

/// Where the bundle is if nothing is said.
const HERE: &str = ".";

/// What `--bundle` names.
pub fn bundle_of(matches: &ArgMatches) -> PathBuf {
    given::<PathBuf>(matches, "bundle").cloned().unwrap_or_else(|| HERE.into())
}

/// `--config`.
pub fn config() -> Arg {
    shape_config(Arg::new("config").short('f').long("config"))
}

fn shape_config(option: Arg) -> Arg {
    option
        .value_parser(super::path())
        .value_name("FILE")
        .help("The configuration, if not config.json; relative to the bundle")
}

/// The request that the arguments make.
pub fn request(context: &Context, matches: &ArgMatches) -> anyhow::Result<Request> {
    let path = |name| super::path_of(matches, name);
    let own: u32 = given(matches, "preserve-fds").copied().unwrap_or(0);
    let preserve_fds = own.checked_add(listen_fds()).context("--preserve-fds is too large")?;
    Ok(Request {
        id: super::id_of(matches).to_string(),
        bundle: bundle_of(matches),
        config: path("config"),
        console_socket: path("console-socket"),
        pid_file: path("pid-file"),
        pidfd_socket: path("pidfd-socket"),
        environment: listen_environment(),
        notify_socket: super::start::notify_socket(),
        adapt: context.adapt,
        no_pivot: flag(matches, "no-pivot"),
        strictness: if flag(matches, "strict") { Strictness::Strict } else { Strictness::Lenient },
        no_new_keyring: flag(matches, "no-new-keyring"),
        preserve_fds,
        cgroups: context.cgroups,
        fake_root: flag(matches, "fake-root"),
        overlay: given::<OsString>(matches, "overlay").map(absolute).transpose()?,
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

/// Refuses descriptors to preserve that are not open: each of an activation's, and of `--preserve-fds` the last. Where
/// numbers below that are free, as in crun, they are taken, so that no descriptor of kase's own comes to have them; the
/// container does not get these.
///
/// # Errors
/// The first that has to be open and is not; those of open(2).
pub fn check_preserved(command: &str, matches: &ArgMatches) -> anyhow::Result<()> {
    let listen = match command {
        "create" | "run" => listen_fds(),
        // `exec` has no part in socket activation.
        "exec" => 0,
        _ => return Ok(()),
    };
    let count = given::<u32>(matches, "preserve-fds").copied().unwrap_or(0);
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

pub fn run(context: Context, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let request = request(&context, matches)?;
    let doing = || format!("create {}", request.id);
    let store = context.store().with_context(doing)?;
    let mut created = create::create(&store, context.caller, &request, StartedBy::Gate, Terminal::Socket)
        .with_context(doing)?;
    created.keep();
    Ok(ExitCode::SUCCESS)
}
