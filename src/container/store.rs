//! The directory that holds one directory for each container, and who may have which id.

use super::glance::Sight;
use super::record::{Facts, Journal, Record, Text};
use super::state::Owners;
use super::{Container, id};
use crate::cgroup::Host;
use crate::fault::{Fault, OrFault, Report};
use crate::kernel::listing::list;
use crate::kernel::path::openat;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use rootless::caller::Caller;
use rootless::state_dir::{self, StateDir};
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The state root.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    given: Given,
    uid: u32,
}

/// Whether the user named the root; one that does not exist is then a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Yes,
    No,
}

impl Store {
    /// The root that `--root` names, or the caller's own.
    ///
    /// # Errors
    /// No directory that the caller may use.
    pub fn find(given: Option<&Path>, caller: &Caller) -> anyhow::Result<Self> {
        if let Some(root) = given {
            return Ok(Self { root: root.to_path_buf(), given: Given::Yes, uid: caller.uid });
        }
        let found = StateDir::find(caller, "kase").map_err(|error| {
            Fault::doing("find a directory for the containers' state")
                .remedy(error.remedy(caller))
                .caused_by(error)
        })?;
        if let Some(note) = &found.note {
            tracing::info!("{note}");
        }
        Ok(Self { root: found.path, given: Given::No, uid: caller.uid })
    }

    /// The root at this place.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_path_buf(), given: Given::Yes, uid: geteuid().as_raw() }
    }

    /// Where the directory of the container `id` is, or will be.
    ///
    /// # Errors
    /// A working directory that has gone.
    pub fn place_of(&self, id: &str) -> anyhow::Result<PathBuf> {
        Ok(std::path::absolute(&self.root)?.join(id))
    }

    /// Makes the root, if it is missing.
    fn make(&self, caller: &Caller) -> anyhow::Result<OwnedFd> {
        state_dir::make(&self.root, caller).map_err(|error| {
            let remedy = error.remedy(caller);
            Fault::doing("make the directory of the containers' state").remedy(remedy).caused_by(error)
        })
    }

    /// `None` where there is none.
    fn open(&self) -> anyhow::Result<Option<OwnedFd>> {
        let opened = match self.given {
            Given::Yes => state_dir::open(&self.root, self.uid),
            Given::No => state_dir::open_own(&self.root, self.uid),
        };
        opened.or_fault(|| {
            Fault::doing("open the directory of the containers' state")
                .remedy("name with --root a directory of containers that is yours")
        })
    }

    /// Claims `id`: from now on nobody else can create it.
    ///
    /// # Errors
    /// An id that is in use.
    pub fn claim(&self, id: &str, caller: &Caller, facts: Facts, config: &[u8]) -> anyhow::Result<Entry> {
        id::check(id)?;
        let root = self.make(caller)?;
        mkdirat(&root, id, Mode::S_IRWXU).map_err(|errno| match errno {
            Errno::EEXIST => anyhow::Error::new(
                Fault::doing("container with given ID already exists")
                    .remedy(format!("choose another id, or remove that container: kase delete --force {id}")),
            ),
            errno => Fault::doing(format!("make {}", self.root.join(id).display())).caused_by(errno),
        })?;
        let directory = Directory { root: Rc::new(root), id: id.to_string() };
        let own = directory.open()?;
        let mut entry = Entry { directory, own, journal: None, kept: false };
        entry.journal = Some(Journal::begin(entry.own.as_fd(), &facts)?);
        keep(entry.own.as_fd(), "config.json", config)?;
        Ok(entry)
    }

    /// The container `id`.
    ///
    /// # Errors
    /// There is none, in the words that engines look for.
    pub fn container(&self, id: &str) -> anyhow::Result<Container> {
        id::check(id)?;
        self.look(id)?.ok_or_else(|| absent(id))
    }

    /// The container `id`, for a verb that acts on it.
    ///
    /// # Errors
    /// There is none, or it is another user's.
    pub fn ours(&self, id: &str) -> anyhow::Result<Container> {
        self.container(id).and_then(Container::if_ours)
    }

    /// The container `id`, if it exists. An entry without a record is one too: its creation was interrupted.
    ///
    /// # Errors
    /// A root that was given and does not exist, a record that cannot be read.
    pub fn look(&self, id: &str) -> anyhow::Result<Option<Container>> {
        self.look_with(id, Record::read)
    }

    /// As [`look`](Self::look), for whoever removes it, whose record may be damaged.
    ///
    /// # Errors
    /// As [`look`](Self::look), but for that.
    pub fn remains(&self, id: &str) -> anyhow::Result<Option<Container>> {
        self.look_with(id, Record::remains)
    }

    fn look_with(&self, id: &str, read: Read) -> anyhow::Result<Option<Container>> {
        match self.open()? {
            None => Ok(None),
            Some(root) => look(Rc::new(root), id.to_string(), read),
        }
    }

    /// All containers, sorted by id, each looked at when its turn comes: a thousand may be more than there may be
    /// open descriptors. One that cannot be read is told of and passed over.
    ///
    /// # Errors
    /// A root that was given and cannot be read.
    pub fn containers(&self) -> anyhow::Result<impl Iterator<Item = Container> + use<>> {
        let Some(root) = self.open_if_there()? else { return Ok(None.into_iter().flatten()) };
        let ids = ids(&root)?;
        let root = Rc::new(root);
        let containers =
            ids.into_iter().filter_map(move |id| or_pass_over(look(Rc::clone(&root), id, Record::read)));
        Ok(Some(containers).into_iter().flatten())
    }

    /// Glances at every container, sorted by id, and tells whose it is. One that cannot be read is told of and passed
    /// over; an entry whose creation has not got as far as a record is nobody's container yet.
    ///
    /// # Errors
    /// A root that was given and cannot be read; those of `tell`.
    pub fn glances(&self, mut tell: impl FnMut(&Sight<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Some(root) = self.open_if_there()? else { return Ok(()) };
        let mut text = Text::default();
        let mut owners = Owners::default();
        let host = Host::open();
        for id in ids(&root)? {
            let found = text.glance(root.as_fd(), &id).or_fault(|| Fault::doing(format!("container {id:?}")));
            if let Some((record, owner)) = or_pass_over(found) {
                tell(&Sight { id: &id, owner: owners.name(owner), record: &record, host: &host })?;
            }
        }
        Ok(())
    }

    /// The ids of all entries, sorted.
    ///
    /// # Errors
    /// A root that was given and cannot be read.
    pub fn ids(&self) -> anyhow::Result<Vec<String>> {
        self.open_if_there()?.map_or(Ok(Vec::new()), |root| ids(&root))
    }

    fn open_if_there(&self) -> anyhow::Result<Option<OwnedFd>> {
        match self.open()? {
            None if self.given == Given::Yes => Err(Errno::ENOENT).or_fault(|| {
                Fault::doing(format!("open {}", self.root.display()))
                    .remedy("name with --root the directory that the containers were created with")
            }),
            root => Ok(root),
        }
    }
}

/// What was found; an error is told of.
fn or_pass_over<T>(found: anyhow::Result<Option<T>>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!("{}", Report::of(&error).line);
        None
    })
}

/// How much is asked of a record.
type Read = fn(BorrowedFd<'_>) -> anyhow::Result<Option<Record>>;

fn look(root: Rc<OwnedFd>, id: String, read: Read) -> anyhow::Result<Option<Container>> {
    let directory = Directory { root, id };
    let own = match directory.open() {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        own => own.or_fault(|| Fault::doing(format!("open the state of container {:?}", directory.id)))?,
    };
    with_record(directory, own, read).map(Some)
}

fn with_record(directory: Directory, own: OwnedFd, read: Read) -> anyhow::Result<Container> {
    let owner = fstat(&own)?.st_uid;
    let record = read(own.as_fd()).or_fault(|| Fault::doing(format!("container {:?}", directory.id)))?;
    Ok(Container { directory, own, record, owner })
}

/// The ids of all entries of a root, sorted.
fn ids(root: &OwnedFd) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    list(root.as_fd(), |name, kind| {
        let is_directory = matches!(kind, libc::DT_DIR | libc::DT_UNKNOWN);
        match name.to_str() {
            Ok(name) if is_directory && id::check(name).is_ok() => ids.push(name.to_string()),
            _ => {}
        }
        Ok(())
    })?;
    ids.sort_unstable();
    Ok(ids)
}

fn absent(id: &str) -> anyhow::Error {
    Fault::doing(format!("container {id:?} does not exist"))
        .remedy("see `kase list` for those that do; another user's, or another --root's, are not among them")
        .into()
}

/// Puts a file beside the record: later changes of the bundle must not reach the container.
fn keep(directory: BorrowedFd<'_>, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_bits_truncate(0o600))?;
    Ok(File::from(file).write_all(content)?)
}

/// A container's directory, by its name in the root.
#[derive(Debug)]
pub struct Directory {
    root: Rc<OwnedFd>,
    /// The container's id.
    pub id: String,
}

impl Directory {
    /// Opens it.
    pub fn open(&self) -> nix::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.root, self.id.as_str(), flags, Mode::empty())
    }

    /// Puts a file into it.
    ///
    /// # Errors
    /// Those of openat(2) and write(2).
    pub fn keep(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        keep(self.open()?.as_fd(), name, content)
    }

    /// Makes a file in it that a program writes to.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn log(&self, name: &str) -> nix::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        openat(&self.open()?, name, flags, Mode::from_bits_truncate(0o600)).map(File::from)
    }

    /// Whether the name is still that of `own`, which was opened by it: the id may be another container's by now.
    pub fn is(&self, own: BorrowedFd<'_>) -> bool {
        let same = |now: OwnedFd| {
            let (now, then) = (fstat(now)?, fstat(own)?);
            Ok((now.st_dev, now.st_ino) == (then.st_dev, then.st_ino))
        };
        self.open().and_then(same).unwrap_or(false)
    }

    /// Removes `own`, which was opened by this name, and what is in it. The record goes last, so that an interrupted
    /// removal can be repeated.
    ///
    /// # Errors
    /// Those of unlinkat(2), but not that it is gone already.
    pub fn remove(&self, own: BorrowedFd<'_>) -> anyhow::Result<()> {
        let mut names = Vec::new();
        let whole = openat(own, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        list(whole.as_fd(), |name, _| {
            names.push(name.to_owned());
            Ok(())
        })?;
        let files = |name: &&std::ffi::CString| !matches!(name.to_bytes(), b"." | b".." | b"record");
        for name in names.iter().filter(files) {
            match unlinkat(own, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
                Err(Errno::EISDIR) => {
                    let within = PathBuf::from(format!("/proc/self/fd/{}", own.as_raw_fd()));
                    std::fs::remove_dir_all(within.join(OsStr::from_bytes(name.to_bytes())))?;
                }
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        unlink(own, c"record")?;
        if !self.is(own) {
            return Ok(());
        }
        match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> anyhow::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A claimed id. Removed again when dropped before it is [kept](Entry::keep).
#[derive(Debug)]
pub struct Entry {
    /// The container's directory.
    pub directory: Directory,
    own: OwnedFd,
    journal: Option<Journal>,
    kept: bool,
}

impl Entry {
    /// The journal, which init inherits.
    pub fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the journal is open until the entry is given up")
    }

    /// Lets go of the lock: from now on it is init's alone.
    pub fn release(&mut self) {
        self.journal = None;
    }

    /// The container, though others may have deleted it, and its id be a later container's by now.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn container(&self) -> anyhow::Result<Container> {
        let Directory { root, id } = &self.directory;
        with_record(Directory { root: Rc::clone(root), id: id.clone() }, self.own.try_clone()?, Record::read)
    }

    /// Leaves the entry when this is dropped.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let _alone = super::record::remover(self.own.as_fd());
        if let Err(error) = self.directory.remove(self.own.as_fd()) {
            tracing::warn!("the state of container {:?} is left behind: {error}", self.directory.id);
        }
    }
}
