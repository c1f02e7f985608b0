//! Into the cgroups of v1, each by its own door: a `tasks` that kase has opened.

use crate::fault::{Fault, OrFault};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

/// Moves this process, which has one thread, and closes the doors behind it.
///
/// # Errors
/// The kernel's.
pub fn enter(doors: Vec<OwnedFd>) -> anyhow::Result<()> {
    doors.into_iter().map(File::from).try_for_each(|mut door| {
        // 0 is who writes.
        door.write_all(b"0").or_fault(|| {
            let tasks = fs::read_link(format!("/proc/self/fd/{}", door.as_raw_fd())).unwrap_or_default();
            Fault::doing(format!("move this process by {}", tasks.display()))
                .remedy("see whether another process has changed or removed the cgroup")
        })
    })
}
