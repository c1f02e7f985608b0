//! Stops every process of a cgroup, and lets them go on.

use super::directory::{is_gone, write};
use super::layout::MOUNT;
use crate::fault::{Fault, OrFault};
use crate::kernel::deadline::Deadline;
use crate::kernel::path::{open, openat};
use crate::kernel::uninterrupted;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

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

/// Sets the state and waits until it is so. `file` and `thawed`, its word for that, are the version's; `freeze` tells
/// whether the processes have stopped in time.
///
/// # Errors
/// No freezer, or processes that do not stop; they run again then.
pub fn set(
    file: &Path,
    thawed: &str,
    state: State,
    freeze: impl FnOnce(&Path, Deadline) -> io::Result<bool>,
) -> anyhow::Result<()> {
    let directory = file.parent().unwrap_or(file).display();
    // Without waiting: what runs, runs, and a cgroup above may keep it frozen. What is gone needs no thaw: a scope goes
    // with its last process, which may just have been killed.
    let thaw = || match write(file, thawed) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done.or_fault(|| Fault::doing(format!("thaw the cgroup {directory}"))),
    };
    if state == State::Thawed {
        return thaw();
    }
    let doing = || Fault::doing(format!("freeze the cgroup {directory}"));
    let frozen = freeze(file, Deadline::after(PATIENCE)).or_fault(doing);
    if let Ok(true) = frozen {
        return Ok(());
    }
    // Whatever happened, it must not stay half frozen.
    let thawed = thaw();
    frozen?;
    thawed?;
    Err(doing()
        .remedy("try again: a process in it could not be stopped in time, perhaps it waits for a disk")
        .caused_by(io::Error::from(io::ErrorKind::TimedOut)))
}

/// The state that was asked for, which this file of the cgroup tells. A cgroup that is gone is not frozen.
pub fn asked(directory: &Path, file: &str) -> anyhow::Result<State> {
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

    /// As [`asked`].
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
