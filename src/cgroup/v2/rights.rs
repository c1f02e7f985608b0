//! A tree of v2, also one beside v1: where a process is in it, and who may put one where.

use crate::cgroup::directory::is_gone;
use crate::cgroup::layout::MOUNT;
use crate::fault::{Fault, OrFault};
use crate::kernel;
use crate::kernel::text::read_text;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Whether the caller may move processes from the cgroup `own` into the one at `path`: whoever may write to the
/// process list of the nearest one above both; cgroups(7), "Cgroup delegation containment".
pub fn may_move(own: &Path, path: &Path) -> io::Result<bool> {
    let both = own.components().zip(path.components()).take_while(|(one, other)| one == other);
    let above: PathBuf = both.map(|(part, _)| part).collect();
    may_write(&above.join("cgroup.procs"))
}

/// Whether the caller may write to it, as far as its mode says. Nobody may write to what is not there.
pub fn may_write(path: &Path) -> io::Result<bool> {
    use nix::Error as E;
    match access(path, AccessFlags::W_OK) {
        Ok(()) => Ok(true),
        Err(E::EACCES | E::EPERM | E::EROFS | E::ENOENT | E::ENOTDIR | E::ENODEV) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens it, for clone3(2) and for a device program.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(kernel::path::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)
}

/// The v2 cgroup of a process; nothing where the process has gone or has none.
pub fn of_process(pid: i32) -> anyhow::Result<Option<PathBuf>> {
    let file = format!("/proc/{pid}/cgroup");
    let text = match read_text(&file) {
        Err(error) if is_gone(&error) => return Ok(None),
        text => text.or_fault(|| Fault::doing(format!("read {file}")))?,
    };
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(path.map(|path| Path::new(MOUNT).join(path)))
}
