//! `peak FILE COMMAND [ARG…]` executes COMMAND and writes to FILE how much memory it, or one of the processes it
//! waited for, had at most, in kB; getrusage(2).
//!
//! The kernel counts the memory that a process has at its exec, so this one must be small itself.
#![no_main]

use std::env::args_os;
use std::mem::zeroed;
use std::process::Command;

/// Without Rust's own start.
#[unsafe(no_mangle)]
extern "C" fn main() -> libc::c_int {
    let mut args = args_os().skip(1);
    let (Some(file), Some(program)) = (args.next(), args.next()) else { return 125 };
    let Ok(status) = Command::new(program).args(args).status() else { return 125 };
    // SAFETY: all zeros is a valid rusage.
    let mut usage: libc::rusage = unsafe { zeroed() };
    // SAFETY: `usage` lives.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    match std::fs::write(file, usage.ru_maxrss.to_string()) {
        Ok(()) => status.code().unwrap_or(128),
        Err(_) => 125,
    }
}
