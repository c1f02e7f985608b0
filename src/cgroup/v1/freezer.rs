//! The freezer of v1.

use super::paths::{FREEZER, Paths, directory_of};
use crate::cgroup::directory::write;
use crate::cgroup::freezer::{self, State};
use crate::fault::Fault;
use crate::kernel::deadline::Deadline;
use crate::kernel::text::read_text;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The file that says what was asked for here, not in a cgroup above.
pub const STATE: &str = "freezer.self_freezing";

/// Sets the state, and waits until it is so.
///
/// # Errors
/// No freezer, or processes that do not stop.
pub fn set(paths: &Paths, state: State) -> anyhow::Result<()> {
    let directory = directory(paths).ok_or_else(|| {
        Fault::doing("cannot toggle freezer: the container has no freezer cgroup")
            .remedy("mount the cgroup v1 controller freezer, and create the container again")
    })?;
    freezer::set(&directory.join("freezer.state"), "THAWED", state, freeze)
}

/// Where it is.
pub fn directory(paths: &Paths) -> Option<&Path> {
    directory_of(paths, FREEZER)
}

fn freeze(file: &Path, deadline: Deadline) -> io::Result<bool> {
    let mut pause = Duration::from_micros(10);
    loop {
        // Again each time: v1 overlooks processes that are forked while it freezes.
        write(file, "FROZEN")?;
        if read_text(file)?.trim() == "FROZEN" {
            return Ok(true);
        }
        if deadline.is_over() {
            return Ok(false);
        }
        sleep(pause);
        if pause < Duration::from_millis(10) {
            pause *= 2;
        } else {
            // A cgroup in which processes keep appearing freezes more easily after a rest.
            write(file, "THAWED")?;
            sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_needs_no_thaw_and_cannot_be_frozen() {
        let gone = Paths::from([(FREEZER.to_string(), "/sys/fs/cgroup/kase-that-is-gone".into())]);
        set(&gone, State::Thawed).unwrap();
        set(&gone, State::Frozen).unwrap_err();
    }
}
