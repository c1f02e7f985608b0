//! Tells apt of `--fake-root`: it looks whether it has become another user, which nothing can pretend.
//!
//! A file in the container's own /dev, which is no part of the rootfs, and a variable that names it: apt.conf(5)
//! reads it before all others, so that the image's own word counts more.

use super::inside;
use crate::kernel::path::{Resolve, create_at};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

const DIRECTORY: &str = "/dev";
const NAME: &str = "apt.conf";
const VARIABLE: &str = "APT_CONFIG=/dev/apt.conf";
const TEXT: &[u8] = b"// by kase, for --fake-root: there is one user\nAPT::Sandbox::User \"root\";\n";

/// Writes the file, where the image has apt.
pub fn write(root: BorrowedFd<'_>) -> io::Result<()> {
    if inside::open(root, Path::new("/etc/apt")).is_err() {
        return Ok(());
    }
    let directory = inside::open(root, Path::new(DIRECTORY))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    match create_at(directory.as_fd(), NAME, flags, Mode::from_bits_truncate(0o644), Resolve::NO_SYMLINKS) {
        // config.json mounts a file of its own there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        file => File::from(file?).write_all(TEXT),
    }
}

/// Names it to the program, unless that has such a variable.
pub fn tell(environment: &mut Vec<CString>, root: BorrowedFd<'_>) {
    let told = environment.iter().any(|variable| variable.as_bytes().starts_with(b"APT_CONFIG="));
    if !told && inside::open(root, &Path::new(DIRECTORY).join(NAME)).is_ok() {
        environment.push(CString::new(VARIABLE).expect("it has no NUL"));
    }
}
