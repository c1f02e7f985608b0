//! Tells those who asked which process init is.

use crate::fault::{Fault, OrFault};
use crate::launch::Init;
use crate::launch::pidfd::Receiver;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
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
    pub fn make(&self, init: &Init, kind: &[u8]) -> anyhow::Result<()> {
        for receiver in &self.receivers {
            receiver.send(init.process.pidfd.as_fd(), kind)?;
        }
        self.pid_file.map_or(Ok(()), |file| write_pid_file(file, init.process.pid))
    }
}

/// Whole or not at all: engines read it as soon as it is there.
fn write_pid_file(path: &Path, pid: i32) -> anyhow::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(hidden);
    let write = || -> io::Result<()> {
        // Left by a kase that had the same id and was killed, or put there to lead us elsewhere.
        let _ = fs::remove_file(&temporary);
        File::create_new(&temporary)?.write_all(pid.to_string().as_bytes())?;
        fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
    };
    write().or_fault(|| {
        Fault::doing(format!("write the pid file {}", path.display()))
            .remedy("give --pid-file a file in a directory that exists and that you may write to")
    })
}
