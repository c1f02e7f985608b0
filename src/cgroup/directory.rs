//! A cgroup as a directory: made, read, written, removed. The same in both versions.

use crate::fault::{Fault, OrFault};
use crate::kernel;
use crate::kernel::text::read_text;
use nix::fcntl::OFlag;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Whether cgroups below count too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This one alone.
    Own,
    /// All below it.
    Recursive,
}

/// Makes `path` and what is missing above it, below `top`; returns what was made, topmost first. Nothing
/// stays when it fails.
pub fn make(top: &Path, path: &Path, mut on_the_way: impl FnMut(&Path)) -> io::Result<Vec<PathBuf>> {
    let mut made: Vec<PathBuf> = Vec::new();
    let mut current = top.to_path_buf();
    for part in path.strip_prefix(top).unwrap_or(path) {
        on_the_way(&current);
        current.push(part);
        match fs::create_dir(&current) {
            Ok(()) => made.push(current.clone()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => {
                unmake(&made);
                return Err(error);
            }
        }
    }
    Ok(made)
}

/// As [`make`], where nothing is to be done on the way, which is mostly there.
pub fn make_plain(top: &Path, path: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::create_dir(path) {
        Ok(()) => Ok(vec![path.to_path_buf()]),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotFound => make(top, path, |_| {}),
        Err(error) => Err(error),
    }
}

/// Removes what [`make`] made, if it is empty.
pub fn unmake(made: &[PathBuf]) {
    for directory in made.iter().rev() {
        // Somebody else may use it by now; then it is theirs.
        let _ = fs::remove_dir(directory);
    }
}

/// Writes a file of a cgroup with one write(2), and never makes one.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    put(&open(file)?, text)
}

/// Opens a file of a cgroup for [`put`].
pub fn open(file: &Path) -> io::Result<File> {
    Ok(kernel::path::open(file, OFlag::O_WRONLY).map(File::from)?)
}

/// Writes with one write(2). Such a file has no position: each is a command of its own.
pub fn put(mut file: &File, text: &str) -> io::Result<()> {
    loop {
        match file.write(text.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A number in a file; `max` is the largest.
pub fn number(file: &Path) -> io::Result<u64> {
    let text = read_text(file)?;
    match text.trim() {
        "max" => Ok(u64::MAX),
        // v1 may write a number that is not quite -1.
        text if text.starts_with('-') => Ok(u64::MAX),
        text => text
            .parse()
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("{} has {text:?}", file.display()))),
    }
}

/// Moves a process in.
pub fn attach(directory: &Path, pid: i32) -> io::Result<()> {
    let file = directory.join("cgroup.procs");
    for _ in 0..RETRIES {
        match write(&file, &pid.to_string()) {
            // A process that is only just being made.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => sleep(PAUSE),
            // A threaded cgroup takes a process by its main thread.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                return write(&directory.join("cgroup.threads"), &pid.to_string());
            }
            done => return done,
        }
    }
    write(&file, &pid.to_string())
}

/// The processes in it, in no order. Of a cgroup that is gone, none.
pub fn pids(directory: &Path, reach: Reach) -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    collect(directory, reach, &mut found)?;
    Ok(found)
}

fn collect(directory: &Path, reach: Reach, found: &mut Vec<i32>) -> io::Result<()> {
    let text = match read_text(directory.join("cgroup.procs")) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            read_text(directory.join("cgroup.threads"))
        }
        text => text,
    };
    let text = match text {
        Err(error) if is_gone(&error) => return Ok(()),
        text => text?,
    };
    // 0 is a process of a pid namespace that we do not see.
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    if reach == Reach::Recursive {
        for child in children(directory)? {
            collect(&child, reach, found)?;
        }
    }
    Ok(())
}

/// The cgroups right below.
fn children(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether a cgroup was removed, or a process has ended, while we were looking.
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ESRCH))
}

/// Whether the caller lacks the right to do it.
pub fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
}

const RETRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(1);

/// Removes it and all below it, waiting for a while for processes that are about to be gone.
///
/// # Errors
/// The cgroup that stays, with the processes in it.
pub fn remove(directory: &Path) -> anyhow::Result<()> {
    if rmdir(directory).is_ok() {
        return Ok(());
    }
    let below = children(directory).or_fault(|| Fault::doing(format!("read {}", directory.display())))?;
    for child in below {
        remove(&child)?;
    }
    let removed = remove_empty(directory);
    if !matches!(&removed, Err(error) if error.raw_os_error() == Some(libc::EBUSY)) {
        return removed.or_fault(|| doing_remove(directory));
    }
    removed.or_fault(|| {
        let left = pids(directory, Reach::Own).unwrap_or_default();
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        doing_remove(directory).remedy(match left.is_empty() {
            true => format!("see what is below {} and remove it", directory.display()),
            false => format!("end the processes in it: {}", left.join(", ")),
        })
    })
}

/// Removes it alone, waiting as [`remove`] does.
///
/// # Errors
/// EBUSY when it is in use.
pub fn remove_empty(directory: &Path) -> io::Result<()> {
    let mut pause = PAUSE;
    for _ in 0..RETRIES {
        match rmdir(directory) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                sleep(pause);
                pause *= 2;
            }
            done => return done,
        }
    }
    rmdir(directory)
}

fn doing_remove(directory: &Path) -> Fault {
    Fault::doing(format!("remove the cgroup {}", directory.display()))
}

fn rmdir(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if is_gone(&error) => Ok(()),
        done => done,
    }
}
