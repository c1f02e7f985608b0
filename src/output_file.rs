//! Files of the host that kase writes because its caller names them: `--log`, `--trace`, `--pid-file`, and those of
//! annotations for hooks.
//!
//! A symlink of another user's would lead kase's caller anywhere: [`may_follow`] says which are followed. A FIFO without
//! a reader is an error, and no wait.

use crate::kernel::errno;
use crate::kernel::path::{Resolve, create_at, of_descriptor, openat};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, geteuid, linkat, unlinkat};
use rootless::symlink::may_follow;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MOST_SYMLINKS: usize = 40;
const UNKNOWN: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY).union(OFlag::O_CLOEXEC);
const ANY: Mode = Mode::from_bits_truncate(0o666);

/// Opens the file to be appended to, made with `mode` if it is missing; `more` is no flag or O_TRUNC.
///
/// # Errors
/// Those of open(2); a symlink that must not be followed.
pub fn append(path: &Path, mode: Mode, more: OFlag) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | more;
    open(RelativePath::of(path), flags, mode)
}

/// Writes `text` into the file, whole or not at all: others read it as soon as it is there. What is no regular file
/// is written into, and no other is put in its place.
///
/// # Errors
/// Those of open(2) and write(2); a symlink that must not be followed.
pub fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut place = RelativePath::of(path);
    for _ in 0..MOST_SYMLINKS {
        let Some(name) = place.rest.file_name().map(OsStr::to_owned) else { break };
        let parent = match place.rest.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let directory = match place.open(parent, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()) {
            Err(error) if errno(&error) == Errno::ELOOP => {
                place = place.beyond_symlink()?;
                continue;
            }
            directory => directory?,
        };
        match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) if kind(&there) == libc::S_IFLNK && !place.is_magic => {
                place = place.beyond_symlink()?;
            }
            Ok(there) if kind(&there) != libc::S_IFREG => break,
            Ok(_) | Err(Errno::ENOENT) => return replace(directory.as_fd(), &name, text),
            Err(errno) => return Err(errno.into()),
        }
    }
    open(place, OFlag::O_WRONLY, Mode::empty())?.write_all(text)
}

/// Puts a whole new file in the place of a regular one, or of none. Until it is whole it has no name, which nobody
/// would take away after kase was killed.
fn replace(directory: BorrowedFd<'_>, name: &OsStr, text: &[u8]) -> io::Result<()> {
    let link = || -> io::Result<()> {
        let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(directory, ".", flags, ANY)?);
        file.write_all(text)?;
        let own = of_descriptor(&file);
        let link = |name: &OsStr| linkat(AT_FDCWD, &own, directory, name, AtFlags::AT_SYMLINK_FOLLOW);
        match link(name) {
            Err(Errno::EEXIST) => rename(directory, name, |hidden| Ok(link(hidden)?)),
            linked => Ok(linked?),
        }
    };
    // Not every file system has files without a name, and /proc may be missing.
    link().or_else(|_| {
        rename(directory, name, |hidden| {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            File::from(openat(directory, hidden, flags, ANY)?).write_all(text)
        })
    })
}

/// Has `make` make the file under another name, and gives it this one: so there is one file or the other at any time.
fn rename(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    make: impl FnOnce(&OsStr) -> io::Result<()>,
) -> io::Result<()> {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let hidden = hidden.as_os_str();
    let remove = || unlinkat(directory, hidden, UnlinkatFlags::NoRemoveDir);
    // A kase with the same process id that was killed may have left it, or somebody has put it there to lead us
    // elsewhere. Mostly there is none, which is no error.
    let _ = remove();
    let written = make(hidden).and_then(|()| Ok(renameat(directory, hidden, directory, name)?));
    written.inspect_err(|_| {
        // The error that is returned is the first one.
        let _ = remove();
    })
}

fn open(mut place: RelativePath, flags: OFlag, mode: Mode) -> io::Result<File> {
    for _ in 0..MOST_SYMLINKS {
        match place.open(&place.rest, flags | UNKNOWN, mode) {
            Err(error) if errno(&error) == Errno::ELOOP => place = place.beyond_symlink()?,
            opened => return opened.map(File::from),
        }
    }
    Err(Errno::ELOOP.into())
}

fn kind(stat: &FileStat) -> u32 {
    stat.st_mode & libc::S_IFMT
}

/// A path from some directory on.
struct RelativePath {
    directory: Option<OwnedFd>,
    rest: PathBuf,
    /// `rest` is one name, of a symlink of procfs that is no path: /proc/self/fd/2.
    is_magic: bool,
}

impl RelativePath {
    fn of(path: &Path) -> Self {
        Self { directory: None, rest: path.to_owned(), is_magic: false }
    }

    fn start(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or(AT_FDCWD, AsFd::as_fd)
    }

    /// Opens `path` from here; ELOOP if there is a symlink in it.
    fn open(&self, path: &Path, flags: OFlag, mode: Mode) -> io::Result<OwnedFd> {
        if self.is_magic {
            return Ok(openat(self.start(), path, flags | OFlag::O_CLOEXEC, mode)?);
        }
        create_at(self.start(), path, flags, mode, Resolve::WITHOUT_SYMLINKS)
    }

    /// The same file's place, with the first symlink on the way followed.
    fn beyond_symlink(self) -> io::Result<Self> {
        const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);
        let mut directory = openat(self.start(), ".", LOOK, Mode::empty())?;
        let mut components = self.rest.components();
        while let Some(component) = components.next() {
            if component == Component::RootDir {
                directory = openat(AT_FDCWD, "/", LOOK, Mode::empty())?;
                continue;
            }
            let name = component.as_os_str();
            let found = openat(&directory, name, LOOK | OFlag::O_NOFOLLOW, Mode::empty())?;
            let stat = fstat(&found)?;
            if kind(&stat) != libc::S_IFLNK {
                directory = found;
                continue;
            }
            check(&fstat(&directory)?, &stat, name)?;
            let below = components.as_path();
            if fstatfs(&directory)?.filesystem_type() != PROC_SUPER_MAGIC {
                let mut rest = PathBuf::from(readlinkat(&directory, name)?);
                // `extend`, since joining an empty path would add a slash.
                rest.extend(below);
                return Ok(Self { directory: Some(directory), rest, is_magic: false });
            }
            if below == Path::new("") {
                return Ok(Self { directory: Some(directory), rest: name.into(), is_magic: true });
            }
            directory = openat(&directory, name, LOOK, Mode::empty())?;
        }
        // The symlink was replaced by something else meanwhile.
        Ok(self)
    }
}

fn check(holder: &FileStat, link: &FileStat, name: &OsStr) -> io::Result<()> {
    if may_follow(link, holder, geteuid().as_raw()) {
        return Ok(());
    }
    let place = if holder.st_mode & 0o022 == 0 { "" } else { " in a directory that others may write to" };
    let said = format!("{} is a symlink of user {}'s{place}", name.display(), link.st_uid);
    Err(io::Error::new(ErrorKind::PermissionDenied, said))
}
