//! What this host gives this user, asked before anything fails: the same facts and remedies as [`diagnose`] has
//! after a failure.
//!
//! A check that is no more than a file or a directory is here. What only a try can tell (namespaces, maps,
//! mounts) is for whoever can make system calls; they make a [`Check`] of the diagnosis that they meet.

use std::io::{Error, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::caller::{Caller, Standing};
use crate::delegation::{self, Delegation};
use crate::diagnose::{self, Package};
use crate::diagnosis::Diagnosis;
use crate::id_writer::Means;
use crate::program::program;
use crate::range::Range;
use crate::state_dir::StateDir;
use crate::subid::Subordinate;

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
#[non_exhaustive]
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

    /// Containers run with less, for this reason.
    #[must_use]
    pub fn warning(name: &'static str, diagnosis: impl Into<Diagnosis>) -> Self {
        Self::not_ok(name, Level::Warning, diagnosis)
    }

    /// Not as it should be.
    #[must_use]
    pub fn not_ok(name: &'static str, level: Level, diagnosis: impl Into<Diagnosis>) -> Self {
        let Diagnosis { cause, remedy } = diagnosis.into();
        Self { name, level, found: cause, remedy: Some(remedy) }
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
        Ok(found) => match diagnose::unread_lines(&found.passed_over) {
            Some(diagnosis) => Check::warning(NAME, diagnosis),
            None if found.is_incomplete() => {
                let mut diagnosis = diagnose::no_ranges(caller);
                diagnosis.cause.push_str(": a container has one id only");
                Check::warning(NAME, diagnosis)
            }
            None => {
                let count = |ranges: &[Range]| ranges.iter().map(|range| u64::from(range.count)).sum::<u64>();
                Check::ok(NAME, format!("{} uids, {} gids", count(&found.uids), count(&found.gids)))
            }
        },
        Err(error) => Check::not_ok(NAME, Level::Failure, error),
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
            let diagnosis =
                [&newuidmap, &newgidmap].into_iter().find_map(|path| diagnose::powerless_helper(path));
            match diagnosis {
                Some(diagnosis) => Check::not_ok(NAME, Level::Failure, diagnosis),
                None => Check::ok(NAME, format!("{}, {}", newuidmap.display(), newgidmap.display())),
            }
        }
        Ok(Means::Direct(_)) => Check::ok(NAME, "not needed"),
        Err(error) => match error.diagnosis(caller) {
            Some(diagnosis) => Check::warning(NAME, diagnosis),
            None => Check::ok(NAME, error.to_string()),
        },
    }
}

/// The cgroup that the caller has for containers, one check a controller.
#[must_use]
pub fn delegation(caller: &Caller) -> Vec<Check> {
    let given = match Delegation::look(caller) {
        Ok(given) => given,
        Err(error) => return vec![Check::not_ok("cgroups", Level::Failure, error)],
    };
    if caller.standing == Standing::Root {
        let version = if given.unified { "version 2" } else { "version 1, or none" };
        return vec![Check::ok("cgroups", format!("root may make them ({version})"))];
    }
    let missing =
        |name, controller| given.missing(caller, controller).map(|diagnosis| Check::warning(name, diagnosis));
    if given.controllers.is_none() {
        return missing("cgroups", "memory").into_iter().collect();
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
        false => missing(name, controller),
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
            Err(error) => Check::warning(NAME, delegation::dead_bus(uid, &path, &error)),
        },
        None if Delegation::look(caller).is_ok_and(|given| given.controllers.is_some()) => Check::warning(
            NAME,
            Diagnosis::new(
                format!("the manager of uid {uid} runs, but has no bus at /run/user/{uid}/bus"),
                Package::SessionBus.remedy_and(&format!("systemctl restart user@{uid}")),
            ),
        ),
        None if !Path::new("/run/systemd/system").exists() => {
            Check::ok(NAME, "none, as systemd does not run here: cgroups are made without it")
        }
        None => Check::warning(
            NAME,
            Diagnosis::new(
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
    Check::warning(
        NAME,
        Diagnosis::new(
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
            let diagnosis = Diagnosis::new(error.to_string(), error.remedy(caller));
            return Check::not_ok(NAME, Level::Failure, diagnosis);
        }
    };
    let shown = found.path.display().to_string();
    match found.note {
        None if found.path.starts_with("/tmp") => Check::warning(
            NAME,
            Diagnosis::new(
                format!("{shown}, since XDG_RUNTIME_DIR is not set"),
                "log in instead of su or sudo, or set it to a directory of your own that goes with the boot",
            ),
        ),
        None => Check::ok(NAME, shown),
        Some(note) => {
            Check::warning(NAME, Diagnosis::new(note, "set XDG_RUNTIME_DIR to a directory of your own"))
        }
    }
}

/// The quota of keys.
#[must_use]
pub fn keys(caller: &Caller) -> Check {
    const NAME: &str = "keys";
    match diagnose::keys(caller) {
        Some(diagnosis) => Check::warning(NAME, diagnosis),
        None => Check::ok(NAME, "the quota is not used up"),
    }
}

/// The program that serves an overlay where the kernel refuses to, if this caller can use it.
///
/// # Errors
/// The program is missing, or the device through which it serves file systems is not the caller's to open.
pub fn fuse_overlayfs() -> Result<std::path::PathBuf, Diagnosis> {
    let install = || Package::FuseOverlayfs.remedy();
    let device = std::fs::File::options().read(true).write(true).open(FUSE);
    let refused =
        device.err().map(|error| (format!("{FUSE} cannot be opened: {error}"), open_device(&error)));
    let (cause, remedy) = match (program("fuse-overlayfs"), refused) {
        (Some(program), None) => return Ok(program),
        (None, None) => ("fuse-overlayfs is not installed".to_owned(), install()),
        (Some(_), Some((cause, Some(command)))) => (cause, format!("run as root: {command}")),
        (Some(_), Some((cause, None))) => (cause, ALLOW_DEVICE.to_owned()),
        (None, Some((cause, command))) => (
            format!("fuse-overlayfs is not installed, and {cause}"),
            match command {
                Some(command) => Package::FuseOverlayfs.remedy_and(command),
                None => format!("{}, and {ALLOW_DEVICE}", install()),
            },
        ),
    };
    Err(Diagnosis::new(cause, remedy))
}

/// The device of file systems that a program serves; fuse(4).
pub const FUSE: &str = "/dev/fuse";

const ALLOW_DEVICE: &str = "let what surrounds this have the device (systemd: DeviceAllow=/dev/fuse rw)";

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
