//! What a process does with time: waits, hears a signal, leaves an orphan, becomes another program.

use crate::Answer;
use nix::sys::signal::{SigSet, Signal};
use std::io::{Error, Write, copy, stdin, stdout};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Copies standard input to standard output.
pub fn cat() -> Answer {
    copy(&mut stdin(), &mut stdout())?;
    Ok(String::new())
}

/// Sends a message to the socket that NOTIFY_SOCKET names.
pub fn notify(text: &str) -> Answer {
    let path = std::env::var_os("NOTIFY_SOCKET").ok_or(std::io::ErrorKind::NotFound)?;
    std::os::unix::net::UnixDatagram::unbound()?.send_to(text.as_bytes(), path)?;
    Ok(String::new())
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
