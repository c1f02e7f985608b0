//! Hands the listener of a filter that notifies to the seccomp agent; config-linux.md, "The Container Process
//! State".

use crate::fault::{Fault, OrFault};
use crate::hook::State;
use crate::plan::seccomp::Listener;
use serde::Serialize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// The agent, connected to.
#[derive(Debug)]
pub struct Agent<'a> {
    socket: OwnedFd,
    metadata: Option<&'a str>,
}

impl<'a> Agent<'a> {
    /// Connects to it, before anything is made.
    pub fn connect(listener: Listener<'a>) -> anyhow::Result<Self> {
        let socket = crate::kernel::socket::connect(listener.path).or_fault(|| {
            // runc's words, which its own test suite looks for.
            let what = format!("failed to connect with seccomp agent at {}", listener.path.display());
            Fault::at("linux.seccomp.listenerPath", what)
                .remedy("start the seccomp agent first, or correct the path")
        })?;
        Ok(Self { socket, metadata: listener.metadata })
    }

    /// Sends it the listener, with the state of the process `pid` that is under the filter.
    pub fn send(&self, listener: BorrowedFd<'_>, state: &State, pid: i32) -> anyhow::Result<()> {
        let (version, metadata) = (&state.oci_version, self.metadata);
        let process = ProcessState { oci_version: version, fds: ["seccompFd"], pid, metadata, state };
        let text = serde_json::to_vec(&process)?;
        crate::kernel::socket::send(self.socket.as_fd(), &text, Some(listener))
            .or_fault(|| Fault::at("linux.seccomp.listenerPath", "send the filter's listener to the agent"))
    }
}
