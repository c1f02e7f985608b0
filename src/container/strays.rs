//! Finds what a container leaves behind that neither a cgroup nor a pid namespace of its own holds together, by the
//! mounts that it shares with init.

use super::{Container, exec, processes};
use crate::fault::{Fault, OrFault};
use crate::kernel::deadline::Deadline;
use crate::kernel::file_id::FileId;
use crate::kernel::path::open_namespace;
use crate::kernel::pidfd::{ended_within, pidfd_open, pidfd_send_signal};
use nix::errno::Errno;
use oci_spec::runtime::LinuxNamespaceType;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The mount namespace of such a container, open, so that no other gets its number.
#[derive(Debug)]
pub struct Strays(OwnedFd);

fn is_ours(mounts: &OwnedFd) -> nix::Result<bool> {
    Ok(FileId::at("/proc/self/ns/mnt")? == FileId::of(mounts)?)
}

impl Strays {
    /// To be called before init ends: nothing tells afterwards which processes they are. Nothing where they are known
    /// otherwise, or share their mounts with processes that are not the container's.
    pub fn of(container: &Container) -> anyhow::Result<Option<Self>> {
        if container.has_cgroup() || container.ends_with_init() || !has_own_mounts(container) {
            return Ok(None);
        }
        let Some(init) = container.pid()? else { return Ok(None) };
        match open_namespace(format!("/proc/{init}/ns/mnt").as_str()) {
            // Whatever the record says, processes that share our mounts are never killed.
            Ok(mounts) if is_ours(&mounts)? => Ok(None),
            Ok(mounts) if container.pid()? == Some(init) => Ok(Some(Self(mounts))),
            // Nobody may look at an init that has not been started, but then there is no other process either.
            Ok(_) | Err(Errno::ENOENT | Errno::EACCES | Errno::EPERM) => Ok(None),
            Err(errno) => Err(errno).or_fault(|| Fault::doing("open the mount namespace of the container")),
        }
    }

    /// Kills them, and waits for their end.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn end(&self) -> anyhow::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        const MOMENT: Duration = Duration::from_millis(200);
        let deadline = Deadline::after(PATIENCE);
        let own = FileId::of(&self.0)?;
        loop {
            let left = sharing(own)?;
            for pid in &left {
                // The id may have passed to another process, so it is checked again once the descriptor holds it.
                let Ok(pidfd) = pidfd_open(*pid) else { continue };
                if shares(*pid, own) {
                    // That the process has ended meanwhile is what is wanted.
                    let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
                    ended_within(pidfd.as_fd(), MOMENT)?;
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if deadline.is_over() {
                tracing::warn!("processes of the container do not end, though killed: {left:?}");
                return Ok(());
            }
        }
    }
}

/// Whether the container was made with mounts of its own, and has not joined another's.
fn has_own_mounts(container: &Container) -> bool {
    // A container whose configuration cannot be read is deleted all the same.
    let Ok(config) = exec::stored(container) else { return false };
    let namespaces = config.linux.as_deref().and_then(|linux| linux.namespaces().as_deref());
    namespaces
        .unwrap_or_default()
        .iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::Mount && namespace.path().is_none())
}

fn sharing(mounts: FileId) -> anyhow::Result<Vec<i32>> {
    let mut pids = processes::every()?;
    pids.retain(|pid| shares(*pid, mounts));
    Ok(pids)
}

/// Whether the process has these mounts. Those that nobody may look into are others'.
fn shares(pid: i32, mounts: FileId) -> bool {
    FileId::at(format!("/proc/{pid}/ns/mnt").as_str()) == Ok(mounts)
}
