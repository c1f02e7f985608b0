//! New file systems: what becomes of an entry of `mounts` with a `type` of its own.

use super::bind::{attach, bind, clone_source, propagate};
use super::copy_up;
use super::flags::ACCESS_TIMES;
use super::inside::{self, Shape};
use super::mount_point::Rootfs;
use super::namespaces::Entry;
use super::{pid_namespace, refusal};
use crate::fault::{Fault, OrFault};
use crate::kernel::descriptor::set_attribute;
use crate::kernel::mount::{self, Reach, attribute};
use crate::kernel::path::{Resolve, of_descriptor, openat2};
use crate::plan::labels::Marking;
use crate::plan::mount_options::{Extension, Options};
use crate::plan::mounts::Mount;
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sys::stat::fstat;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Makes the file system `kind` and mounts it. Returns a mount that is to become read-only when all else is done.
/// `joined_pid` is the way into the container's pid namespace, if others are in it.
pub fn mount(
    rootfs: &Rootfs<'_>,
    entry: &Mount<'_>,
    (kind, source, fallback): (&str, &str, Option<&str>),
    joined_pid: Option<&mut Entry>,
) -> anyhow::Result<Option<OwnedFd>> {
    // A tmpfs without a mode of its own takes that of the directory that it covers. One that is only made
    // for it has none to take.
    let takes_mode = kind == "tmpfs" && !entry.options.data.iter().any(|option| option.starts_with("mode="));
    let covers = takes_mode && rootfs.is_there(entry)?;
    let target = match kind {
        "proc" | "sysfs" => rootfs.ordinary_directory(entry, kind)?,
        _ => rootfs.target(entry, Shape::Directory)?,
    };
    // Mount points inside a tmpfs are made first; only then can it become read-only.
    let late = kind == "tmpfs" && entry.options.attributes.set & attribute::RDONLY != 0;
    let mut options = entry.options.clone();
    if late {
        options.attributes.set &= !attribute::RDONLY;
    }
    let mode = covers
        .then(|| fstat(&target).map(|stat| format!("mode={:o}", stat.st_mode & 0o7777)))
        .transpose()
        .or_fault(|| Fault::at(entry.at, "look at the mode of the mount point"))?;
    options.data.extend(mode.as_deref());
    let label = match entry.marking {
        Some(Marking::Option(label)) => Some(label),
        _ => None,
    };
    if options.extension == Extension::CopyUp {
        let tree = copy_up::make(entry, &options, source, label, target.as_fd())?;
        attach(entry, tree.as_fd(), target.as_fd())?;
    } else {
        let quoted = label.map(|label| label.quoted());
        options.data.extend(quoted.as_deref());
        match (make(kind, source, &options, target.as_fd(), joined_pid), fallback) {
            (Err(error), Some(host)) if error.kind() == ErrorKind::PermissionDenied => {
                return bind_hosts(rootfs, entry, kind, Path::new(host)).map(|()| None);
            }
            (Err(error), _) => {
                return Err(refusal::of(entry, kind, source, &entry.options.data, rootfs.flags, error));
            }
            (Ok(()), _) => {}
        }
    }
    finish(rootfs, entry, late)
}

/// Binds what the host has of a file system, where the kernel allows no new one.
fn bind_hosts(rootfs: &Rootfs<'_>, entry: &Mount<'_>, kind: &str, host: &Path) -> anyhow::Result<()> {
    let at = entry.at;
    let look = || Fault::at(at, format!("look for the host's {}", host.display()));
    if !host.try_exists().or_fault(look)? {
        tracing::debug!("{at}: no new {kind} is allowed here, and the host has none: left out");
        return Ok(());
    }
    tracing::debug!("{at}: no new {kind} is allowed here: the host's is bound");
    let tree = clone_source(entry, host, Reach::Recursive)?;
    // Nothing would be mounted in a new one: what is there on the host gets the flags as well.
    mount::add_attributes(tree.as_fd(), entry.options.attributes.set & !ACCESS_TIMES, Reach::Recursive)
        .or_fault(|| Fault::at(at, format!("set the flags of {}", host.display())))?;
    bind(rootfs, entry, &tree)
}

fn make(
    kind: &str,
    source: &str,
    options: &Options<'_>,
    target: BorrowedFd<'_>,
    joined_pid: Option<&mut Entry>,
) -> io::Result<()> {
    // mount(2) would take the pid namespace that this process is in.
    if let ("proc", Some(joined)) = (kind, joined_pid) {
        let context = pid_namespace::open_procfs(joined)?;
        let tree = copy_up::make_from(context.as_fd(), options, source, None)?;
        return mount::attach(tree.as_fd(), target);
    }
    let data = options.data.join(",");
    Ok(mount_on(target, kind, source, options.mount_flags(), &data)?)
}

/// What only the attached mount can take.
fn finish(rootfs: &Rootfs<'_>, entry: &Mount<'_>, late: bool) -> anyhow::Result<Option<OwnedFd>> {
    let options = &entry.options;
    if let Some(Marking::Attribute(label)) = entry.marking {
        label_root(rootfs, entry, label)?;
    }
    if !late && options.recursive.is_empty() && options.propagation.is_empty() {
        return Ok(None);
    }
    let mounted = inside::open(rootfs.root, entry.destination)
        .or_fault(|| Fault::at(entry.at.field(".destination"), "open the new mount"))?;
    if !options.recursive.is_empty() {
        mount::set_attributes(mounted.as_fd(), options.recursive, Reach::Recursive)
            .or_fault(|| Fault::at(entry.at.field(".options"), "set the mount's flags"))?;
    }
    propagate(entry, mounted.as_fd())?;
    Ok(late.then_some(mounted))
}

/// Labels the root of the new mount, where its file system has no option for it.
fn label_root(rootfs: &Rootfs<'_>, entry: &Mount<'_>, label: &str) -> anyhow::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    openat2(rootfs.root, entry.destination, flags, Resolve::IN_ROOT)
        .and_then(|root| set_attribute(root.as_fd(), c"security.selinux", label.as_bytes()))
        .or_fault(|| {
            Fault::at("linux.mountLabel", format!("label {}", entry.destination.display()))
                .remedy("use a label of the loaded policy (`ls -Z` shows some)")
        })
}

/// Makes a file system, by mount(2), on the file behind `target`.
pub fn mount_on(
    target: BorrowedFd<'_>,
    kind: &str,
    source: &str,
    flags: libc::c_ulong,
    data: &str,
) -> nix::Result<()> {
    let flags = MsFlags::from_bits_retain(flags);
    nix::mount::mount(Some(source), &of_descriptor(target), Some(kind), flags, Some(data))
}
