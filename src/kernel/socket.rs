//! Packets, with descriptors, over unix sockets.

use super::uninterrupted;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A connected pair of SOCK_SEQPACKET sockets, close-on-exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// A stream to whoever listens at the path, close-on-exec.
///
/// # Errors
/// Those of connect(2); ETIMEDOUT when whoever listens takes nobody in for ten seconds, and EAGAIN of a send later on when
/// they read nothing for as long; ENAMETOOLONG when the path does not fit into a socket address.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&stream, sockopt::SendTimeout, &TimeVal::seconds(10))?;
    let address = UnixAddr::new(path)?;
    match uninterrupted(|| socket::connect(stream.as_raw_fd(), &address)) {
        Err(Errno::EAGAIN) => Err(Errno::ETIMEDOUT.into()),
        connected => Ok(connected.map(|()| stream)?),
    }
}

/// Sends `packet`, and `fd` with it.
///
/// # Errors
/// EPIPE when the other end is gone (and no SIGPIPE).
pub fn send(socket: BorrowedFd<'_>, packet: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    send_all(socket, packet, fd.as_slice())
}

/// The most descriptors that [`receive_all`] takes with a packet.
pub const MOST: usize = 32;

/// Sends `packet`, and `fds` with it, which are [`MOST`] at most.
pub fn send_all(socket: BorrowedFd<'_>, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = Some(ControlMessage::ScmRights(&raw)).filter(|_| !raw.is_empty());
    let (slices, rights) = ([IoSlice::new(packet)], rights.as_slice());
    uninterrupted(|| sendmsg::<()>(socket.as_raw_fd(), &slices, rights, MsgFlags::MSG_NOSIGNAL, None))?;
    Ok(())
}

/// Hears one packet into `buffer`: its length, 0 when the other end is gone, and the descriptor that came
/// with it. What does not fit is cut off.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let (length, passed) = receive_into(socket, buffer, nix::cmsg_space!(libc::c_int))?;
    Ok((length, passed.into_iter().next()))
}

/// Hears one packet, with all descriptors that came with it.
pub fn receive_all(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    receive_into(socket, buffer, nix::cmsg_space!([libc::c_int; MOST]))
}

fn receive_into(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut space: Vec<u8>,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            // The other end has closed without reading all; the kernel reports that once, before what it had sent.
            Err(nix::Error::EINTR | nix::Error::ECONNRESET) => {}
            message => break message?,
        }
    };
    let mut passed = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                // SAFETY: the kernel has just installed this descriptor for us with this message.
                passed.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    Ok((message.bytes, passed))
}
