//! What a container uses, and when the kernel kills in it.

use super::{Container, Status};
use crate::cgroup::Heard;
use crate::fault::Fault;
use serde_json::{Value, json};
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
///
/// # Errors
/// A container that has stopped.
pub fn events(container: &Container, pace: Pace) -> anyhow::Result<()> {
    if container.status() == Status::Stopped {
        return Err(Fault::doing(format!("container {:?} is not running", container.id()))
            .remedy(format!("start it first: kase start {}", container.id()))
            .into());
    }
    let cgroup = container.cgroup();
    let stats = || json!({"type": "stats", "id": container.id(), "data": cgroup.stats()});
    let interval = match pace {
        Pace::Once => return print(&stats()).map_err(Into::into),
        Pace::Every(interval) => interval,
    };
    let mut watch = cgroup.watch()?;
    loop {
        let heard = match watch.wait(interval)? {
            Heard::Gone => return Ok(()),
            Heard::Oom => print(&json!({"type": "oom", "id": container.id()})),
            Heard::Nothing => print(&stats()),
        };
        match heard {
            // Nobody listens any more.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            printed => printed?,
        }
    }
}

fn print(event: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{event}")?;
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
