//! Makes the device nodes and the links of /dev.

use super::inside;
use crate::fault::{Fault, OrFault};
use crate::kernel::mount::{self, Reach};
use crate::plan::devices::{Device, LINKS, Origin};
use crate::trace;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Makes them all. The file mode creation mask must be 0.
///
/// # Errors
/// What the kernel refuses, with the device's place.
pub fn make(root: BorrowedFd<'_>, devices: &[Device<'_>], origin: Origin) -> anyhow::Result<()> {
    trace::step("devices");
    if devices.is_empty() {
        return Ok(());
    }
    // Nearly all of them lie in /dev, which is opened once.
    let dev = inside::open_or_make(root, Path::new("/dev"), inside::Shape::Directory)
        .or_fault(|| Fault::doing("open /dev in the rootfs"))?;
    for device in devices {
        one(root, dev.as_fd(), device, origin).or_fault(|| {
            let doing = format!("make the device {}", device.path.display());
            match (device.at, origin) {
                (Some(at), Origin::Host) => Fault::at(at, doing).remedy(
                    "in a user namespace only devices that the host has at the same path can be used",
                ),
                (Some(at), Origin::Made) => Fault::at(at, doing),
                (None, _) => Fault::doing(doing),
            }
        })?;
    }
    for (name, target) in LINKS {
        link(dev.as_fd(), name, target).or_fault(|| Fault::doing(format!("link /dev/{name} to {target}")))?;
    }
    Ok(())
}

fn one(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, device: &Device<'_>, origin: Origin) -> io::Result<()> {
    let name = device.path.file_name().expect("planning refuses a device without a name");
    if device.path.parent() == Some(Path::new("/dev")) {
        return node(dev, name, device, origin);
    }
    let (directory, name) = inside::parent(root, device.path)?;
    node(directory.as_fd(), name, device, origin)
}

fn node(directory: BorrowedFd<'_>, name: &OsStr, device: &Device<'_>, origin: Origin) -> io::Result<()> {
    // A FIFO needs no privilege anywhere.
    if origin == Origin::Host && device.kind != libc::S_IFIFO {
        return bind(directory, name, device.path);
    }
    let kind = SFlag::from_bits_truncate(device.kind);
    let make = || mknodat(directory, name, kind, Mode::from_bits_truncate(device.mode), device.number);
    match make() {
        Err(nix::Error::EEXIST) if is_device(directory, name, device)? => return Ok(()),
        Err(nix::Error::EEXIST) => {
            // An image's own file under a device's name is not what the configuration asks for.
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
            make()?;
        }
        made => made?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn is_device(directory: BorrowedFd<'_>, name: &OsStr, device: &Device<'_>) -> io::Result<bool> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(stat.st_mode & libc::S_IFMT == device.kind && stat.st_rdev == device.number)
}

/// Onto a new empty file, or what is there already, in place of what can be no mount point for it.
fn bind(directory: BorrowedFd<'_>, name: &OsStr, host: &Path) -> io::Result<()> {
    let tree = mount::clone_host_tree(&CString::new(host.as_os_str().as_bytes())?, Reach::One)?;
    for _ in 0..RACES {
        match mknodat(directory, name, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0) {
            Ok(()) => break,
            Err(nix::Error::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if matches!(stat.st_mode & libc::S_IFMT, libc::S_IFLNK | libc::S_IFDIR) => {
                remove(directory, name)?;
            }
            Ok(_) => break,
            Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // No symlink is followed that may lie there by now.
    mount::attach_at(tree.as_fd(), directory, &CString::new(name.as_bytes())?)
}

/// Another container that begins on the same rootfs may be doing the same.
const RACES: u32 = 100;

fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A name that is there already stays: it is the image's choice.
fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> io::Result<()> {
    for _ in 0..RACES {
        match symlinkat(target, dev, name) {
            // The multiplexer of another devpts would give terminals that the container cannot see.
            Err(nix::Error::EEXIST) if name == "ptmx" => {
                if readlinkat(dev, name).is_ok_and(|there| there == target) {
                    return Ok(());
                }
                remove(dev, name.as_ref())?;
            }
            Ok(()) | Err(nix::Error::EEXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Err(nix::Error::EEXIST.into())
}
