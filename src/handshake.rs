//! What kase and init say to each other while a container is made: one packet a word, both ends here.
//!
//! ```text
//! kase                              init, or a process that is added
//!   │ ◀──────────── MapOwnIds ─────── │   what it has to do first needs its user namespace's ids
//!   │ ──────────── IdsMapped ───────▶ │
//!   │ ◀──────────── Namespaces ────── │   it has entered and made its namespaces, if kase has not made it in them
//!   │ ◀──────────── Continues(pidfd)─ │   or this process is in them, and goes on in its place
//!   │ ──────────── Begin(tasks…) ───▶ │   recorded on disk, ids mapped, in its cgroup but for these of v1
//!   │ ◀──────────── MapMountIds ───── │   (n, tree): the source of mounts[n], which is in the container
//!   │ ──────────── IdsMapped ───────▶ │
//!   │ ◀──────────── Serve(socket) ─── │   the kernel has no overlay: fuse-overlayfs's mount comes through this
//!   │ ◀──────────── RunHooks ──────── │   prestart and createRuntime, before the root changes
//!   │ ──────────── HooksDone ───────▶ │
//!   │ ◀──────────── Terminal(fd) ──── │   the master
//!   │ ◀──────────── Listener(fd) ──── │   of a filter that notifies
//!   │ ◀──────────── Continues(pidfd)─ │   the process in a pid namespace that others are in
//!   │ ──────────── Begin ───────────▶ │   recorded too
//!   │ ◀──────────── Ready ─────────── │   all is set up but the exec
//!   │ ──────────── Start ───────────▶ │   `run` and `exec` only; after `create`, `start` says it through the gate
//!   │ ◀──────────── (closed) ──────── │   the exec closed it: the program runs
//! ```
//!
//! At any time init may say `Failed(report)` and end. A closed socket means that the other end is gone: init
//! then ends too, so that a killed kase leaves no half-made container running.

use crate::fault::{Fault, OrFault, Report};
use crate::kernel::deadline::Deadline;
use crate::kernel::socket;
use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A word to init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToInit {
    /// Go on beyond what needs no ids, cgroup or record.
    Begin,
    /// The ids are mapped.
    IdsMapped,
    /// The runtime's hooks have run.
    HooksDone,
    /// Execute the program.
    Start,
}

/// A word to kase.
#[derive(Debug)]
pub enum ToKase {
    /// Map the ids of this process's user namespace.
    MapOwnIds,
    /// This process has its namespaces.
    Namespaces,
    /// The process behind this pidfd goes on in place of this one, which ends.
    Continues(OwnedFd),
    /// Map the ids of this detached tree as the entry of the plan's mounts with this index has it.
    MapMountIds(u32, OwnedFd),
    /// Start fuse-overlayfs for the overlay; its mount, or why there is none, goes into this socket.
    Serve(OwnedFd),
    /// Run the runtime's hooks now.
    RunHooks,
    /// The master of the container's terminal.
    Terminal(OwnedFd),
    /// The listener of the container's filter.
    Listener(OwnedFd),
    /// Everything is set up.
    Ready,
    /// It did not work; init is about to end.
    Failed(Report),
}

/// kase's end.
#[derive(Debug)]
pub struct KaseEnd(OwnedFd);

/// Init's end.
#[derive(Debug)]
pub struct InitEnd(OwnedFd);

/// The longest packet: a report is cut to it.
pub const LONGEST: usize = 8192;

/// Both ends.
pub fn pair() -> io::Result<(KaseEnd, InitEnd)> {
    let (kase, init) = socket::pair()?;
    Ok((KaseEnd(kase), InitEnd(init)))
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl KaseEnd {
    /// Speaks to init, and passes descriptors with the word.
    pub fn say(&self, word: ToInit, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let tag = match word {
            ToInit::Begin => b'b',
            ToInit::IdsMapped => b'm',
            ToInit::HooksDone => b'd',
            ToInit::Start => b's',
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        Ok(socket::send_all(self.0.as_fd(), &[tag], &fds)?)
    }

    /// Waits until there is something to hear, if only that the other end is closed. There is nothing when the process
    /// behind `pidfd` has ended with all that it had to say said: its end of the socket may be another's too.
    pub fn has_word(&self, pidfd: BorrowedFd<'_>) -> io::Result<bool> {
        let mut fds = [self.0.as_fd(), pidfd].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        Deadline::NEVER.poll(&mut fds)?;
        // It may have spoken after the socket was looked at and before it ended.
        Ok(fds[0].any().unwrap_or(false) || Deadline::after(Duration::ZERO).poll(&mut fds[..1])?)
    }

    /// Has whoever holds the other end hear that kase is gone, and waits until nobody does: every process that
    /// waits for a word has ended then, or is about to.
    pub fn hang_up(&self) {
        // What fails is as good: the other end is closed.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Write);
        while let Ok(Some(_)) = self.hear() {}
    }

    /// Hears init; nothing when it has ended or has executed the program.
    pub fn hear(&self) -> anyhow::Result<Option<ToKase>> {
        let mut buffer = [0; LONGEST];
        let (length, fd) = socket::receive(self.0.as_fd(), &mut buffer)
            .or_fault(|| Fault::doing("hear what the container's init says"))?;
        let Some((tag, text)) = buffer[..length].split_first() else { return Ok(None) };
        let word = match (tag, fd) {
            (b'O', None) => ToKase::MapOwnIds,
            (b'N', None) => ToKase::Namespaces,
            (b'C', Some(fd)) => ToKase::Continues(fd),
            (b'M', Some(tree)) => {
                ToKase::MapMountIds(text.try_into().map(u32::from_ne_bytes).unwrap_or(u32::MAX), tree)
            }
            (b'S', Some(socket)) => ToKase::Serve(socket),
            (b'H', None) => ToKase::RunHooks,
            (b'T', Some(fd)) => ToKase::Terminal(fd),
            (b'L', Some(fd)) => ToKase::Listener(fd),
            (b'R', None) => ToKase::Ready,
            (b'F', None) => ToKase::Failed(unpack(text)),
            _ => return Err(Fault::doing("init said something that kase does not understand").into()),
        };
        Ok(Some(word))
    }
}

impl InitEnd {
    /// Speaks to kase.
    pub fn say(&self, word: &ToKase) -> anyhow::Result<()> {
        let (packet, fd) = match word {
            ToKase::MapOwnIds => (b"O".to_vec(), None),
            ToKase::Namespaces => (b"N".to_vec(), None),
            ToKase::Continues(fd) => (b"C".to_vec(), Some(fd.as_fd())),
            ToKase::MapMountIds(index, tree) => {
                ([&b"M"[..], &index.to_ne_bytes()].concat(), Some(tree.as_fd()))
            }
            ToKase::Serve(socket) => (b"S".to_vec(), Some(socket.as_fd())),
            ToKase::RunHooks => (b"H".to_vec(), None),
            ToKase::Terminal(fd) => (b"T".to_vec(), Some(fd.as_fd())),
            ToKase::Listener(fd) => (b"L".to_vec(), Some(fd.as_fd())),
            ToKase::Ready => (b"R".to_vec(), None),
            ToKase::Failed(report) => (pack(report), None),
        };
        socket::send(self.0.as_fd(), &packet, fd)
            .or_fault(|| Fault::doing("tell kase how far the container is"))
    }

    /// Hears this word; returns the descriptors that came with it.
    ///
    /// # Errors
    /// When it is another, or kase is gone.
    pub fn expect(&self, word: ToInit) -> anyhow::Result<Vec<OwnedFd>> {
        let mut tag = [0];
        let (length, fds) =
            socket::receive_all(self.0.as_fd(), &mut tag).or_fault(|| Fault::doing("hear what kase says"))?;
        let heard = match (length, tag[0]) {
            (0, _) => None,
            (_, b'b') => Some(ToInit::Begin),
            (_, b'm') => Some(ToInit::IdsMapped),
            (_, b'd') => Some(ToInit::HooksDone),
            (_, b's') => Some(ToInit::Start),
            _ => return Err(Fault::doing("kase said something that init does not understand").into()),
        };
        match heard {
            Some(heard) if heard == word => Ok(fds),
            heard => Err(Fault::doing(format!("kase said {heard:?} instead of {word:?}")).into()),
        }
    }
}

/// A report as a packet: the tag, the line, and after a NUL the remedy.
pub fn pack(report: &Report) -> Vec<u8> {
    let mut packet = vec![b'F'];
    packet.extend_from_slice(report.line.as_bytes());
    if let Some(remedy) = &report.remedy {
        packet.push(0);
        packet.extend_from_slice(remedy.as_bytes());
    }
    packet.truncate(LONGEST);
    packet
}

/// The report of a packet, its tag taken off.
pub fn unpack(text: &[u8]) -> Report {
    let mut parts = text.splitn(2, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
    Report { line: parts.next().unwrap_or_default(), remedy: parts.next() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_crosses_with_its_remedy() {
        let (kase, init) = pair().unwrap();
        let report = Report { line: "mounts[4]: bind /srv".into(), remedy: Some("create /srv".into()) };
        init.say(&ToKase::Failed(Report { line: report.line.clone(), remedy: report.remedy.clone() }))
            .unwrap();
        assert!(matches!(kase.hear().unwrap(), Some(ToKase::Failed(heard)) if heard == report));
    }

    #[test]
    fn a_word_brings_its_descriptors() {
        let (kase, init) = pair().unwrap();
        let (one, other) = pair().unwrap();
        kase.say(ToInit::Begin, &[one.0, other.0]).unwrap();
        let [one, other] = <[OwnedFd; 2]>::try_from(init.expect(ToInit::Begin).unwrap()).unwrap();
        let (one, other) = (KaseEnd(one), InitEnd(other));
        one.say(ToInit::Start, &[]).unwrap();
        assert!(other.expect(ToInit::Start).unwrap().is_empty());
    }

    #[test]
    fn a_closed_end_is_heard_as_silence() {
        let (kase, init) = pair().unwrap();
        drop(kase);
        assert!(init.expect(ToInit::Begin).is_err());
        assert!(init.say(&ToKase::Ready).is_err());
    }
}
