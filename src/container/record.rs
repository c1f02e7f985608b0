//! The facts about a container, on disk.
//!
//! A journal of JSON lines, so that a kase which is killed in the middle leaves what it had written, whole:
//! what was asked for, then who init is, then that it was ready. Later commands do what it says (signal that process,
//! remove that cgroup, run those hooks), so no process of the container's has a descriptor of it, not even for a
//! moment. The kase that creates the container holds a lock on it (F_SETLK, which no child inherits), and so does
//! the one that removes it: one of the two is done before the other begins. A status is never written down, it
//! follows from these facts, from the living process and from whether that waits at its [gate](crate::gate).

use super::locks::{FILE, GUARDED, Lock, deleted, is_link, lock_creator, look};
use crate::cgroup::{CgroupFacts, Freezer};
use crate::fault::{Fault, OrFault};
use crate::kernel::path::{Resolve, openat, openat2};
use crate::kernel::uninterrupted;
use crate::launch::intel_rdt::Share;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat};
use oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// No record is longer, in bytes: whoever looks at another's must not read for ever.
const LONGEST: usize = 16 << 20;

const WRITE: &str = "write the container's record";

/// Opens the record that is there.
fn open(directory: BorrowedFd<'_>, flags: OFlag) -> nix::Result<File> {
    openat(directory, FILE, flags | GUARDED, Mode::empty()).map(File::from)
}

/// What was asked for.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// config.json's ociVersion.
    pub oci_version: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The rootfs, absolute.
    pub rootfs: PathBuf,
    /// When, as RFC 3339 in UTC with nanoseconds.
    pub created: String,
    /// The host's boot that it was created in.
    #[serde(default)]
    pub boot: String,
    /// CLONE_NEW* flags of the namespaces that it does not share with its creator.
    pub namespaces: u64,
    /// Whether it has a session keyring of its own.
    pub keyring: bool,
    /// Whether apt is told of `--fake-root` in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tells_apt: bool,
    /// config.json's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Hooks that later commands run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// Hooks that later commands run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
    /// The overlay's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<PathBuf>,
    /// Its place in resctrl, which its other processes join and its delete leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<Box<Share>>,
}

/// Who init is. The start time tells it from a later process with the same id; the inode does so with less work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Init {
    /// The process id in the pid namespace of whoever created the container.
    pub pid: i32,
    /// Clock ticks since boot; proc_pid_stat(5), field 22.
    pub start_time: u64,
    /// What its pidfds have as their inode number, which no other process of this boot gets; since Linux 6.9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// What a reader wants of the line about the cgroup.
pub trait Part<'a>: Deserialize<'a> + Default {
    /// Finds it in the line's JSON with less work than a parser has; nothing where that takes one.
    fn find(_: &'a str) -> Option<Self> {
        None
    }
}

impl Part<'_> for CgroupFacts {}

impl<'a> Part<'a> for Freezer<'a> {
    fn find(json: &'a str) -> Option<Self> {
        Self::find(json)
    }
}

/// A line of the journal; of what was asked for and of the cgroup, a reader may want a part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line<F, C> {
    Facts(F),
    Cgroup(C),
    Init(Init),
    Ready,
    /// By an update: there was no place in resctrl before.
    Share(Box<Share>),
    Exit(i32),
}

/// Everything that the journal says.
#[derive(Debug)]
pub struct Record<F = Facts, C = CgroupFacts> {
    /// What was asked for.
    pub facts: F,
    pub cgroup: C,
    /// Who init is, once it was made.
    pub init: Option<Init>,
    /// Whether creation came to its end.
    pub complete: Complete,
    /// Whether somebody is at its creation.
    pub lock: Lock,
    /// Its place in resctrl, if an update gave it one.
    pub share: Option<Box<Share>>,
    /// How init ended, if somebody waited for it: a shell's code.
    pub exit: Option<i32>,
}

/// Whether creation came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complete {
    /// It did.
    Yes,
    /// It is under way, or was interrupted.
    No,
}

/// The journal of a container that is being created.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    /// Begins the journal in a new state directory, locked.
    pub fn begin(directory: BorrowedFd<'_>, facts: &Facts) -> anyhow::Result<Self> {
        let begin = || {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_APPEND | OFlag::O_CLOEXEC;
            let file = File::from(openat(directory, FILE, flags, Mode::from_bits_truncate(0o600))?);
            lock_creator(&file)?;
            nix::Result::Ok(Self(file))
        };
        match begin() {
            // Somebody has removed the entry meanwhile.
            Err(Errno::EEXIST | Errno::EAGAIN | Errno::ENOENT) => Err(deleted()),
            begun => {
                let journal = begun.or_write_fault(|| Fault::doing(WRITE))?;
                journal.write(&Line::Facts(facts))?;
                Ok(journal)
            }
        }
    }

    /// The descriptor, which init must not have.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Adds the cgroup; the last line about it counts.
    pub fn cgroup(&self, facts: &CgroupFacts) -> anyhow::Result<()> {
        self.write(&Line::Cgroup(facts))
    }

    /// Adds who init is.
    pub fn init(&self, init: Init) -> anyhow::Result<()> {
        self.write(&Line::Init(init))
    }

    /// Adds that init is ready.
    pub fn ready(&self) -> anyhow::Result<()> {
        self.write(&Line::Ready)
    }

    /// Adds a place in resctrl to the record of a container that exists.
    pub fn share(directory: BorrowedFd<'_>, share: Share) -> anyhow::Result<()> {
        Self(open(directory, OFlag::O_WRONLY | OFlag::O_APPEND)?).write(&Line::Share(Box::new(share)))
    }

    fn write(&self, line: &Line<&Facts, &CgroupFacts>) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() > LONGEST / 2 {
            return Err(Fault::doing(format!("it would be longer than {} bytes", LONGEST / 2))
                .remedy("give the container fewer or shorter annotations and hooks")
                .within(WRITE));
        }
        // One write, so that a reader sees all of the line or nothing that ends in a newline.
        (&self.0).write_all(&text).or_write_fault(|| Fault::doing(WRITE))
    }
}

/// Adds how init ended to the record in a state directory.
///
/// # Errors
/// Those of openat(2): ENOENT when the container is deleted by now.
pub fn add_exit(directory: BorrowedFd<'_>, code: i32) -> anyhow::Result<()> {
    Journal(open(directory, OFlag::O_WRONLY | OFlag::O_APPEND)?).write(&Line::Exit(code))
}

impl Record {
    /// Reads the record in a state directory; nothing when it was never begun.
    pub fn read(directory: BorrowedFd<'_>) -> anyhow::Result<Option<Self>> {
        let mut text = Text::default();
        text.read(open(directory, OFlag::O_RDONLY))?.map_or(Ok(None), |(lines, _)| whole(lines))
    }

    /// What can be read of it, for whoever removes the container: as far as its first line that is damaged.
    pub fn remains(directory: BorrowedFd<'_>) -> anyhow::Result<Option<Self>> {
        let mut text = Text::default();
        let found = text.read(open(directory, OFlag::O_RDONLY))?;
        let Some(((record, damage), _)) = found else { return Ok(None) };
        if let Some(error) = damage {
            tracing::warn!(
                "the container's record is damaged ({error}): what it does not tell may be left behind"
            );
        }
        Ok(record)
    }
}

/// The record as far as it is whole, and what is wrong with the line after that.
type Lines<F, C> = (Option<Record<F, C>>, Option<anyhow::Error>);

fn whole<F, C>((record, damage): Lines<F, C>) -> anyhow::Result<Option<Record<F, C>>> {
    damage.map_or(Ok(record), Err).or_fault(|| {
        Fault::doing("parse the container's record").remedy(
            "remove the container with `kase delete --force`; its record was changed by somebody else, or its disk is full",
        )
    })
}

/// The text of a record, where the next one can be read too.
#[derive(Debug, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// Reads the record of the container `id` in the state root, for the parts of it that `F` and `C` are, and tells
    /// who owns it; nothing when it was never begun.
    pub fn read_part<'a, F, C>(
        &'a mut self,
        root: BorrowedFd<'_>,
        id: &str,
    ) -> anyhow::Result<Option<(Record<F, C>, u32)>>
    where
        F: Deserialize<'a>,
        C: Part<'a>,
    {
        let path = format!("{id}/{FILE}");
        let flags = OFlag::O_RDONLY | GUARDED;
        let file = openat2(root, path.as_str(), flags, Resolve::NO_SYMLINKS).map(File::from);
        let file = file.map_err(|error| Errno::try_from(error).unwrap_or(Errno::EIO));
        let Some((lines, owner)) = self.read(file)? else { return Ok(None) };
        Ok(whole(lines)?.map(|record| (record, owner)))
    }

    /// The lines of an open record, and who owns it.
    fn read<'a, F, C>(&'a mut self, file: nix::Result<File>) -> anyhow::Result<Option<(Lines<F, C>, u32)>>
    where
        F: Deserialize<'a>,
        C: Part<'a>,
    {
        let mut file = match file {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(Errno::ELOOP) => return Err(is_link().into()),
            file => file.or_fault(|| Fault::doing("open the container's record"))?,
        };
        let read = || Fault::doing("read the container's record");
        let doing =
            || read().remedy("remove the container's state directory; kase did not make what is in it");
        let stat = fstat(&file).or_fault(read)?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(doing().caused_by(io::Error::other("it is no regular file")));
        }
        // An error of the kernel's is one of reading; any other is about what the record is.
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(_) => read().caused_by(error),
            None => doing().caused_by(error),
        };
        let mut length = self.fill(&mut file).map_err(failed)?;
        let mut lock = Lock::Free;
        if !is_complete(&self.0[..length]) {
            lock = look(&file)?;
            // The creation may have been completed between the read and the look at the lock.
            if lock == Lock::Free {
                file.rewind()?;
                length = self.fill(&mut file).map_err(failed)?;
            }
        }
        Ok(Some((parse(&self.0[..length], lock), stat.st_uid)))
    }

    /// Mostly by one read(2): what is shorter than was asked for is the whole of a regular file.
    fn fill(&mut self, file: &mut File) -> io::Result<usize> {
        const MOSTLY: usize = 4096;
        if self.0.len() < MOSTLY {
            self.0 = vec![0; MOSTLY];
        }
        self.0.truncate(MOSTLY);
        let length = uninterrupted(|| nix::unistd::read(&mut *file, &mut self.0))?;
        if length < MOSTLY {
            return Ok(length);
        }
        file.take((LONGEST - MOSTLY) as u64 + 1).read_to_end(&mut self.0)?;
        match self.0.len() {
            length if length > LONGEST => Err(io::Error::other(format!("it is longer than {LONGEST} bytes"))),
            length => Ok(length),
        }
    }
}

/// Whether the creation came to its end. No string of JSON has a raw newline in it, so these bytes are that line.
fn is_complete(text: &[u8]) -> bool {
    const READY: &[u8] = b"\n\"ready\"\n";
    text.windows(READY.len()).any(|window| window == READY)
}

fn parse<'a, F, C>(text: &'a [u8], lock: Lock) -> Lines<F, C>
where
    F: Deserialize<'a>,
    C: Part<'a>,
{
    let mut record = None;
    // A last line without a newline was not written to its end.
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    // UTF-8 is checked once for the whole text: a parser of bytes would check each string again.
    let (lines, broken) = match str::from_utf8(&text[..end]) {
        Ok(lines) => (lines, None),
        Err(error) => (str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(), Some(error)),
    };
    let damage = lines.split_inclusive('\n').try_for_each(|line| {
        let found = line.strip_prefix(r#"{"cgroup":"#).and_then(C::find).map(Line::Cgroup);
        add(&mut record, found.map_or_else(|| serde_json::from_str(line), Ok)?, lock)
    });
    (record, damage.err().or(broken.map(Into::into)))
}

fn add<F, C: Default>(record: &mut Option<Record<F, C>>, line: Line<F, C>, lock: Lock) -> anyhow::Result<()> {
    match (line, record) {
        (Line::Facts(facts), record @ None) => {
            let cgroup = C::default();
            let complete = Complete::No;
            *record = Some(Record { facts, cgroup, init: None, complete, lock, share: None, exit: None });
        }
        (Line::Cgroup(cgroup), Some(record)) => record.cgroup = cgroup,
        (Line::Init(init), Some(record)) => record.init = Some(init),
        (Line::Ready, Some(record)) => record.complete = Complete::Yes,
        (Line::Share(share), Some(record)) => record.share = Some(share),
        // Several commands may have waited and written it, all the same.
        (Line::Exit(code), Some(record)) => record.exit = Some(code),
        _ => anyhow::bail!("a line is out of order"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: &str = r#"{"facts":{"ociVersion":"1.3.0","bundle":"/b","rootfs":"/b/rootfs","created":"2026-01-01T00:00:00Z","namespaces":0,"keyring":true}}"#;

    fn whole(text: &str, lock: Lock) -> Option<Record> {
        let (record, damage) = parse(text.as_bytes(), lock);
        assert!(damage.is_none(), "{damage:?}");
        record
    }

    #[test]
    fn what_comes_before_a_damaged_line_is_known() {
        for damaged in
            [&b"{\"exit\":{\"exit\":1}"[..], b"rubbish", FACTS.as_bytes(), b"\xff\"ready\"", b"\"\xff\"", b""]
        {
            let text = [FACTS.as_bytes(), b"\n\"ready\"\n", damaged, b"\n"].concat();
            let (record, damage): Lines<Facts, CgroupFacts> = parse(&text, Lock::Free);
            assert!(damage.is_some(), "{damaged:?}");
            assert_eq!(record.unwrap().complete, Complete::Yes);
        }
    }

    #[test]
    fn a_line_that_was_not_finished_does_not_count() {
        let text = format!("{FACTS}\n{{\"init\":{{\"pid\":7,\"star");
        assert_eq!(whole(&text, Lock::Free).unwrap().init, None);
        assert!(whole(&text[..20], Lock::Free).is_none());
    }

    #[test]
    fn the_lines_add_up() {
        let text = format!("{FACTS}\n{{\"init\":{{\"pid\":7,\"startTime\":9}}}}\n\"ready\"\n");
        let record = whole(&text, Lock::Held).unwrap();
        assert_eq!(record.init, Some(Init { pid: 7, start_time: 9, inode: None }));
        assert_eq!(record.complete, Complete::Yes);
        assert_eq!(record.exit, None);
    }

    #[test]
    fn several_may_write_down_the_exit_code() {
        let text = format!("{FACTS}\n\"ready\"\n{{\"exit\":137}}\n{{\"exit\":137}}\n");
        assert_eq!(whole(&text, Lock::Free).unwrap().exit, Some(137));
    }
}
