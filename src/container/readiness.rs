//! Readiness of what runs in the container, passed on to whoever started kase as a service; sd_notify(3).
//!
//! ```text
//! systemd ◀─ $NOTIFY_SOCKET ─ kase ◀─ state directory/notify/notify.sock ═ /run/notify/notify.sock ─ program
//! ```
//!
//! The container gets a socket of its own: a message on the host's would come from a process that systemd does
//! not know. `run`, and `start` after a `create` that was given a NOTIFY_SOCKET too, listen until READY comes.

use crate::config::Config;
use crate::fault::{Fault, OrFault, Report};
use crate::kernel::path::of_descriptor;
use crate::kernel::{socket, uninterrupted};
use crate::launch::relay::{Aside, Input};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use oci_spec::runtime::Mount;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

const INSIDE: &str = "/run/notify";
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";

/// Who is told that the container is ready.
#[derive(Debug)]
pub struct Readiness {
    socket: UnixDatagram,
    host: OsString,
    main: i32,
}

/// Has the container find its socket, which lies in `state`, its directory in the state root.
pub fn announce(config: &mut Config, state: &Path) {
    let mut mount = Mount::default();
    mount.set_destination(INSIDE.into());
    mount.set_typ(Some("bind".to_string()));
    mount.set_source(Some(state.join(DIRECTORY)));
    mount.set_options(Some(["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).to_vec()));
    config.mounts.get_or_insert_default().push(mount);
    if let Some(process) = &mut config.process {
        process.env.get_or_insert_default().push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// A path shorter than a socket address may be, however deep the state directory lies.
fn directory(state: BorrowedFd<'_>) -> PathBuf {
    of_descriptor(state).join(DIRECTORY)
}

/// Makes the directory that is bound into the container.
pub fn prepare(state: BorrowedFd<'_>) -> anyhow::Result<()> {
    let directory = directory(state);
    let make = || {
        fs::create_dir(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(0o755))
    };
    make().or_write_fault(|| Fault::doing("make the directory of the container's NOTIFY_SOCKET"))
}

impl Readiness {
    /// Listens for the container, whose process `main` is for the host's manager; nothing when it was created
    /// without a NOTIFY_SOCKET.
    pub fn listen(state: BorrowedFd<'_>, host: OsString, main: i32) -> anyhow::Result<Option<Self>> {
        let directory = directory(state);
        if !directory.is_dir() {
            return Ok(None);
        }
        let path = directory.join(SOCKET);
        let listen = || {
            let socket = UnixDatagram::bind(&path)?;
            // The container's user may be any user of the host's.
            fs::set_permissions(&path, Permissions::from_mode(0o777))?;
            socket.set_nonblocking(true)?;
            std::io::Result::Ok(socket)
        };
        let socket = listen().or_write_fault(|| Fault::doing("listen on the container's NOTIFY_SOCKET"))?;
        Ok(Some(Self { socket, host, main }))
    }

    /// Stays until the container is ready, and systemd knows it, or the process behind `pidfd` has ended. That
    /// nobody can be told is only logged: the container runs.
    pub fn wait(mut self, pidfd: BorrowedFd<'_>) {
        loop {
            let interest = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [interest(self.socket.as_fd()), interest(pidfd)];
            if uninterrupted(|| poll(&mut fds, PollTimeout::NONE)).is_err() {
                return;
            }
            let ended = fds[1].any().unwrap_or(false);
            if self.heard() == Input::Ended {
                if let Err(error) = self.barrier() {
                    tracing::debug!("wait for the receiver of NOTIFY_SOCKET: {error:#}");
                }
                return;
            }
            if ended {
                return;
            }
        }
    }

    fn tell(&self) -> anyhow::Result<()> {
        let client = self.connect()?;
        client.send(b"READY=1\n")?;
        client.send(format!("MAINPID={}\n", self.main).as_bytes())?;
        Ok(())
    }

    fn connect(&self) -> anyhow::Result<UnixDatagram> {
        let client = UnixDatagram::unbound()?;
        match self.host.as_bytes().strip_prefix(b"@") {
            Some(name) => client.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => client.connect(&self.host)?,
        }
        Ok(client)
    }

    /// Until the receiver has read what was sent, for it asks about a sender that must not have gone by then:
    /// it closes the pipe that comes with the message; sd_notify_barrier(3).
    fn barrier(&self) -> anyhow::Result<()> {
        const PATIENCE: u16 = 30_000;
        let client = self.connect()?;
        let (mine, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        socket::send(client.as_fd(), b"BARRIER=1", Some(theirs.as_fd()))?;
        drop(theirs);
        poll(&mut [PollFd::new(mine.as_fd(), PollFlags::empty())], PollTimeout::from(PATIENCE))?;
        Ok(())
    }
}

impl Aside for Readiness {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what has come; of all that it may be, only READY is passed on, as in runc.
    fn heard(&mut self) -> Input {
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            let ready = |line: &[u8]| line.starts_with(b"READY=1");
            if message[..length].split(|byte| *byte == b'\n').any(ready) {
                if let Err(error) = self.tell() {
                    tracing::warn!("pass on to NOTIFY_SOCKET that it is ready: {}", Report::of(&error).line);
                }
                return Input::Ended;
            }
        }
        Input::Open
    }
}
