//! Carries out `mounts`, each onto a descriptor inside the rootfs.

use super::copy_up;
use super::flags::{self, ACCESS_TIMES, Flags};
use super::inside::{self, Shape};
use super::namespaces::Entry;
use super::{obstacle, pid_namespace, refusal, symlink};
use crate::fault::{Fault, OrFault};
use crate::kernel::descriptor::set_attribute;
use crate::kernel::file_id::FileId;
use crate::kernel::mount::{self, Attributes, Reach, attribute};
use crate::kernel::path::{Resolve, of_descriptor};
use crate::plan::host_paths::source_refused;
use crate::plan::labels::Marking;
use crate::plan::mount_options::{Extension, Options, Remount};
use crate::plan::mounts::{Mount, What};
use nix::fcntl::OFlag;
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
    pub identity: FileId,
    /// Trees that were cloned before, by index into `mounts`.
    pub sources: Vec<Option<OwnedFd>>,
    /// Where sources that are copied as symlinks lead, by index into `mounts`.
    pub links: BTreeMap<usize, PathBuf>,
    /// Whether the flags of bind mounts' sources bind us.
    pub flags: Flags,
    /// The way into the container's pid namespace, if others are in it.
    pub joined_pid: Option<Entry>,
    /// Mounts that become read-only only when all mount points in them have been made.
    pub late_readonly: Vec<OwnedFd>,
}

impl Mounter<'_> {
    /// Does the entry number `index`, unless it is for cgroups.
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
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOENT) => source_refused(mount, path, error),
                _ => {
                    let doing = format!("bind {} of the container", path.display());
                    obstacle::fault(mount.at, &doing, self.root, path, error)
                }
            })
    }

    /// Attaches a cloned tree with the entry's flags.
    pub fn bind(&self, mount: &Mount<'_>, tree: OwnedFd) -> anyhow::Result<()> {
        let source = fstat(&tree).or_fault(|| Fault::at(mount.at, "look at the source"))?;
        let target = self.target(mount, Shape::of(&source))?;
        flags::bind(mount, tree.as_fd(), self.flags)?;
        attach(mount, tree.as_fd(), target.as_fd())?;
        propagate(mount, tree.as_fd())
    }

    fn remount(&self, mount: &Mount<'_>) -> anyhow::Result<()> {
        let (target, _) = self.point(mount, Shape::Directory)?;
        flags::change(mount, target.as_fd(), mount.options.attributes).map_err(|error| {
            let doing = format!("remount {}", mount.destination.display());
            match error.raw_os_error() {
                Some(libc::EINVAL) => Fault::at(mount.at, format!("{doing}: nothing is mounted there"))
                    .remedy("name a mount point that an earlier entry made"),
                _ => Fault::at(mount.at, doing),
            }
            .caused_by(error)
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
        let covers = takes_mode && self.is_there(mount)?;
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
            .transpose()
            .or_fault(|| Fault::at(mount.at, "look at the mode of the mount point"))?;
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
            match self.mount_new(kind, source, &options, target.as_fd()) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied && fallback.is_some() => {
                    let host = Path::new(fallback.unwrap_or_default());
                    let there = host.try_exists().or_fault(|| {
                        Fault::at(mount.at, format!("look for the host's {}", host.display()))
                    })?;
                    if !there {
                        tracing::debug!(
                            "{}: no new {kind} is allowed here, and the host has none: left out",
                            mount.at
                        );
                        return Ok(());
                    }
                    tracing::debug!("{}: no new {kind} is allowed here: the host's is bound", mount.at);
                    let tree = clone_source(mount, host, Reach::Recursive)?;
                    // Nothing would be mounted in a new one: what is there on the host gets the flags as well.
                    let flags = Attributes { set: mount.options.attributes.set & !ACCESS_TIMES, clear: 0 };
                    mount::set_attributes(tree.as_fd(), flags, Reach::Recursive)
                        .or_fault(|| Fault::at(mount.at, format!("set the flags of {}", host.display())))?;
                    return self.bind(mount, tree);
                }
                Err(error) => {
                    return Err(refusal::of(mount, kind, source, &mount.options.data, self.flags, error));
                }
                Ok(()) => {}
            }
        }
        self.finish(mount, late)
    }

    fn mount_new(
        &mut self,
        kind: &str,
        source: &str,
        options: &Options<'_>,
        target: BorrowedFd<'_>,
    ) -> io::Result<()> {
        // The classic call would take the pid namespace that this process is in.
        if let ("proc", Some(entry)) = (kind, &mut self.joined_pid) {
            let context = pid_namespace::open_procfs(entry)?;
            let tree = copy_up::make_from(context.as_fd(), options, source, None)?;
            return mount::attach(tree.as_fd(), target);
        }
        mount_classic(kind, source, options, target)
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
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        inside::open_as(self.root, mount.destination, flags, Resolve::IN_ROOT)
            .and_then(|root| set_attribute(root.as_fd(), c"security.selinux", label.as_bytes()))
            .or_fault(|| {
                Fault::at("linux.mountLabel", format!("label {}", mount.destination.display()))
                    .remedy("use a label of the loaded policy (`ls -Z` shows some)")
            })
    }

    /// Whether the mount point has been there before.
    fn is_there(&self, mount: &Mount<'_>) -> anyhow::Result<bool> {
        match inside::open(self.root, mount.destination) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            // A magic link, which is walked as text.
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(false),
            Err(error) => Err(self.blocked(mount, error)),
        }
    }

    fn blocked(&self, mount: &Mount<'_>, error: io::Error) -> anyhow::Error {
        let doing = format!("make the mount point {}", mount.destination.display());
        obstacle::fault(mount.at.field(".destination"), &doing, self.root, mount.destination, error)
    }

    /// The mount point, made if missing, and checked.
    pub fn target(&self, mount: &Mount<'_>, shape: Shape) -> anyhow::Result<OwnedFd> {
        let (target, there) = self.point(mount, shape)?;
        if there == shape {
            return Ok(target);
        }
        let path = mount.destination.display();
        let doing = format!("a {} cannot be mounted on {path}, which is a {}", shape.word(), there.word());
        Err(Fault::at(mount.at.field(".destination"), doing)
            .remedy(format!(
                "correct source or destination, or replace {path} in the rootfs by a {}",
                shape.word()
            ))
            .caused_by(io::Error::from_raw_os_error(libc::ENOTDIR)))
    }

    /// As [`target`](Self::target), and what it is.
    fn point(&self, mount: &Mount<'_>, shape: Shape) -> anyhow::Result<(OwnedFd, Shape)> {
        let at = mount.at.field(".destination");
        let path = mount.destination;
        let target =
            inside::open_or_make(self.root, path, shape).map_err(|error| self.blocked(mount, error))?;
        let look = || Fault::at(at, format!("look at {} in the container", path.display()));
        let there = fstat(&target).or_fault(look)?;
        let (identity, there) = (FileId::from(&there), Shape::of(&there));
        if identity == self.identity {
            return Err(Fault::at(at, format!("{} leads to the rootfs itself", path.display()))
                .remedy("mount below the rootfs, or set root.path to what should be the rootfs")
                .into());
        }
        // What lies on the rootfs itself needs no look.
        if identity.device != self.identity.device
            && fstatfs(&target).or_fault(look)?.filesystem_type() == PROC_SUPER_MAGIC
            && !may_cover(path)
        {
            return Err(Fault::at(
                at,
                format!("{} cannot be mounted because it is inside /proc", path.display()),
            )
            .remedy("mount it elsewhere: a program must be able to trust its /proc")
            .into());
        }
        Ok((target, there))
    }

    /// A /proc or /sys that is a symlink would let an image choose what the container's programs, and kase,
    /// take for the kernel's own files (CVE-2019-19921).
    fn ordinary_directory(&self, mount: &Mount<'_>, kind: &str) -> anyhow::Result<OwnedFd> {
        let path = mount.destination;
        inside::ordinary_directory(self.root, path).map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP | libc::ENOTDIR) => {
                let what = format!(
                    "filesystem {kind:?} must be mounted on ordinary directory, not on {}, which is a symlink or a \
                     file, or behind one",
                    path.display()
                );
                Fault::at(mount.at.field(".destination"), what)
                    .remedy("replace the symlink or file in the rootfs by a directory")
                    .caused_by(error)
            }
            _ => self.blocked(mount, error),
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
        .map_err(|error| source_refused(mount, source, error))
}

fn attach(mount: &Mount<'_>, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> anyhow::Result<()> {
    mount::attach(tree, target).map_err(|error| refusal::to_attach(mount, error))
}

fn mount_classic(kind: &str, source: &str, options: &Options<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let data = options.data.join(",");
    sys_mount::Mount::builder()
        .fstype(kind)
        .flags(sys_mount::MountFlags::from_bits_retain(options.classic_flags()))
        .data(&data)
        .mount(source, of_descriptor(target))
        .map(drop)
}

fn propagate(mount: &Mount<'_>, mounted: BorrowedFd<'_>) -> anyhow::Result<()> {
    for (propagation, reach) in &mount.options.propagation {
        mount::set_propagation(mounted, *propagation, *reach)
            .or_fault(|| Fault::at(mount.at.field(".options"), "set the mount's propagation"))?;
    }
    Ok(())
}
