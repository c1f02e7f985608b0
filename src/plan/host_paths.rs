//! Why a path of the host cannot be mounted, and what helps.

use super::mounts::{Mount, What};
use crate::fault::Fault;
use crate::kernel::mount::Reach;
use std::io;
use std::path::Path;

/// The fault of a bind mount whose source cannot be opened or cloned.
pub fn source_refused(mount: &Mount<'_>, source: &Path, error: io::Error) -> anyhow::Error {
    let (shown, alone) =
        (source.display(), !matches!(&mount.what, What::Bind { reach: Reach::Recursive, .. }));
    let (cause, remedy) = match error.raw_os_error() {
        Some(libc::EINVAL) if alone => (
            ", on which something is mounted that must stay",
            format!("use rbind, which takes along what is mounted below {shown}"),
        ),
        Some(libc::EINVAL) => (
            ", which is on an unbindable mount, or on one of another mount namespace",
            "bind what was mounted there in the first place".into(),
        ),
        _ => ("", unreached(source, &error).unwrap_or_else(|| format!("create it: mkdir -p {shown}"))),
    };
    Fault::at(mount.at, format!("bind {shown}{cause}")).remedy(remedy).caused_by(error)
}

/// The fault of a rootfs that cannot be opened.
pub fn rootfs_refused(path: &Path, error: io::Error) -> anyhow::Error {
    let unpack = "unpack an image there (umoci unpack makes the whole bundle), or correct root.path";
    Fault::at("root.path", format!("open {}", path.display()))
        .remedy(unreached(path, &error).unwrap_or_else(|| unpack.into()))
        .caused_by(error)
}

/// What helps where a path of the host is more than missing.
fn unreached(path: &Path, error: &io::Error) -> Option<String> {
    let shown = path.display();
    Some(match error.raw_os_error()? {
        libc::EACCES => {
            format!("see which directory on the way denies it, and let your user in: namei -l {shown}")
        }
        // Only who rules over a mount namespace may clone its trees.
        libc::EPERM => "check that you may open it, and start kase with mounts of its own: unshare --user \
                        --map-root-user --mount, where the user namespace was made without --mount"
            .into(),
        libc::ENOTDIR => format!("see what on the way is a file: namei -l {shown}"),
        libc::ELOOP => format!("see which symlinks lead in a circle: namei -l {shown}"),
        libc::ENAMETOOLONG => "shorten it: a name takes at most 255 bytes, a path 4,095".into(),
        libc::ENOSPC => "see how many mounts may be there, and raise it: sysctl fs.mount-max".into(),
        libc::EMFILE => "raise the limit of open files: ulimit -n".into(),
        libc::ENFILE => "raise the limit of the machine's open files: sysctl fs.file-max".into(),
        libc::ENOENT => return None,
        _ => format!("see what is wrong there: stat {shown}"),
    })
}
