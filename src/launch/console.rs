//! Where the master of a container's terminal goes: to a socket of the engine's, or to our own terminal.

use super::own_terminal::OwnTerminal;
use crate::fault::{Fault, OrFault};
use crate::kernel::terminal;
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use std::io::{IsTerminal, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where it goes, found before anything is made.
#[derive(Debug, Default)]
pub enum Console {
    /// There is none.
    #[default]
    None,
    /// To whoever listens on `--console-socket`.
    Socket(OwnedFd),
    /// To our own terminal, once there is a master.
    Own(Box<OwnTerminal>, Option<OwnedFd>),
}

impl Console {
    /// Connects to `--console-socket`.
    pub fn connect(path: &Path) -> anyhow::Result<Self> {
        let socket = crate::kernel::socket::connect(path).or_fault(|| {
            Fault::doing(format!("connect to the console socket {}", path.display()))
                .remedy("start the program that receives the terminal first (recvtty, conmon, the engine)")
        })?;
        Ok(Self::Socket(socket))
    }

    /// Takes the master, and hands it over where that is wanted.
    pub fn take(&mut self, master: OwnedFd) -> anyhow::Result<()> {
        match self {
            Self::None => Ok(()),
            // The name goes along as the message's text, as with runc; receivers print it.
            Self::Socket(socket) => {
                crate::kernel::socket::send(socket.as_fd(), b"/dev/ptmx", Some(master.as_fd()))
                    .or_fault(|| Fault::doing("send the terminal over the console socket"))
            }
            Self::Own(terminal, place) => {
                // Before the program can ask: later only changes are passed on.
                fit(master.as_fd(), terminal.as_fd())?;
                *place = Some(master);
                Ok(())
            }
        }
    }

    /// The terminal on which the container's is shown, and the master of that.
    pub fn shown(self) -> Option<(OwnTerminal, OwnedFd)> {
        match self {
            Self::Own(terminal, Some(master)) => Some((*terminal, master)),
            _ => None,
        }
    }
}

/// Fits the container's terminal to where we show it: the size is that of ours, unless ours has none, and what is
/// no terminal gets lines that end in `\n` alone, as with runc: a file would keep the `\r`.
fn fit(master: BorrowedFd<'_>, own: BorrowedFd<'_>) -> anyhow::Result<()> {
    if !stdout().is_terminal() {
        let mut modes = tcgetattr(master)?;
        modes.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(master, SetArg::TCSANOW, &modes)?;
    }
    Ok(terminal::set_size(master, terminal::size(own)?)?)
}
