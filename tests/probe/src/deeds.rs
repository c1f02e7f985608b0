//! What a process is allowed to do: each deed answers `ok` or the name of its errno.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::io::Error;

/// `EPERM`, or the error's own words where it is not the kernel's.
pub fn errno_name(error: &Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("{:?}", Errno::from_raw(number)))
}

/// `ok`, or the name of the errno.
pub fn outcome<T, E: Into<Error>>(result: Result<T, E>) -> String {
    result.map_or_else(|error| errno_name(&error.into()), |_| "ok".into())
}

/// A file, or a directory and what is in it.
pub fn remove(path: &str) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    }
}

pub fn can(what: &str, rest: &[&str]) -> String {
    match (what, rest) {
        ("mknod", [path]) => {
            outcome(mknod(*path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), makedev(1, 3)))
        }
        ("mount", [path]) => {
            outcome(mount(Some("tmpfs"), *path, Some("tmpfs"), MsFlags::empty(), None::<&str>))
        }
        ("unmount", [path]) => outcome(nix::mount::umount(*path)),
        ("open", [path]) => outcome(std::fs::File::open(path)),
        ("append", [path]) => outcome(std::fs::OpenOptions::new().append(true).open(path)),
        ("chown", [path, uid]) => outcome(std::os::unix::fs::chown(path, uid.parse().ok(), None)),
        ("chroot", [path]) => outcome(nix::unistd::chroot(*path)),
        ("unshare", ["user"]) => outcome(unshare(CloneFlags::CLONE_NEWUSER)),
        ("unshare", ["uts"]) => outcome(unshare(CloneFlags::CLONE_NEWUTS)),
        ("sethostname", [name]) => outcome(nix::unistd::sethostname(*name)),
        ("setuid", [uid]) => {
            outcome(nix::unistd::setuid(nix::unistd::Uid::from_raw(uid.parse().unwrap_or(0))))
        }
        ("setgroups", [gid]) => {
            outcome(nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(gid.parse().unwrap_or(0))]))
        }
        _ => format!("no such deed: {what} {}", rest.join(" ")),
    }
}
