//! Makes a container's init.

use super::child::{Asked, Child, Successor, clone_into};
use super::id_mapped;
use super::ids::Unmapped;
use crate::fault::Fault;
use crate::handshake::{self, ToInit};
use crate::host::Host;
pub use crate::init::Inputs;
use crate::init::namespaces::not_made;
use crate::init::overlay::Layers;
use crate::init::{self, Trees};
use crate::kernel::clone::Cloned;
use crate::kernel::descriptor::close_copies;
use crate::kernel::mount::{Propagation, Reach, clone_host_tree, set_propagation};
use crate::kernel::process::{Dumpable, set_dumpable};
use crate::plan::Plan;
use crate::plan::host_paths::{rootfs_refused, source_refused};
use crate::plan::mount_options::Extension;
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::overlay::{Overlay, Upper};
use crate::plan::payload::Payload;
use crate::trace;
use rootless::caller::Standing;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes init, in its namespaces, or on its way into them as far as it has to go there itself; in `cgroup`, a directory
/// of v2, if there is one. It gets no copy of the descriptors that are `private`.
///
/// # Errors
/// Namespaces that this host does not give, with the host setting that is behind it.
pub fn spawn(
    plan: &Plan<'_>,
    host: &Host,
    payload: &Payload<'_>,
    inputs: Inputs,
    cgroup: Option<BorrowedFd<'_>>,
    private: &[BorrowedFd<'_>],
    ids: &mut Unmapped<'_>,
) -> anyhow::Result<Child> {
    // Nobody may look into init while it is made (CVE-2016-9962). Who maps ids for a user has to see that the process is
    // that user's: see init.
    if host.caller.standing != Standing::User {
        set_dumpable(Dumpable::No);
    }
    let (kase, init) = handshake::pair()?;
    // The cgroup namespace is made by init itself, once it is in its cgroup.
    let namespaces = match plan.namespaces.needs_hop() {
        true => 0,
        false => plan.namespaces.made() & !Kind::Cgroup.flag(),
    };
    trace::step("clone");
    let process = match clone_into(namespaces, cgroup) {
        Ok((Cloned::New, _)) => {
            drop(kase);
            close_copies(private);
            init::run(plan, payload, inputs, init)
        }
        Ok((Cloned::Caller(process), place)) => (process, place),
        Err(error) => return Err(refused(plan, host, error)),
    };
    drop((inputs, init));
    let successor = if plan.namespaces.needs_hop() { Successor::Awaited } else { Successor::None };
    let mut child = Child::new("the container's init", process, kase, successor);
    while plan.namespaces.needs_hop() {
        match child.next()? {
            Asked::OwnIds => {
                ids.write(child.process.pid)?;
                child.say(ToInit::IdsMapped, &[])?;
            }
            Asked::Namespaces | Asked::Continued => break,
            _ => return Err(child.vanished()),
        }
    }
    Ok(child)
}

fn refused(plan: &Plan<'_>, host: &Host, error: io::Error) -> anyhow::Error {
    let words: Vec<_> =
        Kind::ALL.into_iter().filter(|kind| plan.namespaces.makes(*kind)).map(Kind::word).collect();
    let doing = format!("make the namespaces {}", words.join(", "));
    let diagnosis = rootless::diagnose::user_namespace(crate::kernel::errno(&error));
    let fault = match diagnosis {
        Some(diagnosis) => {
            Fault::at("linux.namespaces", format!("{doing} ({})", diagnosis.cause)).remedy(diagnosis.remedy)
        }
        None if host.caller.standing == Standing::User && !plan.namespaces.makes(Kind::User) => {
            Fault::at("linux.namespaces", doing).remedy(
                "add {\"type\": \"user\"} to linux.namespaces, or let kase do it: leave --rootless=false out",
            )
        }
        None => Fault::at("linux.namespaces", doing),
    };
    not_made(fault, error)
}

/// Whether a user namespace takes from init the right to enter directories that only root may.
pub fn is_blind(plan: &Plan<'_>, host: &Host) -> bool {
    host.caller.standing != Standing::User && plan.namespaces.has(Kind::User)
}

/// The rootfs, cut off from the host's mounts.
pub fn rootfs_tree(plan: &Plan<'_>) -> anyhow::Result<OwnedFd> {
    tree(&plan.rootfs, Reach::Recursive).map_err(|error| rootfs_refused(&plan.rootfs, error))
}

/// What init has no right to open is opened before, and ids of mounts are mapped, which it has no right to either;
/// `checked` is the overlay's directory, which was checked.
pub fn trees(plan: &Plan<'_>, host: &Host, checked: Option<BorrowedFd<'_>>) -> anyhow::Result<Trees> {
    let links = links(plan)?;
    let blind = is_blind(plan, host);
    let of_overlay = checked;
    let checked = checked.map(|checked| checked.try_clone_to_owned()).transpose()?;
    if !blind && plan.mounts.iter().all(|mount| mount.idmap.is_none()) {
        return Ok(Trees { links, checked, ..Trees::default() });
    }
    let rootfs = match blind && plan.namespaces.join(Kind::Mount).is_none() {
        true => Some(rootfs_tree(plan)?),
        false => None,
    };
    let layers = match &plan.overlay {
        Some(Overlay { upper: Upper::Directory(directory), .. }) if blind => {
            Some(Layers::of_host(directory, of_overlay)?)
        }
        _ => None,
    };
    let source = |(index, mount): (usize, &Mount<'_>)| match &mount.what {
        _ if links.contains_key(&index) => Ok(None),
        What::Bind { source, reach } if blind || mount.idmap.is_some() => {
            let tree = tree(source, *reach).map_err(|error| source_refused(mount, source, error))?;
            if let Some(idmap) = &mount.idmap {
                id_mapped::map(mount, idmap, tree.as_fd(), &host.caller)?;
            }
            Ok(Some(tree))
        }
        _ => Ok(None),
    };
    let sources = plan.mounts.iter().enumerate().map(source).collect::<anyhow::Result<_>>()?;
    Ok(Trees { rootfs, layers, checked, sources, links })
}

/// The sources that are symlinks, of those that are to be copied as such.
fn links(plan: &Plan<'_>) -> anyhow::Result<BTreeMap<usize, PathBuf>> {
    let mut links = BTreeMap::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let What::Bind { source, .. } = &mount.what else { continue };
        if mount.options.extension != Extension::CopySymlink {
            continue;
        }
        match std::fs::read_link(source) {
            Ok(target) => drop(links.insert(index, target)),
            // It is none, and is bound.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => return Err(source_refused(mount, source, error)),
        }
    }
    Ok(links)
}

/// Cut off from the host's mount: what is mounted in it later must not show there.
fn tree(path: &Path, reach: Reach) -> io::Result<OwnedFd> {
    let tree = clone_host_tree(&CString::new(path.as_os_str().as_bytes())?, reach)?;
    set_propagation(tree.as_fd(), Propagation::Slave, Reach::Recursive)?;
    Ok(tree)
}
