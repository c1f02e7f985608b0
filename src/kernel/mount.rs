//! Mounts by descriptor: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2) and their family.

use super::{answer, done, new_descriptor};
use libc::mount_attr;
use nix::NixPath;
use nix::fcntl::AT_FDCWD;
use nix::sys::statfs::FsType;
use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// One mount, or it and all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The mount alone.
    One,
    /// The mount and every mount below it (AT_RECURSIVE).
    Recursive,
}

impl Reach {
    fn flag(self) -> libc::c_uint {
        match self {
            Self::One => 0,
            Self::Recursive => libc::AT_RECURSIVE as libc::c_uint,
        }
    }
}

/// A change of a mount's attributes, as mount_setattr(2) takes it. All zero changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// MOUNT_ATTR_* bits to set.
    pub set: u64,
    /// MOUNT_ATTR_* bits to clear; MOUNT_ATTR__ATIME whole whenever an atime kind is set.
    pub clear: u64,
}

impl Attributes {
    /// Whether the change is none.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The bits of mount_setattr(2).
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x01;
    /// Set-user-id bits are ignored.
    pub const NOSUID: u64 = 0x02;
    /// Device files do not open.
    pub const NODEV: u64 = 0x04;
    /// Files do not execute.
    pub const NOEXEC: u64 = 0x08;
    /// The field of the three access time kinds; relatime is 0 in it.
    pub const ATIME: u64 = 0x70;
    /// Access times are never written.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always written.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never written.
    pub const NODIRATIME: u64 = 0x80;
    /// The mount's ids are mapped by a user namespace.
    pub const IDMAP: u64 = 0x10_0000;
    /// Symlinks are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// A detached copy of the mount that the file behind `file` is on, from that file down.
///
/// # Errors
/// Those of open_tree(2): EINVAL when the mount is in another mount namespace.
pub fn clone_mount(file: BorrowedFd<'_>, reach: Reach) -> io::Result<OwnedFd> {
    clone_tree(file, c"", reach)
}

/// As [`clone_mount`], of the file at a path of the host.
pub fn clone_host_tree<P: ?Sized + NixPath>(path: &P, reach: Reach) -> io::Result<OwnedFd> {
    path.with_nix_path(|path| clone_tree(AT_FDCWD, path, reach))?
}

fn clone_tree(directory: BorrowedFd<'_>, path: &CStr, reach: Reach) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | empty_path(path) | reach.flag();
    // SAFETY: `path` is a C string that outlives the call.
    new_descriptor(unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches a detached mount on the file or directory behind `target`.
///
/// # Errors
/// Those of move_mount(2): ENOTDIR when a file and a directory meet.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    move_mount(tree, target, c"", libc::MOVE_MOUNT_T_EMPTY_PATH)
}

/// Attaches a detached mount on the directory `name` in `directory`; a symlink is not followed.
pub fn attach_at<P: ?Sized + NixPath>(
    tree: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &P,
) -> io::Result<()> {
    name.with_nix_path(|name| move_mount(tree, directory, name, 0))?
}

fn move_mount(
    tree: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: libc::c_uint,
) -> io::Result<()> {
    let (tree, directory) = (tree.as_raw_fd(), directory.as_raw_fd());
    let (own, flags) = (c"".as_ptr(), libc::MOVE_MOUNT_F_EMPTY_PATH | flags);
    // SAFETY: two C strings that outlive the call.
    done(unsafe { libc::syscall(libc::SYS_move_mount, tree, own, directory, name.as_ptr(), flags) })
}

/// How mounts pass on to other mount namespaces; mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Both ways.
    Shared,
    /// From the host to here.
    Slave,
    /// Neither way.
    Private,
    /// Neither way, and no bind mount of it can be made.
    Unbindable,
}

impl Propagation {
    fn bits(self) -> u64 {
        match self {
            Self::Shared => libc::MS_SHARED,
            Self::Slave => libc::MS_SLAVE,
            Self::Private => libc::MS_PRIVATE,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// The MOUNT_ATTR_* bits of the mount that the file behind `file` is on.
pub fn attributes(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: plain integers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `found` outlives the call, which fills it.
    answer(unsafe { libc::fstatvfs(file.as_raw_fd(), &raw mut found) })?;
    Ok(attributes_of(found.f_flag))
}

/// The ST_* bits of statvfs(3) as MOUNT_ATTR_* bits. By number: the headers of musl lack ST_RELATIME, and types that
/// are made after them drop the bit.
fn attributes_of(flags: u64) -> u64 {
    const RELATIME: u64 = 4096;
    const SAME: u64 = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    const OTHERS: [(u64, u64); 3] =
        [(1024, attribute::NOATIME), (2048, attribute::NODIRATIME), (8192, attribute::NOSYMFOLLOW)];
    let others = OTHERS.iter().filter(|(flag, _)| flags & flag != 0);
    let found = others.fold(flags & SAME, |found, (_, attribute)| found | attribute);
    match (found & attribute::NOATIME != 0, flags & RELATIME != 0) {
        (false, false) => found | attribute::STRICTATIME,
        _ => found,
    }
}

/// Changes the attributes of the mount behind `mount`.
///
/// # Errors
/// Those of mount_setattr(2): EPERM when an attribute is locked, because the mount came from a more
/// privileged mount namespace.
pub fn set_attributes(mount: BorrowedFd<'_>, change: Attributes, reach: Reach) -> io::Result<()> {
    setattr(mount, c"", reach, &mount_attr { attr_set: change.set, attr_clr: change.clear, ..UNCHANGED })
}

/// Sets these MOUNT_ATTR_* bits of the mount behind `mount`, and clears none.
pub fn add_attributes(mount: BorrowedFd<'_>, set: u64, reach: Reach) -> io::Result<()> {
    set_attributes(mount, Attributes { set, clear: 0 }, reach)
}

/// Maps the ids of the mount behind `mount` through the user namespace `namespace`.
///
/// # Errors
/// Those of mount_setattr(2): EINVAL when the file system cannot map ids.
pub fn map_ids(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>, reach: Reach) -> io::Result<()> {
    let userns_fd = namespace.as_raw_fd() as u64;
    let change = mount_attr { attr_set: attribute::IDMAP, userns_fd, ..UNCHANGED };
    setattr(mount, c"", reach, &change)
}

/// Sets the propagation of the mount behind `mount`.
pub fn set_propagation(mount: BorrowedFd<'_>, propagation: Propagation, reach: Reach) -> io::Result<()> {
    setattr(mount, c"", reach, &mount_attr { propagation: propagation.bits(), ..UNCHANGED })
}

/// Sets the propagation of all mounts below the root.
pub fn set_all_propagation(propagation: Propagation) -> io::Result<()> {
    let change = mount_attr { propagation: propagation.bits(), ..UNCHANGED };
    setattr(AT_FDCWD, c"/", Reach::Recursive, &change)
}

fn setattr(directory: BorrowedFd<'_>, path: &CStr, reach: Reach, change: &mount_attr) -> io::Result<()> {
    // SAFETY: the path is a C string and `change` has the size given; both outlive the call.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_raw_fd(),
            path.as_ptr(),
            empty_path(path) | reach.flag(),
            ptr::from_ref(change),
            size_of::<mount_attr>(),
        )
    })
}

/// Whether a file system of this kind is one that the kernel has no code to write to: squashfs,
/// erofs, iso9660, cramfs, romfs.
pub fn is_without_writing(kind: FsType) -> bool {
    matches!(kind.0, 0x7371_7368 | 0xE0F5_E1E2 | 0x9660 | 0x28CD_3D45 | 0x7275)
}

/// An option of a file system, by its name; some have a value.
pub type FsOption<'a> = (&'a str, Option<&'a str>);

/// The option that mount(2) takes as `text`.
pub fn option(text: &str) -> FsOption<'_> {
    text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)))
}

/// A new file system of type `kind`, detached, with the attribute bits `attributes`.
pub fn make_file_system<'a>(
    kind: &str,
    options: impl IntoIterator<Item = FsOption<'a>>,
    attributes: u64,
) -> io::Result<OwnedFd> {
    make_from(open_file_system(kind)?.as_fd(), options, attributes)
}

/// What a file system of type `kind` is made from; it belongs to the namespaces that this process is in.
pub fn open_file_system(kind: &str) -> io::Result<OwnedFd> {
    // SAFETY: `kind` is a C string that outlives the call.
    kind.with_nix_path(|kind| new_descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 1) }))?
}

/// As [`make_file_system`], from what [`open_file_system`] has opened.
pub fn make_from<'a>(
    context: BorrowedFd<'_>,
    options: impl IntoIterator<Item = FsOption<'a>>,
    attributes: u64,
) -> io::Result<OwnedFd> {
    for (name, value) in options {
        name.with_nix_path(|name| match value {
            Some(value) => value.with_nix_path(|value| {
                configure(context, libc::FSCONFIG_SET_STRING, Some(name), Some(value))
            })?,
            None => configure(context, libc::FSCONFIG_SET_FLAG, Some(name), None),
        })??;
    }
    configure(context, libc::FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: plain integers; the descriptor is borrowed for the call.
    new_descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, attributes) })
}

fn configure(
    context: BorrowedFd<'_>,
    command: libc::c_uint,
    name: Option<&CStr>,
    value: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: the strings are C strings or null as fsconfig(2) wants them for each command.
    done(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, pointer(name), pointer(value), 0)
    })
}

/// Makes `new_root` the root and stacks the old one on top of it, at the same place: pivot_root(".", ".").
/// The caller's working directory must be the new root.
pub fn pivot_root_here() -> io::Result<()> {
    // SAFETY: two C strings that live for ever.
    done(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
}

fn empty_path(path: &CStr) -> libc::c_uint {
    if path.is_empty() { libc::AT_EMPTY_PATH as libc::c_uint } else { 0 }
}

const UNCHANGED: mount_attr = mount_attr { attr_set: 0, attr_clr: 0, propagation: 0, userns_fd: 0 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_times_are_told_apart() {
        let (nodev, relatime, noatime, nodiratime) = (4, 4096, 1024, 2048);
        assert_eq!(attributes_of(nodev | relatime), attribute::NODEV);
        assert_eq!(attributes_of(nodev), attribute::NODEV | attribute::STRICTATIME);
        assert_eq!(attributes_of(noatime | nodiratime), attribute::NOATIME | attribute::NODIRATIME);
    }
}
