//! Lays the overlay over the rootfs.
//!
//! ```text
//! at the rootfs's place:  rootfs ◀ tmpfs or DIR ◀ overlay, which becomes the root
//! ```
//!
//! The kernel wants every layer mounted in this namespace, so what holds the upper one goes on top of the rootfs,
//! and the overlay on top of both. It is told of them by descriptors of ours, so that no name is resolved in any of
//! them, and none needs to be quoted.

use super::inside::magic_path;
use crate::fault::{Fault, OrFault};
use crate::kernel::mount::{self, Reach, attribute};
use crate::kernel::path::{Resolve, openat2};
use crate::plan::labels::MountLabel;
use crate::plan::overlay::{Marks, Overlay, Upper};
use crate::trace;
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What holds the upper layer, and the two directories in it.
#[derive(Debug)]
pub struct Layers {
    tree: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Layers {
    /// Those of a directory of the host.
    ///
    /// # Errors
    /// Those of open_tree(2) and openat2(2).
    pub fn of_host(directory: &Path) -> io::Result<Self> {
        Self::of(mount::clone_host_tree(&CString::new(directory.as_os_str().as_bytes())?, Reach::One)?)
    }

    fn of(tree: OwnedFd) -> io::Result<Self> {
        mount::set_propagation(tree.as_fd(), mount::Propagation::Private, Reach::One)?;
        let open = |name: &CStr| {
            openat2(tree.as_fd(), name, libc::O_PATH | libc::O_DIRECTORY, 0, Resolve::NO_SYMLINKS)
        };
        let (upper, work) = (open(c"upper")?, open(c"work")?);
        Ok(Self { tree, upper, work })
    }

    /// A tmpfs, whose upper directory has the mode of the rootfs, as the root will have it.
    fn in_memory(rootfs: BorrowedFd<'_>) -> io::Result<Self> {
        let tree = mount::make_file_system(c"tmpfs", &[(c"mode", Some(c"755"))], 0)?;
        for name in [c"upper", c"work"] {
            mkdirat(&tree, name, Mode::S_IRWXU)?;
        }
        let upper =
            openat2(tree.as_fd(), c"upper", libc::O_RDONLY | libc::O_DIRECTORY, 0, Resolve::NO_SYMLINKS)?;
        let stat = fstat(rootfs)?;
        // An owner that is not mapped cannot be given: the container's root has it then.
        let _ = nix::unistd::fchown(&upper, Some(stat.st_uid.into()), Some(stat.st_gid.into()));
        fchmod(&upper, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
        Self::of(tree)
    }
}

/// Lays it over `rootfs`, which is mounted at its place. `layers` are those that kase opened, where init may not.
///
/// # Errors
/// What the kernel or the file system refuses.
pub fn lay(
    overlay: &Overlay,
    label: Option<MountLabel<'_>>,
    rootfs: BorrowedFd<'_>,
    layers: Option<Layers>,
) -> anyhow::Result<OwnedFd> {
    trace::step("overlay");
    let layers = match (layers, &overlay.upper) {
        (Some(layers), _) => layers,
        (None, Upper::Memory) => {
            Layers::in_memory(rootfs).or_fault(|| Fault::doing("make a tmpfs for the overlay"))?
        }
        (None, Upper::Directory(directory)) => Layers::of_host(directory).or_fault(|| unopened(directory))?,
    };
    let lay = || -> io::Result<OwnedFd> {
        mount::attach(layers.tree.as_fd(), rootfs)?;
        let path = |fd: BorrowedFd<'_>| CString::new(magic_path(fd).into_os_string().into_encoded_bytes());
        let (lower, upper, work) = (path(rootfs)?, path(layers.upper.as_fd())?, path(layers.work.as_fd())?);
        let mut options = vec![
            (c"source", Some(c"overlay")),
            (c"lowerdir", Some(lower.as_c_str())),
            (c"upperdir", Some(upper.as_c_str())),
            (c"workdir", Some(work.as_c_str())),
        ];
        if overlay.marks == Marks::User {
            options.push((c"userxattr", None));
        }
        let label =
            label.map(|label| Ok::<_, io::Error>((CString::new(label.option)?, CString::new(label.label)?)));
        let label = label.transpose()?;
        options.extend(label.as_ref().map(|(option, label)| (option.as_c_str(), Some(label.as_c_str()))));
        let laid =
            mount::make_file_system(c"overlay", &options, flags(rootfs)? | flags(layers.tree.as_fd())?)?;
        mount::attach(laid.as_fd(), layers.tree.as_fd())?;
        Ok(laid)
    };
    lay().or_fault(|| refused(overlay))
}

/// What is forbidden on a layer's file system stays forbidden, though the overlay is one of its own.
fn flags(layer: BorrowedFd<'_>) -> io::Result<u64> {
    let flags = fstatvfs(layer)?.flags();
    let both = [
        (FsFlags::ST_NOSUID, attribute::NOSUID),
        (FsFlags::ST_NODEV, attribute::NODEV),
        (FsFlags::ST_NOEXEC, attribute::NOEXEC),
    ];
    let there = both.iter().filter(|(flag, _)| flags.contains(*flag));
    Ok(there.fold(0, |set, (_, attribute)| set | attribute))
}

/// The fault of an overlay's directory that cannot be opened.
pub fn unopened(directory: &Path) -> Fault {
    Fault::doing(format!("open the overlay's directory {}", directory.display()))
        .remedy("leave upper and work in it as kase made them: two directories, and no symlinks")
}

fn refused(overlay: &Overlay) -> Fault {
    let directory = match &overlay.upper {
        Upper::Memory => String::new(),
        Upper::Directory(directory) => format!(
            "; {} has to be on a file system with extended attributes (ext4, XFS, tmpfs), else mount one with fuse-overlayfs and name that in root.path",
            directory.display()
        ),
    };
    Fault::doing("lay an overlay over the rootfs").remedy(format!(
        "see `dmesg` for the kernel's reason; below the rootfs nothing may be mounted on the host{directory}"
    ))
}
