//! `--trace`: how long each step of create, run or exec takes, in both halves, for Chrome's trace viewer or Perfetto.
//!
//! One file of JSON's array form, which both halves append to, an event a write(2). Steps follow one another: one
//! ends where the next begins. Without `--trace`, a step is a word of memory, for errors that do not say what failed.

use crate::output_file;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

static TRACE: OnceLock<Trace> = OnceLock::new();

struct Trace {
    file: File,
    origin: SystemTime,
    now: Mutex<Now>,
}

/// Where this process is.
struct Now {
    who: Who,
    step: Option<(&'static str, Duration)>,
    gone: bool,
}

/// A row of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// kase.
    Kase = 1,
    /// The container's first process, or the one that exec adds.
    Init = 2,
    /// The process that goes ahead of init.
    Hop = 3,
}

/// Begins a trace in a new file.
pub fn begin(path: &Path) -> io::Result<()> {
    let file = output_file::append(path, Mode::from_bits_truncate(0o666), OFlag::O_TRUNC)?;
    let now = Mutex::new(Now { who: Who::Kase, step: None, gone: false });
    let trace = TRACE.get_or_init(|| Trace { file, origin: SystemTime::now(), now });
    trace.write("[\n");
    trace.name(Who::Kase, "kase", "");
    Ok(())
}

/// This process, a copy of another, goes on under its own name.
pub fn enter(who: Who) {
    let Some(trace) = TRACE.get() else { return };
    let mut now = trace.now.lock().unwrap_or_else(PoisonError::into_inner);
    *now = Now { who, step: Some(("set-up", trace.elapsed())), gone: false };
    trace.name(who, if who == Who::Hop { "hop" } else { "init" }, ",\n");
}

thread_local! {
    static LAST: Cell<&'static str> = const { Cell::new("") };
}

/// The step that this process is in, or was in last.
pub fn last_step() -> &'static str {
    LAST.get()
}

/// The step before is over, and this one begins.
#[inline]
pub fn step(name: &'static str) {
    LAST.set(name);
    if let Some(trace) = TRACE.get() {
        trace.change(Some(name));
    }
}

/// The last step of this process is over, whatever it does from here on: under the container's filter it may not
/// be allowed to write, and after the gate kase has finished.
pub fn leave() {
    if let Some(trace) = TRACE.get() {
        trace.change(None);
        trace.now.lock().unwrap_or_else(PoisonError::into_inner).gone = true;
    }
}

/// Where it goes.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    TRACE.get().map(|trace| trace.file.as_fd())
}

/// The whole trace is over: called by kase, when init writes no more. The second call does nothing.
pub fn finish() {
    if let Some(trace) = TRACE.get()
        && !trace.now.lock().unwrap_or_else(PoisonError::into_inner).gone
    {
        leave();
        trace.write("\n]\n");
    }
}

impl Trace {
    /// By the clock that no time namespace shifts, since steps lead into one (time_namespaces(7)). It may be set
    /// back meanwhile.
    fn elapsed(&self) -> Duration {
        self.origin.elapsed().unwrap_or_default()
    }

    #[cold]
    fn change(&self, name: Option<&'static str>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let time = self.elapsed();
        if let Some((name, since)) = now.step.take() {
            let mut event =
                format!(",\n{{\"name\":\"{name}\",\"ph\":\"X\",\"pid\":1,\"tid\":{}", now.who as u32);
            for (key, time) in [("ts", since), ("dur", time.saturating_sub(since))] {
                // In microseconds. Writing into a string cannot fail.
                let _ = write!(event, ",\"{key}\":{}.{:03}", time.as_micros(), time.as_nanos() % 1000);
            }
            event.push('}');
            self.write(&event);
        }
        now.step = name.filter(|_| !now.gone).map(|name| (name, time));
    }

    fn name(&self, who: Who, name: &str, before: &str) {
        let tid = who as u32;
        self.write(&format!(
            "{before}{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{tid},\"args\":{{\"name\":\"{name}\"}}}}"
        ));
    }

    fn write(&self, text: &str) {
        // A full disk costs the trace and not the container.
        let _ = (&self.file).write_all(text.as_bytes());
    }
}
