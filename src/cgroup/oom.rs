//! Watches a cgroup for processes that are killed for want of memory.

use super::directory::{is_gone, keyed, write};
use super::{Cgroup, Tree, v1};
use crate::fault::{Fault, OrFault};
use crate::kernel::eventfd::eventfd;
use crate::kernel::text::read_text;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A process was killed.
    Oom,
    /// There are no processes any more.
    Gone,
    /// Nothing, in the time that was given.
    Nothing,
}

/// A watch over a cgroup.
#[derive(Debug)]
pub struct Watch(Kind);

#[derive(Debug)]
enum Kind {
    V2 {
        path: PathBuf,
        /// cgroup.events and memory.events, which become ready (POLLPRI) when they change.
        files: Vec<File>,
        killed: u64,
    },
    V1 {
        path: PathBuf,
        counter: File,
    },
}

impl Cgroup {
    /// Begins to watch.
    ///
    /// # Errors
    /// No cgroup with a memory controller.
    pub fn watch(&self) -> anyhow::Result<Watch> {
        let missing = || {
            Fault::doing("watch for out-of-memory kills: the container has no memory cgroup")
                .remedy("create it again where cgroups may be made; see kase's message then")
        };
        match &self.tree {
            Tree::None => Err(missing().into()),
            Tree::V2 { path, .. } => Watch::v2(path),
            Tree::V1(paths) => Watch::v1(v1::directory_of(paths, "memory").ok_or_else(missing)?),
        }
        .or_fault(|| Fault::doing("watch for out-of-memory kills"))
    }
}

impl Watch {
    fn v2(path: &Path) -> anyhow::Result<Self> {
        let mut files = vec![File::open(path.join("cgroup.events"))?];
        match File::open(path.join("memory.events")) {
            // Not there without the controller; the end of the container can be watched all the same.
            Err(error) if is_gone(&error) => {}
            file => files.push(file?),
        }
        // A file is ready once it changes after it was read.
        for file in &files {
            let mut file = file;
            file.read_to_end(&mut Vec::new())?;
        }
        Ok(Self(Kind::V2 { killed: killed(path)?, path: path.to_path_buf(), files }))
    }

    /// cgroup v1, memory, chapter 9: the kernel counts in an eventfd that is told to it.
    fn v1(path: &Path) -> anyhow::Result<Self> {
        let control = File::open(path.join("memory.oom_control"))?;
        let counter = File::from(eventfd()?);
        let line = format!("{} {}", counter.as_raw_fd(), control.as_raw_fd());
        write(&path.join("cgroup.event_control"), &line)?;
        Ok(Self(Kind::V1 { path: path.to_path_buf(), counter }))
    }

    /// Waits until something happens, at most for `time`.
    pub fn wait(&mut self, time: Duration) -> io::Result<Heard> {
        match &mut self.0 {
            Kind::V2 { path, files, killed: before } => {
                if !is_populated(path)? {
                    return Ok(Heard::Gone);
                }
                let ready: Vec<_> =
                    files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect();
                wait(ready, time)?;
                for file in files.iter() {
                    let mut file = file;
                    // Gone by now, perhaps; is_populated tells.
                    let _ = io::Seek::rewind(&mut file).and_then(|()| file.read_to_end(&mut Vec::new()));
                }
                let now = killed(path)?;
                let more = now > *before;
                *before = now;
                match more {
                    true => Ok(Heard::Oom),
                    false if is_populated(path)? => Ok(Heard::Nothing),
                    false => Ok(Heard::Gone),
                }
            }
            Kind::V1 { path, counter } => {
                let ready = vec![PollFd::new(counter.as_fd(), PollFlags::POLLIN)];
                if !wait(ready, time)? {
                    return Ok(Heard::Nothing);
                }
                counter.read_exact(&mut [0; 8])?;
                // The counter is raised a last time when the cgroup is removed.
                Ok(if path.join("cgroup.procs").try_exists()? { Heard::Oom } else { Heard::Gone })
            }
        }
    }
}

fn wait(mut ready: Vec<PollFd<'_>>, time: Duration) -> io::Result<bool> {
    match poll(&mut ready, PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)) {
        Err(nix::Error::EINTR) => Ok(false),
        done => Ok(done? > 0),
    }
}

fn killed(path: &Path) -> io::Result<u64> {
    match keyed(&path.join("memory.events"), "oom_kill") {
        Err(error) if is_gone(&error) => Ok(0),
        count => Ok(count?.unwrap_or_default()),
    }
}

fn is_populated(path: &Path) -> io::Result<bool> {
    match read_text(path.join("cgroup.events")) {
        Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
