//! What this host gives this user, asked before anything fails: the same facts and remedies as [`hurdles`] has
//! after a failure.
//!
//! A check that is no more than a file or a directory is here. What only a try can tell (namespaces, maps,
//! mounts) is for whoever can make system calls; they make a [`Check`] of the hurdle that they meet.

use std::io::{Error, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::caller::{Caller, Standing};
use crate::delegation::{self, Given, Unified};
use crate::hurdles::{self, Hurdle, Package};
use crate::id_writer::{self, Means};
use crate::root::Root;
use crate::state_dir::StateDir;
use crate::subid::{Range, Subordinate};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Containers run, with less.
    Warning,
    /// No container runs.
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is about, in a word or two.
    pub name: &'static str,
    /// How it ended.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do, where it is not as it should be.
    pub remedy: Option<String>,
}

impl Check {
    /// As it should be.
    #[must_use]
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), remedy: None }
    }

    /// Not as it should be.
    #[must_use]
    pub fn hurdle(name: &'static str, level: Level, hurdle: Hurdle) -> Self {
        Self { name, level, found: hurdle.cause, remedy: Some(hurdle.remedy) }
    }
}

/// The caller's subordinate ids.
#[must_use]
pub fn subordinate_ids(caller: &Caller) -> Check {
    const NAME: &str = "subordinate ids";
    if caller.standing == Standing::Root {
        return Check::ok(NAME, "root may map any id");
    }
    match Subordinate::look(caller) {
        Ok(found) => match hurdles::unread_lines(&found.passed_over) {
            Some(hurdle) => Check::hurdle(NAME, Level::Warning, hurdle),
            None if found.is_lacking() => {
                let mut hurdle = hurdles::no_ranges(caller);
                hurdle.cause.push_str(": a container has one id only");
                Check::hurdle(NAME, Level::Warning, hurdle)
            }
            None => {
                let count = |ranges: &[Range]| ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
                Check::ok(NAME, format!("{} uids, {} gids", count(&found.uids), count(&found.gids)))
            }
        },
        Err(error) => Check::hurdle(
            NAME,
            Level::Failure,
            Hurdle::new(
                format!("{} cannot be read: {}", error.path, error.source),
                error.remedy().unwrap_or_else(|| format!("have root repair {}", error.path)),
            ),
        ),
    }
}

/// The programs that map subordinate ids.
#[must_use]
pub fn helpers(caller: &Caller) -> Check {
    const NAME: &str = "id map helpers";
    if caller.standing != Standing::User {
        return Check::ok(NAME, "not needed: this caller writes id maps itself");
    }
    match Means::helpers(std::env::var_os("PATH").as_deref()) {
        Ok(Means::Helpers { newuidmap, newgidmap }) => {
            let hurdle =
                [&newuidmap, &newgidmap].into_iter().find_map(|path| hurdles::powerless_helper(path));
            match hurdle {
                Some(hurdle) => Check::hurdle(NAME, Level::Failure, hurdle),
                None => Check::ok(NAME, format!("{}, {}", newuidmap.display(), newgidmap.display())),
            }
        }
        Ok(Means::Direct(_)) => Check::ok(NAME, "not needed"),
        Err(error) => match error.hurdle(caller) {
            Some(hurdle) => Check::hurdle(NAME, Level::Warning, hurdle),
            None => Check::ok(NAME, error.to_string()),
        },
    }
}

/// The cgroup that the caller has for containers, one check a controller.
#[must_use]
pub fn delegation(caller: &Caller) -> Vec<Check> {
    let given = Given::look(caller);
    if caller.standing == Standing::Root {
        let version = if given.unified == Unified::Yes { "version 2" } else { "version 1, or none" };
        return vec![Check::ok("cgroups", format!("root may make them ({version})"))];
    }
    let lacking = |name, controller| {
        delegation::missing_in(&Root::host(), caller, controller)
            .map(|hurdle| Check::hurdle(name, Level::Warning, hurdle))
    };
    if given.controllers.is_none() {
        return lacking("cgroups", "memory").into_iter().collect();
    }
    let shown = given.cgroup.display().to_string();
    let controllers = [
        ("memory limits", "memory"),
        ("process limits", "pids"),
        ("CPU limits", "cpu"),
        ("CPU sets", "cpuset"),
        ("I/O limits", "io"),
    ];
    let check = |(name, controller)| match given.has(controller) {
        true => Some(Check::ok(name, format!("{controller} is delegated in {shown}"))),
        false => lacking(name, controller),
    };
    controllers.into_iter().filter_map(check).collect()
}

/// The bus behind which the caller's systemd answers, where that makes their cgroups.
#[must_use]
pub fn session_bus(caller: &Caller) -> Check {
    const NAME: &str = "session bus";
    if caller.standing == Standing::Root {
        return Check::ok(NAME, "not needed by root");
    }
    let uid = caller.uid_outside();
    match delegation::user_bus(caller) {
        Some(path) => match UnixStream::connect(&path) {
            Ok(_) => Check::ok(NAME, path.display().to_string()),
            Err(error) => Check::hurdle(NAME, Level::Warning, delegation::dead_bus(uid, &path, &error)),
        },
        None if Given::look(caller).controllers.is_some() => Check::hurdle(
            NAME,
            Level::Warning,
            Hurdle::new(
                format!("the manager of uid {uid} runs, but has no bus at /run/user/{uid}/bus"),
                Package::SessionBus.remedy_and(&format!("systemctl restart user@{uid}")),
            ),
        ),
        None if !Path::new("/run/systemd/system").exists() => {
            Check::ok(NAME, "none, as systemd does not run here: cgroups are made without it")
        }
        None => Check::hurdle(
            NAME,
            Level::Warning,
            Hurdle::new(
                format!("none for uid {uid}: there is no /run/user/{uid}/bus"),
                Package::SessionBus.remedy_and(&format!("loginctl enable-linger {uid}")),
            ),
        ),
    }
}

/// Whether the caller's containers outlive its session.
#[must_use]
pub fn linger(caller: &Caller) -> Check {
    const NAME: &str = "linger";
    let user = caller.called();
    if caller.standing == Standing::Root || !Path::new("/run/systemd/system").exists() {
        return Check::ok(NAME, "not needed: no session's end stops what this caller starts");
    }
    if Path::new("/var/lib/systemd/linger").join(&user).exists() {
        return Check::ok(NAME, format!("the manager of {user} stays when no session is left"));
    }
    Check::hurdle(
        NAME,
        Level::Warning,
        Hurdle::new(
            format!("when {user} logs out, systemd stops its manager and the containers in it"),
            format!("run as root: loginctl enable-linger {user}"),
        ),
    )
}

/// Where the caller's containers are remembered, for a program of this name.
#[must_use]
pub fn state_directory(caller: &Caller, product: &str) -> Check {
    const NAME: &str = "state directory";
    let found = match StateDir::find(caller, product) {
        Ok(found) => found,
        Err(error) => {
            let hurdle = Hurdle::new(error.to_string(), error.remedy(caller));
            return Check::hurdle(NAME, Level::Failure, hurdle);
        }
    };
    let shown = found.path.display().to_string();
    match found.note {
        None if found.path.starts_with("/tmp") => Check::hurdle(
            NAME,
            Level::Warning,
            Hurdle::new(
                format!("{shown}, since XDG_RUNTIME_DIR is not set"),
                "log in instead of su or sudo, or set it to a directory of your own that goes with the boot",
            ),
        ),
        None => Check::ok(NAME, shown),
        Some(note) => Check::hurdle(
            NAME,
            Level::Warning,
            Hurdle::new(note, "set XDG_RUNTIME_DIR to a directory of your own"),
        ),
    }
}

/// The quota of keys.
#[must_use]
pub fn keys(caller: &Caller) -> Check {
    const NAME: &str = "keys";
    match hurdles::keys_in(&Root::host(), caller) {
        Some(hurdle) => Check::hurdle(NAME, Level::Warning, hurdle),
        None => Check::ok(NAME, "the quota is not used up"),
    }
}

/// The program that lays an overlay where the kernel refuses to, if this caller can use it.
///
/// # Errors
/// The program is missing, or the device through which it serves file systems is not the caller's to open.
pub fn fuse_overlayfs() -> Result<std::path::PathBuf, Hurdle> {
    const PROGRAM: &str = "fuse-overlayfs";
    let program = program(PROGRAM);
    let device = std::fs::File::options().read(true).write(true).open(FUSE);
    let install = || Package::FuseOverlayfs.remedy();
    match (program, device) {
        (Some(program), Ok(_)) => Ok(program),
        (None, Ok(_)) => Err(Hurdle::new("fuse-overlayfs is not installed", install())),
        (Some(_), Err(error)) => {
            let remedy = match open_device(&error) {
                Some(command) => format!("run as root: {command}"),
                None => ALLOW_DEVICE.to_string(),
            };
            Err(Hurdle::new(format!("{FUSE} cannot be opened: {error}"), remedy))
        }
        (None, Err(error)) => {
            let remedy = match open_device(&error) {
                Some(command) => Package::FuseOverlayfs.remedy_and(command),
                None => format!("{}, and {ALLOW_DEVICE}", install()),
            };
            let cause = format!("fuse-overlayfs is not installed, and {FUSE} cannot be opened: {error}");
            Err(Hurdle::new(cause, remedy))
        }
    }
}

/// The device of file systems that a program serves; fuse(4).
pub const FUSE: &str = "/dev/fuse";

const ALLOW_DEVICE: &str = "let what kase runs in have the device (systemd: DeviceAllow=/dev/fuse rw)";

/// The command that makes the device one to be opened; nothing where the rules of a cgroup forbid it.
fn open_device(error: &Error) -> Option<&'static str> {
    const EPERM: i32 = 1;
    let known = || std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("\tfuse\n"));
    match error.kind() {
        _ if error.raw_os_error() == Some(EPERM) => None,
        // It is there for everybody, who can only make mounts of their own with it.
        ErrorKind::PermissionDenied => Some("chmod 666 /dev/fuse"),
        ErrorKind::NotFound if known() => Some("mknod -m 666 /dev/fuse c 10 229"),
        _ => Some("modprobe fuse"),
    }
}

/// The first program of this name in `$PATH`.
#[must_use]
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    id_writer::find(name, std::env::var_os("PATH").as_deref(), &[]).map(|(path, _)| path)
}
