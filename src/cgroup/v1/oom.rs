//! cgroup v1, memory, chapter 9: the kernel counts in an eventfd that is told to it.

use crate::cgroup::directory::write;
use crate::cgroup::oom::{Heard, Watch};
use crate::kernel::deadline::Deadline;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Counter {
    path: PathBuf,
    file: File,
}

/// Begins to watch the cgroup of the memory controller.
pub fn watch(path: &Path) -> io::Result<Box<dyn Watch>> {
    let control = File::open(path.join("memory.oom_control"))?;
    let file = File::from(OwnedFd::from(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?));
    let line = format!("{} {}", file.as_raw_fd(), control.as_raw_fd());
    write(&path.join("cgroup.event_control"), &line)?;
    Ok(Box::new(Counter { path: path.to_path_buf(), file }))
}

impl Watch for Counter {
    fn wait(&mut self, time: Duration) -> io::Result<Heard> {
        let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        if !Deadline::after(time).poll(&mut ready)? {
            return Ok(Heard::Nothing);
        }
        self.file.read_exact(&mut [0; 8])?;
        // The counter is raised a last time when the cgroup is removed.
        Ok(if self.path.join("cgroup.procs").try_exists()? { Heard::Oom } else { Heard::Gone })
    }
}
