//! Why the kernel refuses a file system: what covers /proc, what overlay cannot lie on, ids that are not mapped.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::diagnosis::Diagnosis;
use crate::id_map::IdMap;
use crate::sysroot::Sysroot;

/// Why a new file system of this kind, with these options of its own, was refused to this process.
#[must_use]
pub fn file_system(errno: Errno, kind: &str, options: &[&str]) -> Option<Diagnosis> {
    file_system_in(&Sysroot::host(), errno, kind, options)
}

fn file_system_in(root: &Sysroot, errno: Errno, kind: &str, options: &[&str]) -> Option<Diagnosis> {
    match (kind, errno) {
        (_, Errno::ENODEV) => Some(Diagnosis::new(
            format!("this kernel has no file system {kind}"),
            format!("run as root: modprobe {kind}, or correct the type"),
        )),
        ("proc", Errno::EPERM) => covered(root),
        ("overlay", _) => overlay(root, errno, options),
        (_, Errno::EINVAL) => unmapped(root, options),
        _ => None,
    }
}

/// The mount point of the file system that this program is on, if that is mounted noexec (mount(8)): then nobody may
/// execute it, whatever its mode. `/` where the mount point cannot be found.
#[must_use]
pub fn noexec(program: &Path) -> Option<PathBuf> {
    statvfs(program).ok()?.flags().contains(FsFlags::ST_NOEXEC).then(|| {
        let path = program.canonicalize().unwrap_or_default();
        let points = Sysroot::host().mount_points().unwrap_or_default();
        let holding = points.into_iter().filter(|point| path.starts_with(point));
        holding.max_by_key(String::len).unwrap_or_else(|| "/".to_owned()).into()
    })
}

/// A proc of a user namespace shows what this one hides, so the kernel gives none while anything covers a part
/// of it: fs/namespace.c, `mount_too_revealing`.
fn covered(root: &Sysroot) -> Option<Diagnosis> {
    /// An empty directory by its nature, which nothing is hidden in.
    const HARMLESS: &str = "/proc/sys/fs/binfmt_misc";
    const SHOWN: usize = 4;
    let mut points = root.mount_points()?;
    points.retain(|point| point.starts_with("/proc/") && *point != HARMLESS);
    points.dedup();
    if points.is_empty() {
        return None;
    }
    let more = match points.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    points.truncate(SHOWN);
    Some(Diagnosis::new(
        format!(
            "{}{more} are covered here, as in a container, and a new proc would show them",
            points.join(", ")
        ),
        "start what surrounds this without these masks (docker run --security-opt systempaths=unconfined, \
         podman run --security-opt unmask=ALL)",
    ))
}

/// Why these layers cannot be an overlay.
fn overlay(root: &Sysroot, errno: Errno, options: &[&str]) -> Option<Diagnosis> {
    let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let layers = ["upperdir", "workdir", "lowerdir"];
    let mut directories = layers.iter().flat_map(|name| {
        let paths = option(name).unwrap_or_default().split(':').filter(|path| !path.is_empty());
        paths.map(move |path| (*name, path))
    });
    let missing = directories.find(|(_, path)| !root.join(path).is_dir());
    if let Some((name, path)) = missing {
        return Some(Diagnosis::new(
            format!("overlay's {name} {path} is no directory"),
            format!("create it: mkdir -p {path}"),
        ));
    }
    let upper = root.join(option("upperdir")?);
    let shown = upper.display();
    if let Some(work) = option("workdir")
        && point_of(&upper) != point_of(&root.join(work))
    {
        return Some(Diagnosis::new(
            format!("overlay's upperdir {shown} and workdir {work} are on different mounts"),
            "make workdir beside upperdir, on the same file system",
        ));
    }
    if statvfs(&upper).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY)) {
        return Some(Diagnosis::new(
            format!("overlay's upperdir {shown} is on a file system that is mounted read-only"),
            "put upperdir and workdir on one that can be written",
        ));
    }
    let found = rustix::fs::statfs(&upper).ok()?;
    if let Some((_, name)) = UNFIT.iter().find(|(magic, _)| i128::from(*magic) == i128::from(found.f_type)) {
        return Some(Diagnosis::new(
            format!("overlay's upperdir {shown} is on {name}, which cannot hold an upper layer"),
            "put upperdir and workdir on tmpfs, ext4, xfs or btrfs, or use fuse-overlayfs",
        ));
    }
    (errno == Errno::EPERM).then(no_overlay)
}

/// A kernel that makes no overlay in a user namespace, which came with Linux 5.11.
#[must_use]
pub fn no_overlay() -> Diagnosis {
    Diagnosis::new(
        "this kernel makes no overlay in a user namespace",
        "boot Linux 5.11 or newer, or use fuse-overlayfs",
    )
}

/// File systems without what an upper layer needs: linux/magic.h, and each one's own name.
const UNFIT: [(u32, &str); 8] = [
    (0x6969, "nfs"),
    (0x794c_7630, "overlay"),
    (0x6573_5546, "fuse"),
    (0x4d44, "vfat"),
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "cifs"),
];

fn point_of(path: &Path) -> Option<u64> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok().map(|found| found.stx_mnt_id)
}

/// An option `uid=` or `gid=` whose number nobody has in this user namespace.
fn unmapped(root: &Sysroot, options: &[&str]) -> Option<Diagnosis> {
    for (word, file) in [("uid=", "/proc/self/uid_map"), ("gid=", "/proc/self/gid_map")] {
        let Some((option, id)) =
            options.iter().find_map(|option| Some((option, option.strip_prefix(word)?.parse().ok()?)))
        else {
            continue;
        };
        let map: IdMap = root.readable(file)?.parse().ok()?;
        if map.outside(id).is_none() {
            return Some(Diagnosis::new(
                format!("{option} is not mapped in this user namespace"),
                format!("leave {option} out, or map the id"),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    #[test]
    fn what_covers_proc_is_named() {
        let host = StandIn::new().file(
            "/proc/self/mountinfo",
            "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /proc rw - proc proc rw\n\
             3 2 0:3 / /proc/sys/fs/binfmt_misc rw - autofs x rw\n4 2 0:4 /null /proc/kcore rw - tmpfs x rw\n\
             5 2 0:4 /null /proc/keys rw - tmpfs x rw\n",
        );
        let diagnosis = file_system_in(&host.root(), Errno::EPERM, "proc", &[]).unwrap();
        assert!(diagnosis.cause.starts_with("/proc/kcore, /proc/keys are covered"), "{}", diagnosis.cause);
        let bare = StandIn::new().file("/proc/self/mountinfo", "2 1 0:2 / /proc rw - proc proc rw\n");
        assert_eq!(file_system_in(&bare.root(), Errno::EPERM, "proc", &[]), None);
    }

    #[test]
    fn an_id_that_is_not_mapped_is_named() {
        let host =
            StandIn::new().file("/proc/self/uid_map", "0 1000 1\n").file("/proc/self/gid_map", "0 7 1\n");
        let diagnosis = file_system_in(&host.root(), Errno::EINVAL, "tmpfs", &["uid=0", "gid=5"]).unwrap();
        assert_eq!(diagnosis.cause, "gid=5 is not mapped in this user namespace");
        assert_eq!(file_system_in(&host.root(), Errno::EINVAL, "tmpfs", &["size=1", "gid=0"]), None);
    }

    #[test]
    fn overlay_names_the_directory_that_is_missing() {
        let host = StandIn::new().directory("/low").directory("/up");
        let options = ["lowerdir=/low:/lower", "upperdir=/up", "workdir=/up"];
        let diagnosis = file_system_in(&host.root(), Errno::ENOENT, "overlay", &options).unwrap();
        assert_eq!(diagnosis.remedy, "create it: mkdir -p /lower");
        let whole = ["lowerdir=/low", "upperdir=/up", "workdir=/up"];
        let denied = file_system_in(&host.root(), Errno::EPERM, "overlay", &whole);
        assert!(denied.unwrap().cause.contains("overlay"));
    }
}
