//! Mounts the overlay over the rootfs.
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
use crate::plan::Plan;
use crate::plan::labels::MountLabel;
use crate::plan::overlay::{Marks, Overlay, Upper};
use crate::trace;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
            let tree = mount::clone_host_tree(directory, Reach::One)?;
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

    /// Whether the file system keeps what an overlay notes on its files.
    fn keep(&self, marks: Marks) -> bool {
        let name = if marks == Marks::User { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" };
        xattr::has_room(&of_descriptor(&self.upper), name)
    }

    /// A tmpfs, whose upper directory has the mode of the rootfs, as the root will have it.
    pub fn in_memory(rootfs: BorrowedFd<'_>) -> io::Result<Self> {
        let tree = mount::make_file_system("tmpfs", [("mode", Some("755"))], 0)?;
        for name in ["upper", "work"] {
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

/// What kase has prepared of an overlay whose changes go to a directory of the host's.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The layers, where init may not open them.
    pub layers: Option<Layers>,
    /// The directory that was checked.
    pub checked: Option<OwnedFd>,
}

/// Mounts the overlay over the rootfs, whose root is open, if there is to be one. Returns the root.
pub fn mount(
    plan: &Plan<'_>,
    rootfs: OwnedFd,
    prepared: Prepared,
    kase: &InitEnd,
) -> anyhow::Result<OwnedFd> {
    let Some(overlay) = &plan.overlay else { return Ok(rootfs) };
    trace::step("overlay");
    let rootfs = rootfs.as_fd();
    let layers = match (prepared.layers, &overlay.upper) {
        (Some(layers), _) => layers,
        (None, Upper::Memory) => {
            Layers::in_memory(rootfs).or_fault(|| Fault::doing("make a tmpfs for the overlay"))?
        }
        (None, Upper::Directory(directory)) => {
            Layers::of_host(directory, prepared.checked.as_ref().map(AsFd::as_fd))?
        }
    };
    let tree = layers.tree.as_fd();
    let prepare = || -> io::Result<_> {
        mount::attach(tree, rootfs)?;
        Ok((flags(rootfs)? | flags(tree)?, layers.keep(overlay.marks)))
    };
    let (flags, keeps_marks) = prepare().or_fault(|| Fault::doing(DOING))?;
    let by_kernel = || by_kernel(overlay, rootfs, &layers, plan.mount_label, flags);
    let made = match if keeps_marks { by_kernel() } else { Err(Errno::EOPNOTSUPP.into()) } {
        Err(error) if is_refusal(&error) => match fuse::ask(&error, kase) {
            Err(why) if !keeps_marks => {
                by_kernel().map_err(|_| why).inspect(|_| tracing::warn!("{WITHOUT_MARKS}"))
            }
            made => made,
        },
        made => made.or_fault(|| Fault::doing(DOING).remedy(DMESG)),
    }?;
    mount::attach(made.as_fd(), tree).or_fault(|| Fault::doing(DOING))?;
    Ok(made)
}

const DOING: &str = "lay an overlay over the rootfs";
const DMESG: &str =
    "see `dmesg` for the kernel's reason; below the rootfs nothing may be mounted on the host";
const WITHOUT_MARKS: &str = "--overlay: the file system of the changes has no extended attributes, so that directories of the \
                    rootfs cannot be removed: install fuse-overlayfs, or name another directory";

fn by_kernel(
    overlay: &Overlay,
    rootfs: BorrowedFd<'_>,
    layers: &Layers,
    label: Option<MountLabel<'_>>,
    flags: u64,
) -> io::Result<OwnedFd> {
    let path = |file: BorrowedFd<'_>| of_descriptor(file).display().to_string();
    let (lower, upper, work) = (path(rootfs), path(layers.upper.as_fd()), path(layers.work.as_fd()));
    let mut options = vec![
        ("source", Some("overlay")),
        ("lowerdir", Some(lower.as_str())),
        ("upperdir", Some(upper.as_str())),
        ("workdir", Some(work.as_str())),
    ];
    if overlay.marks == Marks::User {
        options.push(("userxattr", None));
    }
    options.extend(label.map(MountLabel::as_option));
    mount::make_file_system("overlay", options, flags)
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
