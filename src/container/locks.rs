//! The file of a container's record and the locks on it: its creation, its removal, and whoever freezes or thaws it each
//! have theirs alone.

use crate::fault::{Fault, OrFault};
use crate::kernel::path::openat;
use crate::kernel::uninterrupted;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// The record's name in the state directory.
pub const FILE: &str = "record";

/// Whoever may write to the directory must not lead us to another file, nor have us wait for one that never answers.
pub const GUARDED: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// Whether somebody holds the record's lock for the time of the creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// The kase that creates the container, or the one that removes it.
    Held,
    /// Nobody.
    Free,
}

/// What whoever creates a container is told when its entry has gone meanwhile.
pub fn deleted() -> anyhow::Error {
    Fault::doing("the container was deleted while it was being created")
        .remedy("create it again, or choose another id: somebody else uses this one")
        .into()
}

/// What is wrong with a record that leads elsewhere.
pub fn is_link() -> Fault {
    Fault::doing("the container's record is a symbolic link")
        .remedy("remove the container's state directory; kase did not make that link")
}

/// Whoever removes a container: alone, and not while it is being created.
#[derive(Debug)]
pub struct Remover(File);

impl Remover {
    /// Waits for others who remove it; nothing where the directory has gone. A record that is missing is made, so that
    /// whoever is about to begin it fails.
    pub fn of(directory: BorrowedFd<'_>) -> anyhow::Result<Option<Self>> {
        let Some(file) = open_record(directory, OFlag::O_CREAT)? else { return Ok(None) };
        wait_for(&file, REMOVER)?;
        Ok(Some(Self(file)))
    }

    /// Whether the creation has come to its end, and none can go on: the creator's process id if not; 0 if it is in a
    /// pid namespace that is not ours.
    pub fn creator(&self) -> anyhow::Result<Option<i32>> {
        let mut lock = byte(CREATOR);
        match fcntl(&self.0, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => return Ok(None),
            Err(Errno::EAGAIN | Errno::EACCES) => {}
            Err(errno) => return Err(errno).or_fault(|| Fault::doing("lock the container's record")),
        }
        fcntl(&self.0, FcntlArg::F_OFD_GETLK(&mut lock))?;
        // The creator may have ended between the two calls.
        Ok(Some(if lock.l_type == libc::F_UNLCK as libc::c_short { 0 } else { lock.l_pid.max(0) }))
    }
}

/// Whoever freezes or thaws a container: alone, since v1's freezer has to be asked more than once, and what it is asked
/// for last counts.
#[derive(Debug)]
pub struct Freezing(#[expect(dead_code, reason = "it holds the lock")] Option<File>);

impl Freezing {
    /// Waits for others, each of whom comes to an end within the freezer's own time. Where the directory has gone, nobody
    /// else is there.
    pub fn of(directory: BorrowedFd<'_>) -> anyhow::Result<Self> {
        let file = open_record(directory, OFlag::empty())?;
        file.as_ref().map_or(Ok(()), |file| wait_for(file, FREEZER))?;
        Ok(Self(file))
    }
}

/// The record, to be locked; nothing where the directory has gone.
fn open_record(directory: BorrowedFd<'_>, also: OFlag) -> anyhow::Result<Option<File>> {
    let flags = OFlag::O_RDWR | also | GUARDED;
    match openat(directory, FILE, flags, Mode::from_bits_truncate(0o600)) {
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP) => Err(is_link().into()),
        file => Ok(Some(File::from(file.or_write_fault(|| {
            Fault::doing("open the container's record")
                .remedy("remove the container's state directory, if kase did not make what is in it")
        })?))),
    }
}

fn wait_for(file: &File, whose: libc::off_t) -> anyhow::Result<()> {
    uninterrupted(|| fcntl(file, FcntlArg::F_OFD_SETLKW(&byte(whose))))
        .map(drop)
        .or_fault(|| Fault::doing("lock the container's record"))
}

/// Whose lock it is, by the byte that it is on.
const CREATOR: libc::off_t = 1;
const REMOVER: libc::off_t = 2;
const FREEZER: libc::off_t = 3;

/// A write lock on a byte of the file.
fn byte(start: libc::off_t) -> libc::flock {
    lock(start, libc::F_WRLCK)
}

fn lock(start: libc::off_t, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    }
}

/// Has the record as its creator, until this process closes it or ends; no child has the lock.
///
/// # Errors
/// EAGAIN when it is being removed.
pub fn lock_creator(file: &File) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_SETLK(&byte(CREATOR))).map(drop)
}

/// Whether somebody waits until this creation has come to its end, to remove what it makes.
pub fn is_awaited_by_remover(file: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut lock = byte(REMOVER);
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// Whether the creation is under way. A lock to read would be in the way of the one to write, and needs a file that is
/// open for reading only.
pub fn look(file: &File) -> anyhow::Result<Lock> {
    let mut lock = lock(CREATOR, libc::F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(if lock.l_type == libc::F_UNLCK as libc::c_short { Lock::Free } else { Lock::Held })
}
