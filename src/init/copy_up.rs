//! `tmpcopyup`: a tmpfs that begins with what its mount point held.

use super::flags::Flags;
use super::refusal;
use crate::fault::Fault;
use crate::kernel::mount;
use crate::kernel::path::{Resolve, create_at, openat2};
use crate::plan::labels::MountLabel;
use crate::plan::mount_options::Options;
use crate::plan::mounts::Mount;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A detached tmpfs with a copy of the tree behind `target`.
pub fn make(
    entry: &Mount<'_>,
    options: &Options<'_>,
    source: &str,
    label: Option<MountLabel<'_>>,
    target: BorrowedFd<'_>,
) -> anyhow::Result<OwnedFd> {
    let tree = mount::open_file_system("tmpfs")
        .and_then(|context| make_from(context.as_fd(), options, source, label))
        .map_err(|error| refusal::of(entry, "tmpfs", source, &options.data, Flags::Free, error))?;
    let from = openat2(target, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Resolve::IN_ROOT);
    from.and_then(|from| copy_directory(from, tree.as_fd())).map_err(|error| {
        let doing = format!("copy what is in {} into the tmpfs", entry.destination.display());
        match error.raw_os_error() {
            Some(libc::ENOSPC) => Fault::at(entry.at, format!("{doing}: it does not take all of it"))
                .remedy("raise its size or nr_inodes in the mount's options, or leave tmpcopyup out"),
            _ => Fault::at(entry.at, doing).remedy("leave tmpcopyup out, or make all in it readable"),
        }
        .caused_by(error)
    })?;
    Ok(tree)
}

/// A detached file system from what was opened for it, with the entry's options and `label`.
pub fn make_from(
    context: BorrowedFd<'_>,
    options: &Options<'_>,
    source: &str,
    label: Option<MountLabel<'_>>,
) -> io::Result<OwnedFd> {
    let own = options.data.iter().map(|text| mount::option(text));
    let all = [("source", Some(source))].into_iter().chain(label.map(MountLabel::as_option)).chain(own);
    mount::make_from(context, all, options.attributes.set)
}

fn copy_directory(from: OwnedFd, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut directory = Dir::from_fd(from)?;
    let entries: Vec<CString> = directory
        .iter()
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for name in entries.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        copy_entry(directory.as_fd(), to, name)?;
    }
    Ok(())
}

/// Never follows a symlink: what is copied may change while it is copied.
fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
    let copy = match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, mode)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let below = openat2(from, name, flags, Resolve::NO_SYMLINKS)?;
            let copy = openat2(to, name, flags, Resolve::NO_SYMLINKS)?;
            copy_directory(below, copy.as_fd())?;
            Some(copy)
        }
        SFlag::S_IFREG => Some(copy_file(from, to, name)?),
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), to, name).map(|()| None)?,
        kind => mknodat(to, name, kind, mode, stat.st_rdev).map(|()| None)?,
    };
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let mode = match fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) => mode,
        // An owner that the user namespace does not map cannot be given; the copy keeps ours, and is no program that
        // would run as us for others.
        Err(nix::Error::EINVAL | nix::Error::EPERM) => mode - (Mode::S_ISUID | Mode::S_ISGID),
        Err(error) => return Err(error.into()),
    };
    // After the owner, whose change takes the set-user-ID bit away.
    copy.map_or(Ok(()), |copy| fchmod(&copy, mode)).map_err(Into::into)
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut source = File::from(openat2(from, name, flags, Resolve::NO_SYMLINKS)?);
    if fstat(&source)?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut copy = File::from(create_at(to, name, flags, mode, Resolve::NO_SYMLINKS)?);
    io::copy(&mut source, &mut copy)?;
    Ok(copy.into())
}
