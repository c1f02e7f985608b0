//! Turns init into the container's process: limits, ids, capabilities, working directory.

use super::inside::{self, Shape};
use super::sysctl::Procfs;
use crate::accounts;
use crate::fault::{Fault, OrFault};
use crate::kernel::capability;
use crate::kernel::path::{Resolve, openat2};
use crate::kernel::process::{self, Dumpable};
use crate::plan::capabilities::Capabilities;
use crate::plan::process::{Groups, Ids, Limit, ProcessPlan};
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl::set_keepcaps;
use nix::sys::stat::{FileStat, Mode, fstat, umask};
use nix::unistd::{Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fchown, getcwd, geteuid};
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Sets `process.oomScoreAdj`. While this process still has its first ids: later the file is not its own.
///
/// # Errors
/// What the kernel refuses; EACCES when the score would sink below what an ordinary user may have.
pub fn set_oom_score(score: i32) -> anyhow::Result<()> {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now = fs::read_to_string(FILE).unwrap_or_default();
    let now = now.trim();
    if now == score.to_string() {
        return Ok(());
    }
    fs::write(FILE, score.to_string()).or_fault(|| {
        Fault::at("process.oomScoreAdj", format!("set the score to {score}")).remedy(format!(
            "use {now} or more, leave it out, or start kase with CAP_SYS_RESOURCE in the initial user namespace, without \
             which a score can only be raised"
        ))
    })
}

/// Makes the working directory if it is missing. Relative to the root, so that nothing outside is touched.
pub fn make_cwd(root: BorrowedFd<'_>, cwd: &Path) -> anyhow::Result<()> {
    if cwd == Path::new("/") {
        return Ok(());
    }
    match inside::open_or_make(root, cwd, Shape::Directory) {
        Ok(_) => Ok(()),
        // Perhaps the user may enter where root may not even look (NFS).
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error).or_fault(|| {
            Fault::at("process.cwd", format!("make {}", cwd.display()))
                .remedy("add the directory to the rootfs, or set process.cwd to one that is there")
        }),
    }
}

/// Gives standard input, output and error to the container's user, as far as they are its to have ([`is_given`]): it
/// may want to open /dev/stdout. /dev/null is everybody's, and is exchanged for that of the container with the root
/// `null_of`.
pub fn adopt_stdio(null_of: Option<BorrowedFd<'_>>, proc: &Procfs, user: &Ids<'_>) -> anyhow::Result<()> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    for (number, fd) in [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().enumerate() {
        let Ok(stat) = fstat(fd) else { continue };
        if inside::is_null(&stat) {
            if let Some(root) = null_of {
                // Not by way of /proc/self/fd: the container may have no /proc.
                let null = inside::null_device(root, OFlag::O_RDWR | OFlag::O_NOCTTY)
                    .or_fault(|| Fault::doing("open the container's /dev/null"))?;
                replace(number, &null)?;
            }
            continue;
        }
        if stat.st_uid == user.uid || !is_given(fd, &stat, proc)? {
            continue;
        }
        // As in runc the owner alone: the group may be one that the file system's mount has for all.
        match fchown(fd, Some(Uid::from_raw(user.uid)), None) {
            // Not ours, unmapped, on a read-only file system, or of a kind that has no owner: left as it is.
            Ok(()) | Err(nix::Error::EPERM | nix::Error::EINVAL | nix::Error::EROFS | nix::Error::ENOSYS) => {
            }
            Err(error) => {
                return Err(error).or_fault(|| Fault::doing(format!("give descriptor {number} to the user")));
            }
        }
    }
    Ok(())
}

/// Pipes and sockets are. A device is the host's. So is a file, unless root gives one of its own to be written: an
/// ordinary user's would end as a subordinate id's, which the user cannot undo, and what is only read has a reader.
fn is_given(fd: BorrowedFd<'_>, stat: &FileStat, proc: &Procfs) -> io::Result<bool> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFIFO | libc::S_IFSOCK => Ok(true),
        libc::S_IFREG if stat.st_uid == geteuid().as_raw() => {
            let mode = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
            Ok(mode != OFlag::O_RDONLY && proc.shows_initial_user_namespace()?)
        }
        _ => Ok(false),
    }
}

/// Makes standard descriptor `number` a copy of `fd`.
pub fn replace(number: usize, fd: &OwnedFd) -> nix::Result<()> {
    match number {
        0 => dup2_stdin(fd),
        1 => dup2_stdout(fd),
        _ => dup2_stderr(fd),
    }
}

/// Becomes the user in the working directory, with these effective capabilities. Permitted ones are kept: see
/// [`reduce`](super::filter::reduce).
pub fn become_user(plan: &ProcessPlan<'_>, last_capability: u8) -> anyhow::Result<()> {
    trace::step("user and capabilities");
    drop_bounding(plan.capabilities.bounding, last_capability)?;
    umask(Mode::from_bits_truncate(plan.user.umask));
    let as_root = chdir(plan.cwd);
    // The permitted ones survive the change of the user id that follows.
    set_keepcaps(true)?;
    if plan.groups == Groups::Configured {
        set_groups(&plan.user)?;
    }
    process::set_ids(plan.user.uid, plan.user.gid).or_fault(|| {
        Fault::at("process.user", format!("become uid {} and gid {}", plan.user.uid, plan.user.gid))
            .remedy("use ids that the user namespace maps")
    })?;
    if as_root.is_err() {
        chdir(plan.cwd).or_fault(|| {
            Fault::at("process.cwd", format!("enter {}", plan.cwd.display()))
                .remedy("name a directory that the container's user may enter")
        })?;
    }
    check_cwd()?;
    // Whoever changes ids may be looked into again (fs.suid_dumpable).
    process::set_dumpable(Dumpable::No);
    // Enough to look for the program as the program's user would; the rest goes when the filter is in place.
    let own = capability::permitted()?;
    capability::set(plan.capabilities.effective & own, own, 0)?;
    Ok(())
}

/// Tells of capabilities that cannot be granted, which the specification wants logged and not refused. While nothing
/// keeps the log from us: neither its closed descriptor, nor a limit of file sizes, nor a filter.
pub fn tell_missing(capabilities: &Capabilities) -> anyhow::Result<()> {
    let missing = capabilities.permitted & !capability::permitted()?;
    if missing != 0 {
        tracing::warn!(
            "process.capabilities: {missing:#x} is left out: kase itself does not have it (grep Cap /proc/self/status)"
        );
    }
    Ok(())
}

/// A working directory that some leaked descriptor of the host lies behind has no path here (CVE-2024-21626).
fn check_cwd() -> anyhow::Result<()> {
    match getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        Err(errno) if errno != Errno::ENOENT => {
            Err(Fault::at("process.cwd", "look where the directory is").caused_by(errno))
        }
        _ => Err(Fault::at("process.cwd", "the directory is outside of the container's root")
            .remedy("name a directory of the rootfs")
            .into()),
    }
}

fn set_groups(user: &Ids<'_>) -> anyhow::Result<()> {
    match process::set_groups(user.additional_gids) {
        // Nothing was asked for: the caller's groups stay, as the kernel wants it under a map of one id.
        Err(error) if error.kind() == ErrorKind::PermissionDenied && user.additional_gids.is_empty() => {
            Ok(())
        }
        set => set.map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::PermissionDenied => ": a user namespace with a map of one id may not",
                _ => "",
            };
            Fault::at("process.user.additionalGids", format!("set the supplementary groups{cause}"))
                .remedy("leave them out, or give the user a range in /etc/subgid")
                .caused_by(error)
        }),
    }
}

fn drop_bounding(bounding: u64, last: u8) -> anyhow::Result<()> {
    for capability in (0..=last).filter(|capability| bounding & (1 << capability) == 0) {
        capability::drop_from_bounding_set(capability).or_fault(|| {
            Fault::at("process.capabilities.bounding", format!("drop capability {capability}"))
        })?;
    }
    Ok(())
}

/// Sets the four sets that belong to the process, as far as it has `own` permitted, and keeps `kept` beside them.
pub fn set_capabilities(sets: &Capabilities, own: u64, kept: u64) -> anyhow::Result<()> {
    let mut sets = *sets;
    if sets.permitted & !own != 0 {
        sets = Capabilities {
            bounding: sets.bounding,
            effective: sets.effective & own,
            inheritable: sets.inheritable & own,
            permitted: sets.permitted & own,
            ambient: sets.ambient & own,
        };
    }
    let kept = kept & own;
    capability::set(sets.effective | kept, sets.permitted | kept, sets.inheritable).or_fault(|| {
        Fault::at("process.capabilities", format!("set permitted {:#x} and effective {:#x}", sets.permitted, sets.effective))
            .remedy("name in effective and inheritable only what permitted and bounding have, and in those only what kase has itself (grep Cap /proc/self/status)")
    })?;
    for capability in (0..64).filter(|capability| sets.ambient & (1 << capability) != 0) {
        capability::raise_ambient(capability).or_fault(|| {
            Fault::at("process.capabilities.ambient", format!("raise capability {capability}"))
        })?;
    }
    Ok(())
}

/// Sets `process.rlimits` exactly. kase has raised the hard ones already.
pub fn set_limits(limits: &[Limit]) -> anyhow::Result<()> {
    for wanted in limits {
        process::prlimit(0, wanted.resource, wanted.soft, wanted.hard)
            .or_fault(|| Fault::at(wanted.at, format!("set {} to {}", wanted.name, wanted.soft)))?;
    }
    Ok(())
}

/// The configured environment and, where it lacks one, HOME from the container's own /etc/passwd.
pub fn environment(plan: &ProcessPlan<'_>, root: BorrowedFd<'_>) -> Vec<CString> {
    let mut environment = plan.environment.clone();
    environment.retain(|variable| variable.as_bytes() != b"HOME=");
    if !environment.iter().any(|variable| variable.as_bytes().starts_with(b"HOME=")) {
        let home = read_inside(root, Path::new("/etc/passwd"))
            .ok()
            .and_then(|text| accounts::user(&text, &plan.user.uid.to_string()).map(|user| user.home))
            .filter(|home| !home.is_empty())
            .unwrap_or_else(|| "/".to_string());
        environment.push(CString::new(format!("HOME={home}")).expect("a line of passwd has no NUL byte"));
    }
    environment
}

/// Reads a small file of the image's: it may be a FIFO that never answers, or without end.
fn read_inside(root: BorrowedFd<'_>, path: &Path) -> io::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = openat2(root, path, flags, Resolve::IN_ROOT)?;
    accounts::read(file)
}
