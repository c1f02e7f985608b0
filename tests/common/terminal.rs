//! A terminal for kase to run in: both ends of a pty, without a shell.

use super::{Kase, wait_until};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command};

/// The outer end of a terminal and what came out of it.
pub struct Terminal {
    outer: File,
    inner: Option<OwnedFd>,
    text: String,
}

impl Terminal {
    /// A terminal of `columns` × `rows`.
    pub fn new(columns: u16, rows: u16) -> Self {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = Self::of(pty.master, Some(pty.slave));
        terminal.resize(columns, rows);
        terminal
    }

    /// The terminal whose outer end is `outer`, as a console socket hands it over.
    pub fn of(outer: OwnedFd, inner: Option<OwnedFd>) -> Self {
        rustix::io::ioctl_fionbio(&outer, true).unwrap();
        Self { outer: outer.into(), inner, text: String::new() }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.outer.as_fd(), size).unwrap();
    }

    /// Starts kase with these words as the leader of a session on this terminal.
    pub fn spawn(&mut self, kase: &Kase, words: &[&str]) -> Child {
        self.lead(kase, &kase.command(words))
    }

    /// Starts any command as the leader of a session on this terminal.
    pub fn lead(&mut self, kase: &Kase, command: &Command) -> Child {
        let inner = self.inner.take().expect("one process a terminal");
        let name = std::fs::read_link(format!("/proc/self/fd/{}", inner.as_raw_fd())).unwrap();
        kase.identity.own(&name);
        let mut leader = kase.program("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.stdin(inner.try_clone().unwrap()).stdout(inner.try_clone().unwrap()).stderr(inner);
        leader.spawn().unwrap()
    }

    /// The same, with some of the standard descriptors led elsewhere, in the shell's words.
    pub fn spawn_redirected(&mut self, kase: &Kase, words: &[&str], redirections: &str) -> Child {
        let script = format!("\"$@\" {redirections}");
        let command = kase.command(words);
        let program = command.get_program().to_str().unwrap();
        let words = command.get_args().map(|word| word.to_str().unwrap());
        let shell: Vec<&str> = ["-c", &script, "sh", program].into_iter().chain(words).collect();
        let mut shell_command = kase.program("sh");
        shell_command.args(shell);
        self.lead(kase, &shell_command)
    }

    /// The modes that a process on it may change, in a form to compare.
    pub fn modes(&self) -> String {
        let modes = rustix::termios::tcgetattr(&self.outer).unwrap();
        format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes)
    }

    pub fn types(&mut self, text: &str) {
        self.outer.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until the screen has shown `text`, and gives everything shown.
    pub fn shows(&mut self, text: &str) -> String {
        wait_until(&format!("`{text}` on the terminal"), || {
            self.read();
            self.text.contains(text)
        });
        self.text.clone()
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.outer.read(&mut buffer) {
            // Who turns `\n` into `\r\n`, the inner terminal or the outer one, is no matter of a test's.
            Ok(length) => self.text.push_str(&String::from_utf8_lossy(&buffer[..length]).replace('\r', "")),
            // EIO: nobody holds the inner end any more.
            Err(error) => {
                assert!(error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(5), "{error}");
            }
        }
    }
}
