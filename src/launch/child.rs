//! A process that kase makes for a container: its init, or one that `exec` adds.

use super::intel_rdt::Share;
use super::net_devices::HandedOver;
use crate::fault::{Fault, OrFault};
use crate::handshake::{KaseEnd, ToInit, ToKase};
use crate::init::attributes;
use crate::kernel::clone::{Cloned, Parent, Process, clone3};
use crate::kernel::errno;
use crate::kernel::pidfd::{pidfd_pid, pidfd_send_signal};
use crate::kernel::process::{End, wait_for};
use crate::kernel::text::last_lines;
use crate::plan::scheduling::Scheduler;
use crate::trace;
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The process. Killed and reaped when this is dropped before it is [kept](Child::keep).
#[derive(Debug)]
pub struct Child {
    /// The process that goes on: another one after [`continue_as`](Child::continue_as).
    pub process: Process,
    /// Whether it was cloned into its cgroup, and has not to be moved there.
    pub in_cgroup: bool,
    /// What errors call it.
    called: &'static str,
    kase: KaseEnd,
    successor: Successor,
    /// The one before, which ends and is still to be waited for.
    before: Option<i32>,
    /// What a program that it needs has written: errors that it reports end with the last lines of it.
    pub output: Option<File>,
    /// Its place in resctrl, which is left if it comes to nothing.
    pub share: Option<Share>,
    /// The devices that it has of the host's, which get them back if it comes to nothing.
    pub devices: Option<HandedOver>,
    kept: bool,
}

/// Whether the process makes another one that goes on in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Successor {
    /// It does.
    Awaited,
    /// It does not, or has.
    None,
}

/// Makes a process in `namespaces` (CLONE_NEW* flags), in this cgroup if there is one and the kernel lets it: rights
/// were looked at before, but not those of a security module. Tells whether it is in there.
pub(super) fn clone_into(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(Cloned, bool)> {
    match clone3(namespaces, Parent::Us, cgroup) {
        // A move says better what is wrong with the cgroup, or there is nothing wrong with that; and of namespaces the
        // kernel says the same again. Of other things, such as a cgroup with all the processes that it may have, a
        // move would not ask.
        Err(error) if cgroup.is_some() && is_refusal(errno(&error)) => {
            Ok((clone3(namespaces, Parent::Us, None)?, false))
        }
        cloned => Ok((cloned?, cgroup.is_some())),
    }
}

fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EBUSY | Errno::EOPNOTSUPP)
}

impl Child {
    pub(super) fn new(
        called: &'static str,
        (process, in_cgroup): (Process, bool),
        kase: KaseEnd,
        successor: Successor,
    ) -> Self {
        Self {
            process,
            in_cgroup,
            called,
            kase,
            successor,
            before: None,
            output: None,
            share: None,
            devices: None,
            kept: false,
        }
    }

    /// Speaks to it, and passes descriptors with the word; when it has gone, what it said last is the error.
    pub fn say(&self, word: ToInit, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let Err(error) = self.kase.say(word, fds) else { return Ok(()) };
        // It still waits for the word then, and has nothing to say.
        if error.downcast_ref::<io::Error>().is_none_or(|error| error.kind() != ErrorKind::BrokenPipe) {
            return Err(error).or_fault(|| Fault::doing("pass descriptors to the container's init"));
        }
        while let Some(heard) = self.kase.hear()? {
            if let ToKase::Failed(report) = heard {
                return Err(report.into_error());
            }
        }
        Err(self.vanished())
    }

    /// Waits for what it says next.
    ///
    /// # Errors
    /// What it says has failed, or that it has ended.
    pub fn next(&mut self) -> anyhow::Result<ToKase> {
        trace::step("wait for init");
        // Not earlier: the other goes on meanwhile.
        self.before.take().map_or(Ok(()), |before| wait_for(before).map(drop))?;
        if self.successor == Successor::Awaited && !self.kase.has_word(self.process.pidfd.as_fd())? {
            // The one that it was to make may be there, which nobody else could name: it ends when it hears nothing more.
            self.kase.hang_up();
            return Err(self.vanished());
        }
        match self.kase.hear()? {
            Some(ToKase::Failed(mut report)) => {
                let output = self.output.as_ref().map(last_lines).filter(|lines| !lines.is_empty());
                report.line.extend(output.map(|lines| format!(" ({lines})")));
                Err(report.into_error())
            }
            Some(word) => Ok(word),
            None => Err(self.vanished()),
        }
    }

    /// Takes the process behind `pidfd`, of which it has said that it continues, in the place of the one that said so.
    pub fn continue_as(&mut self, pidfd: OwnedFd) -> anyhow::Result<()> {
        self.before = Some(self.process.pid);
        self.process = Process { pid: pidfd_pid(pidfd.as_fd())?, pidfd };
        self.successor = Successor::None;
        Ok(())
    }

    /// Gives the process the scheduler that it could not inherit from the one that made it.
    pub fn set_scheduler(&self, scheduler: Option<&Scheduler>) -> anyhow::Result<()> {
        match scheduler.filter(|scheduler| !scheduler.is_inherited()) {
            Some(scheduler) => attributes::set_scheduler(scheduler, self.process.pid),
            None => Ok(()),
        }
    }

    /// It has ended, or asks what it must not: which of the two is told.
    pub fn vanished(&self) -> anyhow::Error {
        // It may have ended already.
        let _ = pidfd_send_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
        let end = match wait_for(self.process.pid) {
            Ok(End::Signalled(signal)) => format!(": signal {signal} ended it"),
            Ok(End::Exited(code)) => format!(": its exit code is {code}"),
            Err(_) => String::new(),
        };
        Fault::doing(format!("{} ended before it was ready{end}", self.called))
            .remedy("look for an out-of-memory kill or a crash in `dmesg`")
            .into()
    }

    /// Lets it execute the program, and waits until it has.
    ///
    /// # Errors
    /// Why the program could not be executed.
    pub fn start(&self) -> anyhow::Result<()> {
        self.say(ToInit::Start, &[])?;
        match self.kase.hear()? {
            None => Ok(()),
            Some(ToKase::Failed(report)) => Err(report.into_error()),
            Some(_) => Err(self.vanished()),
        }
    }

    /// Leaves it alive when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
        self.devices.iter_mut().for_each(HandedOver::keep);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.kept {
            // Gone already is as good.
            let _ = pidfd_send_signal(self.process.pidfd.as_fd(), libc::SIGKILL);
            let _ = wait_for(self.process.pid);
            // It ends by itself.
            let _ = self.before.map(wait_for);
            if let Some(Err(error)) = self.share.as_ref().map(Share::leave) {
                tracing::warn!("linux.intelRdt: the container's group stays: {error}");
            }
        }
    }
}
