//! Gives init the container's own terminal.

use super::inside::{self, Shape};
use super::process::replace;
use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, ToKase};
use crate::kernel::mount::{self, Reach};
use crate::kernel::path::{Resolve, openat2};
use crate::kernel::terminal::{self, Size};
use crate::trace;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fchmod;
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown};
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Opens a pseudoterminal in the container's devpts, sends the master to kase, and makes the slave standard input,
/// output and error, and /dev/console.
///
/// # Errors
/// No devpts in the container, or what the kernel refuses.
pub fn take(
    root: BorrowedFd<'_>,
    size: Size,
    owner: u32,
    console: Console,
    kase: &InitEnd,
) -> anyhow::Result<()> {
    trace::step("terminal");
    let at = || Fault::at("process.terminal", "open a terminal in the container's /dev/pts");
    let remedy = "mount devpts on /dev/pts (`kase spec` shows how), or set process.terminal to false";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let ptmx = match openat2(root, Path::new("/dev/pts/ptmx"), flags, Resolve::NO_SYMLINKS) {
        // The kernel's word for too many terminals is that of a full disk.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            let more = "close terminals, or let there be more: max= of the mount on /dev/pts, and, on the host, sysctl kernel.pty.max";
            return Err(at().remedy(more).caused_by(error));
        }
        ptmx => ptmx.or_fault(|| at().remedy(remedy))?,
    };
    if fstatfs(&ptmx)?.filesystem_type() != DEVPTS {
        return Err(at().remedy(remedy).into());
    }
    // Non-blocking was for a file that is no terminal; the other end wants a plain descriptor.
    fcntl(&ptmx, FcntlArg::F_SETFL(OFlag::O_RDWR))?;
    let slave = terminal::open_slave(ptmx.as_fd()).or_fault(at)?;
    terminal::set_size(slave.as_fd(), size)
        .or_fault(|| Fault::at("process.consoleSize", "set the terminal's size"))?;
    if owner != 0 {
        fchown(&slave, Some(Uid::from_raw(owner)), None::<Gid>)
            .or_fault(|| Fault::at("process.terminal", "give the terminal to the user"))?;
    }
    if console == Console::Bound {
        bind_console(root, slave.as_fd()).or_fault(|| {
            Fault::at("process.terminal", "bind the terminal on /dev/console").remedy(
                "let /dev and /dev/console in the container be no symlinks, and /dev/console a file if it is there",
            )
        })?;
    }
    kase.say(&ToKase::Terminal(ptmx))?;
    for number in 0..3 {
        replace(number, &slave)?;
    }
    Ok(())
}

/// Makes standard input, which is the container's terminal, the controlling one of the session that this process leads.
pub fn make_controlling() -> anyhow::Result<()> {
    terminal::make_controlling(stdin().as_fd())
        .or_fault(|| Fault::at("process.terminal", "make the terminal the controlling one"))
}

/// Whether the terminal is /dev/console too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// For init.
    Bound,
    /// For a process that is added: the console is init's.
    Untouched,
}

fn bind_console(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> anyhow::Result<()> {
    // Not through a symlink, which could lead below a mask (CVE-2025-52565) or to what is the host's.
    let dev = inside::ordinary_directory(root, Path::new("/dev"))?;
    let target = inside::step(dev.as_fd(), "console".as_ref(), Shape::File)?;
    // Whatever mode the mount point has, the console is the slave's.
    let tree = mount::clone_mount(slave, Reach::One)?;
    mount::attach(tree.as_fd(), target.as_fd())?;
    fchmod(slave, nix::sys::stat::Mode::from_bits_truncate(0o620))?;
    Ok(())
}

/// Not in libc.
const DEVPTS: FsType = FsType(0x1cd1);
