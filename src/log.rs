//! What kase says while it works: to standard error for a person, to `--log` for an engine.
//!
//! Engines read the last line of the log file to show the user an error, so the two formats are
//! runc's: `text` (logfmt) and `json`, with the keys level, msg and time. kase logs single events and no
//! spans, and starts in well under a millisecond, so the subscriber is ours: a format and one write(2).

use crate::fault::{Fault, OrFault, Report, printable, printable_json};
use crate::output_file;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter};

/// How a line of the log file looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=info msg="…"`.
    Text,
    /// `{"level":"info","msg":"…","time":"…"}`.
    Json,
}

/// Where `--log` sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'a> {
    /// Appended to a file.
    File(&'a Path),
    /// The systemd journal, under a name and with the container's id.
    Journal(&'a str, Option<&'a str>),
    /// The system log, under a name.
    Syslog(&'a str),
}

impl<'a> Destination<'a> {
    /// The meaning of `--log`'s word, which is crun's: `journald:IDENT`, `syslog:IDENT`, `file:PATH`, or a path.
    /// Without a name, syslog gets the container's id as crun has it, and the journal ours.
    pub fn of(word: &'a OsStr, id: Option<&'a str>) -> Self {
        let named = |prefix| word.to_str().and_then(|word| word.strip_prefix(prefix));
        if let Some(name) = named("journald:") {
            return Self::Journal(if name.is_empty() { "kase" } else { name }, id);
        }
        if let Some(name) = named("syslog:") {
            return Self::Syslog(if name.is_empty() { id.unwrap_or("kase") } else { name });
        }
        let path = word.as_bytes().strip_prefix(b"file:").unwrap_or(word.as_bytes());
        Self::File(Path::new(OsStr::from_bytes(path)))
    }
}

/// This process has closed the descriptor that the log goes to.
static LEFT: AtomicBool = AtomicBool::new(false);

/// Says no more, but to standard error: the log's descriptor is about to be closed in this copy of the process, and its
/// number may become another file's.
pub fn leave() {
    LEFT.store(true, Ordering::Relaxed);
}

struct Log {
    sink: Sink,
    format: Format,
    level: Level,
}

enum Sink {
    Stderr,
    File(File),
    /// With the fields that all entries have.
    Journal(UnixDatagram, Vec<u8>),
    /// With what follows the priority.
    Syslog(UnixDatagram, String),
}

impl Sink {
    fn open(destination: Destination<'_>) -> anyhow::Result<Self> {
        Ok(match destination {
            Destination::File(path) => Self::File(open(path)?),
            Destination::Journal(name, id) => {
                let mut fields = field("SYSLOG_IDENTIFIER", name);
                fields.extend(id.iter().flat_map(|id| field("ID", id)));
                Self::Journal(connect("/run/systemd/journal/socket", "systemd-journald")?, fields)
            }
            Destination::Syslog(name) => {
                let head = format!("{name}[{}]: ", std::process::id());
                Self::Syslog(connect("/dev/log", "a system log, such as rsyslogd")?, head)
            }
        })
    }
}

fn connect(path: &str, daemon: &str) -> anyhow::Result<UnixDatagram> {
    let connect = || {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A daemon that does not keep up must not stop a container.
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    };
    connect().or_fault(|| {
        Fault::doing(format!("open the log {path}"))
            .remedy(format!("start {daemon} on this host, or give --log a file"))
    })
}

/// A field of the journal's protocol; a value of several lines is preceded by its length.
fn field(name: &str, value: &str) -> Vec<u8> {
    if !value.contains('\n') {
        return format!("{name}={value}\n").into_bytes();
    }
    let length = (value.len() as u64).to_le_bytes();
    [name.as_bytes(), b"\n", &length, value.as_bytes(), b"\n"].concat()
}

/// Starts the log; everything below `level` is dropped without being formatted.
///
/// # Errors
/// When the log file cannot be opened for appending, or the log's daemon does not run.
pub fn start(destination: Option<Destination<'_>>, format: Format, level: Level) -> anyhow::Result<()> {
    let sink = destination.map_or(Ok(Sink::Stderr), Sink::open)?;
    // Fails only when a subscriber is set already, and this is the one place that sets it.
    let _ = tracing::subscriber::set_global_default(Log { sink, format, level });
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    output_file::append(path, Mode::from_bits_truncate(0o644), OFlag::empty()).or_write_fault(|| {
        Fault::doing(format!("open the log {}", path.display()))
            .remedy("give --log a file in a directory that exists and that you may write to")
    })
}

/// Tells of the error that kase ends with, once in the log and once to the caller.
pub fn error(report: &Report) {
    tracing::error!("{}", report.line);
    tell(report);
}

/// Tells the caller alone, before there is a log.
pub fn tell(report: &Report) {
    // Who cannot be told (a full disk, a reader who has gone) has the exit code.
    let _ = io::stderr().write_all(format!("{report}\n").as_bytes());
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = *event.metadata().level();
        // A log that cannot be written (a full disk, a closed pipe) must not stop a container.
        let _ = match &self.sink {
            Sink::File(_) | Sink::Journal(..) | Sink::Syslog(..) if LEFT.load(Ordering::Relaxed) => Ok(()),
            Sink::File(file) => {
                let mut file: &File = file;
                file.write_all(line(self.format, level, &message.0, SystemTime::now()).as_bytes())
            }
            Sink::Stderr => say(self.format, level, &message.0),
            Sink::Journal(socket, fields) => {
                let priority = field("PRIORITY", &severity(level).to_string());
                socket.send(&[&priority, &fields[..], &field("MESSAGE", &message.0)].concat()).map(drop)
            }
            Sink::Syslog(socket, head) => {
                // Facility 1: user-level messages.
                let text = printable(&message.0);
                socket.send(format!("<{}>{head}{text}", 8 + severity(level)).as_bytes()).map(drop)
            }
        };
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// As syslog(3) numbers them.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Without a log file, a person reads along. Errors are left out: [`error`] tells them with their remedy. What is
/// there for finding a fault looks as in the log.
fn say(format: Format, level: Level, message: &str) -> io::Result<()> {
    let prefix = match level {
        Level::ERROR => return Ok(()),
        Level::WARN => "kase: warning: ",
        Level::INFO => "kase: ",
        _ => return io::stderr().write_all(line(format, level, message, SystemTime::now()).as_bytes()),
    };
    io::stderr().write_all(format!("{prefix}{}\n", printable(message)).as_bytes())
}

fn line(format: Format, level: Level, message: &str, now: SystemTime) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let time = humantime::format_rfc3339_seconds(now);
    match format {
        Format::Json => {
            let message = serde_json::Value::from(message).to_string();
            let message = printable_json(&message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        Format::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String never fails.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_keys_that_engines_read() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(
            line(Format::Json, Level::ERROR, "bad \"id\"", epoch),
            "{\"level\":\"error\",\"msg\":\"bad \\\"id\\\"\",\"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
        assert_eq!(
            line(Format::Text, Level::WARN, "bad \"id\"", epoch),
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"bad \\\"id\\\"\"\n"
        );
    }

    #[test]
    fn the_word_of_log_is_a_path_unless_it_names_a_daemon() {
        let of = |word: &'static str| Destination::of(OsStr::new(word), Some("web"));
        assert_eq!(of("/var/log/a:b"), Destination::File(Path::new("/var/log/a:b")));
        assert_eq!(of("file:journald:x"), Destination::File(Path::new("journald:x")));
        assert_eq!(of("journald:"), Destination::Journal("kase", Some("web")));
        assert_eq!(of("journald:pod"), Destination::Journal("pod", Some("web")));
        assert_eq!(of("syslog:"), Destination::Syslog("web"));
        assert_eq!(of("syslog:pod"), Destination::Syslog("pod"));
    }

    #[test]
    fn a_field_of_several_lines_has_its_length_before_it() {
        assert_eq!(field("A", "b"), b"A=b\n");
        assert_eq!(field("A", "b\nc"), b"A\n\x03\0\0\0\0\0\0\0b\nc\n");
    }
}
