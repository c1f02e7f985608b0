//! Hands network devices of the host's over to the container.

use crate::fault::{Fault, OrFault};
use crate::kernel::file_id::FileId;
use crate::kernel::netlink::{Address, Rtnetlink};
use crate::kernel::path::open_namespace;
use crate::kernel::process::setns;
use crate::plan::Plan;
use crate::plan::namespaces::Kind;
use crate::plan::net_devices::NetDevice;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Moves each into the network namespace of init, `pid`, with its addresses, and sets it up there. All are
/// looked at before one is moved, and where one fails those before it come back: what has gone into a namespace may
/// end with it.
///
/// # Errors
/// A device that is missing, bound to its namespace, or not ours to move; a name that is taken.
pub fn hand_over(plan: &Plan<'_>, pid: i32) -> anyhow::Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let doing = || Fault::at("linux.netDevices", "open the container's network namespace");
    // Init may not have entered a namespace yet that it joins.
    let path = match plan.namespaces.join(Kind::Network) {
        Some(join) => join.path.to_path_buf(),
        None => format!("/proc/{pid}/ns/net").into(),
    };
    let theirs = namespace(&path).or_fault(doing)?;
    let ours = namespace(Path::new("/proc/self/ns/net")).or_fault(doing)?;
    if FileId::of(&ours)? == FileId::of(&theirs)? {
        return Err(Fault::at(
            "linux.netDevices",
            format!("{} is the host's own network namespace", path.display()),
        )
        .remedy("name another in linux.namespaces, or leave its path out to get a new one")
        .into());
    }
    let host = Rtnetlink::open().or_fault(doing)?;
    let container = open_in(theirs.as_fd(), ours.as_fd()).or_fault(doing)?;
    let found = plan
        .net_devices
        .iter()
        .map(|device| Ok((device, find(device, &host, &container)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut moved = Vec::new();
    for (device, index) in found {
        if let Err(error) = one(device, index, &host, &container, theirs.as_fd(), &mut moved) {
            for one in moved.iter().rev() {
                if let Err(error) = one.bring_back(&host, &container, ours.as_fd()) {
                    tracing::warn!("bring the network device {} back to the host: {error}", one.device.name);
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

/// A device that is the container's by now, and what it was on the host.
struct Moved<'a> {
    device: &'a NetDevice<'a>,
    /// In the container.
    index: u32,
    addresses: Vec<Address>,
    was_up: bool,
}

impl Moved<'_> {
    fn bring_back(&self, host: &Rtnetlink, container: &Rtnetlink, ours: BorrowedFd<'_>) -> io::Result<()> {
        container.move_to(self.index, ours, self.device.name)?;
        let index = host.index(self.device.name)?;
        for address in self.addresses.iter().filter(|address| address.is_permanent_and_global()) {
            host.add_address(index, address)?;
        }
        if self.was_up { host.set_up(index) } else { Ok(()) }
    }
}

fn namespace(path: &Path) -> nix::Result<OwnedFd> {
    open_namespace(path)
}

/// A conversation with another network namespace: the socket stays in it when we come back.
fn open_in(theirs: BorrowedFd<'_>, ours: BorrowedFd<'_>) -> io::Result<Rtnetlink> {
    setns(theirs, Kind::Network.flag())?;
    let opened = Rtnetlink::open();
    setns(ours, Kind::Network.flag())?;
    opened
}

fn find(device: &NetDevice<'_>, host: &Rtnetlink, container: &Rtnetlink) -> anyhow::Result<u32> {
    let index = host.index(device.name).or_fault(|| {
        Fault::at(device.at(), format!("find the network device {}", device.name))
            .remedy("name a device of the host: `ip link` lists them")
    })?;
    // The kernel would refuse the name only after the move.
    if !is_template(device.inside) && container.index(device.inside).is_ok() {
        let doing = format!("the container has a network device {:?} already", device.inside);
        return Err(Fault::at(device.at(), doing)
            .remedy("give another name, or one with %d in it, which becomes a number that is free")
            .into());
    }
    Ok(index)
}

fn is_template(name: &str) -> bool {
    name.contains('%')
}

fn one<'a>(
    device: &'a NetDevice<'a>,
    index: u32,
    host: &Rtnetlink,
    container: &Rtnetlink,
    namespace: BorrowedFd<'_>,
    moved: &mut Vec<Moved<'a>>,
) -> anyhow::Result<()> {
    let fault = |doing: &str| Fault::at(device.at(), format!("{doing} {}", device.name));
    // The kernel removes the addresses of a device that is moved.
    let addresses = host.addresses(index).or_fault(|| fault("read the addresses of"))?;
    let was_up = host.is_up(index).or_fault(|| fault("see whether it is up:"))?;
    let before = container.indices()?;
    host.move_to(index, namespace, device.inside).map_err(|error| {
        let remedy = match error.raw_os_error() {
            Some(libc::EPERM) => "run kase as root of the host: the kernel asks for CAP_NET_ADMIN in both network namespaces",
            Some(libc::EEXIST) => "give it another name in the container",
            _ => "choose another device: this one may be bound to its network namespace (`ip -d link` shows netns-immutable)",
        };
        fault("move").remedy(remedy).caused_by(error)
    })?;
    // The device may get another index there, and with a template (`eth%d`) another name.
    let index = match is_template(device.inside) {
        false => container.index(device.inside),
        true => container.indices().and_then(|after| {
            let new = after.into_iter().find(|index| !before.contains(index));
            new.ok_or(io::ErrorKind::NotFound.into())
        }),
    }
    .or_fault(|| fault("find, after its move,"))?;
    moved.push(Moved { device, index, addresses: addresses.clone(), was_up });
    for address in addresses.iter().filter(|address| Address::is_permanent_and_global(address)) {
        container.add_address(index, address).or_fault(|| fault("give its address back to"))?;
    }
    container.set_up(index).or_fault(|| fault("set up"))
}
