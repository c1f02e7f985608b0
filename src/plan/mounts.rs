//! What is mounted where, and what becomes of entries that cannot work in a user namespace.

use super::adapt::Adapt;
use super::labels::{self, Marking, MountLabel};
use super::mount_idmap::{self, IdMapped};
use super::mount_options::{Extension, Options};
use super::namespaces::{Kind, Namespaces};
use super::notes::Notes;
use crate::fault::{Fault, Place};
use crate::kernel::mount::{Reach, attribute};
use rootless::caller::Standing;
use rootless::id_map::IdMaps;
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// One entry of `mounts`, decided.
#[derive(Debug)]
pub struct Mount<'spec> {
    /// `mounts[i]`.
    pub at: Place,
    /// Where, inside the rootfs; resolved there when it is done.
    pub destination: &'spec Path,
    pub what: What<'spec>,
    pub options: Options<'spec>,
    /// Other owners than its source has.
    pub idmap: Option<IdMapped<'spec>>,
    /// What SELinux is told of it.
    pub marking: Option<Marking<'spec>>,
}

impl<'spec> Mount<'spec> {
    /// Labels a new file system. A bind shows the labels of its source.
    pub fn mark(&mut self, label: MountLabel<'spec>) {
        if let What::FileSystem { kind, .. } = self.what {
            self.marking = labels::marking(kind, &self.options.data, label);
        }
    }
}

/// What is mounted.
#[derive(Debug, PartialEq)]
pub enum What<'spec> {
    /// A file or directory of the host.
    Bind {
        /// Absolute on the host.
        source: Cow<'spec, Path>,
        /// With what is mounted below it, or without.
        reach: Reach,
    },
    /// What is in the rootfs by then, with what earlier entries have mounted there.
    Inside {
        /// Resolved in the rootfs.
        path: PathBuf,
        /// With what is mounted below it, or without.
        reach: Reach,
    },
    /// A new file system.
    FileSystem {
        /// The kernel's name of it.
        kind: &'spec str,
        /// What mountinfo shows as its source.
        source: &'spec str,
        /// The host's own one, bound instead when the kernel refuses a new one here (EPERM).
        fallback: Option<&'static str>,
    },
    /// The cgroup tree, in whichever version the host has.
    Cgroup,
}

/// What the mounts' decisions depend on.
pub struct Setting<'a, 'spec> {
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// The rootfs, absolute.
    pub rootfs: &'a Path,
    /// The container's namespaces.
    pub namespaces: &'a Namespaces<'spec>,
    /// The ids of a user namespace that is made.
    pub maps: Option<&'a IdMaps>,
    pub standing: Standing,
    /// Whether entries may be changed to what can work.
    pub adapt: Adapt,
}

/// Decides every entry of `mounts`.
///
/// # Errors
/// A destination that is the rootfs itself, a bind without source, a missing type.
pub fn decide<'spec>(
    listed: &'spec [oci_spec::runtime::Mount],
    setting: &Setting<'_, 'spec>,
    notes: &mut Notes,
) -> Result<Vec<Mount<'spec>>, Fault> {
    let mut mounts = Vec::with_capacity(listed.len());
    for (index, entry) in listed.iter().enumerate() {
        let mount = sort(entry, Place::nth("mounts", index), setting)?;
        if let (Some(word), What::Bind { .. } | What::Inside { .. }) =
            (mount.options.data.first(), &mount.what)
        {
            // The kernel ignores it, and so does runc.
            notes.warn(format!(
                "{}: {word:?} means nothing to a bind mount: it is left out",
                mount.at.field(".options")
            ));
        }
        if setting.adapt == Adapt::Yes {
            mounts.push(adapt(mount, setting, notes));
        } else {
            mounts.push(mount);
        }
    }
    Ok(mounts)
}

fn sort<'spec>(
    entry: &'spec oci_spec::runtime::Mount,
    at: Place,
    setting: &Setting<'_, 'spec>,
) -> Result<Mount<'spec>, Fault> {
    let destination = in_rootfs(entry.destination(), setting.rootfs).unwrap_or(entry.destination());
    if !destination.components().any(|part| matches!(part, Component::Normal(_))) {
        return Err(Fault::at(
            at.field(".destination"),
            format!("{:?} is the rootfs itself", destination.display().to_string()),
        )
        .remedy("set root.path to what should be the rootfs, or mount below it"));
    }
    let words = entry.options().as_deref().unwrap_or_default();
    let mut options = Options::sort(words.iter().map(String::as_str));
    let source = entry.source().as_deref();
    let kind = entry.typ().as_deref().unwrap_or_default();
    options.bind = options.bind.or_else(|| (kind == "bind").then_some(Reach::One));
    let what = match (options.bind, kind) {
        (Some(reach), _) => {
            let source = source.filter(|source| !source.as_os_str().is_empty()).ok_or_else(|| {
                Fault::at(at.field(".source"), "a bind mount has no source")
                    .remedy("name the file or directory of the host that is to be bound")
            })?;
            What::Bind { source: from_bundle(source, setting.bundle), reach }
        }
        (None, "") => {
            return Err(Fault::at(at.field(".type"), "the file system's type is missing")
                .remedy("set type (tmpfs, proc, …), or put bind or rbind into options"));
        }
        (None, "cgroup" | "cgroup2") => What::Cgroup,
        (None, kind) => {
            let source = source.and_then(Path::to_str).filter(|source| !source.is_empty()).unwrap_or(kind);
            What::FileSystem { kind, source, fallback: None }
        }
    };
    if options.remount && options.bind.is_none() {
        return Err(Fault::at(at.field(".options"), "remount of a file system that is not a bind mount")
            .remedy("leave remount out and give the flags in the mount's own entry"));
    }
    if options.extension == Extension::CopyUp && !matches!(what, What::FileSystem { kind: "tmpfs", .. }) {
        return Err(Fault::at(at.field(".options"), "tmpcopyup on a mount that is no tmpfs")
            .remedy("set type to tmpfs"));
    }
    if options.extension == Extension::CopySymlink && !matches!(what, What::Bind { .. }) {
        return Err(Fault::at(at.field(".options"), "copy-symlink on a mount that is no bind mount")
            .remedy("put bind or rbind into options"));
    }
    let Setting { namespaces, maps, standing, .. } = *setting;
    let idmap = mount_idmap::decide(entry, at, &options, namespaces, maps, standing)?;
    // A slash at its end says nothing: what is there may be a file.
    let destination = destination.components().as_path();
    let what = match what {
        What::Bind { source, reach } if is_new(&options) => match in_rootfs(&source, setting.rootfs) {
            Some(path) => What::Inside { path: path.to_path_buf(), reach },
            None => What::Bind { source, reach },
        },
        what => what,
    };
    Ok(Mount { at, destination, what, options, idmap, marking: None })
}

/// Neither a change of a mount that is there, nor perhaps a symlink in the place of one.
fn is_new(options: &Options<'_>) -> bool {
    !options.remount && options.extension == Extension::None
}

/// The path from the rootfs to what a path of the host names in it. Such destinations are taken as runc takes
/// them; a source there is what earlier entries have made of it.
fn in_rootfs<'path>(path: &'path Path, rootfs: &Path) -> Option<&'path Path> {
    path.strip_prefix(rootfs).ok().filter(|_| rootfs != Path::new("/"))
}

/// Relative sources are relative to the bundle.
fn from_bundle<'spec>(source: &'spec Path, bundle: &Path) -> Cow<'spec, Path> {
    if source.is_absolute() { Cow::Borrowed(source) } else { Cow::Owned(bundle.join(source)) }
}

/// What a user namespace allows instead.
fn adapt<'spec>(mut mount: Mount<'spec>, setting: &Setting<'_, 'spec>, notes: &mut Notes) -> Mount<'spec> {
    let at = mount.at;
    match &mut mount.what {
        What::FileSystem { kind: "sysfs", .. } if !setting.namespaces.has(Kind::Network) => {
            notes.debug(format!(
                "{at}: sysfs needs a network namespace of its own: the host's /sys is bound read-only"
            ));
            host_tree(
                mount,
                "/sys",
                attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC,
            )
        }
        What::FileSystem { kind: "proc", .. } if !setting.namespaces.has(Kind::Pid) => {
            notes.debug(format!("{at}: proc needs a pid namespace of its own: the host's /proc is bound"));
            host_tree(mount, "/proc", attribute::NOSUID | attribute::NODEV | attribute::NOEXEC)
        }
        What::FileSystem { kind: "sysfs", fallback, .. } => {
            *fallback = Some("/sys");
            mount
        }
        What::FileSystem { kind: "mqueue", fallback, .. } if !setting.namespaces.makes(Kind::Ipc) => {
            *fallback = Some("/dev/mqueue");
            mount
        }
        What::FileSystem { kind: "overlay", .. } if !mount.options.data.contains(&"userxattr") => {
            notes.debug(format!("{at}: userxattr is added, as overlay in a user namespace needs it"));
            mount.options.data.push("userxattr");
            mount
        }
        What::FileSystem { kind: "devpts", .. } => {
            drop_unmapped(&mut mount, setting.maps, notes);
            mount
        }
        _ => mount,
    }
}

fn host_tree<'spec>(mut mount: Mount<'spec>, source: &'static str, set: u64) -> Mount<'spec> {
    mount.what = What::Bind { source: Cow::Borrowed(Path::new(source)), reach: Reach::Recursive };
    mount.options.attributes = crate::kernel::mount::Attributes::default();
    mount.options.recursive.set |= set;
    mount.options.data.clear();
    mount
}

/// A devpts with an id that the user namespace does not map is refused (EINVAL), as `gid=5`, which every
/// default configuration has, is under a map of one id.
fn drop_unmapped(mount: &mut Mount<'_>, maps: Option<&IdMaps>, notes: &mut Notes) {
    let Some(maps) = maps else { return };
    let at = mount.at;
    mount.options.data.retain(|option| {
        let mapped = match option.split_once('=') {
            Some(("gid", id)) => id.parse().map_or(true, |id| maps.gids.outside(id).is_some()),
            Some(("uid", id)) => id.parse().map_or(true, |id| maps.uids.outside(id).is_some()),
            _ => true,
        };
        if !mapped {
            notes.debug(format!("{at}: {option} is left out: the id is not mapped"));
        }
        mapped
    });
}

/// `linux.maskedPaths` or `linux.readonlyPaths`, each once; a relative path begins at the container's root, as with
/// runc and crun.
pub fn paths<'spec>(listed: &'spec [String], name: &'static str) -> Result<Vec<(Place, &'spec Path)>, Fault> {
    let mut paths: Vec<(Place, &'spec Path)> = Vec::with_capacity(listed.len());
    for (index, path) in listed.iter().enumerate() {
        let at = Place::nth(name, index);
        let path = Path::new(path).components().as_path();
        if path.as_os_str().is_empty() {
            return Err(
                Fault::at(at, "is empty").remedy("name a path in the container, or leave the entry out")
            );
        }
        if !paths.iter().any(|(_, earlier)| may_be_same(earlier, path) && *earlier == path) {
            paths.push((at, path));
        }
    }
    Ok(paths)
}

/// Whether two paths may be the same, without a look at their parts: not if their ends differ, unless one is written
/// with a `/` or `.` that says nothing.
fn may_be_same(one: &Path, other: &Path) -> bool {
    let end = |path: &Path| path.as_os_str().as_bytes().last().copied().filter(|end| !b"/.".contains(end));
    match (end(one), end(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// The rootfs as an absolute path of the host.
pub fn rootfs(path: &Path, bundle: &Path) -> PathBuf {
    bundle.join(path)
}
