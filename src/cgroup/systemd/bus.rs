//! A D-Bus client that knows method calls, their answers and one signal: what systemd needs of it.
//!
//! Our own, because kase forks and so may have no thread, which zbus starts; and rustbus claims a uid that is
//! wrong inside a user namespace, waits for ever on a bus that is gone, and brings a second nix. The format:
//! D-Bus specification, "Message Format" and "Authentication Protocol".

use super::marshal::{Body, Reader};
use crate::kernel::deadline::Deadline;
use crate::kernel::socket;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long all of one conversation may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than systemd ever sends to us.
const LARGEST: usize = 1 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A connection. Calls go out when the first answer is waited for, so that several cost one round trip.
#[derive(Debug)]
pub struct Bus {
    socket: UnixStream,
    deadline: Deadline,
    serial: u32,
    outgoing: Vec<u8>,
    /// Heard while waiting for something else.
    heard: Vec<Message>,
}

/// Whom a call is for: the bus, the object and its interface.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name on the bus.
    pub destination: &'static str,
    pub path: &'static str,
    pub interface: &'static str,
}

const DAEMON: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// What came in.
#[derive(Debug)]
pub struct Message {
    kind: u8,
    reply_serial: u32,
    /// A signal's name, or an error's.
    pub name: String,
    body: Vec<u8>,
}

impl Message {
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.body)
    }
}

/// An error that the other side answered with.
#[derive(Debug)]
pub struct Refused {
    /// `org.freedesktop.systemd1.UnitExists`.
    pub name: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for Refused {}

impl Bus {
    /// Connects to the socket at `path` and says hello. Who we are the kernel tells (SO_PEERCRED): claiming a uid
    /// would be wrong in a user namespace.
    ///
    /// # Errors
    /// Nobody there, or not a bus.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Self::over(socket::connect(path)?.into())
    }

    /// The same over a socket that is connected.
    pub fn over(socket: UnixStream) -> io::Result<Self> {
        let mut bus = Self {
            socket,
            deadline: Deadline::after(PATIENCE),
            serial: 0,
            outgoing: b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec(),
            heard: Vec::new(),
        };
        let hello = bus.call(DAEMON, "Hello", Body::of(""));
        bus.flush()?;
        bus.accepted()?;
        bus.answer(hello)?.map_err(|refused| io::Error::other(refused.to_string()))?;
        Ok(bus)
    }

    /// The daemon's answers to the three lines, before the first message.
    fn accepted(&mut self) -> io::Result<()> {
        for expected in ["DATA", "OK"] {
            let line = self.line()?;
            if !line.starts_with(expected) {
                return Err(io::Error::new(ErrorKind::PermissionDenied, format!("the bus answers {line:?}")));
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        const LONGEST: usize = 512;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < LONGEST {
            let mut byte = [0];
            self.fill(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_string())
    }

    /// Wants signals that match the rule. What is wrong with it shows by their absence.
    pub fn subscribe(&mut self, rule: &str) {
        self.call(DAEMON, "AddMatch", Body::texts(&[rule]));
    }

    /// Calls a method and waits for the answer.
    ///
    /// # Errors
    /// The outer ones are the connection's, the inner one is the other side's.
    pub fn ask(&mut self, target: Target, member: &str, body: Body) -> io::Result<Result<Message, Refused>> {
        let call = self.call(target, member, body);
        self.answer(call)
    }

    /// Calls a method; the number is for [`answer`](Self::answer).
    fn call(&mut self, target: Target, member: &str, body: Body) -> u32 {
        self.serial += 1;
        let (signature, body) = body.finish();
        let mut header = Body::of("");
        for byte in [b'l', CALL, 0, 1] {
            header.byte(byte);
        }
        header.uint32(u32::try_from(body.len()).expect("kase's calls are small"));
        header.uint32(self.serial);
        header.array(8, |fields| {
            let mut field = |code: u8, kind: &str, text: &str| {
                fields.align(8);
                fields.byte(code);
                fields.signature(kind);
                if kind == "g" { fields.signature(text) } else { fields.text(text) }
            };
            field(1, "o", target.path);
            field(2, "s", target.interface);
            field(3, "s", member);
            field(6, "s", target.destination);
            if !signature.is_empty() {
                field(8, "g", &signature);
            }
        });
        header.align(8);
        self.outgoing.extend_from_slice(&header.finish().1);
        self.outgoing.extend_from_slice(&body);
        self.serial
    }

    fn flush(&mut self) -> io::Result<()> {
        let outgoing = std::mem::take(&mut self.outgoing);
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write_all(&outgoing)
    }

    /// Waits for the answer to a call.
    fn answer(&mut self, serial: u32) -> io::Result<Result<Message, Refused>> {
        let message =
            self.wait(|message| message.reply_serial == serial && matches!(message.kind, RETURN | ERROR))?;
        if message.kind == RETURN {
            return Ok(Ok(message));
        }
        let text = message.reader().text().unwrap_or_default();
        Ok(Err(Refused { name: message.name, text }))
    }

    /// Waits for a signal that is `wanted`.
    pub fn signal(&mut self, wanted: impl Fn(&Message) -> bool) -> io::Result<Message> {
        self.wait(|message| message.kind == SIGNAL && wanted(message))
    }

    fn wait(&mut self, wanted: impl Fn(&Message) -> bool) -> io::Result<Message> {
        if !self.outgoing.is_empty() {
            self.flush()?;
        }
        if let Some(at) = self.heard.iter().position(&wanted) {
            return Ok(self.heard.remove(at));
        }
        loop {
            let message = self.hear()?;
            if wanted(&message) {
                return Ok(message);
            }
            self.heard.push(message);
        }
    }

    fn hear(&mut self) -> io::Result<Message> {
        let odd = || io::Error::new(ErrorKind::InvalidData, "this is no D-Bus message");
        let mut fixed = [0; 16];
        self.fill(&mut fixed)?;
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        // systemd speaks the machine's byte order, which is little wherever kase is built for.
        if fixed[0] != b'l' {
            return Err(odd());
        }
        let (body, fields) = (word(4) as usize, word(12) as usize);
        if body > LARGEST || fields > LARGEST {
            return Err(odd());
        }
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.fill(&mut rest)?;
        let mut message = Message {
            kind: fixed[1],
            reply_serial: 0,
            name: String::new(),
            body: rest[fields.next_multiple_of(8)..].to_vec(),
        };
        let mut reader = Reader::new(&rest[..fields]);
        while !reader.is_empty() {
            reader.align(8);
            let code = reader.byte().ok_or_else(odd)?;
            match (code, reader.signature().ok_or_else(odd)?.as_str()) {
                (3 | 4, "s") => message.name = reader.text().ok_or_else(odd)?,
                (_, "s" | "o") => drop(reader.text().ok_or_else(odd)?),
                (_, "g") => drop(reader.signature().ok_or_else(odd)?),
                (5, "u") => message.reply_serial = reader.uint32().ok_or_else(odd)?,
                (_, "u") => drop(reader.uint32().ok_or_else(odd)?),
                _ => return Err(odd()),
            }
        }
        Ok(message)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.socket.set_read_timeout(self.left()?)?;
        match self.socket.read_exact(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            done => done,
        }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.left() {
            Some(left) if left.is_zero() => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the other end has said before it went away.
    fn after(said: &[u8]) -> io::Error {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        Bus::over(ours).unwrap_err()
    }

    #[test]
    fn a_bus_that_is_gone_or_is_none_is_an_error_at_once() {
        assert_eq!(after(b"").kind(), ErrorKind::UnexpectedEof);
        assert_eq!(after(b"DATA\r\n").kind(), ErrorKind::UnexpectedEof);
        assert_eq!(after(b"REJECTED EXTERNAL\r\n").to_string(), "the bus answers \"REJECTED EXTERNAL\"");
        let mut message = b"DATA\r\nOK 1\r\nB".to_vec();
        message.resize(message.len() + 40, 0);
        assert_eq!(after(&message).to_string(), "this is no D-Bus message");
        assert!(Bus::connect(Path::new("/nonexistent/bus")).is_err());
    }

    #[test]
    fn a_message_that_claims_to_be_huge_is_not_believed() {
        let mut message = b"DATA\r\nOK 1\r\n".to_vec();
        message.extend_from_slice(&[b'l', RETURN, 0, 1, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(after(&message).to_string(), "this is no D-Bus message");
    }
}
