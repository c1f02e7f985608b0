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

/// Moves each into the network namespace of init, `pid`, with its addresses, and sets it up there. All are
/// looked at before one is moved, and where one fails, or what is returned is dropped before it is kept, all come back:
/// what has gone into a namespace may end with it.
///
/// # Errors
/// A device that is missing, bound to its namespace, or not ours to move; a name that is taken.
pub fn hand_over(plan: &Plan<'_>, pid: i32) -> anyhow::Result<Option<HandedOver>> {
    if plan.net_devices.is_empty() {
        return Ok(None);
    }
    let doing = || Fault::at("linux.netDevices", "open the container's network namespace");
    // Init may not have entered a namespace yet that it joins.
    let path = match plan.namespaces.join(Kind::Network) {
        Some(join) => join.path.to_path_buf(),
        None => format!("/proc/{pid}/ns/net").into(),
    };
    let theirs = open_namespace(&path).or_fault(doing)?;
    let ours = open_namespace("/proc/self/ns/net").or_fault(doing)?;
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
    let mut handed = HandedOver { host, container, ours, theirs, moved: Vec::new() };
    for (device, index) in found {
        handed.one(device, index)?;
    }
    Ok(Some(handed))
}

/// The devices that are the container's by now. Dropped before they are kept, they are the host's again.
#[derive(Debug)]
pub struct HandedOver {
    host: Rtnetlink,
    container: Rtnetlink,
    ours: OwnedFd,
    theirs: OwnedFd,
    moved: Vec<Moved>,
}

/// A device that is the container's by now, and what it was on the host.
#[derive(Debug)]
struct Moved {
    name: String,
    inside: String,
    /// The container's before.
    others: Vec<u32>,
    /// Those that are to stay.
    addresses: Vec<Address>,
    was_up: bool,
}

impl Moved {
    /// The device may get another index there, and with a template (`eth%d`) another name.
    fn index(&self, container: &Rtnetlink) -> io::Result<u32> {
        if !is_template(&self.inside) {
            return container.index(&self.inside);
        }
        let new = container.indices()?.into_iter().find(|index| !self.others.contains(index));
        new.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl HandedOver {
    /// Leaves them to the container.
    pub fn keep(&mut self) {
        self.moved.clear();
    }

    fn one(&mut self, device: &NetDevice<'_>, index: u32) -> anyhow::Result<()> {
        let fault = |doing: &str| Fault::at(device.at(), format!("{doing} {}", device.name));
        // The kernel removes the addresses of a device that is moved.
        let mut addresses = self.host.addresses(index).or_fault(|| fault("read the addresses of"))?;
        addresses.retain(Address::is_permanent_and_global);
        let was_up = self.host.is_up(index).or_fault(|| fault("see whether it is up:"))?;
        let others = self.container.indices()?;
        let [name, inside] = [device.name, device.inside].map(str::to_owned);
        let moved = Moved { name, inside, others, addresses, was_up };
        self.host.move_to(index, self.theirs.as_fd(), device.inside).map_err(|error| {
            let remedy = match error.raw_os_error() {
                Some(libc::EPERM) => "run kase as root of the host: the kernel asks for CAP_NET_ADMIN in both network namespaces",
                Some(libc::EEXIST) => "give it another name in the container",
                _ => "choose another device: this one may be bound to its network namespace (`ip -d link` shows netns-immutable)",
            };
            fault("move").remedy(remedy).caused_by(error)
        })?;
        self.moved.push(moved);
        let Some(moved) = self.moved.last() else { return Ok(()) };
        let index = moved.index(&self.container).or_fault(|| fault("find, after its move,"))?;
        for address in &moved.addresses {
            self.container.add_address(index, address).or_fault(|| fault("give its address back to"))?;
        }
        self.container.set_up(index).or_fault(|| fault("set up"))
    }

    fn bring_back(&self, moved: &Moved) -> io::Result<()> {
        self.container.move_to(moved.index(&self.container)?, self.ours.as_fd(), &moved.name)?;
        let index = self.host.index(&moved.name)?;
        for address in &moved.addresses {
            self.host.add_address(index, address)?;
        }
        if moved.was_up { self.host.set_up(index) } else { Ok(()) }
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        // From the last to the first: so what a template has become is the one that is new.
        for moved in self.moved.iter().rev() {
            if let Err(error) = self.bring_back(moved) {
                tracing::warn!("bring the network device {} back to the host: {error}", moved.name);
            }
        }
    }
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
    if is_template(device.inside) {
        return Ok(index);
    }
    match container.index(device.inside) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(index),
        found => {
            found.or_fault(|| {
                Fault::at(device.at(), format!("look for {} in the container", device.inside))
            })?;
            let doing = format!("the container has a network device {:?} already", device.inside);
            Err(Fault::at(device.at(), doing)
                .remedy("give another name, or one with %d in it, which becomes a number that is free")
                .into())
        }
    }
}

fn is_template(name: &str) -> bool {
    name.contains('%')
}
