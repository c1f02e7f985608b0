//! The gate behind which a created container waits for `start`.
//!
//! A socket in the container's state directory. Init, holding the listening end, waits; `start` connects, says
//! one word, and hears init's report if the program cannot be executed. The exec closes the connection, which
//! `start` takes for success. Both the listener and the connection are close-on-exec, so that nothing of them
//! reaches the container. While the listener is open the container is created, and not running: whoever asks for its
//! state learns that from the kernel, without knocking.

use crate::fault::{Fault, OrFault, Report};
use crate::handshake;
use crate::kernel::path::{of_descriptor, openat};
use crate::kernel::{socket, uninterrupted};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen,
    recv, shutdown, socket as open,
};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const FILE: &str = "gate";

/// Init's side.
#[derive(Debug)]
pub struct Gate(OwnedFd);

/// A `start` that is waiting for the outcome.
#[derive(Debug)]
pub struct Starter(OwnedFd);

/// A path shorter than a socket address may be, however deep the directory lies.
fn address(directory: BorrowedFd<'_>) -> anyhow::Result<UnixAddr> {
    Ok(UnixAddr::new(&of_descriptor(directory).join(FILE))?)
}

fn seqpacket() -> anyhow::Result<OwnedFd> {
    Ok(open(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

impl AsFd for Gate {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Gate {
    /// Builds the gate in a state directory.
    pub fn build(directory: BorrowedFd<'_>) -> anyhow::Result<Self> {
        let build = || {
            let socket = seqpacket()?;
            bind(socket.as_raw_fd(), &address(directory)?)?;
            listen(&socket, Backlog::new(1)?)?;
            anyhow::Ok(Self(socket))
        };
        build().or_write_fault(|| Fault::doing("make the socket that start will use, in the state directory"))
    }

    /// Waits until `start` says so. A `start` that dies before its word is forgotten. Nobody can knock any more then,
    /// but the gate is still seen until it is dropped.
    pub fn wait(&self) -> anyhow::Result<Starter> {
        loop {
            let number = match accept4(self.0.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                // One connection that fails, of whatever it is, is not the container's end.
                Err(
                    Errno::EINTR
                    | Errno::ECONNABORTED
                    | Errno::ECONNRESET
                    | Errno::EPROTO
                    | Errno::ENOMEM
                    | Errno::ENOBUFS,
                ) => continue,
                number => number?,
            };
            let starter = Starter(crate::kernel::descriptor::accepted(number));
            let mut word = [0];
            if matches!(socket::receive(starter.0.as_fd(), &mut word), Ok((1, None)) if word == *b"s") {
                // Only spares others the wait: who is behind the listener when it closes is refused as well.
                let _ = shutdown(self.0.as_raw_fd(), Shutdown::Read);
                return Ok(starter);
            }
        }
    }
}

impl Starter {
    /// Tells `start` why the program does not run.
    pub fn refuse(&self, report: &Report) {
        // A start that has gone meanwhile has nobody to tell.
        let _ = socket::send(self.0.as_fd(), &handshake::pack(report), None);
    }
}

/// Whether a process waits at the gate of the container with this state directory, below `at`.
pub fn is_waited_at(at: BorrowedFd<'_>, directory: impl AsRef<OsStr>) -> anyhow::Result<bool> {
    let look = || {
        let file = Path::new(directory.as_ref()).join(FILE);
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let gate = match openat(at, &file, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(false),
            gate => gate?,
        };
        let socket = open(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let address = UnixAddr::new(&of_descriptor(&gate))?;
        match uninterrupted(|| connect(socket.as_raw_fd(), &address)) {
            // There is a socket behind the file, of the gate's kind. Its owner hears nothing of the question.
            Err(Errno::EPROTOTYPE) => Ok(true),
            Err(Errno::ECONNREFUSED) | Ok(()) => Ok(false),
            Err(errno) => Err(errno),
        }
    };
    look().or_fault(|| Fault::doing("look whether the container waits for its start"))
}

/// `start`'s side: opens the gate and waits until the program runs.
///
/// What init answers is its report, after which it ends.
///
/// # Errors
/// That nobody waits behind the gate, or cannot be reached.
pub fn open_gate(directory: BorrowedFd<'_>) -> anyhow::Result<Result<(), Report>> {
    let socket = seqpacket()?;
    let address = address(directory)?;
    let reach = || Fault::doing("reach the container's init through the state directory's gate");
    uninterrupted(|| connect(socket.as_raw_fd(), &address)).or_fault(reach)?;
    socket::send(socket.as_fd(), b"s", None).or_fault(reach)?;
    let mut buffer = [0; handshake::LONGEST];
    // Init hears the word before all else: a connection that is reset is none that an exec has closed.
    match uninterrupted(|| recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())).or_fault(reach)? {
        0 => {
            // Only spares others the look: one that is left has nobody behind it.
            let _ = unlinkat(directory, FILE, UnlinkatFlags::NoRemoveDir);
            Ok(Ok(()))
        }
        length => Ok(Err(handshake::unpack(&buffer[1..length]))),
    }
}
