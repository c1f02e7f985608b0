//! Reads files: those of procfs, sysfs and cgroups, whose size the kernel does not tell, and small ones.

use super::path::openat;
use super::uninterrupted;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::read;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
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
    open(AT_FDCWD, path, OFlag::empty())?.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The text of a file with one value, such as those of cgroups: mostly with one read(2).
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

/// All of a file that kase's caller names, mostly some kB: config.json. It may be a pipe that somebody writes into.
pub fn read_bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::with_capacity(16 << 10);
    let mut file = open(AT_FDCWD, path, UNKNOWN)?.take(MOST + 1);
    while let Err(error) = file.read_to_end(&mut bytes) {
        if error.kind() != ErrorKind::WouldBlock {
            return Err(error);
        }
        // Whoever holds the other end will write or close it. An interruption is as good as an answer.
        let _ = poll(&mut [PollFd::new(file.get_ref().as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
    }
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {} MiB", MOST >> 20)));
    }
    if bytes.is_empty() && file.get_ref().metadata()?.file_type().is_fifo() {
        return Err(io::Error::other("it is a pipe, and nobody writes into it"));
    }
    Ok(bytes)
}

/// Opens a file that may be of any kind, and takes it only if it is a regular one.
pub fn open_file(path: impl AsRef<Path>) -> io::Result<File> {
    let file = open(AT_FDCWD, path, UNKNOWN)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

/// For what somebody else has named or made: a FIFO without a writer would hold us up, a terminal become ours.
const UNKNOWN: OFlag = OFlag::O_NONBLOCK.union(OFlag::O_NOCTTY);

/// The last lines of what programs have written into the file, on one line: enough to see why one has failed.
pub fn last_lines(mut file: &File) -> String {
    const BYTES: u64 = 1024;
    const LINES: usize = 10;
    let mut bytes = Vec::new();
    let mut read = || -> io::Result<bool> {
        let start = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(start))?;
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(start > 0)
    };
    // The text is for a message, which does without it where it cannot be read.
    let mut cut = read().unwrap_or(false);
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    cut |= lines.len() > LINES;
    lines.drain(..lines.len().saturating_sub(LINES));
    let said = lines.join(", ");
    if cut { format!("... {said}") } else { said }
}

fn open(directory: BorrowedFd<'_>, path: impl AsRef<Path>, flags: OFlag) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags;
    Ok(openat(directory, path.as_ref(), flags, Mode::empty()).map(File::from)?)
}

/// A file that the kernel writes as one record, such as /proc/PID/stat: one read(2) has it all, if `buffer` takes it.
pub fn read_record(path: impl AsRef<Path>, buffer: &mut [u8]) -> io::Result<&[u8]> {
    read_record_at(AT_FDCWD, path, buffer)
}

/// As [`read_record`], of a path below a directory.
pub fn read_record_at<'a>(
    directory: BorrowedFd<'_>,
    path: impl AsRef<Path>,
    buffer: &'a mut [u8],
) -> io::Result<&'a [u8]> {
    let file = open(directory, path, OFlag::empty())?;
    let length = uninterrupted(|| read(&file, buffer))?;
    Ok(&buffer[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn of_much_text_the_last_lines_are_left() {
        let said = |text: &[u8]| {
            let mut file = File::from(
                nix::sys::memfd::memfd_create(c"text", nix::sys::memfd::MFdFlags::empty()).unwrap(),
            );
            file.write_all(text).unwrap();
            last_lines(&file)
        };
        assert_eq!(said(b""), "");
        assert_eq!(said(b"one\ntwo\n\n"), "one, two");
        assert_eq!(said(b"\xff!\n"), "\u{fffd}!");
        assert_eq!(said("line\n".repeat(12).as_bytes()), format!("... {}", ["line"; 10].join(", ")));
        let long = said("x".repeat(6_000_000).as_bytes());
        assert_eq!(long, format!("... {}", "x".repeat(1024)));
    }
}
