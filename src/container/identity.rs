//! Whether a process is a container's init: its boot, its id and its inode or start time have to agree.

use super::record::{self, Init, Record};
use crate::fault::{Fault, OrFault};
use crate::kernel::clone::Process;
use crate::kernel::errno;
use crate::kernel::pidfd::{ended_within, pidfd_open};
use crate::kernel::process::End;
use crate::kernel::text::{read_record, read_value};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

/// Of proc_pid_stat(5), what tells who a process is and how it is.
#[derive(Debug)]
struct Stat {
    state: char,
    /// PF_* of the kernel.
    flags: u64,
    start_time: u64,
    /// As waitpid(2) would have it, once it has ended; 0 to whoever may not look.
    exit_code: i32,
}

impl Stat {
    /// Whether it is this process, dead or alive.
    fn is(&self, init: Init) -> bool {
        self.start_time == init.start_time
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Nothing when there is no such process.
fn stat(pid: i32) -> io::Result<Option<Stat>> {
    // The 52 numbers and the name take half of this at most.
    let mut buffer = [0; 2048];
    match read_record(format!("/proc/{pid}/stat"), &mut buffer) {
        Err(error) if error.kind() == ErrorKind::NotFound || errno(&error) == Errno::ESRCH => Ok(None),
        text => parse(text?).map(Some).ok_or_else(|| io::Error::from(ErrorKind::InvalidData)),
    }
}

fn parse(stat: &[u8]) -> Option<Stat> {
    // The name in parentheses may itself hold anything.
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = str::from_utf8(&stat[name_end..]).ok()?.split_ascii_whitespace().skip(1);
    let state = fields.next()?.chars().next()?;
    let flags = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    let mut stat = Stat { state, flags, start_time, exit_code: 0 };
    if stat.has_ended() {
        stat.exit_code = fields.nth(29).and_then(|code| code.parse().ok()).unwrap_or(0);
    }
    Some(stat)
}

/// Who a process is that has just been made; nothing where /proc does not show it.
pub fn of(process: &Process) -> io::Result<Option<Init>> {
    let Some(stat) = stat(process.pid)? else { return Ok(None) };
    // Before Linux 6.9, all pidfds had one inode number.
    let inode = match fstatfs(&process.pidfd)?.filesystem_type() {
        PIDFS => Some(inode(&process.pidfd)?),
        _ => None,
    };
    Ok(Some(Init { pid: process.pid, start_time: stat.start_time, inode }))
}

/// PID_FS_MAGIC of linux/magic.h.
const PIDFS: FsType = FsType(0x5049_4446);

fn inode(pidfd: &OwnedFd) -> io::Result<u64> {
    Ok(fstat(pidfd)?.st_ino)
}

/// What the kernel calls this boot; nothing where it does not say.
///
/// # Errors
/// It says so in a file that cannot be read.
pub fn boot() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let boot = match read_value("/proc/sys/kernel/random/boot_id") {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        boot => boot?,
    };
    Ok(BOOT.get_or_init(|| boot))
}

/// What a record tells that every look at its processes needs.
pub trait Booted {
    /// The boot that the container was created in; empty where that was not known.
    fn boot(&self) -> &str;
}

impl Booted for record::Facts {
    fn boot(&self) -> &str {
        &self.boot
    }
}

impl<F: Booted, C: Default> Record<F, C> {
    /// Takes from a record of an earlier boot what belongs to somebody else in this one: no process and no cgroup
    /// outlives a boot, but ids, names and inode numbers come again.
    pub fn of_this_boot(mut self) -> anyhow::Result<Self> {
        let Some(init) = &mut self.init else { return Ok(self) };
        let boot = boot().or_fault(|| Fault::doing("read /proc/sys/kernel/random/boot_id"))?;
        match (boot, self.facts.boot()) {
            // Without an id of the boot, only the time of the start tells this process from one of an earlier boot.
            ("", _) | (_, "") => init.inode = None,
            (now, then) if now == then => {}
            _ => {
                self.init = None;
                self.cgroup = C::default();
                self.share = None;
            }
        }
        Ok(self)
    }
}

/// Whether it is still that process, and no zombie.
///
/// # Errors
/// The kernel does not say, or too many descriptors are open.
pub fn is_alive(init: Init) -> io::Result<bool> {
    match open(init) {
        // The seccomp filters of some sandboxes forbid pidfd_open(2).
        Err(error) if errno(&error) == Errno::EPERM || errno(&error) == Errno::ENOSYS => started_then(init),
        pidfd => pidfd?.map_or(Ok(false), |pidfd| is_living(init, &pidfd)),
    }
}

/// A descriptor for it, while it lives.
pub fn living(init: Init) -> io::Result<Option<OwnedFd>> {
    let Some(pidfd) = open(init)? else { return Ok(None) };
    // The id may have passed to another process before it was opened; the descriptor keeps that from happening later.
    Ok(is_living(init, &pidfd)?.then_some(pidfd))
}

/// A descriptor for it, dead or alive, while nobody has waited for it.
pub fn there(init: Init) -> io::Result<Option<OwnedFd>> {
    let Some(pidfd) = open(init)? else { return Ok(None) };
    Ok(is_there(init)?.then_some(pidfd))
}

/// Whether it is that process, dead or alive, and nobody has waited for it.
pub fn is_there(init: Init) -> io::Result<bool> {
    Ok(stat(init.pid)?.is_some_and(|stat| stat.is(init)))
}

/// Whoever has its id now.
fn open(init: Init) -> io::Result<Option<OwnedFd>> {
    match pidfd_open(init.pid) {
        // The kernel answers ENOENT for the id of a thread that leads no process.
        Err(error) if matches!(errno(&error), Errno::ESRCH | Errno::EINVAL | Errno::ENOENT) => Ok(None),
        pidfd => pidfd.map(Some),
    }
}

fn is_living(init: Init, pidfd: &OwnedFd) -> io::Result<bool> {
    match init.inode {
        Some(own) => Ok(inode(pidfd)? == own && !ended_within(pidfd.as_fd(), Duration::ZERO)?),
        None => started_then(init),
    }
}

/// As [`is_alive`], by the start time alone.
fn started_then(init: Init) -> io::Result<bool> {
    Ok(stat(init.pid)?.is_some_and(|stat| stat.is(init) && !stat.has_ended()))
}

/// Whether it lives, but not for long: it has been killed, or has begun to exit.
pub fn is_ending(init: Init) -> io::Result<bool> {
    /// PF_EXITING of linux/sched.h.
    const EXITING: u64 = 0x4;
    let Some(stat) = stat(init.pid)?.filter(|stat| stat.is(init)) else { return Ok(false) };
    Ok(stat.has_ended() || stat.flags & EXITING != 0 || is_killed(init.pid)?)
}

/// Whether SIGKILL waits for it, which the kernel also sends in place of any other signal that ends it.
fn is_killed(pid: i32) -> io::Result<bool> {
    // The file has the process's groups, of which there may be many, so its length has no useful bound.
    let status = match fs::read(format!("/proc/{pid}/status")) {
        Err(error) if error.kind() == ErrorKind::NotFound || errno(&error) == Errno::ESRCH => {
            return Ok(true);
        }
        status => status?,
    };
    let status = String::from_utf8_lossy(&status);
    let pending = |line: &str| {
        let set = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
        u64::from_str_radix(set.trim(), 16).ok()
    };
    Ok(status.lines().filter_map(pending).any(|set| set & (1 << (libc::SIGKILL - 1)) != 0))
}

/// How a process has ended that nobody has waited for yet.
pub fn ended_with(init: Init) -> io::Result<Option<End>> {
    let Some(stat) = stat(init.pid)?.filter(|stat| stat.is(init) && stat.has_ended()) else {
        return Ok(None);
    };
    // Where we may not look, the exit code reads as 0. /proc/PID/io follows the same rule and cannot be opened then.
    let may_look = || fs::read(format!("/proc/{}/io", init.pid)).is_ok();
    Ok((stat.exit_code != 0 || may_look()).then(|| End::of_status(stat.exit_code)))
}
