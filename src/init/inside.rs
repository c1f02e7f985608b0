//! Paths inside the rootfs: resolved to descriptors, and made where they are missing.
//!
//! The rootfs is hostile: it may hold symlinks to anywhere, and another container may change it while we look.
//! So nothing here hands a path to a system call that could leave the root: openat2 resolves inside it, and
//! what is missing is made one component at a time, relative to a descriptor.

use crate::kernel::path::{Resolve, create_at, openat2};
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{FileStat, Mode, fstat, mkdirat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

/// What a missing mount point is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// For a directory or a file system.
    Directory,
    /// For anything else: an empty file.
    File,
}

impl Shape {
    /// What it is by stat(2).
    pub fn of(stat: &FileStat) -> Self {
        if stat.st_mode & libc::S_IFMT == libc::S_IFDIR { Self::Directory } else { Self::File }
    }

    /// For messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
        }
    }
}

/// How what is missing is made.
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);
const NEW_FILE: OFlag = OFlag::O_CREAT.union(OFlag::O_NOCTTY).union(OFlag::O_NONBLOCK);

/// Opens what is at `path` inside `root` (O_PATH).
pub fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    openat2(root, path, OFlag::O_PATH, Resolve::IN_ROOT)
}

/// Opens what is at `path` inside `root` (O_PATH), and makes it and the directories above it first where they
/// are missing. A symlink to nowhere counts as missing: its target is made.
///
/// # Errors
/// Those of openat2(2), mkdirat(2); ELOOP after 40 symlinks.
pub fn open_or_make(root: BorrowedFd<'_>, path: &Path, shape: Shape) -> io::Result<OwnedFd> {
    match open(root, path) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(root, path, shape),
        // A magic link of a /proc inside (/proc/1/root): walked as the text that it shows, it stays inside too.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => make(root, path, shape),
        opened => opened,
    }
}

/// The directory at `path`, made if missing, that no symlink leads to: what an image's leads to may be the host's, mounted
/// there, or what the image wants to be taken for a file system of the kernel's (CVE-2019-19921).
pub fn ordinary_directory(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let open = || openat2(root, path, OFlag::O_PATH | OFlag::O_DIRECTORY, Resolve::NO_SYMLINKS);
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            open_or_make(root, path, Shape::Directory)?;
            open()
        }
        opened => opened,
    }
}

/// Whether something is mounted on what `name` is in the directory.
pub fn is_mount_point(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match openat2(directory, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, Resolve::SAME_MOUNT) {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The directory that `path` is in, made if missing, and the name in it.
pub fn parent<'path>(root: BorrowedFd<'_>, path: &'path Path) -> io::Result<(OwnedFd, &'path OsStr)> {
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    Ok((open_or_make(root, directory, Shape::Directory)?, name))
}

/// Makes what was found missing.
fn make(root: BorrowedFd<'_>, path: &Path, shape: Shape) -> io::Result<OwnedFd> {
    // Mostly only the last name is missing, below directories that are there.
    if let (Some(name), Some(above)) = (path.file_name(), path.parent())
        && let Ok(directory) = open(root, above)
        && made(directory.as_fd(), name, shape)
    {
        return openat2(directory.as_fd(), name, OFlag::O_PATH, Resolve::NO_SYMLINKS);
    }
    walk(root, path, shape)
}

/// Whether there was nothing of this name in the directory and now is what was asked for.
fn made(directory: BorrowedFd<'_>, name: &OsStr, shape: Shape) -> bool {
    match shape {
        Shape::Directory => mkdirat(directory, name, DIRECTORY_MODE).is_ok(),
        Shape::File => {
            let flags = NEW_FILE | OFlag::O_EXCL;
            create_at(directory, name, flags, FILE_MODE, Resolve::NO_SYMLINKS).is_ok()
        }
    }
}

/// Walks down, following symlinks by hand, since their targets may be missing too.
fn walk(root: BorrowedFd<'_>, path: &Path, shape: Shape) -> io::Result<OwnedFd> {
    const MOST_SYMLINKS: u32 = 40;
    let mut symlinks = 0;
    let mut walked = PathBuf::from("/");
    let mut ahead = names(path);
    let mut current = open(root, &walked)?;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            walked.pop();
            current = openat2(root, walked.as_path(), OFlag::O_PATH, Resolve::NO_SYMLINKS)?;
            continue;
        }
        if let Some(target) = link(current.as_fd(), &name)? {
            symlinks += 1;
            if symlinks > MOST_SYMLINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            if target.is_absolute() {
                walked = PathBuf::from("/");
                current = open(root, &walked)?;
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
            continue;
        }
        let last = ahead.is_empty();
        current = step(current.as_fd(), &name, if last { shape } else { Shape::Directory })?;
        walked.push(&name);
    }
    Ok(current)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// The target of the symlink `name`; nothing if it is none or is missing.
fn link(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<PathBuf>> {
    match readlinkat(directory, name) {
        Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_vec())))),
        Err(nix::Error::EINVAL | nix::Error::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens `name` in `directory` (O_PATH), made if missing; never through a symlink.
///
/// # Errors
/// Those of openat2(2) and mkdirat(2); ELOOP for a symlink.
pub fn step(directory: BorrowedFd<'_>, name: &OsStr, shape: Shape) -> io::Result<OwnedFd> {
    let look = || openat2(directory, name, OFlag::O_PATH, Resolve::NO_SYMLINKS);
    match look() {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found,
    }
    match shape {
        Shape::Directory => match mkdirat(directory, name, DIRECTORY_MODE) {
            // Somebody was faster: whatever it is now, the look below opens it.
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        },
        Shape::File => {
            create_at(directory, name, NEW_FILE, FILE_MODE, Resolve::NO_SYMLINKS)?;
        }
    }
    look()
}

/// The container's /dev/null, opened with these `O_*` flags and checked afterwards. An image, or a container that
/// shares the rootfs, may have put anything there, such as a symlink to a file of /proc that would then lie open under
/// a mask (CVE-2025-31133).
///
/// # Errors
/// Those of openat2(2); ENODEV when it is not the null device.
pub fn null_device(root: BorrowedFd<'_>, flags: OFlag) -> io::Result<OwnedFd> {
    let null = openat2(root, Path::new("/dev/null"), flags, Resolve::NO_SYMLINKS)?;
    match is_null(&fstat(&null)?) {
        true => Ok(null),
        false => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

/// Whether it is the null device.
pub fn is_null(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
}

/// Whether the descriptor is a directory.
pub fn is_directory(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(Shape::of(&fstat(fd)?) == Shape::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open as open_host};
    use std::fs;

    fn root(name: &str) -> (PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("kase-inside-{name}-{}", std::process::id()));
        // Left by an earlier run that failed, or not there.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let fd = open_host(&path, OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        (path, fd)
    }

    #[test]
    fn a_symlink_to_nowhere_is_made_inside_the_root() {
        let (path, fd) = root("dangling");
        std::os::unix::fs::symlink("/absent/dir", path.join("link")).unwrap();
        open_or_make(fd.as_fd(), Path::new("/link/below"), Shape::File).unwrap();
        assert!(path.join("absent/dir/below").is_file());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn dots_and_absolute_symlinks_stay_inside_the_root() {
        let (path, fd) = root("escape");
        std::os::unix::fs::symlink("../../../../../../tmp/outside", path.join("up")).unwrap();
        open_or_make(fd.as_fd(), Path::new("/../up/../x"), Shape::Directory).unwrap();
        assert!(path.join("tmp/x").is_dir(), "the link's parent is the root's /tmp");
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_loop_of_symlinks_ends_in_an_error() {
        let (path, fd) = root("loop");
        std::os::unix::fs::symlink("b", path.join("a")).unwrap();
        std::os::unix::fs::symlink("a", path.join("b")).unwrap();
        assert!(open_or_make(fd.as_fd(), Path::new("/a/x"), Shape::File).is_err());
        fs::remove_dir_all(path).unwrap();
    }
}
