//! Signals the processes of a cgroup.

use crate::fault::{Fault, OrFault};
use crate::kernel::pidfd::{pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::AsFd;

/// Signals every process that `pids` lists, and lists again once there is a descriptor of it: before that its id could
/// have passed to a process of somebody else's.
pub fn signal_each(pids: impl Fn() -> io::Result<Vec<i32>>, number: i32) -> anyhow::Result<()> {
    let pids = || pids().or_fault(|| Fault::doing("list the container's processes"));
    /// So many descriptors are open at once.
    const AT_ONCE: usize = 64;
    for some in pids()?.chunks(AT_ONCE) {
        let opened: Vec<_> = some.iter().map(|pid| (pid, pidfd_open(*pid))).collect();
        let now = pids()?;
        for (pid, pidfd) in opened.into_iter().filter(|(pid, _)| now.contains(pid)) {
            match pidfd.and_then(|pidfd| pidfd_send_signal(pidfd.as_fd(), number)) {
                // It may have ended meanwhile, as intended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                // A threaded cgroup lists threads; all of a process have what its first one gets.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => {}
                sent => sent.or_fault(|| Fault::doing(format!("signal process {pid}")))?,
            }
        }
    }
    Ok(())
}
