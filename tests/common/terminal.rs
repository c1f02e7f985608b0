//! A terminal for kase to run in: both ends of a pty, and a screen that shows what a person would see on it.

use super::Kase;
use super::kase::patience;
use nix::fcntl::OFlag;
use nix::pty::{posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The outer end of a terminal, what came out of it, and what that makes of a screen.
pub struct Terminal {
    outer: File,
    inner: Option<OwnedFd>,
    bytes: Vec<u8>,
    screen: vt100::Parser,
}

impl Terminal {
    /// A terminal of `columns` × `rows`.
    pub fn new(columns: u16, rows: u16) -> Self {
        // Nobody else holds the outer end, so that the terminal hangs up when it is closed here.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let outer = posix_openpt(flags).unwrap();
        unlockpt(&outer).unwrap();
        let inner = nix::fcntl::open(ptsname_r(&outer).unwrap().as_str(), flags, Mode::empty()).unwrap();
        let mut terminal = Self::of(outer.as_fd().try_clone_to_owned().unwrap(), Some(inner));
        terminal.resize(columns, rows);
        terminal
    }

    /// The terminal whose outer end is `outer`, as a console socket hands it over.
    pub fn of(outer: OwnedFd, inner: Option<OwnedFd>) -> Self {
        rustix::io::ioctl_fionbio(&outer, true).unwrap();
        Self { outer: outer.into(), inner, bytes: Vec::new(), screen: vt100::Parser::default() }
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let [height, width] = [rows, columns].map(|length| length.try_into().unwrap());
        self.screen.screen_mut().set_size(height, width);
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

    /// Waits until `text` is on the screen, and gives all of that: its lines as they are seen, each between two `\n`
    /// and without blanks at its end.
    pub fn shows(&mut self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    /// Waits until the last line is this prompt: what is typed before it may be echoed before it.
    pub fn prompts(&mut self, prompt: &str) {
        self.until(prompt, |screen| screen.ends_with(&format!("\n{prompt}\n")));
    }

    fn until(&mut self, text: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + patience() / 3;
        loop {
            self.read();
            let screen = self.lines();
            if is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "waited in vain for {text:?} on the terminal:\n{screen}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn lines(&self) -> String {
        let lines = self.screen.screen().contents();
        lines.lines().fold("\n".to_string(), |lines, line| lines + line.trim_end() + "\n")
    }

    /// Everything that came out of it, as it came.
    pub fn bytes(&mut self) -> String {
        self.read();
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.outer.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    self.bytes.extend_from_slice(&buffer[..length]);
                    self.screen.process(&buffer[..length]);
                }
                // EIO: nobody holds the inner end any more.
                Err(error) => {
                    let ended = error.raw_os_error() == Some(5);
                    assert!(error.kind() == ErrorKind::WouldBlock || ended, "{error}");
                    return;
                }
            }
        }
    }
}
