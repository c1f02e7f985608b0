//! memory.events counts the processes that are killed for want of memory.

use crate::cgroup::directory::is_gone;
use crate::cgroup::oom::{Heard, Watch};
use crate::cgroup::stats::value_of;
use crate::kernel::deadline::Deadline;
use crate::kernel::text::read_text;
use nix::poll::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Events {
    path: PathBuf,
    /// cgroup.events and memory.events, which become ready (POLLPRI) when they change after they were read.
    files: Vec<File>,
    killed: u64,
}

/// Begins to watch the cgroup.
pub fn watch(path: &Path) -> io::Result<Box<dyn Watch>> {
    let mut files = vec![File::open(path.join("cgroup.events"))?];
    match File::open(path.join("memory.events")) {
        // Not there without the controller; the end of the container can be watched all the same.
        Err(error) if is_gone(&error) => {}
        file => files.push(file?),
    }
    for file in &mut files {
        file.read_to_end(&mut Vec::new())?;
    }
    Ok(Box::new(Events { killed: killed(path)?, path: path.to_path_buf(), files }))
}

impl Watch for Events {
    fn wait(&mut self, time: Duration) -> io::Result<Heard> {
        if !is_populated(&self.path)? {
            return Ok(Heard::Gone);
        }
        let ready = self.files.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI));
        Deadline::after(time).poll(&mut ready.collect::<Vec<_>>())?;
        for file in &mut self.files {
            // Gone by now, perhaps; is_populated tells.
            let _ = file.rewind().and_then(|()| file.read_to_end(&mut Vec::new()));
        }
        let now = killed(&self.path)?;
        let more = now > self.killed;
        self.killed = now;
        match more {
            true => Ok(Heard::Oom),
            false if is_populated(&self.path)? => Ok(Heard::Nothing),
            false => Ok(Heard::Gone),
        }
    }
}

fn killed(path: &Path) -> io::Result<u64> {
    match read_text(path.join("memory.events")) {
        Err(error) if is_gone(&error) => Ok(0),
        text => Ok(value_of(&text?, "oom_kill")),
    }
}

fn is_populated(path: &Path) -> io::Result<bool> {
    match read_text(path.join("cgroup.events")) {
        Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
