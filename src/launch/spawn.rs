//! The clone.

use super::{Init, Making, Midwife, id_mapped};
use crate::fault::Fault;
use crate::handshake;
use crate::host::Host;
use crate::init::namespaces::not_made;
use crate::init::overlay::Layers;
use crate::init::{self, Hands, Trees};
use crate::kernel::clone::{Child, Cloned, clone3};
use crate::kernel::descriptor::close_copies;
use crate::kernel::mount::{Propagation, Reach, clone_host_tree, set_propagation};
use crate::plan::Plan;
use crate::plan::host_paths::{rootfs_refused, source_refused};
use crate::plan::mount_options::Extension;
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::overlay::{Overlay, Upper};
use nix::errno::Errno;
use rootless::caller::Standing;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What it is called where it ends too early.
const INIT: &str = "the container's init";

/// Makes init, or the hop before it.
///
/// # Errors
/// Namespaces that this host does not give, with the host setting that is behind it.
pub fn spawn(
    plan: &Plan<'_>,
    host: &Host,
    making: Making<'_>,
    midwife: &mut dyn Midwife,
) -> anyhow::Result<Init> {
    let trees = trees(plan, host, &making)?;
    let (kase, init) = handshake::pair()?;
    let hands = Hands {
        kase: init,
        gate: making.gate,
        trees,
        hierarchies: making.hierarchies.filter(|_| plan.namespaces.join(Kind::Mount).is_none()),
        keyring: CString::new(format!("_ses.{}", making.id))?,
        last_capability: host.last_capability,
        state: making.state,
    };
    // The cgroup namespace is made by init itself, once it is in its cgroup.
    let namespaces = match plan.namespaces.needs_hop() {
        true => 0,
        false => plan.namespaces.made() & !Kind::Cgroup.flag(),
    };
    let cloned = match clone3(namespaces, Child::Ours, making.cgroup.as_ref().map(AsFd::as_fd)) {
        // What the kernel says of namespaces, it would say again without the cgroup.
        Err(error) if making.cgroup.is_some() => match clone3(namespaces, Child::Ours, None) {
            Ok(Cloned::Caller(process)) => {
                let init = Init::new(INIT, process, kase);
                return midwife.outside(error).map(|()| init);
            }
            cloned => cloned,
        },
        cloned => cloned,
    };
    match cloned {
        Ok(Cloned::New) => {
            drop(kase);
            close_copies(&making.private);
            init::run(plan, hands)
        }
        Ok(Cloned::Caller(process)) => Ok(Init::new(INIT, process, kase)),
        Err(error) => Err(refused(plan, host, error)),
    }
}

fn refused(plan: &Plan<'_>, host: &Host, error: io::Error) -> anyhow::Error {
    let words: Vec<_> =
        Kind::ALL.into_iter().filter(|kind| plan.namespaces.makes(*kind)).map(Kind::word).collect();
    let doing = format!("make the namespaces {}", words.join(", "));
    let hurdle =
        error.raw_os_error().and_then(|number| rootless::hurdles::user_namespace(Errno::from_raw(number)));
    let fault = match hurdle {
        Some(hurdle) => {
            Fault::at("linux.namespaces", format!("{doing} ({})", hurdle.cause)).remedy(hurdle.remedy)
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

/// What a blind init needs is opened before, and ids of mounts are mapped, which it has no right to either.
fn trees(plan: &Plan<'_>, host: &Host, making: &Making<'_>) -> anyhow::Result<Trees> {
    let links = links(plan)?;
    let blind = is_blind(plan, host);
    let checked = making.checked.map(|checked| checked.try_clone_to_owned()).transpose()?;
    if !blind && plan.mounts.iter().all(|mount| mount.idmap.is_none()) {
        return Ok(Trees { links, checked, ..Trees::default() });
    }
    let rootfs = match blind && plan.namespaces.join(Kind::Mount).is_none() {
        true => Some(rootfs_tree(plan)?),
        false => None,
    };
    let layers = match &plan.overlay {
        Some(Overlay { upper: Upper::Directory(directory), .. }) if blind => {
            Some(Layers::of_host(directory, making.checked)?)
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
