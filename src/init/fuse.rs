//! Has a program outside of the container answer for the overlay, where the kernel refuses its own.
//!
//! ```text
//! init ── Serve(socket) ──▶ kase ──▶ fuse-overlayfs, which makes the mount, passes it and ends when it is gone
//!   │ ◀───────────── the mount, through the socket ─────────────┘
//! ```
//!
//! Not made here: the device rules of the container's cgroup apply to init, and know nothing of /dev/fuse.

use crate::fault::{Fault, OrFault};
use crate::handshake::{InitEnd, LONGEST, ToKase, unpack};
use crate::kernel::socket;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The overlay, detached, with its program at work. `why` is what the kernel had against its own.
pub fn ask(why: &io::Error, kase: &InitEnd) -> anyhow::Result<OwnedFd> {
    let ask = || -> anyhow::Result<OwnedFd> {
        let (ours, theirs) = socket::pair()?;
        kase.say(&ToKase::Serve(theirs))?;
        let mut buffer = [0; LONGEST];
        let (length, mount) = socket::receive(ours.as_fd(), &mut buffer)?;
        mount.ok_or_else(|| match buffer.get(1..length) {
            Some(report) => unpack(report).into_error(),
            None => Fault::doing("fuse-overlayfs ended before it answered").into(),
        })
    };
    ask().or_fault(|| Fault::doing(format!("lay an overlay over the rootfs: {why}")))
}
