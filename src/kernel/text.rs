//! Reads files: those of procfs, sysfs and cgroups, whose size the kernel does not tell, and small ones.

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The text of such a file, mostly with one read(2) and one that finds the end. `std::fs::read_to_string` asks
/// for the size, is told 0 or a page, and feels its way from 32 bytes up.
///
/// # Errors
/// Those of open(2) and read(2); InvalidData when it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>) -> io::Result<String> {
    const PAGE: usize = 4096;
    let mut text = String::with_capacity(PAGE);
    // `take` hides the file, which would be asked for its size all the same.
    open(AT_FDCWD, path)?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The text of a file with one value, such as those of cgroups: mostly with one read(2).
///
/// # Errors
/// As [`read_text`].
pub fn read_value(path: impl AsRef<Path>) -> io::Result<String> {
    const PAGE: usize = 4096;
    let mut buffer = [0; PAGE];
    match read_record(&path, &mut buffer)? {
        whole if whole.len() < PAGE => match str::from_utf8(whole) {
            Ok(text) => Ok(text.trim_end_matches('\n').to_string()),
            Err(error) => Err(io::Error::new(ErrorKind::InvalidData, error)),
        },
        _ => read_text(path),
    }
}

/// All of a file that is mostly some kB: config.json.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read_bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(16 << 10);
    open(AT_FDCWD, path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(directory: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(openat(directory, path.as_ref(), flags, Mode::empty()).map(File::from)?)
}

/// A file that the kernel writes as one record, such as /proc/PID/stat: one read(2) has it all, if `buffer` takes it.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read_record(path: impl AsRef<Path>, buffer: &mut [u8]) -> io::Result<&[u8]> {
    read_record_at(AT_FDCWD, path, buffer)
}

/// As [`read_record`], of a path below a directory.
///
/// # Errors
/// Those of openat(2) and read(2).
pub fn read_record_at<'a>(
    directory: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    buffer: &'a mut [u8],
) -> io::Result<&'a [u8]> {
    let length = open(directory, path)?.read(buffer)?;
    Ok(&buffer[..length])
}
