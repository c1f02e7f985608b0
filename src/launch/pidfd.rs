//! Hands a pidfd of init, or of a process that exec adds, to whoever asked for it.

use crate::fault::{Fault, OrFault};
use crate::kernel::socket::{connect, send};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// crun(1)'s annotation for what `--pidfd-socket` is on the command line.
const ANNOTATION: &str = "run.oci.pidfd_receiver";

/// A connection to somebody who waits for a pidfd.
#[derive(Debug)]
pub struct Receiver(OwnedFd);

impl Receiver {
    /// Connects to `--pidfd-socket`, before anything is made.
    pub fn of_option(path: &Path) -> anyhow::Result<Self> {
        connect(path).map(Self).or_fault(|| {
            Fault::doing(format!("connect to the pidfd socket {}", path.display()))
                .remedy("start the program that receives the pidfd first, or leave --pidfd-socket out")
        })
    }

    /// Connects to the socket that the annotation names, if there is one.
    pub fn of_annotation(annotations: Option<&HashMap<String, String>>) -> anyhow::Result<Option<Self>> {
        let Some(path) = annotations.and_then(|annotations| annotations.get(ANNOTATION)) else {
            return Ok(None);
        };
        let receiver = connect(Path::new(path)).map(Self).or_fault(|| {
            Fault::at(format!("annotations[\"{ANNOTATION}\"]"), format!("connect to {path}"))
                .remedy("start the program that receives the pidfd first, or leave the annotation out")
        })?;
        Ok(Some(receiver))
    }

    /// Sends it, with runc's word for the kind of process as the message's text.
    pub fn send(&self, pidfd: BorrowedFd<'_>, kind: &[u8]) -> anyhow::Result<()> {
        send(self.0.as_fd(), kind, Some(pidfd)).or_fault(|| Fault::doing("send the pidfd to its receiver"))
    }
}
