//! A time by which something has to have happened.

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use std::io;
use std::time::{Duration, Instant};

/// Such a time. Nothing is one that never comes.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// The time `limit` from now. One that lies further off than the clock reaches never comes.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// One that never comes.
    pub const NEVER: Self = Self(None);

    /// How long it is until then; nothing if it never comes.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether it has come.
    pub fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// poll(2), again if a signal interrupts it. Tells whether one of them is ready in time.
    pub fn poll(self, fds: &mut [PollFd<'_>]) -> io::Result<bool> {
        loop {
            let left = self.left();
            // Rounded up to milliseconds: the last of them is waited for, not spun away.
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            });
            match poll(fds, timeout) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::PollFlags;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_not_ready_is_waited_for_until_then() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
        let deadline = Deadline::after(Duration::from_millis(20));
        assert!(!deadline.poll(&mut fds).unwrap());
        assert!(deadline.is_over());
        drop(theirs);
        assert!(Deadline::after(Duration::ZERO).poll(&mut fds).unwrap());
        assert!(Deadline::NEVER.poll(&mut fds).unwrap() && !Deadline::after(Duration::MAX).is_over());
    }
}
