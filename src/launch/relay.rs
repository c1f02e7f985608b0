//! The foreground: signals go to the container, bytes between its terminal and ours, its end comes back.

use crate::fault::{Fault, OrFault};
use crate::kernel::clone::Process;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{End, every_signal, reap};
use crate::kernel::terminal;
use crate::kernel::uninterrupted;
use crate::launch::console::Console;
use crate::launch::own_terminal::OwnTerminal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal::{
    self, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP, SIGTSTP, SIGTTIN, SIGTTOU,
    SIGURG,
};
use nix::sys::signal::{SigSet, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{read, write};
use std::io::{IsTerminal, Stdin, Stdout, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Signals that wait to be passed on. Made before init, so that none is lost.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    set: SigSet,
}

impl Signals {
    /// Holds back every signal that can be.
    pub fn hold() -> anyhow::Result<Self> {
        // Faults of our own must end kase, and stopping kase stops kase.
        const FAULTS: [Signal; 7] = [SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS];
        const OTHERS: [Signal; 5] = [SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGURG];
        let mut set = every_signal();
        FAULTS.into_iter().chain(OTHERS).for_each(|signal| set.remove(signal));
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?, set })
    }

    /// Has them with SIGTSTP, before which a terminal has to be put right.
    fn hold_stop(&mut self) -> anyhow::Result<()> {
        self.set.add(SIGTSTP);
        self.set.thread_block()?;
        self.fd.set_mask(&self.set)?;
        Ok(())
    }

    /// Whether one of those that wait asks for more than a look at children or at the terminal's size.
    fn ask_to_end(&self) -> bool {
        std::iter::from_fn(|| self.fd.read_signal().ok().flatten()).any(|info| {
            !matches!(i32::try_from(info.ssi_signo), Ok(libc::SIGCHLD | libc::SIGWINCH | libc::SIGCONT))
        })
    }
}

/// The container's terminal beside ours: what comes on our standard input goes there, what it shows goes to our
/// standard output, either of which may be a pipe while the other is our terminal.
#[derive(Debug)]
pub struct Screen {
    master: OwnedFd,
    own: OwnTerminal,
    stdin: Stdin,
    stdout: Stdout,
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
    /// Joins `master` to our terminal.
    pub fn join(master: OwnedFd, own: OwnTerminal) -> anyhow::Result<Self> {
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
        let mut screen = Self {
            master,
            own,
            stdin: stdin(),
            stdout: stdout(),
            to_container: Vec::new(),
            to_us: Vec::new(),
            input: Input::Open,
        };
        screen.take()?;
        Ok(screen)
    }

    /// Makes our terminal that of the container, if it is our turn to have it.
    fn take(&mut self) -> anyhow::Result<()> {
        self.own.take().or_fault(|| Fault::doing("put the terminal into raw mode"))?;
        self.resize();
        Ok(())
    }

    /// Whether it has to be asked now and then if the terminal has become ours: not every shell tells of it.
    fn is_in_background(&self) -> bool {
        !self.own.is_taken()
    }

    /// Stops kase as it was told to, with the terminal as it was before. Comes back when kase is to go on.
    fn stop(&mut self) -> anyhow::Result<()> {
        let stop = SigSet::from(SIGTSTP);
        self.own.give_back();
        raise(SIGTSTP)?;
        // Here it stops.
        stop.thread_unblock()?;
        stop.thread_block()?;
        self.take()
    }

    /// Gives the container's terminal the size of ours.
    pub fn resize(&self) {
        if let Ok(size) = terminal::size(self.own.as_fd()) {
            // The container may have closed it already.
            let _ = terminal::set_size(self.master.as_fd(), size);
        }
    }

    /// What to wait for: input of ours, the master, and room for output of ours. What nothing is wanted of is
    /// left out: an input that has ended, or an output that nobody reads, would answer every poll.
    fn interests(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 3] {
        let mut master = PollFlags::empty();
        if self.to_us.is_empty() {
            master |= PollFlags::POLLIN;
        }
        if !self.to_container.is_empty() {
            master |= PollFlags::POLLOUT;
        }
        let is_ours = !self.is_in_background() || !self.stdin.is_terminal();
        let reads = is_ours && self.input == Input::Open && self.to_container.is_empty();
        [
            reads.then_some((self.stdin.as_fd(), PollFlags::POLLIN)),
            (!master.is_empty()).then_some((self.master.as_fd(), master)),
            (!self.to_us.is_empty()).then_some((self.stdout.as_fd(), PollFlags::POLLOUT)),
        ]
    }

    /// Moves what can be moved. Nothing more comes from the container when it answers [`Input::Ended`].
    fn pump(&mut self, ready: [PollFlags; 3]) -> Input {
        let waiting = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if ready[0].intersects(waiting) && self.input == Input::Open && self.to_container.is_empty() {
            self.input = fill(self.stdin.as_fd(), &mut self.to_container);
        }
        if !self.to_container.is_empty() {
            drain(self.master.as_fd(), &mut self.to_container);
        }
        let mut state = Input::Open;
        if ready[1].intersects(waiting) && self.to_us.is_empty() {
            state = fill(self.master.as_fd(), &mut self.to_us);
        }
        // Only what the next poll finds room for: it may be a pipe that nobody reads, and would block us.
        if !ready[2].is_empty() {
            drain(self.stdout.as_fd(), &mut self.to_us);
        }
        state
    }

    /// After the end of init: what it had written still has to be shown, as long as it takes and until a signal
    /// says otherwise.
    fn flush(&mut self, signals: &Signals) {
        loop {
            while !self.to_us.is_empty() {
                let mut fds = [
                    PollFd::new(self.stdout.as_fd(), PollFlags::POLLOUT),
                    PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN),
                ];
                let _ = poll(&mut fds, PollTimeout::NONE);
                let signalled = fds[1].any().unwrap_or(false);
                if fds[0].any().unwrap_or(false) {
                    drain(self.stdout.as_fd(), &mut self.to_us);
                } else if signalled && signals.ask_to_end() {
                    return;
                }
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
    // As much as an output that is ready for any takes without blocking us.
    match write(to, &buffer[..buffer.len().min(libc::PIPE_BUF)]) {
        Ok(length) => drop(buffer.drain(..length)),
        Err(Errno::EAGAIN | Errno::EINTR) => {}
        // Nobody reads any more.
        Err(_) => buffer.clear(),
    }
}

/// Milliseconds between two looks at whether kase is still in the background.
const BACKGROUND: u8 = 100;

/// Stays until the process ends.
pub fn attend(
    mut signals: Signals,
    process: &Process,
    console: Console,
    mut aside: Option<&mut dyn Aside>,
) -> anyhow::Result<End> {
    let mut screen = console.shown().map(|(own, master)| Screen::join(master, own)).transpose()?;
    // Each program that was started meanwhile, newuidmap and hooks, has had musl give up its own signals.
    signals.set.thread_block()?;
    if screen.is_some() {
        signals.hold_stop()?;
    }
    loop {
        let mut timeout = PollTimeout::NONE;
        if let Some(screen) = screen.as_mut().filter(|screen| screen.is_in_background()) {
            screen.take()?;
            timeout = BACKGROUND.into();
        }
        let interests = screen.as_ref().map(Screen::interests).unwrap_or_default();
        let mut fds = vec![PollFd::new(signals.fd.as_fd(), PollFlags::POLLIN)];
        fds.extend(interests.iter().flatten().map(|(fd, flags)| PollFd::new(*fd, *flags)));
        fds.extend(aside.iter().map(|aside| PollFd::new(aside.fd(), PollFlags::POLLIN)));
        uninterrupted(|| poll(&mut fds, timeout))?;
        let answers: Vec<_> = fds[1..].iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        let mut answers = answers.into_iter();
        let ready =
            interests.map(|interest| interest.and_then(|_| answers.next()).unwrap_or(PollFlags::empty()));
        if let Some(heard) = &mut aside
            && answers.next().is_some_and(|flags| !flags.is_empty())
            && heard.heard() == Input::Ended
        {
            aside = None;
        }
        if let Some(joined) = &mut screen
            && joined.pump(ready) == Input::Ended
            && joined.to_us.is_empty()
        {
            // Its last slave is closed; the terminal is ours again, init may still run.
            screen = None;
        }
        while let Some(info) = uninterrupted(|| signals.fd.read_signal())? {
            match i32::try_from(info.ssi_signo).unwrap_or(0) {
                libc::SIGCHLD => {
                    if let Some(end) = reap_until(process.pid)? {
                        if let Some(screen) = &mut screen {
                            screen.flush(&signals);
                        }
                        return Ok(end);
                    }
                }
                libc::SIGWINCH => screen.iter().for_each(Screen::resize),
                libc::SIGTSTP => screen.as_mut().map_or(Ok(()), Screen::stop)?,
                signal => {
                    if let (libc::SIGCONT, Some(screen)) = (signal, &mut screen) {
                        screen.take()?;
                    }
                    // It may have ended in this very moment.
                    drop(pidfd_send_signal(process.pidfd.as_fd(), signal));
                }
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
