//! A command that stands still at a system call until it is told to go on.

use crate::registers;
use nix::Result;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than any test waits for what it does meanwhile.
const LONGEST: Duration = Duration::from_secs(300);

/// Where a command stands still, and how long.
pub struct Hold<'a> {
    /// When the call has been made, in place of before.
    pub after: bool,
    /// Numbers of calls.
    pub calls: Vec<u64>,
    /// How the path that it is given has to end.
    pub path: Option<&'a str>,
    /// It goes on when this is there.
    pub until: &'a Path,
}

impl Hold<'_> {
    /// Follows a command that stops itself first to where it stands still, lets it go on, and gives its end: its exit
    /// code, or 128 and the number of the signal.
    pub fn run(&self, command: i32, log: &mut BufWriter<File>) -> Result<u8> {
        let command = Pid::from_raw(command);
        waitpid(command, Some(WaitPidFlag::WUNTRACED))?;
        ptrace::seize(
            command,
            Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL,
        )?;
        kill(command, Signal::SIGCONT)?;
        let (mut is_own, mut in_call, mut is_here) = (false, false, false);
        loop {
            match waitpid(command, None) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code).unwrap_or(u8::MAX)),
                Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
                Ok(WaitStatus::PtraceSyscall(_)) => {
                    in_call = !in_call;
                    if in_call {
                        is_here = is_own && self.is_at(command)?;
                    }
                    if is_here && in_call != self.after {
                        self.stand_still(log)?;
                        // Nothing more is looked for, but the end still comes here: it is the parent's child.
                        ptrace::detach(command, None)?;
                        is_here = false;
                    } else {
                        ptrace::syscall(command, None)?;
                    }
                }
                Ok(WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC)) => {
                    // The shell that waited has become the command.
                    is_own = true;
                    ptrace::syscall(command, None)?;
                }
                Ok(WaitStatus::Stopped(_, signal)) => ptrace::syscall(command, signal)?,
                Ok(_) => ptrace::syscall(command, None)?,
                Err(error) => return Err(error),
            }
        }
    }

    fn is_at(&self, command: Pid) -> Result<bool> {
        if !self.calls.contains(&registers::number(command)?) {
            return Ok(false);
        }
        let Some(end) = self.path else { return Ok(true) };
        let memory = File::open(format!("/proc/{command}/mem")).map_err(|_| Errno::EIO)?;
        Ok(registers::arguments(command)?
            .iter()
            .any(|address| path_at(&memory, *address).ends_with(end.as_bytes())))
    }

    fn stand_still(&self, log: &mut BufWriter<File>) -> Result<()> {
        writeln!(log, "held").and_then(|()| log.flush()).map_err(|_| Errno::EIO)?;
        let begun = Instant::now();
        while !self.until.exists() && begun.elapsed() < LONGEST {
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The bytes up to the first zero; none where nothing can be read.
fn path_at(memory: &File, address: u64) -> Vec<u8> {
    let mut bytes = [0; 4096];
    let read = memory.read_at(&mut bytes, address).unwrap_or(0);
    bytes[..read].split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}
