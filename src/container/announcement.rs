//! Tells those who asked which process init is.

use crate::fault::{Fault, OrFault};
use crate::launch::child::Child;
use crate::launch::pidfd::Receiver;
use crate::output_file;
use std::os::fd::AsFd;
use std::path::Path;

/// Who asked, known before anything is made.
#[derive(Debug)]
pub struct Announcement<'a> {
    /// Each is handed a pidfd.
    pub receivers: Vec<Receiver>,
    /// `--pid-file`.
    pub pid_file: Option<&'a Path>,
}

impl Announcement<'_> {
    /// Tells them; `kind` is what runc says over the socket of a container's first process, and of an added one.
    ///
    /// # Errors
    /// A receiver that has gone, a file that cannot be written.
    pub fn make(&self, process: &Child, kind: &[u8]) -> anyhow::Result<()> {
        for receiver in &self.receivers {
            receiver.send(process.process.pidfd.as_fd(), kind)?;
        }
        self.pid_file.map_or(Ok(()), |file| write_pid_file(file, process.process.pid))
    }
}

fn write_pid_file(path: &Path, pid: i32) -> anyhow::Result<()> {
    output_file::write_whole(path, pid.to_string().as_bytes()).or_write_fault(|| {
        Fault::doing(format!("write the pid file {}", path.display()))
            .remedy("give --pid-file a file in a directory that exists and that you may write to")
    })
}
