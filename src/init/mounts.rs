//! Carries out `mounts`, each onto a descriptor inside the rootfs.

use super::copy_up;
use super::inside::{self, Identity, Shape};
use super::symlink;
use crate::fault::{Fault, OrFault};
use crate::kernel::descriptor::set_attribute;
use crate::kernel::mount::{self, Attributes, Reach, attribute};
use crate::kernel::path::Resolve;
use crate::plan::labels::Marking;
use crate::plan::mount_options::{Extension, Options, Remount};
use crate::plan::mounts::{Mount, What, source_missing};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where mounts go, and what is put off until the rootfs is complete.
pub struct Mounter<'a> {
    /// The rootfs.
    pub root: BorrowedFd<'a>,
    /// Which file that is.
    pub identity: Identity,
    /// Trees that were cloned before, by index into `mounts`.
    pub sources: Vec<Option<OwnedFd>>,
    /// Where sources that are copied as symlinks lead, by index into `mounts`.
    pub links: BTreeMap<usize, PathBuf>,
    /// Whether the flags of bind mounts' sources bind us.
    pub flags: Flags,
    /// Mounts that become read-only only when all mount points in them have been made.
    pub late_readonly: Vec<OwnedFd>,
}

/// Whether a bind mount may take away the flags that its source has on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Init has the host's privileges.
    Free,
    /// A user namespace's root may not. The kernel sees to it for trees that init clones; those that kase cloned
    /// for it have the same flags in the end, so that it does not matter which.
    Locked,
}

impl Mounter<'_> {
    /// Does the entry number `index`, unless it is for cgroups.
    ///
    /// # Errors
    /// What the kernel refuses, with the entry's place.
    pub fn mount(&mut self, index: usize, mount: &Mount<'_>) -> anyhow::Result<()> {
        if let Some(target) = self.links.get(&index) {
            return symlink::copy(self.root, mount, target);
        }
        match &mount.what {
            What::Bind { source, reach } => {
                if mount.options.remount == Remount::Yes {
                    return self.remount(mount);
                }
                let tree = match self.sources.get_mut(index).and_then(Option::take) {
                    Some(tree) => tree,
                    None => clone_source(mount, source, *reach)?,
                };
                self.bind(mount, tree)
            }
            What::Inside { path, reach } => self.bind(mount, self.clone_inside(mount, path, *reach)?),
            What::FileSystem { kind, source, fallback } => self.file_system(mount, kind, source, *fallback),
            What::Cgroup => Ok(()),
        }
    }

    /// A detached copy of what the rootfs has by now at `path`.
    pub fn clone_inside(&self, mount: &Mount<'_>, path: &Path, reach: Reach) -> anyhow::Result<OwnedFd> {
        inside::open(self.root, path)
            .and_then(|source| mount::clone_tree(source.as_fd(), c"", reach))
            .or_fault(|| source_missing(mount, path))
    }

    /// Attaches a cloned tree with the entry's flags.
    pub fn bind(&self, mount: &Mount<'_>, tree: OwnedFd) -> anyhow::Result<()> {
        let shape = match inside::is_directory(tree.as_fd())? {
            true => Shape::Directory,
            false => Shape::File,
        };
        let target = self.target(mount, shape)?;
        bind_attributes(mount, tree.as_fd(), self.flags)?;
        attach(mount, tree.as_fd(), target.as_fd())?;
        propagate(mount, tree.as_fd())
    }

    fn remount(&self, mount: &Mount<'_>) -> anyhow::Result<()> {
        let target = self.target(mount, Shape::Directory)?;
        change(mount, target.as_fd(), mount.options.attributes).or_fault(|| {
            Fault::at(mount.at, format!("remount {}", mount.destination.display()))
                .remedy("name a mount point that an earlier entry made")
        })
    }

    fn file_system(
        &mut self,
        mount: &Mount<'_>,
        kind: &str,
        source: &str,
        fallback: Option<&'static str>,
    ) -> anyhow::Result<()> {
        // A tmpfs without a mode of its own takes that of the directory that it covers. One that is only made
        // for it has none to take.
        let takes_mode =
            kind == "tmpfs" && !mount.options.data.iter().any(|option| option.starts_with("mode="));
        let covers = takes_mode && inside::open(self.root, mount.destination).is_ok();
        let target = match kind {
            "proc" | "sysfs" => self.ordinary_directory(mount, kind)?,
            _ => self.target(mount, Shape::Directory)?,
        };
        // Mount points inside a tmpfs are made first; only then can it become read-only.
        let late = kind == "tmpfs" && mount.options.attributes.set & attribute::RDONLY != 0;
        let mut options = mount.options.clone();
        if late {
            options.attributes.set &= !attribute::RDONLY;
        }
        let mode = covers
            .then(|| fstat(&target).map(|stat| format!("mode={:o}", stat.st_mode & 0o7777)))
            .transpose()?;
        options.data.extend(mode.as_deref());
        let label = match mount.marking {
            Some(Marking::Option(label)) => Some(label),
            _ => None,
        };
        if options.extension == Extension::CopyUp {
            let tree = copy_up::make(mount, &options, source, label, target.as_fd())?;
            attach(mount, tree.as_fd(), target.as_fd())?;
        } else {
            let quoted = label.map(|label| label.quoted());
            options.data.extend(quoted.as_deref());
            match mount_classic(kind, source, &options, target.as_fd()) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied && fallback.is_some() => {
                    let host = Path::new(fallback.unwrap_or_default());
                    if !host.exists() {
                        tracing::debug!(
                            "{}: no new {kind} is allowed here, and the host has none: left out",
                            mount.at
                        );
                        return Ok(());
                    }
                    tracing::debug!("{}: no new {kind} is allowed here: the host's is bound", mount.at);
                    return self.bind(mount, clone_source(mount, host, Reach::Recursive)?);
                }
                Err(error) => return Err(refused(mount, kind, &error).caused_by(error)),
                Ok(()) => {}
            }
        }
        self.finish(mount, late)
    }

    /// What only the attached mount can take.
    fn finish(&mut self, mount: &Mount<'_>, late: bool) -> anyhow::Result<()> {
        let options = &mount.options;
        if let Some(Marking::Attribute(label)) = mount.marking {
            self.label_root(mount, label)?;
        }
        if !late && options.recursive.is_empty() && options.propagation.is_empty() {
            return Ok(());
        }
        let mounted = inside::open(self.root, mount.destination)
            .or_fault(|| Fault::at(mount.at.field(".destination"), "open the new mount"))?;
        if !options.recursive.is_empty() {
            mount::set_attributes(mounted.as_fd(), options.recursive, Reach::Recursive)
                .or_fault(|| Fault::at(mount.at.field(".options"), "set the mount's flags"))?;
        }
        propagate(mount, mounted.as_fd())?;
        if late {
            self.late_readonly.push(mounted);
        }
        Ok(())
    }

    /// Labels the root of the new mount, where its file system has no option for it.
    fn label_root(&self, mount: &Mount<'_>, label: &str) -> anyhow::Result<()> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        inside::open_as(self.root, mount.destination, flags, Resolve::IN_ROOT)
            .and_then(|root| set_attribute(root.as_fd(), c"security.selinux", label.as_bytes()))
            .or_fault(|| {
                Fault::at("linux.mountLabel", format!("label {}", mount.destination.display()))
                    .remedy("use a label of the loaded policy (`ls -Z` shows some)")
            })
    }

    /// The mount point, made if missing, and checked.
    pub fn target(&self, mount: &Mount<'_>, shape: Shape) -> anyhow::Result<OwnedFd> {
        let at = mount.at.field(".destination");
        let path = mount.destination;
        let target = inside::open_or_make(self.root, path, shape)
            .or_fault(|| Fault::at(at, format!("make the mount point {}", path.display())))?;
        let identity = Identity::of(target.as_fd())?;
        if identity == self.identity {
            return Err(Fault::at(at, format!("{} leads to the rootfs itself", path.display()))
                .remedy("mount below the rootfs, or set root.path to what should be the rootfs")
                .into());
        }
        // What lies on the rootfs itself needs no look.
        if identity.device != self.identity.device
            && fstatfs(&target)?.filesystem_type() == PROC_SUPER_MAGIC
            && !may_cover(path)
        {
            return Err(Fault::at(
                at,
                format!("{} cannot be mounted because it is inside /proc", path.display()),
            )
            .remedy("mount it elsewhere: a program must be able to trust its /proc")
            .into());
        }
        Ok(target)
    }

    /// A /proc or /sys that is a symlink would let an image choose what the container's programs, and kase,
    /// take for the kernel's own files (CVE-2019-19921).
    fn ordinary_directory(&self, mount: &Mount<'_>, kind: &str) -> anyhow::Result<OwnedFd> {
        let path = mount.destination;
        let open =
            || inside::open_as(self.root, path, libc::O_PATH | libc::O_DIRECTORY, Resolve::NO_SYMLINKS);
        match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                inside::open_or_make(self.root, path, Shape::Directory).or_fault(|| {
                    Fault::at(mount.at.field(".destination"), format!("make {}", path.display()))
                })?;
                open()
            }
            opened => opened,
        }
        .or_fault(|| {
            let what = format!(
                "filesystem {kind:?} must be mounted on ordinary directory, not on {}",
                path.display()
            );
            Fault::at(mount.at.field(".destination"), what)
                .remedy("replace the symlink or file in the rootfs by a directory")
        })
    }
}

/// Files of /proc that engines replace by better ones (lxcfs), as in runc.
fn may_cover(path: &Path) -> bool {
    const COVERED: [&str; 11] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/meminfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/uptime",
        "/proc/loadavg",
        "/proc/slabinfo",
        "/proc/net/dev",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/sys/crypto/fips_enabled",
    ];
    // A second proc over the first is what joining containers do.
    path == Path::new("/proc") || COVERED.iter().any(|covered| path == Path::new(covered))
}

/// A detached copy of what the host has at `source`.
///
/// # Errors
/// None there, with the entry's place.
pub fn clone_source(mount: &Mount<'_>, source: &Path, reach: Reach) -> anyhow::Result<OwnedFd> {
    CString::new(source.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .and_then(|path| mount::clone_host_tree(&path, reach))
        .or_fault(|| source_missing(mount, source))
}

fn attach(mount: &Mount<'_>, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> anyhow::Result<()> {
    mount::attach(tree, target).or_fault(|| {
        let fault = Fault::at(mount.at, format!("mount on {}", mount.destination.display()));
        match inside::is_directory(tree).ok() == inside::is_directory(target).ok() {
            true => fault,
            false => fault.remedy(
                "mount a directory on a directory and a file on a file: check which is which in the rootfs",
            ),
        }
    })
}

fn refused(mount: &Mount<'_>, kind: &str, error: &io::Error) -> Fault {
    let doing = format!("mount {kind} on {}", mount.destination.display());
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
    // /proc is still the host's here.
    match rootless::hurdles::file_system(errno, kind, &mount.options.data) {
        Some(hurdle) => Fault::at(mount.at, format!("{doing} ({})", hurdle.cause)).remedy(hurdle.remedy),
        None => Fault::at(mount.at, doing)
            .remedy(format!("check the options [{}]; `dmesg` may say more", mount.options.data.join(", "))),
    }
}

fn mount_classic(kind: &str, source: &str, options: &Options<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let data = options.data.join(",");
    sys_mount::Mount::builder()
        .fstype(kind)
        .flags(sys_mount::MountFlags::from_bits_retain(options.classic_flags()))
        .data(&data)
        .mount(source, inside::magic_path(target))
        .map(drop)
}

fn propagate(mount: &Mount<'_>, mounted: BorrowedFd<'_>) -> anyhow::Result<()> {
    for (propagation, reach) in &mount.options.propagation {
        mount::set_propagation(mounted, *propagation, *reach)
            .or_fault(|| Fault::at(mount.at.field(".options"), "set the mount's propagation"))?;
    }
    Ok(())
}

/// A bare bind keeps its source's flags. Any flag given clears the others, as `mount --bind -o` suggests, but
/// not how access times are kept, and not what is locked, because it came from a more privileged mount namespace.
fn bind_attributes(mount: &Mount<'_>, tree: BorrowedFd<'_>, flags: Flags) -> anyhow::Result<()> {
    const CLEARED: u64 =
        attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC | attribute::NOSYMFOLLOW;
    let given = mount.options.attributes;
    if !given.is_empty() {
        let clear = given.clear | CLEARED | access_times(given);
        let all = Attributes { set: given.set, clear: clear & !(given.set & !attribute::ATIME) };
        // What the container has made itself is locked by nobody.
        let own = matches!(mount.what, What::Inside { .. });
        match flags {
            Flags::Locked if !own => keep_locked(mount, tree, all),
            Flags::Locked | Flags::Free => change(mount, tree, all),
        }
        .or_fault(|| Fault::at(mount.at.field(".options"), "set the mount's flags"))?;
    }
    let recursive = mount.options.recursive;
    if recursive.is_empty() {
        return Ok(());
    }
    mount::set_attributes(tree, recursive, Reach::Recursive).map_err(|error| {
        let at = mount.at.field(".options");
        match error.kind() {
            ErrorKind::PermissionDenied => {
                Fault::at(at, "the host has locked a flag of the mount, or of one below it").remedy(
                    "leave out the words that change it: rrw, rdev, rsuid, rexec and those of access times",
                )
            }
            _ => Fault::at(at, "set the flags of the mount and of all below it"),
        }
        .caused_by(error)
    })
}

/// What a change of how access times are kept clears: both words of it belong together, as in mount(2).
fn access_times(given: Attributes) -> u64 {
    let changes = given.clear & attribute::ATIME != 0 || given.set & attribute::NODIRATIME != 0;
    if changes { ACCESS_TIMES } else { 0 }
}

const ACCESS_TIMES: u64 = attribute::ATIME | attribute::NODIRATIME;

/// Changes a mount's flags, but for those that the host has locked.
fn change(mount: &Mount<'_>, mounted: BorrowedFd<'_>, wanted: Attributes) -> io::Result<()> {
    match mount::set_attributes(mounted, wanted, Reach::One) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => keep_locked(mount, mounted, wanted),
        done => done,
    }
}

/// Changes what can be changed of a mount that the host has made: a user namespace can neither take away its flags nor
/// keep access times in another way. Engines write `rw` and `relatime` without a look at the host, so that this is no
/// error; but it is told.
fn keep_locked(mount: &Mount<'_>, mounted: BorrowedFd<'_>, wanted: Attributes) -> io::Result<()> {
    const LOCKED: u64 = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let there = mount::attributes(mounted)?;
    let kept = kept(mount.options.attributes, there);
    if !kept.is_empty() {
        tracing::warn!(
            "{}: {} stays {}: the host has mounted it so",
            mount.at.field(".options"),
            mount.destination.display(),
            kept.join(" and ")
        );
    }
    let locked = there & LOCKED;
    let change = Attributes {
        set: (wanted.set | locked) & !ACCESS_TIMES,
        clear: wanted.clear & !locked & !ACCESS_TIMES,
    };
    mount::set_attributes(mounted, change, Reach::One)
}

/// The words of what a mount is and was asked not to be.
fn kept(asked: Attributes, there: u64) -> Vec<&'static str> {
    let loosened = [
        (attribute::RDONLY, "ro"),
        (attribute::NOSUID, "nosuid"),
        (attribute::NODEV, "nodev"),
        (attribute::NOEXEC, "noexec"),
        (attribute::NODIRATIME, "nodiratime"),
    ];
    let mut words: Vec<_> = loosened
        .into_iter()
        .filter_map(|(bit, word)| (asked.clear & there & bit != 0).then_some(word))
        .collect();
    if asked.clear & attribute::ATIME != 0 && (asked.set ^ there) & attribute::ATIME != 0 {
        words.push(match there & attribute::ATIME {
            attribute::NOATIME => "noatime",
            attribute::STRICTATIME => "strictatime",
            _ => "relatime",
        });
    }
    if asked.set & attribute::NODIRATIME != 0 && there & (attribute::NODIRATIME | attribute::NOATIME) == 0 {
        words.push("diratime");
    }
    words
}
