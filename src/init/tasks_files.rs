//! Enters the cgroups of v1, each by its file `tasks`, which kase has opened.

use crate::fault::Fault;
use crate::kernel::path::of_descriptor;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;

/// Moves this process, which has one thread, and closes the files.
pub fn enter(tasks_files: Vec<OwnedFd>) -> anyhow::Result<()> {
    tasks_files.into_iter().map(File::from).try_for_each(|mut tasks| {
        // The kernel takes 0 for whoever writes it.
        tasks.write_all(b"0").map_err(|error| {
            let path = fs::read_link(of_descriptor(&tasks)).unwrap_or_default();
            let remedy = match error.raw_os_error() {
                Some(libc::ENOSPC) => {
                    "give it processors and memory: its cpuset.cpus or cpuset.mems is empty"
                }
                _ => "see whether another process has changed or removed the cgroup",
            };
            // What is short there is no disk.
            Fault::doing(format!("move this process by {}", path.display())).remedy(remedy).caused_by(error)
        })
    })
}
