//! Writes kernel parameters through a procfs that is known to be one.

use crate::fault::{Fault, OrFault};
use crate::kernel::path::{Resolve, open, openat2};
use crate::plan::sysctl::Parameter;
use crate::trace;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use rootless::caller::INITIAL_USER_NAMESPACE;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

/// The host's /proc, opened before the root changes and checked: an image can put anything on its own /proc.
#[derive(Debug)]
pub struct Procfs(OwnedFd);

impl Procfs {
    /// Opens /proc.
    pub fn open() -> anyhow::Result<Self> {
        let none =
            || Fault::doing("open /proc, which kase needs").remedy("mount it: mount -t proc proc /proc");
        let fd = open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY).or_fault(none)?;
        if fstatfs(&fd).or_fault(none)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Fault::doing("/proc is no procfs")
                .remedy("mount it: mount -t proc proc /proc")
                .into());
        }
        Ok(Self(fd))
    }

    /// Whether this process is in the initial user namespace.
    pub fn shows_initial_user_namespace(&self) -> io::Result<bool> {
        let namespace = fstatat(&self.0, "self/ns/user", AtFlags::empty())?;
        Ok(namespace.st_ino == INITIAL_USER_NAMESPACE)
    }

    /// Writes to a file of it, which no other mount may cover.
    pub fn write(&self, path: &str, value: &str) -> io::Result<()> {
        let file = openat2(self.0.as_fd(), path, OFlag::O_WRONLY, Resolve::SAME_MOUNT)?;
        File::from(file).write_all(value.as_bytes())
    }
}

/// Writes each parameter, in the namespaces that this process is in.
///
/// # Errors
/// A parameter that the kernel does not have, or a value that it refuses.
pub fn write(proc: &Procfs, settings: &[Parameter<'_>]) -> anyhow::Result<()> {
    if !settings.is_empty() {
        trace::step("sysctl");
    }
    for setting in settings {
        proc.write(&format!("sys/{}", setting.file()), setting.value)
            .map_err(|error| refused(setting, error))?;
    }
    Ok(())
}

fn refused(setting: &Parameter<'_>, error: io::Error) -> anyhow::Error {
    let (value, name) = (setting.value, setting.name);
    let (cause, remedy) = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::EISDIR) => (
            ": there is no such parameter in the container's namespaces".into(),
            "correct the name, or leave it out; a module may have to be loaded that brings it (modprobe)"
                .into(),
        ),
        Some(libc::EINVAL | libc::ERANGE) => {
            (format!(": the kernel does not take {value:?}"), format!("see what it has now: sysctl {name}"))
        }
        Some(libc::EACCES | libc::EPERM) => {
            (": the container's root may not write it".into(), "leave it out, or run as root".into())
        }
        Some(libc::EROFS | libc::EXDEV) => (
            ": /proc/sys is covered or read-only where kase runs".into(),
            "leave it out, or start what surrounds this with a writable /proc/sys".into(),
        ),
        _ => (String::new(), format!("see what it has now: sysctl {name}")),
    };
    Fault::at(format!("linux.sysctl[{name:?}]"), format!("write {value:?}{cause}"))
        .remedy(remedy)
        .caused_by(error)
}
