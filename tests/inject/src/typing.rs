//! An attacker: types into each terminal that it has, as the person at it would.

use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Pastes what was selected on a virtual console; ioctl_console(2).
const TIOCL_PASTESEL: u8 = 3;

/// Says what becomes of each attempt: in the session that it is in, and in one of its own, whose leader may take a
/// terminal.
pub fn type_into_all(text: &str) {
    type_into_each(text);
    if nix::unistd::setsid().is_ok() {
        type_into_each(text);
    }
}

fn type_into_each(text: &str) {
    for number in 0..3 {
        type_into(&format!("descriptor {number}"), number, text);
    }
    for path in ["/dev/tty", "/dev/console", "/proc/self/fd/0"] {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => type_into(path, file.as_raw_fd(), text),
            Err(error) => println!("{path}: {error}"),
        }
    }
}

fn type_into(name: &str, terminal: i32, text: &str) {
    // SAFETY: the request takes a number.
    let taken = unsafe { libc::ioctl(terminal, libc::TIOCSCTTY, 0) };
    let taken = Errno::result(taken).err();
    let mut typed = None;
    for byte in text.bytes() {
        // SAFETY: the request reads the byte.
        let result = unsafe { libc::ioctl(terminal, libc::TIOCSTI, &raw const byte) };
        typed = typed.or(Errno::result(result).err());
    }
    let paste = [TIOCL_PASTESEL, 0];
    // SAFETY: the request reads its code, and no more for this one.
    let pasted = unsafe { libc::ioctl(terminal, libc::TIOCLINUX, paste.as_ptr()) };
    let pasted = Errno::result(pasted).err();
    println!("{name}: taken {taken:?}, typed {typed:?}, pasted {pasted:?}");
}
