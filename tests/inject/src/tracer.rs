//! Follows a command and all its children from system call to system call.

use crate::registers;
use nix::Result;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs::{File, read_link};
use std::io::{BufWriter, Write};

/// What is done at a call.
pub enum Deed {
    Kill,
    Fail(i32),
}

/// Where something is done.
pub struct Point {
    pub process: String,
    /// The call's number, and which of the calls with it.
    pub number: u64,
    pub nth: u32,
    pub deed: Deed,
}

/// A process that is followed.
struct Traced {
    name: String,
    children: u32,
    /// How many it has made of each number.
    calls: HashMap<u64, u32>,
    in_call: bool,
    /// The call it is in fails with this.
    failing: Option<i32>,
    /// What it has executed, unless that is the command's own program once more.
    program: String,
}

impl Traced {
    fn new(name: String) -> Self {
        Self {
            name,
            children: 0,
            calls: HashMap::new(),
            in_call: false,
            failing: None,
            program: String::new(),
        }
    }
}

/// The command, its descendants, and what is to be done.
pub struct Tracer {
    command: Pid,
    point: Option<Point>,
    log: BufWriter<File>,
    followed: HashMap<Pid, Traced>,
    /// Children that stopped before their parent's stop told of them.
    early: HashSet<Pid>,
    /// The command's program, once that is under way, no longer the shell that waited.
    own: Option<String>,
    /// Nothing is left to do: everybody is let go at their next stop.
    over: bool,
}

impl Tracer {
    /// Takes hold of a command that stops itself first, and of the container's init if `start` is to be followed.
    pub fn new(command: i32, init: Option<i32>, point: Option<Point>, log: BufWriter<File>) -> Result<Self> {
        let command = Pid::from_raw(command);
        waitpid(command, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        let mut followed = HashMap::from([(command, Traced::new("1".into()))]);
        ptrace::seize(command, options)?;
        if let Some(init) = init.map(Pid::from_raw) {
            // It belongs to the container, and outlives who traces it.
            ptrace::seize(init, options - Options::PTRACE_O_EXITKILL)?;
            ptrace::interrupt(init)?;
            followed.insert(init, Traced::new("init".into()));
        }
        kill(command, Signal::SIGCONT)?;
        Ok(Self { command, point, log, followed, early: HashSet::new(), own: None, over: false })
    }

    /// Follows everybody to the command's end, and gives that.
    pub fn run(mut self) -> Result<u8> {
        let mut code = None;
        while code.is_none() || !self.followed.is_empty() {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => break,
                status => status?,
            };
            let end = match status {
                WaitStatus::Exited(pid, code) => Some((pid, u8::try_from(code).unwrap_or(u8::MAX))),
                WaitStatus::Signaled(pid, signal, _) => Some((pid, 128 + signal as u8)),
                stop => {
                    // A process may be killed while it is looked at.
                    match self.stopped(stop) {
                        Err(Errno::ESRCH) => {}
                        result => result?,
                    }
                    None
                }
            };
            if let Some((pid, ended)) = end {
                self.followed.remove(&pid);
                if pid == self.command {
                    code = Some(ended);
                    self.let_go();
                }
            }
        }
        self.log.flush().map_err(|_| Errno::EIO)?;
        Ok(code.unwrap_or(u8::MAX))
    }

    /// Who stands still is let go of by [`Tracer::resume`], all others are made to stop.
    fn let_go(&mut self) {
        self.over = true;
        for pid in self.followed.keys() {
            // Who has just ended needs no stop.
            let _ = ptrace::interrupt(*pid);
        }
    }

    fn stopped(&mut self, stop: WaitStatus) -> Result<()> {
        let Some(pid) = stop.pid() else { return Ok(()) };
        if !self.followed.contains_key(&pid) {
            self.early.insert(pid);
            return Ok(());
        }
        match stop {
            WaitStatus::PtraceSyscall(_) => self.call(pid),
            WaitStatus::PtraceEvent(_, _, event) => self.event(pid, event),
            WaitStatus::Stopped(_, signal) => self.resume(pid, Some(signal)),
            _ => self.resume(pid, None),
        }
    }

    fn event(&mut self, pid: Pid, event: i32) -> Result<()> {
        match event {
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                let child = Pid::from_raw(i32::try_from(ptrace::getevent(pid)?).unwrap_or(0));
                if let Some(parent) = self.followed.get_mut(&pid) {
                    parent.children += 1;
                    let name = format!("{}.{}", parent.name, parent.children);
                    self.followed.insert(child, Traced::new(name));
                }
                if self.early.remove(&child) {
                    self.resume(child, None)?;
                }
            }
            libc::PTRACE_EVENT_EXEC => {
                let program = read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if program == "probe" {
                    self.followed.remove(&pid);
                    return ptrace::detach(pid, None);
                }
                // kase executes a sealed copy of itself: its calls are the command's all the same.
                if pid == self.command && self.own.is_none() {
                    self.own = Some(program);
                } else if let Some(traced) = self.followed.get_mut(&pid)
                    && self.own.as_ref() != Some(&program)
                {
                    traced.program = program;
                }
            }
            _ => {}
        }
        self.resume(pid, None)
    }

    /// It enters a system call, or leaves it.
    fn call(&mut self, pid: Pid) -> Result<()> {
        let Some(traced) = self.followed.get_mut(&pid) else { return Ok(()) };
        traced.in_call = !traced.in_call;
        if !traced.in_call {
            if let Some(errno) = traced.failing.take() {
                registers::fail(pid, errno)?;
                self.let_go();
            }
        } else if self.own.is_some() && !self.over {
            let number = registers::number(pid)?;
            let nth = traced.calls.entry(number).or_default();
            *nth += 1;
            let here = self.point.as_ref().is_none_or(|point| {
                point.number == number && point.nth == *nth && point.process == traced.name
            });
            if here {
                writeln!(self.log, "{} {number} {nth} {}", traced.name, traced.program)
                    .map_err(|_| Errno::EIO)?;
            }
            if here && self.point.is_some() {
                // Whoever waits in vain for the command's end looks into it.
                self.log.flush().map_err(|_| Errno::EIO)?;
            }
            match &self.point {
                Some(Point { deed: Deed::Fail(errno), .. }) if here => {
                    traced.failing = Some(*errno);
                    registers::skip(pid)?;
                    // Its end has to be seen.
                    return ptrace::syscall(pid, None);
                }
                Some(_) if here => {
                    kill(pid, Signal::SIGKILL)?;
                    self.let_go();
                    return Ok(());
                }
                _ => {}
            }
        }
        self.resume(pid, None)
    }

    fn resume(&mut self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        if self.over && self.followed.get(&pid).is_none_or(|traced| traced.failing.is_none()) {
            self.followed.remove(&pid);
            return ptrace::detach(pid, signal);
        }
        ptrace::syscall(pid, signal)
    }
}
