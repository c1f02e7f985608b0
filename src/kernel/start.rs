//! The start of the program.
//!
//! Instead of std's, which takes a third of the time of a small command: it reads /proc/self/maps for the bounds
//! of the stack and puts a handler on its end, to say "stack overflow" where the kernel would say SIGSEGV. What
//! kase needs of it is here.

use super::process::{exit_now, limit, outlive_failed_writes};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;

/// Makes `$main`, which answers with an exit code, the program's own. `$commands` are those that are executed
/// again (`early::execute_again`) before.
#[macro_export]
macro_rules! start {
    ($main:path, again: $commands:path) => {
        #[cfg(early)]
        const _: () = {
            extern "C" fn early(stack: $crate::kernel::early::Stack) {
                $crate::kernel::early::execute_again(stack, $commands);
            }
            $crate::entry!(early);
        };

        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: std::ffi::c_int,
            arguments: *const *const std::ffi::c_char,
        ) -> std::ffi::c_int {
            // SAFETY: a C library calls it like that, once.
            let arguments = unsafe { $crate::kernel::start::prepare(count, arguments) };
            // Writes what is left in standard output's buffer.
            std::process::exit(u8::from($main(arguments)).into())
        }

        #[cfg(test)]
        fn main() -> std::process::ExitCode {
            u8::from($main(std::env::args_os().collect())).into()
        }
    };
}

/// Opens /dev/null for each standard descriptor that is closed, lest a file of ours gets its number, and ends this
/// process if that is not to be had. Has failed writes be errors, and children be waited for, whatever the caller
/// ignores. Answers with the arguments, which std knows of only with some C libraries.
///
/// # Safety
/// There are `count` of `arguments`, C strings that stay where they are.
#[cfg_attr(test, expect(dead_code, reason = "std's start does this"))]
pub unsafe fn prepare(count: libc::c_int, arguments: *const *const libc::c_char) -> Vec<OsString> {
    outlive_failed_writes();
    // What ignores the end of its children has nothing to wait for (sigaction(2)).
    // SAFETY: SIG_DFL is no handler that could be wrong.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    if limit(libc::RLIMIT_STACK).is_ok_and(|(most, _)| most < LEAST_STACK) {
        end("kase: the stack may have less than 64 kB\n  help: raise its limit (ulimit -s)\n");
    }
    if let Err(error) = open_standard() {
        end(&format!(
            "kase: open /dev/null for a standard stream that is closed: {error}\n  help: open all three, or raise the \
             limit of open files (ulimit -n)\n"
        ));
    }
    let argument = |at: usize| {
        // SAFETY: the caller says that there are as many.
        let argument = unsafe { *arguments.wrapping_add(at) };
        // SAFETY: and that each is a C string.
        OsString::from_vec(unsafe { CStr::from_ptr(argument) }.to_bytes().to_vec())
    };
    (0..usize::try_from(count).unwrap_or(0)).map(argument).collect()
}

/// As much as kase was seen to need, and not half of it. What lies beyond the limit is a SIGSEGV.
const LEAST_STACK: u64 = 64 << 10;

/// Ends this process with a line to standard error, if that is open, without memory of its own and whatever
/// state this process is in.
pub fn end(line: &str) -> ! {
    // SAFETY: pointer and length are those of one string.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len()) };
    exit_now(1)
}

fn open_standard() -> io::Result<()> {
    // SAFETY: poll(2) is there to tell whether a number is a descriptor; nothing else is done with them.
    let standard = [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut standard = standard.map(|fd| PollFd::new(fd, PollFlags::empty()));
    match super::uninterrupted(|| poll(&mut standard, PollTimeout::ZERO)) {
        // The limit of open files may be as low as two.
        Err(Errno::EINVAL) => return Err(Errno::EMFILE.into()),
        polled => polled?,
    };
    for number in standard {
        if number.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL)) {
            // open(2) takes the lowest free number, which is this one.
            let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            let number = null.into_raw_fd();
            // SAFETY: plain integers. std has opened it close-on-exec.
            super::done(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
        }
    }
    Ok(())
}
