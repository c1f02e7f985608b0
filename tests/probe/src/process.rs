//! What a process does with time: waits, hears a signal, leaves an orphan, becomes another program.

use crate::Answer;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{Error, ErrorKind, Read, Seek, Write, copy, stdin, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Copies standard input to standard output.
pub fn cat() -> Answer {
    copy(&mut stdin(), &mut stdout())?;
    Ok(String::new())
}

/// Sends a message to the socket that NOTIFY_SOCKET names.
pub fn notify(text: &str) -> Answer {
    let path = std::env::var_os("NOTIFY_SOCKET").ok_or(ErrorKind::NotFound)?;
    std::os::unix::net::UnixDatagram::unbound()?.send_to(text.as_bytes(), path)?;
    Ok(String::new())
}

/// Lets two names change places for ever, as fast as that goes; now and then it rests, since whoever is attacked has to
/// come to its turn on a host with few processors.
pub fn exchange(one: &str, other: &str) -> Answer {
    println!("exchanging");
    loop {
        for _ in 0..64 {
            renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?;
        }
        thread::sleep(Duration::from_micros(300));
    }
}

/// Becomes `program`; returns only the error.
pub fn exec(program: &str, args: &[&str]) -> Answer {
    Err(Command::new(program).args(args).exec())
}

/// Leaves a sleeping grandchild behind, which init (or a subreaper) inherits.
pub fn orphan() -> Answer {
    let status = Command::new("/proc/self/exe").arg("adopt").status()?;
    Ok(if status.success() { "orphaned".into() } else { status.to_string() })
}

/// Starts a child that sleeps forever and holds none of our descriptors.
pub fn spawn_sleeper() -> Result<Child, Error> {
    Command::new("/proc/self/exe")
        .arg("sleep")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Prints `waiting`, then the first signal that comes.
///
/// The signals are blocked, not handled: a blocked signal stays pending even for the first process of
/// a pid namespace, which never gets one that it does not handle.
pub fn signal() -> Answer {
    let all = SigSet::all();
    all.thread_block()?;
    println!("waiting");
    stdout().flush()?;
    loop {
        let signal = all.wait()?;
        // A terminal that gets its first size is no answer to a test.
        if signal != Signal::SIGWINCH {
            return Ok(signal.to_string());
        }
    }
}

/// Sleeps so many milliseconds, or until killed.
pub fn sleep(milliseconds: Option<u64>) -> Answer {
    match milliseconds {
        Some(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
        None => loop {
            thread::park();
        },
    }
    Ok(String::new())
}

/// Waits until the terminal is of this size (`80x24`), however often it changes before.
pub fn await_size(wanted: &str) -> Answer {
    println!("waiting");
    loop {
        let size = rustix::termios::tcgetwinsize(stdout())?;
        if format!("{}x{}", size.ws_col, size.ws_row) == wanted {
            return Ok(wanted.to_owned());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `path` exists.
pub fn wait(path: &str) -> Answer {
    while std::fs::symlink_metadata(path).is_err() {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(String::new())
}

/// Fills so many MiB of memory.
pub fn allocate(mebibytes: &str) -> Result<Vec<u8>, Error> {
    let size = mebibytes.parse::<usize>().map_err(|_| ErrorKind::InvalidInput)? << 20;
    let mut memory = Vec::new();
    memory.try_reserve_exact(size).map_err(|_| ErrorKind::OutOfMemory)?;
    memory.resize(size, 1);
    Ok(black_box(memory))
}

/// Holds so many MiB for ever, and says so.
pub fn hold(mebibytes: &str) -> Answer {
    let memory = allocate(mebibytes)?;
    println!("holding");
    stdout().flush()?;
    let ended = sleep(None);
    drop(memory);
    ended
}

/// How many of so many children can be started at once.
pub fn forks(wanted: &str) -> Answer {
    let mut children = Vec::new();
    let mut refused = String::new();
    for _ in 0..wanted.parse().unwrap_or(0) {
        match spawn_sleeper() {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = format!(" {}", crate::deeds::errno_name(&error));
                break;
            }
        }
    }
    let count = children.len();
    for mut child in children {
        child.kill()?;
        child.wait()?;
    }
    Ok(format!("{count}{refused}"))
}

/// Computes for so many milliseconds, or for ever.
pub fn burn(milliseconds: Option<u64>) -> Answer {
    let begin = Instant::now();
    let mut number = 0_u64;
    while milliseconds.is_none_or(|most| begin.elapsed() < Duration::from_millis(most)) {
        number = black_box(number.wrapping_add(1));
    }
    Ok(String::new())
}

/// Prints 1, 2, 3 and so on, some hundred a second.
pub fn count() -> Answer {
    for number in 1_u64.. {
        println!("{number}");
        stdout().flush()?;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(String::new())
}

/// Rests, then computes for so many milliseconds, over and over.
pub fn bursts(milliseconds: &str) -> Answer {
    let milliseconds = milliseconds.parse().map_err(|_| ErrorKind::InvalidInput)?;
    loop {
        thread::sleep(Duration::from_millis(300));
        burn(Some(milliseconds))?;
    }
}

/// How many huge pages of 2 MiB can be had, of so many.
pub fn huge_pages(wanted: &str) -> Answer {
    const SIZE: i64 = 2 << 20;
    let file = memfd_create("huge", MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB)?;
    let wanted = wanted.parse::<i64>().map_err(|_| ErrorKind::InvalidInput)?;
    for number in 0..wanted {
        if let Err(error) = fallocate(&file, FallocateFlags::empty(), number * SIZE, SIZE) {
            return Ok(format!("{number} {error:?}"));
        }
    }
    Ok(wanted.to_string())
}

/// Writes a file of so many MiB that is in the page cache afterwards, and on its disk too.
pub fn fill(path: &str, mebibytes: &str) -> Answer {
    let block = vec![1; 1 << 20];
    let mut file = File::create(path)?;
    for _ in 0..mebibytes.parse().unwrap_or(0) {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    println!("filled");
    stdout().flush()?;
    Ok(String::new())
}

const PAGE: usize = 4096;
/// What is read or written directly at a time.
const BLOCK: usize = 64 * PAGE;

/// Memory with a block in it that begins at a page, and where it begins.
fn block() -> (Vec<u8>, usize) {
    let buffer = vec![0; BLOCK + PAGE];
    let start = buffer.as_ptr().align_offset(PAGE);
    (buffer, start)
}

/// How many milliseconds it takes to read a file from its disk, past the cache.
pub fn read_directly(path: &str) -> Answer {
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(path)?;
    let (mut buffer, start) = block();
    let begin = Instant::now();
    while file.read(&mut buffer[start..start + BLOCK])? > 0 {}
    Ok(begin.elapsed().as_millis().to_string())
}

/// The same without end and in small pieces: one request at a time, as a scheduler knows to wait for.
pub fn read_forever(path: &str) -> Answer {
    const PIECE: usize = 4 * PAGE;
    let mut file = OpenOptions::new().read(true).custom_flags(nix::libc::O_DIRECT).open(path)?;
    let (mut buffer, start) = block();
    loop {
        while file.read(&mut buffer[start..start + PIECE])? > 0 {}
        file.rewind()?;
    }
}

/// How many milliseconds it takes to write a file of so many MiB to its disk, past the cache.
pub fn write_directly(path: &str, mebibytes: &str) -> Answer {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).custom_flags(nix::libc::O_DIRECT).open(path)?;
    let (buffer, start) = block();
    let begin = Instant::now();
    for _ in 0..mebibytes.parse().unwrap_or(0) * ((1 << 20) / BLOCK) {
        file.write_all(&buffer[start..start + BLOCK])?;
    }
    Ok(begin.elapsed().as_millis().to_string())
}
