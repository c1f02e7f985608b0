//! The freezer of v2.

use crate::cgroup::directory::write;
use crate::cgroup::freezer::{self, State};
use crate::kernel::deadline::Deadline;
use nix::poll::{PollFd, PollFlags};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::Path;

/// The file that says what was asked for.
pub const STATE: &str = "cgroup.freeze";

/// Sets the state, and waits until it is so.
///
/// # Errors
/// No freezer, or processes that do not stop.
pub fn set(directory: &Path, state: State) -> anyhow::Result<()> {
    freezer::set(&directory.join(STATE), "0", state, |file, deadline| {
        write(file, "1")?;
        is_frozen_by(directory, deadline)
    })
}

/// cgroup.events becomes ready (POLLPRI) whenever one of its lines changes; cgroups(7).
fn is_frozen_by(directory: &Path, deadline: Deadline) -> io::Result<bool> {
    let mut events = File::open(directory.join("cgroup.events"))?;
    let mut text = String::new();
    loop {
        text.clear();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(true);
        }
        if !deadline.poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)])? {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_needs_no_thaw_and_cannot_be_frozen() {
        let gone = Path::new("/sys/fs/cgroup/kase-that-is-gone");
        set(gone, State::Thawed).unwrap();
        set(gone, State::Frozen).unwrap_err();
    }
}
