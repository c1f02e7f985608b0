//! `steps FILE NAME COMMAND [ARG…]` executes COMMAND and writes to FILE where in the program NAME it, and every
//! process that it makes, has been: a line for each instruction, by its distance from the program's beginning,
//! in hexadecimal, in the order of the first time. Says on standard error how many were executed in all. Ends when
//! COMMAND does, and with it whatever that has left running.
//!
//! Single steps take some microseconds each, so a container's run takes minutes.

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::env::args;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = args().skip(1);
    let (Some(file), Some(name), Some(program)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: steps FILE NAME COMMAND [ARG…]".into());
    };
    let mut command = Command::new(program);
    command.args(args);
    // SAFETY: between fork and exec this makes one system call, which takes no lock.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = Pid::from_raw(i32::try_from(command.spawn()?.id())?);
    waitpid(child, None)?;
    let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::setoptions(child, follow | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL)?;
    ptrace::step(child, None)?;

    let mut trace =
        Trace { name, begins: HashMap::new(), seen: HashSet::new(), order: String::new(), count: 0 };
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => break,
            Err(error) => return Err(error.into()),
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == child => break,
            Ok(status) => trace.see(status)?,
        }
    }
    eprintln!("{} instructions, {} of them different", trace.count, trace.seen.len());
    Ok(fs::write(file, trace.order)?)
}

struct Trace {
    name: String,
    /// Where the program begins in a process's memory; nothing where it executes another.
    begins: HashMap<Pid, Option<u64>>,
    seen: HashSet<u64>,
    order: String,
    count: u64,
}

impl Trace {
    fn see(&mut self, status: WaitStatus) -> Result<(), Box<dyn Error>> {
        let (pid, signal) = match status {
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    self.begins.remove(&pid);
                }
                (pid, None)
            }
            // A step's, and a new process's first.
            WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGSTOP) => {
                self.step(pid)?;
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => return Ok(()),
        };
        match ptrace::step(pid, signal) {
            // Killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn step(&mut self, pid: Pid) -> Result<(), Box<dyn Error>> {
        let begin = *self.begins.entry(pid).or_insert_with(|| begin(pid, &self.name));
        let at = match ptrace::getregs(pid) {
            Ok(registers) => registers.rip,
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(distance) = begin.and_then(|begin| at.checked_sub(begin)) else { return Ok(()) };
        self.count += 1;
        if self.seen.insert(distance) {
            writeln!(self.order, "{distance:x}")?;
        }
        Ok(())
    }
}

/// Where the first mapping of the program `name` is in the memory of `pid`.
fn begin(pid: Pid, name: &str) -> Option<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    // `/kase`, as the sealed one is called, and `/usr/bin/kase`.
    let line = maps.lines().find(|line| line.rsplit('/').next() == Some(name))?;
    u64::from_str_radix(line.split('-').next()?, 16).ok()
}
