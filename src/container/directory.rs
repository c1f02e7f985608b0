//! A container's directory in the state root.

use crate::fault::{Fault, OrFault};
use crate::kernel::file_id::FileId;
use crate::kernel::listing::list;
use crate::kernel::path::{of_descriptor, openat};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, Whence, lseek, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Puts a file beside the record: later changes of the bundle must not reach the container.
pub fn keep(directory: BorrowedFd<'_>, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_bits_truncate(0o600)).map_err(io::Error::from);
    file.and_then(|file| File::from(file).write_all(content))
        .or_write_fault(|| Fault::doing(format!("write {name} into the container's state directory")))
}

/// A container's directory, by its name in the root.
#[derive(Debug, Clone)]
pub struct Directory {
    root: Rc<OwnedFd>,
    /// The container's id.
    pub id: String,
}

impl Directory {
    /// That of the container `id` in this root.
    pub fn of(root: Rc<OwnedFd>, id: String) -> Self {
        Self { root, id }
    }

    /// The state root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens it.
    pub fn open(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.root, self.id.as_str(), flags, Mode::empty())
    }

    /// Puts a file into it.
    pub fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        keep(self.open()?.as_fd(), name, content)
    }

    /// Makes a file in it that a program writes to.
    pub fn log(&self, name: &str) -> nix::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&self.open()?, name, flags, Mode::from_bits_truncate(0o600)).map(File::from)
    }

    /// Whether the name is still that of `own`, which was opened by it: the id may be another container's by now.
    pub fn is(&self, own: BorrowedFd<'_>) -> anyhow::Result<bool> {
        let look = || -> nix::Result<bool> {
            match fstatat(&self.root, self.id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => Ok(false),
                now => Ok(FileId::from(&now?) == FileId::of(own)?),
            }
        };
        look().or_fault(|| Fault::doing(format!("look for the state of container {:?}", self.id)))
    }

    /// Removes `own`, which was opened by this name, and what is in it. The record goes last, so that an interrupted
    /// removal can be repeated. It needs no new descriptor: where there is none left, things must be removed too.
    pub fn remove(&self, own: BorrowedFd<'_>) -> anyhow::Result<()> {
        let mut names = Vec::new();
        lseek(own, 0, Whence::SeekSet)?;
        list(own, |name, _| names.push(name.to_owned()))?;
        let files = |name: &&CString| !matches!(name.to_bytes(), b"." | b".." | b"record");
        for name in names.iter().filter(files) {
            match unlink(own, name) {
                Err(Errno::EISDIR) => remove_directory(own, name)?,
                done => done?,
            }
        }
        let is_named = self.is(own)?;
        unlink(own, c"record")?;
        match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            _ if !is_named => Ok(()),
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        done => done,
    }
}

/// Removes a directory, which is mostly empty.
fn remove_directory(within: BorrowedFd<'_>, name: &CStr) -> anyhow::Result<()> {
    match unlinkat(within, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => {
            Ok(std::fs::remove_dir_all(of_descriptor(within).join(OsStr::from_bytes(name.to_bytes())))?)
        }
        done => Ok(done?),
    }
}
