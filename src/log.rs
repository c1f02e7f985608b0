//! What kase says while it works: to standard error for a person, to `--log` for an engine.
//!
//! Engines read the last line of the log file to show the user an error, so the two formats are
//! runc's: `text` (logfmt) and `json`, with the keys level, msg and time. kase logs single events and no
//! spans, and starts in well under a millisecond, so the subscriber is ours: a format and one write(2).

use crate::fault::{Fault, OrFault};
use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
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

struct Log {
    file: Option<File>,
    format: Format,
    level: Level,
}

/// Starts the log; everything below `level` is dropped without being formatted.
///
/// # Errors
/// When the log file cannot be opened for appending.
pub fn start(path: Option<&Path>, format: Format, level: Level) -> anyhow::Result<()> {
    let file = path.map(open).transpose()?;
    // Fails only when a subscriber is set already, and this is the one place that sets it.
    let _ = tracing::subscriber::set_global_default(Log { file, format, level });
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o644).open(path).or_fault(|| {
        Fault::doing(format!("open the log {}", path.display()))
            .remedy("give --log a file in a directory that exists and that you may write to")
    })
}

/// Logs the error that kase ends with; standard error has it from `main` already.
pub fn error(message: &str) {
    tracing::error!("{message}");
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
        let _ = match &self.file {
            Some(file) => {
                let mut file: &File = file;
                file.write_all(line(self.format, level, &message.0, SystemTime::now()).as_bytes())
            }
            None => say(level, &message.0),
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

/// Without a log file, a person reads along. Errors are left out: `main` prints them with their remedy. What is
/// there for finding a fault is quoted as in the log, since it may hold anything.
fn say(level: Level, message: &str) -> std::io::Result<()> {
    let prefix = match level {
        Level::ERROR => return Ok(()),
        Level::WARN => "kase: warning: ",
        Level::INFO => "kase: ",
        _ => return std::io::stderr().write_all(format!("kase: debug: {message:?}\n").as_bytes()),
    };
    std::io::stderr().write_all(format!("{prefix}{message}\n").as_bytes())
}

fn line(format: Format, level: Level, message: &str, now: SystemTime) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        _ => "debug",
    };
    let time = humantime::format_rfc3339_seconds(now);
    match format {
        Format::Json => {
            format!(
                "{{\"level\":\"{level}\",\"msg\":{},\"time\":\"{time}\"}}\n",
                serde_json::Value::from(message)
            )
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
}
