//! Lays the overlay over the rootfs.
//!
//! ```text
//! at the rootfs's place:  rootfs ◀ tmpfs or DIR ◀ overlay, which becomes the root
//! ```
//!
//! The kernel wants every layer mounted in this namespace, so what holds the upper one goes on top of the rootfs,
//! and the overlay on top of both. It is told of them by descriptors of ours, so that no name is resolved in any of
//! them, and none needs to be quoted. Where it refuses, fuse-overlayfs answers for the overlay.

use super::fuse;
use crate::fault::{Fault, OrFault};
use crate::handshake::InitEnd;
use crate::kernel::file_id::FileId;
use crate::kernel::mount::{self, Reach, attribute};
use crate::kernel::path::{Resolve, of_descriptor, openat2};
use crate::kernel::xattr;
use crate::plan::labels::MountLabel;
use crate::plan::overlay::{Marks, Overlay, Upper};
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
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
    /// Those of a directory of the host, which must still be the one that was checked.
    pub fn of_host(directory: &Path, checked: Option<BorrowedFd<'_>>) -> anyhow::Result<Self> {
        let open = || {
            let tree = mount::clone_host_tree(&CString::new(directory.as_os_str().as_bytes())?, Reach::One)?;
            // By its path: a descriptor of another mount namespace's gives no tree.
            if !checked
                .is_some_and(|checked| FileId::of(&tree).is_ok_and(|tree| Ok(tree) == FileId::of(checked)))
            {
                return Err(io::Error::other("it is not the directory any more that was there before"));
            }
            Self::of(tree)
        };
        open().or_fault(|| {
            Fault::doing(format!("open the overlay's directory {}", directory.display()))
                .remedy("leave upper and work in it as kase made them: two directories, and no symlinks")
        })
    }

    fn of(tree: OwnedFd) -> io::Result<Self> {
        mount::set_propagation(tree.as_fd(), mount::Propagation::Private, Reach::One)?;
        let open = |name: &CStr| {
            openat2(tree.as_fd(), name, OFlag::O_PATH | OFlag::O_DIRECTORY, Resolve::NO_SYMLINKS)
        };
        let (upper, work) = (open(c"upper")?, open(c"work")?);
        Ok(Self { tree, upper, work })
    }

    /// What holds both directories, detached.
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.tree.as_fd()
    }

    /// Whether the file system has no place for what an overlay notes on its files.
    fn lack(&self, marks: Marks) -> io::Result<bool> {
        let name = if marks == Marks::User { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" };
        let path = c_path(self.upper.as_fd())?;
        Ok(!xattr::has_room(&path, name))
    }

    /// A tmpfs, whose upper directory has the mode of the rootfs, as the root will have it.
    pub fn in_memory(rootfs: BorrowedFd<'_>) -> io::Result<Self> {
        let tree = mount::make_file_system(c"tmpfs", &[(c"mode", Some(c"755"))], 0)?;
        for name in [c"upper", c"work"] {
            mkdirat(&tree, name, Mode::S_IRWXU)?;
        }
        let upper =
            openat2(tree.as_fd(), c"upper", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Resolve::NO_SYMLINKS)?;
        let stat = fstat(rootfs)?;
        // An owner that is not mapped cannot be given: the container's root has it then.
        let _ = nix::unistd::fchown(&upper, Some(stat.st_uid.into()), Some(stat.st_gid.into()));
        fchmod(&upper, Mode::from_bits_truncate(stat.st_mode & 0o7777))?;
        Self::of(tree)
    }
}

/// What the overlay is made of and where.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The lower layer, mounted at its place.
    pub rootfs: BorrowedFd<'a>,
    /// Those that kase opened, where init may not.
    pub layers: Option<Layers>,
    /// The directory of the host that was checked.
    pub checked: Option<OwnedFd>,
    /// What its files are labelled.
    pub label: Option<MountLabel<'a>>,
    /// Who can start a program outside of the container.
    pub kase: &'a InitEnd,
}

/// Lays it over the rootfs.
///
/// # Errors
/// What the kernel or the file system refuses, where fuse-overlayfs cannot help.
pub fn lay(overlay: &Overlay, ground: Ground<'_>) -> anyhow::Result<OwnedFd> {
    trace::step("overlay");
    let rootfs = ground.rootfs;
    let layers = match (ground.layers, &overlay.upper) {
        (Some(layers), _) => layers,
        (None, Upper::Memory) => {
            Layers::in_memory(rootfs).or_fault(|| Fault::doing("make a tmpfs for the overlay"))?
        }
        (None, Upper::Directory(directory)) => {
            Layers::of_host(directory, ground.checked.as_ref().map(AsFd::as_fd))?
        }
    };
    let tree = layers.tree.as_fd();
    let prepare = || -> io::Result<_> {
        mount::attach(tree, rootfs)?;
        let label = match ground.label {
            Some(label) => Some((CString::new(label.option)?, CString::new(label.label)?)),
            None => None,
        };
        Ok((flags(rootfs)? | flags(tree)?, layers.lack(overlay.marks)?, label))
    };
    let (flags, poor, label) = prepare().or_fault(|| Fault::doing(LAY))?;
    let label = label.as_ref().map(|(option, label)| (option.as_c_str(), Some(label.as_c_str())));
    let by_kernel = || by_kernel(overlay, rootfs, &layers, label, flags);
    let laid = match if poor { Err(Errno::EOPNOTSUPP.into()) } else { by_kernel() } {
        Err(error) if is_refusal(&error) => match fuse::ask(&error, ground.kase) {
            Err(why) if poor => by_kernel().map_err(|_| why).inspect(|_| tracing::warn!("{POOR}")),
            made => made,
        },
        laid => laid.or_fault(|| Fault::doing(LAY).remedy(DMESG)),
    }?;
    mount::attach(laid.as_fd(), tree).or_fault(|| Fault::doing(LAY))?;
    Ok(laid)
}

const LAY: &str = "lay an overlay over the rootfs";
const DMESG: &str =
    "see `dmesg` for the kernel's reason; below the rootfs nothing may be mounted on the host";
const POOR: &str = "--overlay: the file system of the changes has no extended attributes, so that directories of the \
                    rootfs cannot be removed: install fuse-overlayfs, or name another directory";

fn by_kernel(
    overlay: &Overlay,
    rootfs: BorrowedFd<'_>,
    layers: &Layers,
    label: Option<(&CStr, Option<&CStr>)>,
    flags: u64,
) -> io::Result<OwnedFd> {
    let (lower, upper, work) = (c_path(rootfs)?, c_path(layers.upper.as_fd())?, c_path(layers.work.as_fd())?);
    let mut options = vec![
        (c"source", Some(c"overlay")),
        (c"lowerdir", Some(lower.as_c_str())),
        (c"upperdir", Some(upper.as_c_str())),
        (c"workdir", Some(work.as_c_str())),
    ];
    if overlay.marks == Marks::User {
        options.push((c"userxattr", None));
    }
    options.extend(label);
    mount::make_file_system(c"overlay", &options, flags)
}

fn c_path(fd: BorrowedFd<'_>) -> io::Result<CString> {
    Ok(CString::new(of_descriptor(fd).into_os_string().into_encoded_bytes())?)
}

/// Whether the kernel has no overlay for us or this file system is none for it, and nothing else is wrong.
fn is_refusal(error: &io::Error) -> bool {
    let errno = crate::kernel::errno(error);
    matches!(
        errno,
        Errno::EINVAL | Errno::EPERM | Errno::EACCES | Errno::ENODEV | Errno::EOPNOTSUPP | Errno::EXDEV
    )
}

/// What is forbidden on a layer's file system stays forbidden, though the overlay is one of its own.
pub fn flags(layer: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(mount::attributes(layer)? & (attribute::NOSUID | attribute::NODEV | attribute::NOEXEC))
}
