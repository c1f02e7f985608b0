//! Network devices and their addresses, by rtnetlink(7): as much of it as moving a device takes.

use super::uninterrupted;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// A conversation with the network namespace that it was opened in, wherever the process goes later.
#[derive(Debug)]
pub struct Rtnetlink(OwnedFd);

/// An address of a device, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    parts: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether it was given to the device for good (IFA_F_PERMANENT) and means the same everywhere
    /// (RT_SCOPE_UNIVERSE).
    pub fn is_permanent_and_global(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

impl Rtnetlink {
    /// Opens one in the current network namespace.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(Self(socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?))
    }

    /// The index of the device with this name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        let mut message = Message::about_link(libc::RTM_GETLINK, 0, 0, 0);
        message.attribute(libc::IFLA_IFNAME, &terminated(name));
        let answers = self.ask(message, 0)?;
        answers.iter().find_map(|answer| link_index(answer)).ok_or_else(no_device)
    }

    /// The indices of all devices.
    pub fn indices(&self) -> io::Result<Vec<u32>> {
        let message = || Message::about_link(libc::RTM_GETLINK, 0, 0, 0);
        Ok(self.dump(message)?.iter().filter_map(|answer| link_index(answer)).collect())
    }

    /// Whether the device is up.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn is_up(&self, index: u32) -> io::Result<bool> {
        /// Where the flags are in a `struct ifinfomsg`.
        const FLAGS: usize = 8;
        let answers = self.ask(Message::about_link(libc::RTM_GETLINK, index, 0, 0), 0)?;
        let flags = answers.iter().find_map(|answer| word(answer, FLAGS)).ok_or_else(no_device)?;
        Ok(flags & libc::IFF_UP as u32 != 0)
    }

    /// The addresses of the device.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<Address>> {
        let message = || Message::new(libc::RTM_GETADDR, &[0; ADDRESS_HEADER]);
        let answers = self.dump(message)?;
        Ok(answers.iter().filter_map(|answer| address_of(answer, index)).collect())
    }

    /// Gives the device an address.
    ///
    /// # Errors
    /// EEXIST when it has it.
    pub fn add_address(&self, index: u32, address: &Address) -> io::Result<()> {
        // The kernel keeps all other flags by itself.
        let flags = address.flags & (libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE);
        let mut header = vec![address.family, address.prefix, 0, address.scope];
        header.extend(index.to_ne_bytes());
        let mut message = Message::new(libc::RTM_NEWADDR, &header);
        for (kind, value) in &address.parts {
            message.attribute(*kind, value);
        }
        message.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        self.tell(message, libc::NLM_F_CREATE | libc::NLM_F_EXCL)
    }

    /// Sets the device up.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN, or what its driver says.
    pub fn set_up(&self, index: u32) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        self.tell(Message::about_link(libc::RTM_NEWLINK, index, up, up), 0)
    }

    /// Moves the device into another network namespace, and gives it this name there, in one step.
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN in both, EEXIST when the name is taken, EINVAL for a device that is bound
    /// to its namespace.
    pub fn move_to(&self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut message = Message::about_link(libc::RTM_NEWLINK, index, 0, 0);
        message.attribute(libc::IFLA_IFNAME, &terminated(name));
        message.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        self.tell(message, 0)
    }

    fn tell(&self, message: Message, flags: libc::c_int) -> io::Result<()> {
        self.ask(message, flags | libc::NLM_F_ACK).map(drop)
    }

    /// Everything of a kind; asked for again when it changed meanwhile.
    fn dump(&self, message: impl Fn() -> Message) -> io::Result<Vec<Vec<u8>>> {
        const PATIENCE: u32 = 16;
        for _ in 0..PATIENCE {
            match self.ask(message(), libc::NLM_F_DUMP) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
        self.ask(message(), libc::NLM_F_DUMP)
    }

    /// Sends a request and hears its answers out, each without its header.
    fn ask(&self, message: Message, flags: libc::c_int) -> io::Result<Vec<Vec<u8>>> {
        let request = message.finish(flags | libc::NLM_F_REQUEST);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        // The kernel makes an answer as large as the buffer of the last recv(2), up to this.
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = uninterrupted(|| recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()))?;
            for (kind, marks, body) in messages(&buffer[..length]) {
                interrupted |= libc::c_int::from(marks) & libc::NLM_F_DUMP_INTR != 0;
                match libc::c_int::from(kind) {
                    libc::NLMSG_ERROR => return outcome(body).map(|()| answers),
                    libc::NLMSG_DONE if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    libc::NLMSG_DONE => return Ok(answers),
                    _ => answers.push(body.to_vec()),
                }
            }
            if flags & (libc::NLM_F_DUMP | libc::NLM_F_ACK) == 0 && !answers.is_empty() {
                return Ok(answers);
            }
        }
    }
}

const HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// A request that is being written; netlink(7).
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend(body);
        Self(bytes)
    }

    /// With a `struct ifinfomsg`: those bits of the device's flags that `change` has become what `flags` has.
    fn about_link(kind: u16, index: u32, flags: u32, change: u32) -> Self {
        let mut body = vec![0; 4];
        for number in [index, flags, change] {
            body.extend(number.to_ne_bytes());
        }
        Self::new(kind, &body)
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("attributes here are names and addresses");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(aligned(self.0.len()), 0);
    }

    fn finish(mut self, flags: libc::c_int) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a request is short");
        let flags = u16::try_from(flags).expect("netlink's flags have 16 bits");
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0
    }
}

fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn no_device() -> io::Error {
    io::Error::from_raw_os_error(libc::ENODEV)
}

/// Kind, flags and body of each message in a packet.
fn messages(mut packet: &[u8]) -> Vec<(u16, u16, &[u8])> {
    let mut found = Vec::new();
    while let Some(length) = word(packet, 0) {
        // A message that is shorter than its header has no body, which ends the loop whatever the packet holds.
        let Some(body) = packet.get(HEADER..length as usize) else { break };
        found.push((half(packet, 4).unwrap_or_default(), half(packet, 6).unwrap_or_default(), body));
        packet = packet.get(aligned(length as usize)..).unwrap_or_default();
    }
    found
}

/// Kind and value of each attribute.
fn attributes(mut body: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (half(body, 0), half(body, 2)) {
        let Some(value) = body.get(4..usize::from(length)) else { break };
        found.push((kind, value));
        body = body.get(aligned(length.into())..).unwrap_or_default();
    }
    found
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// An NLMSG_ERROR: 0, which acknowledges, or an errno below it.
fn outcome(body: &[u8]) -> io::Result<()> {
    match word(body, 0).unwrap_or_default().cast_signed() {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn link_index(answer: &[u8]) -> Option<u32> {
    word(answer, 4)
}

/// The address in this RTM_NEWADDR, if it is one of the device's.
fn address_of(answer: &[u8], index: u32) -> Option<Address> {
    let [family, prefix, flags, scope] = *answer.get(..4)? else { return None };
    if word(answer, 4)? != index {
        return None;
    }
    let attributes = attributes(answer.get(ADDRESS_HEADER..)?);
    let long = attributes.iter().find(|(kind, _)| *kind == libc::IFA_FLAGS);
    let kept = [libc::IFA_ADDRESS, libc::IFA_LOCAL, libc::IFA_BROADCAST];
    Some(Address {
        family,
        prefix,
        scope,
        flags: long.and_then(|(_, value)| word(value, 0)).unwrap_or(flags.into()),
        parts: attributes
            .iter()
            .filter(|(kind, _)| kept.contains(kind))
            .map(|(kind, value)| (*kind, value.to_vec()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut message = Message::about_link(libc::RTM_NEWLINK, 7, 1, 1);
        message.attribute(libc::IFLA_IFNAME, &terminated("eth0"));
        message.attribute(libc::IFLA_NET_NS_FD, &5u32.to_ne_bytes());
        let packet = message.finish(libc::NLM_F_REQUEST);
        let [(kind, flags, body)] = messages(&packet)[..] else { panic!("one message") };
        assert_eq!((kind, i32::from(flags)), (libc::RTM_NEWLINK, libc::NLM_F_REQUEST));
        assert_eq!(link_index(body), Some(7));
        let found = attributes(&body[16..]);
        assert_eq!(found[0], (libc::IFLA_IFNAME, b"eth0\0".as_slice()));
        assert_eq!(found[1], (libc::IFLA_NET_NS_FD, 5u32.to_ne_bytes().as_slice()));
    }

    #[test]
    fn any_bytes_at_all_are_read_to_their_end() {
        for length in 0..64u8 {
            let noise: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            messages(&noise);
            attributes(&noise);
            address_of(&noise, 0);
        }
        assert!(messages(&[0; 64]).is_empty());
        assert!(attributes(&[0; 64]).is_empty());
    }

    #[test]
    fn the_loopback_device_is_found_by_its_name() {
        let here = Rtnetlink::open().unwrap();
        let index = here.index("lo").unwrap();
        assert!(here.indices().unwrap().contains(&index));
        assert!(!here.addresses(index).unwrap().iter().any(Address::is_permanent_and_global));
        assert_eq!(here.index("no-such-dev").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
