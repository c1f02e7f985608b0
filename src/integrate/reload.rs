//! A dockerd that runs reads its configuration anew.

use crate::fault::{Fault, OrFault};
use crate::kernel::pidfd::{pidfd_open, pidfd_send_signal};
use crate::kernel::text::read_bytes;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Tells the dockerd whose process id is in this file; nothing if none runs.
///
/// # Errors
/// The file cannot be read; the dockerd is somebody else's.
pub fn dockerd(pid_file: &Path) -> anyhow::Result<Option<i32>> {
    let id = match read_bytes(pid_file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        id => id.or_fault(|| {
            let doing = format!("read {}, the configuration is written", pid_file.display());
            Fault::doing(doing).remedy("restart dockerd")
        })?,
    };
    let Some(pid) = String::from_utf8_lossy(&id).trim().parse().ok().filter(|pid| *pid > 0) else {
        return Ok(None);
    };
    let told = signal(pid).or_fault(|| {
        let doing = format!("reload dockerd ({pid}), the configuration is written");
        Fault::doing(doing).remedy("restart it")
    })?;
    if !told {
        return Ok(None);
    }
    // dockerd should know of the change when it is asked next, and nothing tells when it has read the file.
    sleep(Duration::from_secs(1));
    Ok(Some(pid))
}

/// Whether this process is a dockerd, which has the signal then.
fn signal(pid: i32) -> io::Result<bool> {
    let process = match pidfd_open(pid) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(false),
        process => process?,
    };
    // The name is that of the process behind the descriptor: if the id has passed on, the signal reaches nobody.
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) if name.trim_end() == "dockerd" => {}
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => return Ok(false),
    }
    match pidfd_send_signal(process.as_fd(), libc::SIGHUP) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        sent => sent.map(|()| true),
    }
}
