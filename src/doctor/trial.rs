//! Tries what every rootless container needs, in a process that ends with it: the kernel's answer is the only one
//! that counts, since settings, security modules and whatever surrounds us all have their say in it.

use crate::host::Host;
use crate::kernel::clone::{Cloned, Parent, clone3};
use crate::kernel::mount::{attach, make_file_system};
use crate::kernel::path::of_descriptor;
use crate::kernel::process::{exit_now, wait_for};
use crate::kernel::socket;
use crate::plan::id_maps;
use crate::plan::namespaces::Kind;
use nix::errno::Errno;
use rootless::Diagnosis;
use rootless::caller::Standing;
use rootless::checks::{Check, Level};
use rootless::diagnose;
use rootless::id_writer::{self, Means};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

type Attempt = fn() -> io::Result<()>;

/// What the process in the new namespaces tries, in this order.
const ATTEMPTS: [(&str, Attempt); 2] = [("proc", proc), ("overlay", overlay)];

/// Namespaces, id maps, and mounts in them.
pub fn checks(host: &Host) -> Vec<Check> {
    // Containers of root's need no user namespace.
    let worst = if host.caller.standing == Standing::Root { Level::Warning } else { Level::Failure };
    let (ours, theirs) = match socket::pair() {
        Ok(pair) => pair,
        Err(error) => return vec![failed("user namespaces", worst, &error, None)],
    };
    let flags = [Kind::User, Kind::Mount, Kind::Pid, Kind::Network, Kind::Ipc, Kind::Uts]
        .into_iter()
        .fold(0, |flags, kind| flags | kind.flag());
    let process = match clone3(flags, Parent::Us, None) {
        Ok(Cloned::New) => {
            drop(ours);
            inside(&theirs)
        }
        Ok(Cloned::Caller(process)) => process,
        Err(error) => {
            let diagnosis = diagnose::user_namespace(crate::kernel::errno(&error));
            return vec![failed("user namespaces", worst, &error, diagnosis)];
        }
    };
    drop(theirs);
    let mut checks = vec![Check::ok("user namespaces", "this caller may make them")];
    checks.push(map(host, process.pid, worst));
    if checks.iter().all(|check| check.level == Level::Ok) {
        checks.extend(hear(&ours, worst));
    }
    drop(ours);
    // The process has ended, since its end of the socket has closed.
    let _ = wait_for(process.pid);
    checks
}

fn failed(
    name: &'static str,
    level: Level,
    error: &dyn std::fmt::Display,
    diagnosis: Option<Diagnosis>,
) -> Check {
    let unknown = || Diagnosis::new(error.to_string(), "look at dmesg, which may say more");
    Check::not_ok(name, level, diagnosis.unwrap_or_else(unknown))
}

/// Writes the maps that a container without maps of its own would get.
fn map(host: &Host, pid: i32, level: Level) -> Check {
    const NAME: &str = "id maps";
    let maps = id_maps::default(host);
    let written = Means::choose(&host.caller, &maps)
        .and_then(|means| id_writer::write(pid.unsigned_abs(), &maps, &means));
    match written {
        Ok(()) => Check::ok(NAME, id_maps::describe(&maps)),
        Err(error) => failed(NAME, level, &error, error.diagnosis(&host.caller)),
    }
}

/// Lets the other process go on, and makes checks of what it says of each attempt.
fn hear(ours: &OwnedFd, worst: Level) -> Vec<Check> {
    if socket::send(ours.as_fd(), b"go", None).is_err() {
        return Vec::new();
    }
    let mut checks = Vec::new();
    for (name, _) in ATTEMPTS {
        let mut packet = [0; 4];
        let heard = socket::receive(ours.as_fd(), &mut packet);
        if !matches!(heard, Ok((4, _))) {
            break;
        }
        let errno = Errno::from_raw(i32::from_ne_bytes(packet));
        checks.push(match (name, errno) {
            ("proc", Errno::UnknownErrno) => Check::ok("proc", "a container gets one of its own"),
            ("proc", errno) => {
                // AppArmor's restriction of user namespaces lets them be made, but gives them no capabilities.
                let diagnosis =
                    diagnose::file_system(errno, "proc", &[]).or_else(|| diagnose::user_namespace(errno));
                failed("proc", worst, &io::Error::from(errno), diagnosis)
            }
            (_, Errno::UnknownErrno) => Check::ok("overlay", "works in a user namespace"),
            (_, errno) => {
                let diagnosis = match errno {
                    Errno::EPERM | Errno::EINVAL => Some(diagnose::no_overlay()),
                    errno => diagnose::file_system(errno, "overlay", &[]),
                };
                failed("overlay", Level::Warning, &io::Error::from(errno), diagnosis)
            }
        });
    }
    checks
}

/// The process in the new namespaces: waits for its maps, then says how each attempt ended.
fn inside(kase: &OwnedFd) -> ! {
    let mut word = [0; 2];
    if matches!(socket::receive(kase.as_fd(), &mut word), Ok((2, _))) {
        for (_, attempt) in ATTEMPTS {
            let errno = attempt().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            // The other process has ended, so there is nobody to tell.
            let _ = socket::send(kase.as_fd(), &errno.to_ne_bytes(), None);
        }
    }
    exit_now(0)
}

fn proc() -> io::Result<()> {
    make_file_system("proc", [], 0).map(drop)
}

/// On a tmpfs over /tmp, which only this mount namespace sees.
fn overlay() -> io::Result<()> {
    let tmpfs = make_file_system("tmpfs", [], 0)?;
    let target: OwnedFd = fs::File::open("/tmp")?.into();
    attach(tmpfs.as_fd(), target.as_fd())?;
    let directory = |name: &str| -> io::Result<String> {
        let path = format!("{}/{name}", of_descriptor(&tmpfs).display());
        fs::create_dir(&path).map(|()| path)
    };
    let (lower, upper, work) = (directory("lower")?, directory("upper")?, directory("work")?);
    let options: [(_, Option<&str>); 4] = [
        ("lowerdir", Some(&lower)),
        ("upperdir", Some(&upper)),
        ("workdir", Some(&work)),
        ("userxattr", None),
    ];
    make_file_system("overlay", options, 0).map(drop)
}
