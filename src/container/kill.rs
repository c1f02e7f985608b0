//! Signals a container.

use super::identity::is_ending;
use super::strays::Strays;
use super::{Container, Status};
use crate::cgroup::State;
use crate::cgroup::directory::Reach;
use crate::fault::{Fault, Report};
use crate::kernel::deadline::Deadline;
use crate::kernel::pidfd::{ended_within, pidfd_send_signal};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

/// Whom a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Init.
    Init,
    /// Every process (`--all`).
    All,
}

/// A signal by name, with or without SIG, or by number; signal(7).
pub fn parse(text: &str) -> Result<i32, Fault> {
    const LAST: i32 = 64;
    if let Ok(number) = text.parse::<i32>()
        && (0..=LAST).contains(&number)
    {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    if let Ok(signal) = Signal::from_str(&name) {
        return Ok(signal as i32);
    }
    realtime(&name).ok_or_else(|| {
        Fault::doing(format!("unknown signal {text:?}"))
            .remedy(format!("use a name such as TERM, or a number from 1 to {LAST}"))
    })
}

/// What kill(1) means; C libraries keep two or three below for themselves.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// RTMIN, RTMIN+N, RTMAX, RTMAX-N, as in kill(1).
fn realtime(name: &str) -> Option<i32> {
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.strip_prefix("SIGRTMIN") {
        Some(above) => RTMIN + offset(above, '+')?,
        None => RTMAX - offset(name.strip_prefix("SIGRTMAX")?, '-')?,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// Sends `signal`.
pub fn kill(container: &Container, signal: i32, whom: Whom) -> anyhow::Result<()> {
    let status = container.status()?;
    let running = status != Status::Stopped;
    // Init is looked up before any signal is sent, since the signal to all may end it.
    let init = container.pidfd()?.filter(|_| running);
    // Without a pid namespace of the container's, killing init alone would leave its other processes running.
    let all = whom == Whom::All || (signal == libc::SIGKILL && !container.ends_with_init());
    // Processes that outlive an init in the host's pid namespace still belong to the container.
    let left = !running && all && has_processes(container)?;
    if all {
        container.cgroup().signal_all(signal)?;
    }
    match init {
        // Init was among those that were signalled, and may have ended.
        Some(pidfd) if all => {
            let _ = pidfd_send_signal(pidfd.as_fd(), signal_once(container, signal));
            Ok(())
        }
        Some(pidfd) => {
            pidfd_send_signal(pidfd.as_fd(), signal).map_err(|error| refused(container, error))?;
            // In a frozen cgroup v1, even SIGKILL takes effect only once the cgroup is thawed. It may have been frozen
            // just now; whoever freezes it later sees the signal.
            if signal == libc::SIGKILL && container.status()? == Status::Paused {
                container.cgroup().set_state(State::Thawed)?;
            }
            Ok(())
        }
        None if left => Ok(()),
        // There is no process left to signal, which is no error where all were meant.
        None if whom == Whom::All => Ok(()),
        None => Err(Fault::doing("container not running")
            .remedy(format!("see its status with `kase state {}`", container.id()))
            .into()),
    }
}

fn refused(container: &Container, error: io::Error) -> anyhow::Error {
    let fault = Fault::doing(format!("signal container {:?}", container.id()));
    match error.raw_os_error() {
        Some(libc::EACCES) => fault
            .remedy("let kase's profile send it: `journalctl -k --grep DENIED` has what AppArmor or SELinux kept back"),
        _ => fault,
    }
    .caused_by(error)
}

/// Whether its cgroup has any.
pub(super) fn has_processes(container: &Container) -> anyhow::Result<bool> {
    Ok(!container.cgroup().pids(Reach::Recursive)?.is_empty())
}

/// The signal for init after all of its cgroup had it: none, unless there is no cgroup that it could be in.
fn signal_once(container: &Container, signal: i32) -> i32 {
    if container.has_cgroup() { 0 } else { signal }
}

/// How long whatever has been killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether init ends by itself: when it has been killed, as long as the kernel takes for that, and else within a moment.
pub fn ends_soon(container: &Container) -> anyhow::Result<bool> {
    const MOMENT: Duration = Duration::from_millis(100);
    let (Some(init), Some(pidfd)) = (container.init(), container.pidfd()?) else { return Ok(true) };
    let deadline = Deadline::after(PATIENCE);
    loop {
        if ended_within(pidfd.as_fd(), MOMENT)? {
            return Ok(true);
        }
        if deadline.is_over() || !is_ending(init)? {
            return Ok(false);
        }
    }
}

/// Kills whatever is left and waits, so that nothing runs when this returns.
///
/// # Errors
/// The kernel does not say what is left.
pub fn end(container: &Container) -> anyhow::Result<()> {
    let strays = Strays::of(container)?;
    end_held(container)?;
    strays.map_or(Ok(()), |strays| strays.end())
}

/// Init, and what its cgroup holds.
fn end_held(container: &Container) -> anyhow::Result<()> {
    /// How often somebody else may freeze it meanwhile, for no longer than this.
    const MOMENT: Duration = Duration::from_millis(200);
    let deadline = Deadline::after(PATIENCE);
    loop {
        let pidfd = container.pidfd()?;
        // This reaches frozen processes too, and those that a container without a pid namespace has left in its cgroup.
        if (pidfd.is_some() || !container.ends_with_init())
            && let Err(error) = container.cgroup().signal_all(libc::SIGKILL)
        {
            tracing::warn!("{}", Report::of(&error).line);
        }
        let Some(pidfd) = pidfd else { return Ok(()) };
        // It may have ended by itself, which is what is wanted.
        let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        if ended_within(pidfd.as_fd(), MOMENT)? {
            return Ok(());
        }
        if deadline.is_over() {
            tracing::warn!("init of container {:?} does not end, though killed", container.id());
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGUSR1", 10), ("0", 0), ("RTMIN+1", 35), ("64", 64)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "65", "-1", "SIGNOPE", "RTMIN+99", "RTMIN+2147483647", "RTMAX--5"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
