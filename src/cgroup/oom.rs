//! Watches a cgroup for processes that are killed for want of memory.

use std::io;
use std::time::Duration;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A process was killed.
    Oom,
    /// There are no processes any more.
    Gone,
    /// Nothing, in the time that was given.
    Nothing,
}

/// A watch over a cgroup.
pub trait Watch {
    /// Waits until something happens, at most for `time`.
    fn wait(&mut self, time: Duration) -> io::Result<Heard>;
}
