//! Mount points: found in the rootfs or made there, and checked before anything is mounted on them.

use super::flags::Flags;
use super::inside::{self, Shape};
use super::obstacle;
use crate::fault::{Fault, OrFault};
use crate::kernel::file_id::FileId;
use crate::plan::mounts::{Mount, What};
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// The rootfs that is mounted in.
#[derive(Debug, Clone, Copy)]
pub struct Rootfs<'a> {
    /// Its root.
    pub root: BorrowedFd<'a>,
    id: FileId,
    /// What of the flags that the host has given a mount can be taken away.
    pub flags: Flags,
}

impl<'a> Rootfs<'a> {
    /// The one with this root.
    pub fn of(root: BorrowedFd<'a>, flags: Flags) -> nix::Result<Self> {
        Ok(Self { root, id: FileId::of(root)?, flags })
    }

    /// Whether the mount point has been there before.
    pub fn is_there(&self, entry: &Mount<'_>) -> anyhow::Result<bool> {
        match inside::open(self.root, entry.destination) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            // A magic link, which is walked as text.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(false),
            Err(error) => Err(self.blocked(entry, error)),
        }
    }

    fn blocked(&self, entry: &Mount<'_>, error: io::Error) -> anyhow::Error {
        let doing = format!("make the mount point {}", entry.destination.display());
        obstacle::fault(entry.at.field(".destination"), &doing, self.root, entry.destination, error)
    }

    /// The mount point, made if missing, and checked.
    pub fn target(&self, entry: &Mount<'_>, shape: Shape) -> anyhow::Result<OwnedFd> {
        let (target, there) = self.point(entry, shape)?;
        if there == shape {
            return Ok(target);
        }
        let path = entry.destination.display();
        let doing = format!("a {} cannot be mounted on {path}, which is a {}", shape.word(), there.word());
        Err(Fault::at(entry.at.field(".destination"), doing)
            .remedy(format!(
                "correct source or destination, or replace {path} in the rootfs by a {}",
                shape.word()
            ))
            .caused_by(io::Error::from_raw_os_error(libc::ENOTDIR)))
    }

    /// As [`target`](Self::target), and what it is.
    pub fn point(&self, entry: &Mount<'_>, shape: Shape) -> anyhow::Result<(OwnedFd, Shape)> {
        let at = entry.at.field(".destination");
        let path = entry.destination;
        let target =
            inside::open_or_make(self.root, path, shape).map_err(|error| self.blocked(entry, error))?;
        let look = || Fault::at(at, format!("look at {} in the container", path.display()));
        let there = fstat(&target).or_fault(look)?;
        let (id, there) = (FileId::from(&there), Shape::of(&there));
        if id == self.id {
            return Err(Fault::at(at, format!("{} leads to the rootfs itself", path.display()))
                .remedy("mount below the rootfs, or set root.path to what should be the rootfs")
                .into());
        }
        // What lies on the rootfs itself needs no look.
        if id.device != self.id.device
            && fstatfs(&target).or_fault(look)?.filesystem_type() == PROC_SUPER_MAGIC
            && !may_cover(entry)
        {
            return Err(fakes_proc(entry).into());
        }
        Ok((target, there))
    }

    /// A /proc or /sys that is a symlink would let an image choose what the container's programs, and kase,
    /// take for the kernel's own files (CVE-2019-19921).
    pub fn ordinary_directory(&self, entry: &Mount<'_>, kind: &str) -> anyhow::Result<OwnedFd> {
        let path = entry.destination;
        inside::ordinary_directory(self.root, path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP | libc::ENOTDIR) => {
                let what = format!(
                    "filesystem {kind:?} must be mounted on ordinary directory, not on {}, which is a symlink or a \
                     file, or behind one",
                    path.display()
                );
                Fault::at(entry.at.field(".destination"), what)
                    .remedy("replace the symlink or file in the rootfs by a directory")
                    .caused_by(error)
            }
            _ => self.blocked(entry, error),
        })
    }
}

/// Refuses to cover a procfs at /proc by what is none: a volume of the image's would be taken for the kernel's own files
/// (CVE-2019-16884).
pub fn covers_no_proc(entry: &Mount<'_>, target: BorrowedFd<'_>, tree: BorrowedFd<'_>) -> anyhow::Result<()> {
    if entry.destination != Path::new(PROC) {
        return Ok(());
    }
    let is_proc = |fd| {
        let look = || Fault::at(entry.at.field(".destination"), format!("look at what is bound on {PROC}"));
        fstatfs(fd).map(|system| system.filesystem_type() == PROC_SUPER_MAGIC).or_fault(look)
    };
    match is_proc(tree)? || !is_proc(target)? {
        true => Ok(()),
        false => Err(fakes_proc(entry).into()),
    }
}

fn fakes_proc(entry: &Mount<'_>) -> Fault {
    let path = entry.destination;
    let why = if path == Path::new(PROC) { "it is not of type proc" } else { "it is inside /proc" };
    Fault::at(entry.at.field(".destination"), format!("{} cannot be mounted because {why}", path.display()))
        .remedy("mount it elsewhere: a program must be able to trust its /proc")
}

const PROC: &str = "/proc";

/// Files of /proc that engines replace by better ones (lxcfs), as in runc.
fn may_cover(entry: &Mount<'_>) -> bool {
    const COVERED: [&str; 11] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/net/dev",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    ];
    let path = entry.destination;
    match entry.what {
        // A second proc over the first is what joining containers do, by a bind mount, which is looked at later.
        What::Bind { .. } | What::Inside { .. } if path == Path::new(PROC) => true,
        _ => COVERED.iter().any(|covered| path == Path::new(covered)),
    }
}
