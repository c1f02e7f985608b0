//! Where the master of a container's terminal goes: to a socket of the engine's, or to our own terminal.

use crate::fault::{Fault, OrFault};
use crate::kernel::path::open;
use crate::kernel::terminal;
use nix::fcntl::OFlag;
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Connects to `--console-socket`, before anything is made.
pub fn connect_to(path: &Path) -> anyhow::Result<OwnedFd> {
    crate::kernel::socket::connect(path).or_fault(|| {
        Fault::doing(format!("connect to the console socket {}", path.display()))
            .remedy("start the program that receives the terminal first (recvtty, conmon, the engine)")
    })
}

/// Hands the master over.
pub fn send(console: BorrowedFd<'_>, master: BorrowedFd<'_>) -> anyhow::Result<()> {
    // The name goes along as the message's text, as with runc; receivers print it.
    crate::kernel::socket::send(console, b"/dev/ptmx", Some(master))
        .or_fault(|| Fault::doing("send the terminal over the console socket"))
}

/// Fits the container's terminal to where we show it: the size is that of ours, unless ours has none, and what is
/// no terminal gets lines that end in `\n` alone, as with runc: a file would keep the `\r`.
///
/// # Errors
/// We have no terminal.
pub fn fit(master: BorrowedFd<'_>) -> anyhow::Result<()> {
    if !stdout().is_terminal() {
        let mut modes = tcgetattr(master)?;
        modes.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(master, SetArg::TCSANOW, &modes)?;
    }
    let size = terminal::size(own()?.as_fd())?;
    if size != (terminal::Size { rows: 0, columns: 0 }) {
        terminal::set_size(master, size)?;
    }
    Ok(())
}

/// Our own terminal: whichever standard descriptor is one, or else the one that controls us.
///
/// # Errors
/// None is.
pub fn own() -> anyhow::Result<OwnedFd> {
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    let found = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().find(IsTerminal::is_terminal);
    match found {
        Some(terminal) => Ok(terminal.try_clone_to_owned()?),
        None => open("/dev/tty", OFlag::O_RDWR | OFlag::O_NOCTTY).map_err(|_| {
            Fault::at("process.terminal", "kase has no terminal to show the container's on")
                .remedy("run it from a terminal, give --console-socket, or set process.terminal to false")
                .into()
        }),
    }
}
