//! `peak FILE COMMAND [ARG…]` executes COMMAND and writes to FILE how much memory it, or one of the processes it
//! waited for, had at most, in kB; getrusage(2).
//!
//! The kernel counts the memory that a process has at its exec, so this one must be small itself.
#![no_main]

use std::ffi::{CStr, OsStr};
use std::mem::zeroed;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

/// Without Rust's own start.
#[unsafe(no_mangle)]
extern "C" fn main(count: libc::c_int, arguments: *const *const libc::c_char) -> libc::c_int {
    let argument = |at: usize| {
        // SAFETY: the C library hands over as many as it counts.
        let argument = unsafe { *arguments.wrapping_add(at) };
        // SAFETY: and each is a C string, which stays.
        OsStr::from_bytes(unsafe { CStr::from_ptr(argument) }.to_bytes())
    };
    let mut args = (1..usize::try_from(count).unwrap_or(0)).map(argument);
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
