//! Mounts whose ids are mapped, each by a user namespace that lives only for that.

use crate::fault::{Fault, OrFault};
use crate::kernel::clone::{Cloned, Parent, Process, clone3};
use crate::kernel::mount::map_ids;
use crate::kernel::path::open_namespace;
use crate::kernel::pidfd::pidfd_send_signal;
use crate::kernel::process::{pause, wait_for};
use crate::plan::mount_idmap::MappedBy;
use crate::plan::mounts::Mount;
use crate::plan::namespaces::Kind;
use rootless::caller::Caller;
use rootless::id_map::IdMaps;
use rootless::id_writer::{self, Means};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Maps the ids of the detached `tree` as the entry has it, if it has.
pub fn map(entry: &Mount<'_>, tree: BorrowedFd<'_>, caller: &Caller) -> anyhow::Result<()> {
    let Some(idmap) = &entry.idmap else { return Ok(()) };
    let namespace = match &idmap.by {
        MappedBy::Maps(maps) => user_namespace(maps, caller),
        MappedBy::Namespace(path) => open_namespace(*path).map_err(Into::into),
    }
    .or_fault(|| Fault::at(entry.at, "find a user namespace for the mount's ids"))?;
    map_ids(tree, namespace.as_fd(), idmap.reach).or_fault(|| {
        Fault::at(entry.at, "map the mount's ids")
            .remedy("use a file system that can (see mount_setattr(2), \"ID-mapped mounts\"), and one that is not mapped already")
    })
}

/// A user namespace with these maps. The kernel keeps it while it is open; its process ends at once.
fn user_namespace(maps: &IdMaps, caller: &Caller) -> anyhow::Result<OwnedFd> {
    let means = Means::choose(caller, maps)?;
    match clone3(Kind::User.flag(), Parent::Us, None)? {
        Cloned::New => pause(),
        Cloned::Caller(process) => {
            let process = KilledOnDrop(process);
            id_writer::write(process.0.pid.unsigned_abs(), maps, &means)?;
            let path = format!("/proc/{}/ns/user", process.0.pid);
            Ok(open_namespace(path.as_str())?)
        }
    }
}

/// A process that ends when this is dropped.
struct KilledOnDrop(Process);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It can neither end nor be reaped by anyone else.
        let _ = pidfd_send_signal(self.0.pidfd.as_fd(), libc::SIGKILL);
        let _ = wait_for(self.0.pid);
    }
}
