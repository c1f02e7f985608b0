//! The start of the program.
//!
//! Instead of std's, which takes a third of the time of a small command: it reads /proc/self/maps for the bounds
//! of the stack and puts a handler on its end, to say "stack overflow" where the kernel would say SIGSEGV. What
//! kase needs of it is here.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd};

/// Makes `$main`, which answers with an exit code, the program's own. `$commands` are those that are executed
/// [again](super::early::execute_again) before, `$bare` the options without a value in front of them.
#[macro_export]
macro_rules! start {
    ($main:path, again: $commands:path, bare: $bare:path) => {
        #[cfg(early)]
        const _: () = {
            extern "C" fn early(stack: $crate::kernel::early::Stack) {
                $crate::kernel::early::execute_again(stack, $commands, $bare);
            }
            $crate::entry!(early);
        };

        // With glibc, std finds the arguments by itself.
        #[cfg(all(target_env = "gnu", not(test)))]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::kernel::start::prepare();
            // Writes what is left in standard output's buffer.
            std::process::exit(u8::from($main()).into())
        }

        #[cfg(not(all(target_env = "gnu", not(test))))]
        fn main() -> std::process::ExitCode {
            u8::from($main()).into()
        }
    };
}

/// Opens /dev/null for each standard descriptor that is closed, lest a file of ours gets its number; ignores
/// SIGPIPE, so that a reader who has gone is an error of write(2).
#[cfg_attr(any(test, not(target_env = "gnu")), expect(dead_code, reason = "std's start does this"))]
pub fn prepare() {
    if open_standard().is_err() {
        std::process::abort();
    }
    // SAFETY: SIG_IGN is no handler that could be wrong.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

fn open_standard() -> io::Result<()> {
    // SAFETY: poll(2) is there to tell whether a number is a descriptor; nothing else is done with them.
    let standard = [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut standard = standard.map(|fd| PollFd::new(fd, PollFlags::empty()));
    poll(&mut standard, PollTimeout::ZERO)?;
    for number in standard {
        if number.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL)) {
            // The lowest number that is free, which is this one.
            let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
            let number = null.into_raw_fd();
            // SAFETY: plain integers. std has opened it close-on-exec.
            super::answer(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into())?;
        }
    }
    Ok(())
}
