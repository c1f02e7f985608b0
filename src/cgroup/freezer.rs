//! Stops every process of a cgroup, and lets them go on.

use super::directory::{is_gone, write};
use super::layout::MOUNT;
use crate::fault::{Fault, OrFault};
use crate::kernel::path::{open, openat};
use crate::kernel::text::read_text;
use crate::kernel::uninterrupted;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long processes may take to stop: one that waits for a disk does not at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a cgroup's processes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They run.
    Thawed,
    /// They do not, or soon will not.
    Frozen,
}

fn doing(state: State, directory: &Path) -> Fault {
    let verb = if state == State::Frozen { "freeze" } else { "thaw" };
    Fault::doing(format!("{verb} the cgroup {}", directory.display()))
}

fn too_slow(directory: &Path) -> anyhow::Error {
    doing(State::Frozen, directory)
        .remedy("try again: a process in it could not be stopped in time, perhaps it waits for a disk")
        .caused_by(io::Error::from(io::ErrorKind::TimedOut))
}

/// Sets a v2 cgroup's state and waits until it is so.
///
/// # Errors
/// No freezer, or processes that do not stop; they run again then.
pub fn set_v2(directory: &Path, state: State) -> anyhow::Result<()> {
    let file = directory.join("cgroup.freeze");
    if state == State::Thawed {
        return thaw(&file, "0", directory);
    }
    write(&file, "1").or_fault(|| doing(state, directory))?;
    if wait_v2(directory).or_fault(|| doing(state, directory))? {
        return Ok(());
    }
    thaw(&file, "0", directory)?;
    Err(too_slow(directory))
}

/// Without waiting: what runs, runs, and a cgroup above may keep it frozen. What is gone needs no thaw: a scope goes
/// with its last process, which may just have been killed.
fn thaw(file: &Path, word: &str, directory: &Path) -> anyhow::Result<()> {
    match write(file, word) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done.or_fault(|| doing(State::Thawed, directory)),
    }
}

/// cgroup.events becomes ready (POLLPRI) whenever one of its lines changes; cgroups(7).
fn wait_v2(directory: &Path) -> io::Result<bool> {
    let mut events = File::open(directory.join("cgroup.events"))?;
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    loop {
        text.clear();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|line| line == "frozen 1") {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let mut ready = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The state that was asked for. A cgroup that is gone is not frozen.
pub fn v2(directory: &Path) -> anyhow::Result<State> {
    asked(directory, V2)
}

/// Sets the state of v1's freezer and waits until it is so.
///
/// # Errors
/// Processes that do not stop; they run again then.
pub fn set_v1(directory: &Path, state: State) -> anyhow::Result<()> {
    let file = directory.join("freezer.state");
    if state == State::Thawed {
        return thaw(&file, "THAWED", directory);
    }
    let freeze = || -> io::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(10);
        loop {
            // Again each time: v1 overlooks processes that are forked while it freezes.
            write(&file, "FROZEN")?;
            if read_text(&file)?.trim() == "FROZEN" {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(pause);
            if pause < Duration::from_millis(10) {
                pause *= 2;
            } else {
                // A cgroup in which processes keep appearing freezes more easily after a rest.
                write(&file, "THAWED")?;
                sleep(pause);
            }
        }
    };
    let frozen = freeze();
    if let Ok(true) = frozen {
        return Ok(());
    }
    // Whatever happened, it must not stay half frozen.
    thaw(&file, "THAWED", directory)?;
    frozen.or_fault(|| doing(state, directory))?;
    Err(too_slow(directory))
}

/// The state that was asked for here, not in a cgroup above.
pub fn v1(directory: &Path) -> anyhow::Result<State> {
    asked(directory, V1)
}

/// The files that say what was asked for.
pub const V2: &str = "cgroup.freeze";
pub const V1: &str = "freezer.self_freezing";

fn asked(directory: &Path, file: &str) -> anyhow::Result<State> {
    understood(read(AT_FDCWD, &directory.join(file), &mut [0; 16]), directory)
}

/// The directory may be one that a record of another user's names: nothing in it may lead elsewhere, or have us wait
/// for somebody who never answers.
fn read<'a>(at: BorrowedFd<'_>, path: &Path, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = openat(at, path, flags, Mode::empty())?;
    let length = uninterrupted(|| nix::unistd::read(&file, buffer))?;
    Ok(&buffer[..length])
}

fn understood(text: io::Result<&[u8]>, directory: &Path) -> anyhow::Result<State> {
    match text {
        Ok(text) if text.trim_ascii() == b"1" => Ok(State::Frozen),
        Ok(_) => Ok(State::Thawed),
        Err(error) if is_gone(&error) => Ok(State::Thawed),
        Err(error) => {
            Err(error).or_fault(|| Fault::doing(format!("read the state of {}", directory.display())))
        }
    }
}

/// Where cgroups are mounted, open for whoever looks at many: half of the way to each is the way to here.
#[derive(Debug)]
pub struct Host(Option<OwnedFd>);

impl Host {
    /// Opens it, if it is there.
    pub fn open() -> Self {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Self(open(MOUNT, flags).ok())
    }

    /// As [`v2`] or [`v1`], by the file.
    pub fn state(&self, directory: &str, file: &str) -> anyhow::Result<State> {
        let below = directory.strip_prefix(MOUNT).and_then(|rest| rest.strip_prefix('/'));
        let mut buffer = [0; 16];
        let text = match (&self.0, below) {
            (Some(host), Some(below)) => {
                read(host.as_fd(), Path::new(&format!("{below}/{file}")), &mut buffer)
            }
            _ => read(AT_FDCWD, Path::new(&format!("{directory}/{file}")), &mut buffer),
        };
        understood(text, Path::new(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_needs_no_thaw_and_cannot_be_frozen() {
        let gone = Path::new("/sys/fs/cgroup/kase-that-is-gone");
        for set in [set_v1, set_v2] {
            set(gone, State::Thawed).unwrap();
            set(gone, State::Frozen).unwrap_err();
        }
    }
}
