//! Why the kernel refuses a mount.

use super::flags::Flags;
use crate::fault::Fault;
use crate::plan::mounts::Mount;
use nix::errno::Errno;
use std::io;

/// The fault of a new file system of type `kind` with these options of its own.
pub fn of(
    mount: &Mount<'_>,
    kind: &str,
    source: &str,
    data: &[&str],
    flags: Flags,
    error: io::Error,
) -> anyhow::Error {
    let doing = format!("mount {kind} on {}", mount.destination.display());
    let errno = crate::kernel::errno(&error);
    // /proc is still the host's here.
    if let Some(diagnosis) = rootless::diagnose::file_system(errno, kind, data) {
        let also = match (kind, errno) {
            ("proc", Errno::EPERM) => ", or leave {\"type\": \"pid\"} out of linux.namespaces",
            (_, Errno::EINVAL) if kind != "overlay" => " in linux.uidMappings and linux.gidMappings",
            _ => "",
        };
        return Fault::at(mount.at, format!("{doing} ({})", diagnosis.cause))
            .remedy(diagnosis.remedy + also)
            .caused_by(error);
    }
    let (cause, remedy) = match errno {
        Errno::ENOSPC => return too_many(mount, &doing, error),
        Errno::EPERM if flags == Flags::Locked => (
            format!(" (a user namespace may not mount {kind} here)"),
            "mount it on the host and bind it into the container, or run without a user namespace".to_owned(),
        ),
        Errno::ENOENT | Errno::ENOTBLK => (
            format!(" (its source {source} is not there, or no block device)"),
            "correct source; a file is bound by bind, an image file through losetup".to_owned(),
        ),
        Errno::EINVAL if !data.is_empty() => (
            " (an option of its own, or the value of one, is none that it takes)".to_owned(),
            format!("check [{}]; `dmesg` may say more", data.join(", ")),
        ),
        _ => (String::new(), "see `dmesg`, which may say more".to_owned()),
    };
    Fault::at(mount.at, format!("{doing}{cause}")).remedy(remedy).caused_by(error)
}

/// The fault of a mount that could not be attached.
pub fn to_attach(mount: &Mount<'_>, error: io::Error) -> anyhow::Error {
    too_many(mount, &format!("mount on {}", mount.destination.display()), error)
}

/// The kernel's word for too many mounts is that of a full disk.
fn too_many(mount: &Mount<'_>, doing: &str, error: io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => {
            Fault::at(mount.at, format!("{doing} (more mounts than sysctl fs.mount-max allows)")).remedy(
                "leave some out, use bind in the place of rbind, or raise it: sysctl -w fs.mount-max=1000000",
            )
        }
        _ => Fault::at(mount.at, doing),
    }
    .caused_by(error)
}
