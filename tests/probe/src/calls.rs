//! System calls that a filter may be about, each by a safe function that makes that very call.

use crate::deeds::outcome;
use nix::fcntl::{AT_FDCWD, OpenHow, openat2};
use nix::sys::personality::{self, Persona};
use nix::unistd::{Whence, lseek};
use std::fs::{self, File};
use std::io::Error;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// `ok` or the name of the errno.
pub fn call(name: &str, rest: &[&str]) -> String {
    match (name, rest) {
        ("lseek", [offset]) => outcome(seek(number(offset).cast_signed())),
        ("mkdir", [path]) => outcome(fs::create_dir(path)),
        ("openat2", [path]) => outcome(openat2(AT_FDCWD, *path, OpenHow::new())),
        ("personality", [persona]) => {
            let persona = u32::try_from(number(persona)).unwrap_or(0).cast_signed();
            outcome(personality::set(Persona::from_bits_retain(persona)))
        }
        _ => format!("no such call: {name} {}", rest.join(" ")),
    }
}

/// The same in a thread of its own; `killed` if the thread ends without an answer.
#[expect(clippy::disallowed_methods, reason = "the probe, not kase, is what may have threads")]
pub fn in_a_thread(name: &str, rest: &[&str]) -> String {
    let words: Vec<String> = [name].iter().chain(rest).map(ToString::to_string).collect();
    let (says, heard) = channel();
    thread::spawn(move || {
        let rest: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        // Fails only if nobody listens any more, and we do.
        let _ = says.send(call(&words[0], &rest));
    });
    // The sender of a killed thread is never dropped, so its end shows in /proc alone.
    let tasks = || fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    while tasks() > 1 {
        thread::sleep(Duration::from_millis(1));
    }
    heard.try_recv().unwrap_or_else(|_| "killed".into())
}

/// Only arithmetic: a file's offset may be far behind its end.
fn seek(offset: i64) -> Result<i64, Error> {
    Ok(lseek(File::open("/proc/self/exe")?, offset, Whence::SeekSet)?)
}

/// A number as C writes it, decimal or hexadecimal.
fn number(text: &str) -> u64 {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    number.unwrap_or(0)
}
