//! What a container uses, and when the kernel kills in it.

use super::{Container, Status};
use crate::cgroup::Heard;
use crate::fault::Fault;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The statistics, one time.
    Once,
    /// The statistics at this interval, and each kill, until the container is gone.
    Every(Duration),
}

/// Prints events in runc's JSON, one a line.
pub fn events(container: &Container, pace: Pace) -> anyhow::Result<()> {
    let status = container.status()?;
    if status == Status::Stopped {
        return Err(Fault::doing(format!("container {:?} is not running", container.id()))
            .remedy(container.remedy_for(status))
            .into());
    }
    let cgroup = container.cgroup();
    let id = container.id();
    let share = container.share();
    let stats = || {
        let mut data = cgroup.stats()?;
        if let Some(share) = share {
            data["intel_rdt"] = share.stats();
        }
        anyhow::Ok(Event { kind: "stats", id, data: Some(data) })
    };
    let interval = match pace {
        Pace::Once => return print(&stats()?).map_err(Into::into),
        Pace::Every(interval) => interval,
    };
    let mut watch = cgroup.watch()?;
    loop {
        let heard = match watch.wait(interval)? {
            Heard::Gone => return Ok(()),
            Heard::Oom => print(&Event { kind: "oom", id, data: None }),
            Heard::Nothing => print(&stats()?),
        };
        match heard {
            // Whoever read the events has closed the pipe.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            printed => printed?,
        }
    }
}

/// In the order of runc's fields, which some read without a parser.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn print(event: &Event<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(event)?)?;
    out.flush()
}

/// A time as `5s`, `100ms` or `1m30s`.
///
/// # Errors
/// What is no time, or none at all.
pub fn interval(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is no interval: write it as in 5s or 100ms"))
}
