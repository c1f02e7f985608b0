//! The device nodes of a container: the six that every one has, and `linux.devices`.

use super::mounts::{Mount, What};
use super::notes::Notes;
use super::process;
use crate::fault::{Fault, Place};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rootless::id_map::IdMaps;
use std::path::{Component, Path};

/// A device node.
#[derive(Debug, PartialEq, Eq)]
pub struct Device<'spec> {
    /// `linux.devices[i]`; nothing for the six.
    pub at: Option<Place>,
    /// Where, inside the rootfs, and where on the host when it is bound from there.
    pub path: &'spec Path,
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub kind: libc::mode_t,
    /// The device's number; 0 for a FIFO.
    pub number: libc::dev_t,
    /// Permission bits.
    pub mode: libc::mode_t,
    /// User inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
}

/// Where nodes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// mknod(2).
    Made,
    /// Bound from the host, because the kernel makes none in a user namespace.
    Host,
}

const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// Links that the specification wants under /dev: name there, target.
pub const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The six and the configured ones; a configured one takes the place of a default.
///
/// # Errors
/// A relative path, a number out of range, the type `a`, an owner that is not mapped.
pub fn decide<'spec>(
    listed: &'spec [LinuxDevice],
    maps: Option<&IdMaps>,
    notes: &mut Notes,
) -> Result<Vec<Device<'spec>>, Fault> {
    let mut devices = Vec::with_capacity(DEFAULT.len() + listed.len());
    for (index, entry) in listed.iter().enumerate() {
        let at = Place::nth("linux.devices", index);
        let device = one(entry, at)?;
        mapped(&device, at, maps)?;
        // /dev/ptmx becomes a link to the container's own devpts instead, as in runc.
        if device.path == Path::new("/dev/ptmx") {
            continue;
        }
        if devices.iter().any(|earlier: &Device<'_>| earlier.path == device.path) {
            notes.warn(format!("{at}: {} is listed twice; the first entry counts", device.path.display()));
        } else {
            devices.push(device);
        }
    }
    for (path, major, minor) in DEFAULT {
        let path = Path::new(path);
        if !devices.iter().any(|device| device.path == path) {
            let number = libc::makedev(major, minor);
            devices.push(Device { at: None, path, kind: libc::S_IFCHR, number, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    Ok(devices)
}

fn one(entry: &LinuxDevice, at: Place) -> Result<Device<'_>, Fault> {
    let path = entry.path().components().as_path();
    let normal = path.is_absolute() && !path.components().any(|part| part == Component::ParentDir);
    if !normal || path.file_name().is_none() {
        return Err(Fault::at(at.field(".path"), format!("{} is not an absolute path", path.display()))
            .remedy("begin it with /, as in /dev/fuse, and leave .. out"));
    }
    let kind = match entry.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Fault::at(at.field(".type"), "a stands for all devices, which no node is")
                .remedy("use c (or u), b or p"));
        }
    };
    let number = if kind == libc::S_IFIFO {
        0
    } else {
        // The kernel has 12 bits for the major number and 20 for the minor one.
        let part = |value: i64, most: i64, field| match u32::try_from(value) {
            Ok(number) if value <= most => Ok(number),
            _ => Err(Fault::at(at.field(field), format!("{value} is no device number"))
                .remedy(format!("use a number from 0 to {most}"))),
        };
        libc::makedev(part(entry.major(), 0xfff, ".major")?, part(entry.minor(), 0xf_ffff, ".minor")?)
    };
    let (uid, gid) = (entry.uid().unwrap_or(0), entry.gid().unwrap_or(0));
    process::valid(at.field(".uid"), uid)?;
    process::valid(at.field(".gid"), gid)?;
    let mode = entry.file_mode().unwrap_or(0o666);
    if mode > 0o17_7777 {
        return Err(Fault::at(at.field(".fileMode"), format!("{mode} is no file mode"))
            .remedy("use at most 0777 (511 in decimal)"));
    }
    Ok(Device {
        at: Some(at),
        path,
        kind,
        number,
        // Only permission bits count: engines send the whole st_mode.
        mode: mode & 0o7777,
        uid,
        gid,
    })
}

fn mapped(device: &Device<'_>, at: Place, maps: Option<&IdMaps>) -> Result<(), Fault> {
    let Some(maps) = maps else { return Ok(()) };
    let unmapped = |field, id| {
        Fault::at(at.field(field), format!("{id} is not mapped into the container's user namespace"))
            .remedy("leave the field out, or add the id to linux.uidMappings and linux.gidMappings")
    };
    if device.uid != 0 && maps.uids.outside(device.uid).is_none() {
        return Err(unmapped(".uid", device.uid));
    }
    if device.gid != 0 && maps.gids.outside(device.gid).is_none() {
        return Err(unmapped(".gid", device.gid));
    }
    Ok(())
}

/// Whether the container's /dev is one of the host's, whose nodes are there already and must not be touched.
pub fn binds_dev(mounts: &[Mount<'_>]) -> bool {
    let binds = |mount: &Mount<'_>| matches!(mount.what, What::Bind { .. } | What::Inside { .. });
    mounts.iter().any(|mount| binds(mount) && is_dev(mount))
}

/// Whether its /dev is a tmpfs that goes with the container.
pub fn has_own_dev(mounts: &[Mount<'_>]) -> bool {
    let own = |mount: &Mount<'_>| matches!(mount.what, What::FileSystem { kind: "tmpfs", .. });
    !binds_dev(mounts) && mounts.iter().any(|mount| own(mount) && is_dev(mount))
}

fn is_dev(mount: &Mount<'_>) -> bool {
    mount.destination.components().eq(Path::new("/dev").components())
}
