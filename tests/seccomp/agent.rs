//! A seccomp agent in the test's process: hears of filters over its socket and answers for the kernel.

use crate::common::{Kase, Value};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::fs::{self, Permissions, set_permissions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What the agent answers to every call that it is asked about.
#[derive(Clone, Copy)]
pub enum Reply {
    /// The call fails with this errno.
    Errno(i32),
    /// The call succeeds with this value and does nothing.
    Value(i64),
    /// The kernel goes on with it: SECCOMP_USER_NOTIF_FLAG_CONTINUE.
    Continue,
}

/// The agent; its socket goes with it.
pub struct Agent {
    path: PathBuf,
    heard: Receiver<Value>,
    listener: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens on a socket in the test's directory.
    pub fn listen(kase: &Kase, reply: Reply) -> Self {
        let path = kase.path("agent");
        let socket = UnixListener::bind(&path).unwrap();
        set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let (says, heard) = channel();
        let listener = thread::spawn(move || serve(&socket, reply, &says));
        Self { path, heard, listener: Some(listener) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The container process state that came with the next filter.
    pub fn hears(&self) -> Value {
        self.heard.recv_timeout(Duration::from_secs(10)).expect("a filter's listener for the agent")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A connection without a word is the end.
        let _ = UnixStream::connect(&self.path);
        let _ = fs::remove_file(&self.path);
        let ended = self.listener.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))), "the agent failed");
    }
}

fn serve(socket: &UnixListener, reply: Reply, says: &Sender<Value>) {
    loop {
        let (stream, _) = socket.accept().unwrap();
        let Some((state, filter)) = receive(&stream) else { return };
        thread::spawn(move || answer(&filter, reply));
        // The test need not ask for it.
        let _ = says.send(state);
    }
}

/// The one message of a connection: JSON, and the listener beside it.
fn receive(stream: &UnixStream) -> Option<(Value, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = vec![0; 1 << 16];
    let length = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let length = length.unwrap().bytes;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })?;
    Some((serde_json::from_slice(&text[..length]).unwrap(), fd))
}

/// Answers until nobody is under the filter any more.
fn answer(filter: &OwnedFd, reply: Reply) {
    loop {
        let mut waiting = [PollFd::new(filter.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::NONE).unwrap();
        if !waiting[0].any().unwrap_or(false)
            || waiting[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
        {
            return;
        }
        // Whoever asked may be gone by now.
        let Ok(id) = next(filter) else { continue };
        let _ = send(filter, id, reply);
    }
}

/// SECCOMP_IOCTL_NOTIF_RECV, for the id of the call.
fn next(filter: &OwnedFd) -> io::Result<u64> {
    let data = libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut asked = libc::seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: the kernel writes one seccomp_notif, which `asked` is for the length of the call.
    let got = unsafe { libc::ioctl(filter.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) };
    if got == 0 { Ok(asked.id) } else { Err(io::Error::last_os_error()) }
}

/// SECCOMP_IOCTL_NOTIF_SEND.
fn send(filter: &OwnedFd, id: u64, reply: Reply) -> io::Result<()> {
    const CONTINUE: u32 = 1;
    let (val, error, flags) = match reply {
        Reply::Errno(errno) => (0, -errno, 0),
        Reply::Value(value) => (value, 0, 0),
        Reply::Continue => (0, 0, CONTINUE),
    };
    let mut answer = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the kernel reads one seccomp_notif_resp, which `answer` is for the length of the call.
    let sent = unsafe { libc::ioctl(filter.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
