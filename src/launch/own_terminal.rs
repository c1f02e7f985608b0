//! Our own terminal while it shows the container's: in raw mode whenever it is ours, and then as it was before.
//!
//! A shell with job control gives it to one job at a time. In the background kase neither reads it nor changes its
//! modes, either of which would stop it. A process beside kase puts the modes back should kase be killed.

use crate::fault::{Fault, OrFault};
use crate::kernel::clone::{Cloned, Parent, Process, clone3};
use crate::kernel::descriptor::close_all_but;
use crate::kernel::path::open;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{every_signal, exit_now, wait_for};
use libc::termios;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, pipe2, read, tcgetpgrp, write};
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Our terminal.
#[derive(Debug)]
pub struct OwnTerminal {
    terminal: OwnedFd,
    /// What it was, and the raw mode that it is in since, while it is ours.
    modes: Option<Modes>,
    restorer: Restorer,
}

#[derive(Debug)]
struct Modes {
    before: Termios,
    raw: Termios,
}

impl OwnTerminal {
    /// Finds it, and leaves it as it is. To be called before kase enters anything of a container's, where the process
    /// beside it has no business.
    ///
    /// # Errors
    /// We have none; no more processes or descriptors.
    pub fn find() -> anyhow::Result<Self> {
        let terminal = own()?;
        let restorer =
            Restorer::start(&terminal).or_fault(|| Fault::doing("watch over the terminal's modes"))?;
        Ok(Self { terminal, modes: None, restorer })
    }

    /// Puts it into raw mode, unless we are in the background.
    pub fn take(&mut self) -> anyhow::Result<()> {
        if !self.is_in_foreground() {
            self.modes = None;
            return Ok(());
        }
        let before = match tcgetattr(&self.terminal) {
            // It has hung up, which is no reason to end the container.
            Err(Errno::EIO) => return Ok(()),
            before => before?,
        };
        // Stopped and continued by somebody who has changed nothing.
        if self.modes.as_ref().is_some_and(|modes| is_same(&modes.raw, &before)) {
            return Ok(());
        }
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        self.restorer.heed(&before);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &raw)?;
        self.modes = Some(Modes { before, raw });
        Ok(())
    }

    /// Makes it what it was before.
    pub fn give_back(&mut self) {
        if let Some(modes) = self.modes.take()
            && self.is_in_foreground()
        {
            // A terminal that has gone needs no restoring.
            let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &modes.before);
        }
    }

    /// Whether it is ours to read.
    pub fn is_taken(&self) -> bool {
        self.modes.is_some()
    }

    /// A terminal that does not control us knows no background.
    fn is_in_foreground(&self) -> bool {
        tcgetpgrp(&self.terminal).map_or(true, |group| group == getpgrp())
    }
}

impl AsFd for OwnTerminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}

impl Drop for OwnTerminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Whichever standard descriptor is one, or else the one that controls us.
fn own() -> anyhow::Result<OwnedFd> {
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

/// A process that waits for the end of kase, and makes the terminal what it was if it is still what kase made of it.
#[derive(Debug)]
struct Restorer {
    process: Process,
    /// Tells it of the modes; its end is that of kase.
    modes: OwnedFd,
}

impl Restorer {
    fn start(terminal: &OwnedFd) -> std::io::Result<Self> {
        let (ours, modes) = pipe2(OFlag::O_CLOEXEC)?;
        match clone3(0, Parent::Us, None)? {
            Cloned::Caller(process) => Ok(Self { process, modes }),
            Cloned::New => {
                // Whatever signal ends kase or stops its group, this stays until it has done its work; in the
                // background a change of the modes would be a SIGTTOU. What else is open is not its own to hold. Neither
                // call has a reason to fail, and without them it does its work as well.
                let _ = every_signal().thread_set_mask();
                let _ = close_all_but(&[ours.as_fd(), terminal.as_fd()], 0);
                restore(terminal, &ours);
                exit_now(0)
            }
        }
    }

    /// What to restore from now on.
    fn heed(&self, modes: &Termios) {
        // It may have been killed. That is no reason not to run.
        let _ = write(&self.modes, &packed(&modes.clone().into()));
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = pidfd_send_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
        let _ = wait_for(self.process.pid);
    }
}

/// Waits until nobody holds the other end of `told` any more.
fn restore(terminal: &OwnedFd, told: &OwnedFd) {
    let mut last = None;
    let mut packet: Packet = [0; LENGTH];
    while let Ok(1..) = read(told, &mut packet) {
        last = Some(packet);
    }
    let Some(before) = last.and_then(|packet| unpacked(&packet, tcgetattr(terminal).ok()?.into())) else {
        return;
    };
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    // A shell may have set its own meanwhile.
    if tcgetattr(terminal).is_ok_and(|now| is_same(&now, &raw)) {
        let _ = tcsetattr(terminal, SetArg::TCSANOW, &before);
    }
}

type Packet = [u8; LENGTH];
const LENGTH: usize = 16 + CHARACTERS;
/// The kernel's NCCS. What a C library has beyond it may be anything: musl leaves it as it was.
const CHARACTERS: usize = 19;

/// Whether the kernel has the same modes for both.
fn is_same(one: &Termios, other: &Termios) -> bool {
    packed(&one.clone().into()) == packed(&other.clone().into())
}

/// What a raw mode changes, in fewer bytes than a pipe splits.
fn packed(modes: &termios) -> Packet {
    let flags = [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag];
    let characters = modes.c_cc.into_iter().take(CHARACTERS);
    let mut bytes = flags.iter().flat_map(|flags| flags.to_ne_bytes()).chain(characters);
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}

/// The modes of a packet; what it does not have is that of `now`.
fn unpacked(packet: &Packet, now: termios) -> Option<Termios> {
    let (flags, characters) = packet.split_at(16);
    let mut all = now.c_cc;
    all[..CHARACTERS].copy_from_slice(characters);
    let mut flags = flags.chunks_exact(4).map_while(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
    let modes = termios {
        c_iflag: flags.next()?,
        c_oflag: flags.next()?,
        c_cflag: flags.next()?,
        c_lflag: flags.next()?,
        c_cc: all,
        ..now
    };
    Some(modes.into())
}
