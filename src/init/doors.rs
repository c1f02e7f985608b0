//! Into the cgroups of v1, each by its own door: a `tasks` that kase has opened.

use crate::fault::Fault;
use crate::kernel::path::of_descriptor;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;

/// Moves this process, which has one thread, and closes the doors behind it.
pub fn enter(doors: Vec<OwnedFd>) -> anyhow::Result<()> {
    doors.into_iter().map(File::from).try_for_each(|mut door| {
        // 0 is who writes.
        door.write_all(b"0").map_err(|error| {
            let tasks = fs::read_link(of_descriptor(&door)).unwrap_or_default();
            let remedy = match error.raw_os_error() {
                Some(libc::ENOSPC) => {
                    "give it processors and memory: its cpuset.cpus or cpuset.mems is empty"
                }
                _ => "see whether another process has changed or removed the cgroup",
            };
            // What is short there is no disk.
            Fault::doing(format!("move this process by {}", tasks.display())).remedy(remedy).caused_by(error)
        })
    })
}
