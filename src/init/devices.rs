//! Makes the device nodes and the links of /dev.

use super::{inside, obstacle};
use crate::fault::{Fault, Place};
use crate::kernel::mount::{self, Reach, attribute};
use crate::plan::devices::{Device, LINKS, Origin};
use crate::trace;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes them all. The file mode creation mask must be 0.
pub fn make(root: BorrowedFd<'_>, devices: &[Device<'_>], origin: Origin) -> anyhow::Result<()> {
    trace::step("devices");
    if devices.is_empty() {
        return Ok(());
    }
    // Nearly all of them lie in /dev, which is opened once.
    let dev = directory(root, Place::of("root.path"), Path::new("/dev"))?;
    for device in devices {
        one(root, dev.as_fd(), device, origin)?;
    }
    for (name, target) in LINKS {
        let path = Path::new("/dev").join(name);
        let doing = || format!("make {} a symlink to {target}", path.display());
        link(dev.as_fd(), name, target)
            .map_err(|error| obstacle::fault(Place::of("root.path"), &doing(), root, &path, error))?;
    }
    Ok(())
}

/// The directory that nodes are made in. No symlink leads there: what is mounted elsewhere may be the host's.
fn directory(root: BorrowedFd<'_>, at: Place, path: &Path) -> anyhow::Result<OwnedFd> {
    inside::ordinary_directory(root, path).map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => {
            let doing = format!(
                "{} in the rootfs is a symlink, or behind one: no device is made there",
                path.display()
            );
            Fault::at(at, doing)
                .remedy("replace the symlink by a directory, or name the path that it leads to")
                .into()
        }
        _ => obstacle::fault(at, &format!("make {}", path.display()), root, path, error),
    })
}

fn one(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, device: &Device<'_>, origin: Origin) -> anyhow::Result<()> {
    let at = device.at.unwrap_or(Place::of("root.path"));
    let (Some(above), Some(name)) = (device.path.parent(), device.path.file_name()) else {
        return Err(Fault::at(at, "a device without a name").into());
    };
    let made = match above == Path::new("/dev") {
        true => node(dev, name, device, origin),
        false => node(directory(root, at, above)?.as_fd(), name, device, origin),
    };
    made.map_err(|error| {
        let doing = format!("make the device {}", device.path.display());
        match (error.raw_os_error(), origin) {
            (Some(libc::ENOENT | libc::ENOTDIR), Origin::Host) => Fault::at(at, format!("{doing}: the host has none there"))
                .remedy("leave it out: in a user namespace only devices that the host has at the same path can be used")
                .caused_by(error),
            (Some(libc::EISDIR), _) => Fault::at(at, format!("{doing}: the rootfs has a directory there"))
                .remedy("remove the directory from the rootfs")
                .caused_by(error),
            _ => obstacle::fault(at, &doing, root, device.path, error),
        }
    })
}

fn node(directory: BorrowedFd<'_>, name: &OsStr, device: &Device<'_>, origin: Origin) -> io::Result<()> {
    // A FIFO needs no privilege anywhere.
    if origin == Origin::Host && device.kind != libc::S_IFIFO {
        return bind(directory, name, device.path);
    }
    let kind = SFlag::from_bits_truncate(device.kind);
    let make = || mknodat(directory, name, kind, Mode::from_bits_truncate(device.mode), device.number);
    match make() {
        Err(nix::Error::EEXIST)
            if is_device(directory, name, device)? || inside::is_mount_point(directory, name)? =>
        {
            return Ok(());
        }
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

/// Onto a new empty file, or what is there already, in place of what can be no mount point for it. What an entry of
/// `mounts` has put there stays.
fn bind(directory: BorrowedFd<'_>, name: &OsStr, host: &Path) -> io::Result<()> {
    let tree = mount::clone_host_tree(host, Reach::One)?;
    // A node is neither a program nor more than a node.
    mount::add_attributes(tree.as_fd(), attribute::NOSUID | attribute::NOEXEC, Reach::One)?;
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
            Ok(_) if inside::is_mount_point(directory, name)? => return Ok(()),
            Ok(_) => break,
            Err(nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // No symlink is followed that may lie there by now.
    mount::attach_at(tree.as_fd(), directory, name)
}

/// Another container that begins on the same rootfs may be doing the same.
const RACES: u32 = 100;

fn remove(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A name that is there already stays: it is the image's choice, or a mount's.
fn link(dev: BorrowedFd<'_>, name: &str, target: &str) -> io::Result<()> {
    for _ in 0..RACES {
        match symlinkat(target, dev, name) {
            // The multiplexer of another devpts would give terminals that the container cannot see.
            Err(nix::Error::EEXIST) if name == "ptmx" => {
                if readlinkat(dev, name).is_ok_and(|there| there == target)
                    || inside::is_mount_point(dev, name.as_ref())?
                {
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
