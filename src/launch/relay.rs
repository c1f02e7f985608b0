//! The foreground: signals go to the container, bytes between its terminal and ours, its end comes back.

use crate::fault::{Fault, OrFault};
use crate::kernel::process::{End, pidfd_send_signal, reap};
use crate::kernel::terminal::{self, Size};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Signals that wait to be passed on. Made before init, so that none is lost.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Holds back every signal that can be.
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn hold() -> anyhow::Result<Self> {
        let mut set = SigSet::all();
        // Faults of our own must end kase, and stopping kase stops kase.
        for signal in [
            Signal::SIGSEGV,
            Signal::SIGBUS,
            Signal::SIGILL,
            Signal::SIGFPE,
            Signal::SIGABRT,
            Signal::SIGTRAP,
            Signal::SIGSYS,
        ] {
            set.remove(signal);
        }
        for signal in [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGPIPE, Signal::SIGURG] {
            set.remove(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }
}

/// Our terminal in raw mode, restored when dropped.
#[derive(Debug)]
struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    fn enter(terminal: OwnedFd) -> anyhow::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}

/// The container's terminal beside ours.
#[derive(Debug)]
pub struct Screen {
    master: OwnedFd,
    raw: Raw,
    to_container: Vec<u8>,
    to_us: Vec<u8>,
    input: Input,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It may.
    Open,
    /// It will not.
    Ended,
}

/// Somebody else who is to be heard meanwhile.
pub trait Aside {
    /// Becomes readable when there is something.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Hears it, without waiting.
    fn heard(&mut self) -> Input;
}

impl Screen {
    /// Joins `master` to `terminal`.
    ///
    /// # Errors
    /// Those of termios(3).
    pub fn join(master: OwnedFd, terminal: OwnedFd) -> anyhow::Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        let raw = Raw::enter(terminal).or_fault(|| Fault::doing("put the terminal into raw mode"))?;
        Ok(Self { master, raw, to_container: Vec::new(), to_us: Vec::new(), input: Input::Open })
    }

    /// Gives the container's terminal the size of ours.
    pub fn resize(&self) {
        if let Ok(size) = terminal::size(self.raw.terminal.as_fd())
            && size != (Size { rows: 0, columns: 0 })
        {
            // The container may have closed it already.
            let _ = terminal::set_size(self.master.as_fd(), size);
        }
    }

    /// What to wait for: input of ours, and the master.
    fn interests(&self) -> [(BorrowedFd<'_>, PollFlags); 3] {
        let terminal = self.raw.terminal.as_fd();
        let read_ours = if self.input == Input::Open && self.to_container.is_empty() {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        let mut master = PollFlags::empty();
        if self.to_us.is_empty() {
            master |= PollFlags::POLLIN;
        }
        if !self.to_container.is_empty() {
            master |= PollFlags::POLLOUT;
        }
        let write_ours = if self.to_us.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        [(terminal, read_ours), (self.master.as_fd(), master), (terminal, write_ours)]
    }

    /// Moves what can be moved. Nothing more comes from the container when it answers [`Input::Ended`].
    fn pump(&mut self, ready: [PollFlags; 3]) -> Input {
        let waiting = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if ready[0].intersects(waiting) && self.input == Input::Open && self.to_container.is_empty() {
            self.input = fill(self.raw.terminal.as_fd(), &mut self.to_container);
        }
        if !self.to_container.is_empty() {
            drain(self.master.as_fd(), &mut self.to_container);
        }
        let mut state = Input::Open;
        if ready[1].intersects(waiting) && self.to_us.is_empty() {
            state = fill(self.master.as_fd(), &mut self.to_us);
        }
        if !self.to_us.is_empty() {
            drain(self.raw.terminal.as_fd(), &mut self.to_us);
        }
        state
    }

    /// After the end of init: what it had written still has to be shown.
    fn flush(&mut self) {
        loop {
            while !self.to_us.is_empty() {
                let mut fds = [PollFd::new(self.raw.terminal.as_fd(), PollFlags::POLLOUT)];
                if !matches!(poll(&mut fds, PollTimeout::from(1000u16)), Ok(1..)) {
                    return;
                }
                drain(self.raw.terminal.as_fd(), &mut self.to_us);
            }
            if fill(self.master.as_fd(), &mut self.to_us) == Input::Ended || self.to_us.is_empty() {
                return;
            }
        }
    }
}

fn fill(from: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Input {
    let mut bytes = [0; 8192];
    match read(from, &mut bytes) {
        Ok(0) => Input::Ended,
        Ok(length) => {
            buffer.extend_from_slice(&bytes[..length]);
            Input::Open
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Input::Open,
        // EIO: the last slave has been closed.
        Err(_) => Input::Ended,
    }
}

fn drain(to: BorrowedFd<'_>, buffer: &mut Vec<u8>) {
    match write(to, buffer) {
        Ok(length) => drop(buffer.drain(..length)),
        Err(Errno::EAGAIN | Errno::EINTR) => {}
        // Nobody reads any more.
        Err(_) => buffer.clear(),
    }
}

/// Stays until the process `pid` behind `pidfd` ends.
///
/// # Errors
/// Those of poll(2) and of the wait.
pub fn attend(
    signals: &Signals,
    pid: i32,
    pidfd: BorrowedFd<'_>,
    mut screen: Option<Screen>,
    mut aside: Option<&mut dyn Aside>,
) -> anyhow::Result<End> {
    if let Some(screen) = &screen {
        screen.resize();
    }
    loop {
        let mut fds = vec![PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
        for (fd, interest) in screen.iter().flat_map(Screen::interests) {
            fds.push(PollFd::new(fd, interest));
        }
        fds.extend(aside.iter().map(|aside| PollFd::new(aside.fd(), PollFlags::POLLIN)));
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled?,
        };
        let mut ready: Vec<PollFlags> =
            fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        if let Some(heard) = &mut aside
            && ready.pop().is_some_and(|flags| !flags.is_empty())
            && heard.heard() == Input::Ended
        {
            aside = None;
        }
        if let (Some(joined), &[_, a, b, c]) = (&mut screen, &ready[..])
            && joined.pump([a, b, c]) == Input::Ended
            && joined.to_us.is_empty()
        {
            // Its last slave is closed; the terminal is ours again, init may still run.
            screen = None;
        }
        while let Some(info) = signals.0.read_signal()? {
            match i32::try_from(info.ssi_signo).unwrap_or(0) {
                libc::SIGCHLD => {
                    if let Some(end) = reap_until(pid)? {
                        if let Some(screen) = &mut screen {
                            screen.flush();
                        }
                        return Ok(end);
                    }
                }
                libc::SIGWINCH => screen.iter().for_each(Screen::resize),
                // It may have ended in this very moment.
                signal => drop(pidfd_send_signal(pidfd, signal)),
            }
        }
    }
}

fn reap_until(pid: i32) -> anyhow::Result<Option<End>> {
    while let Some((reaped, end)) = reap()? {
        if reaped == pid {
            return Ok(Some(end));
        }
    }
    Ok(None)
}
