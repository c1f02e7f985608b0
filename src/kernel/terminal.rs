//! Pseudoterminals: the pair, its size, and the controlling terminal.

use super::{done, new_descriptor};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Rows and columns, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// The slave of a pseudoterminal whose `master` is newly opened, close-on-exec. It is opened through the
/// master (TIOCGPTPEER), so that no path can lead elsewhere.
///
/// # Errors
/// Those of the ioctls of ioctl_tty(2); ENOTTY when `master` is none.
pub fn open_slave(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which outlives the call.
    done(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags and answers with a new descriptor.
    new_descriptor(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })
}

/// Makes `slave` the controlling terminal of this session's leader.
///
/// # Errors
/// EPERM when this process leads no session or has a terminal.
pub fn make_controlling(slave: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TIOCSCTTY takes an int.
    done(unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSCTTY, 0) })
}

/// The terminal's size.
///
/// # Errors
/// ENOTTY when it is none.
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills a winsize, which outlives the call.
    done(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) })?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the terminal's size. 0 rows of 0 columns are that of a terminal which nobody has told one, and set nothing.
///
/// # Errors
/// ENOTTY when it is none.
pub fn set_size(terminal: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    if size == (Size { rows: 0, columns: 0 }) {
        return Ok(());
    }
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize, which outlives the call.
    done(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) })
}
