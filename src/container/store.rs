//! The directory that holds one directory for each container, and who may have which id.

use super::directory::{self, Directory};
use super::listed::Listed;
use super::locks::{Remover, deleted, is_awaited_by_remover};
use super::record::{Facts, Journal, Record, Text};
use super::state::Owners;
use super::{Container, Read, id};
use crate::cgroup::Host;
use crate::fault::{Fault, OrFault};
use crate::kernel::listing::list;
use nix::errno::Errno;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use rootless::caller::Caller;
use rootless::state_dir::{self, StateDir};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
        match mkdirat(&root, id, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {
                return Err(Fault::doing("container with given ID already exists")
                    .remedy(format!("choose another id, or remove that container: kase delete --force {id}"))
                    .into());
            }
            made => {
                made.or_write_fault(|| Fault::doing(format!("make {}", self.root.join(id).display())))?;
            }
        }
        let directory = Directory::of(Rc::new(root), id.to_string());
        let own = directory.open().or_fault(|| Fault::doing("open the container's new state directory"));
        let own = own.inspect_err(|_| {
            // What is in use by now is somebody else's.
            let _ = unlinkat(directory.root(), id, UnlinkatFlags::RemoveDir);
        })?;
        let mut entry = Entry { directory, own, journal: None, kept: false };
        entry.journal = Some(Journal::begin(entry.own.as_fd(), &facts)?);
        directory::keep(entry.own.as_fd(), "config.json", config)?;
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

    /// As [`look`](Self::look), without a look at its record: for whoever waits until nobody else is at it.
    pub fn unread(&self, id: &str) -> anyhow::Result<Option<Container>> {
        id::check(id)?;
        self.look_with(id, |_| Ok(None))
    }

    fn look_with(&self, id: &str, read: Read) -> anyhow::Result<Option<Container>> {
        match self.open()? {
            None => Ok(None),
            Some(root) => look(Rc::new(root), id.to_string(), read),
        }
    }

    /// All containers, sorted by id, each looked at when its turn comes: a thousand may be more than there may be
    /// open descriptors. One that has gone meanwhile is left out.
    ///
    /// # Errors
    /// A root that was given and cannot be read; in an item, a container that cannot be.
    pub fn containers(&self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Container>> + use<>> {
        let Some(root) = self.open_if_there()? else { return Ok(None.into_iter().flatten()) };
        let ids = ids(&root)?;
        let root = Rc::new(root);
        let containers =
            ids.into_iter().filter_map(move |id| look(Rc::clone(&root), id, Record::read).transpose());
        Ok(Some(containers).into_iter().flatten())
    }

    /// Reads what `list` shows of every container, sorted by id, or why it cannot be read, for `tell`. An entry whose
    /// creation has not got as far as a record is nobody's container yet.
    ///
    /// # Errors
    /// A root that was given and cannot be read; those of `tell`.
    pub fn list(
        &self,
        mut tell: impl FnMut(anyhow::Result<&Listed<'_>>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Some(root) = self.open_if_there()? else { return Ok(()) };
        let mut text = Text::default();
        let mut owners = Owners::default();
        let host = Host::open();
        for id in ids(&root)? {
            let found = text.read_part(root.as_fd(), &id).and_then(|found| {
                let Some((record, owner)) = found else { return Ok(None) };
                anyhow::Ok(Some((Record::of_this_boot(record)?, owner)))
            });
            match found.or_fault(|| Fault::doing(format!("container {id:?}"))) {
                Ok(None) => {}
                Ok(Some((record, owner))) => {
                    let (id, owner, root) = (&id, owners.name(owner), root.as_fd());
                    tell(Ok(&Listed { id, owner, record: &record, host: &host, root }))?;
                }
                Err(error) => tell(Err(error))?,
            }
        }
        Ok(())
    }

    /// The ids of all entries, sorted.
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

fn look(root: Rc<OwnedFd>, id: String, read: Read) -> anyhow::Result<Option<Container>> {
    let directory = Directory::of(root, id);
    let own = match directory.open() {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        own => own.or_fault(|| Fault::doing(format!("open the state of container {:?}", directory.id)))?,
    };
    Container::read(directory, own, read).map(Some)
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
    })?;
    ids.sort_unstable();
    Ok(ids)
}

/// There is none, in the words that engines look for.
pub fn absent(id: &str) -> anyhow::Error {
    Fault::doing(format!("container {id:?} does not exist"))
        .remedy("see `kase list` for those that do; another user's, or another --root's, are not among them")
        .into()
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
    /// Those of its state, which init must not have.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        [self.directory.root(), self.own.as_fd(), self.journal().fd()]
    }

    /// Writes down that the container is ready.
    ///
    /// # Errors
    /// It was deleted meanwhile, or the record cannot be written.
    pub fn ready(&self) -> anyhow::Result<()> {
        // Of a creation and a deletion at once, one succeeds.
        if !self.directory.is(self.own.as_fd())? || is_awaited_by_remover(self.journal().fd())? {
            return Err(deleted());
        }
        self.journal().ready()
    }

    /// The journal, while it is being created.
    pub fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the journal is open until the entry is given up")
    }

    /// Lets go of the lock: from now on it may be deleted.
    pub fn release(&mut self) {
        self.journal = None;
    }

    /// The container, its record unread. Others may have deleted it, and its id be a later container's by now.
    pub fn container(&self) -> anyhow::Result<Container> {
        Container::read(self.directory.clone(), self.own.try_clone()?, |_| Ok(None))
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
        // Its creator's lock is as good. Where there was none, and none can be had, nothing is in it that is at odds
        // with whoever else removes it.
        let _alone = match self.journal {
            Some(_) => None,
            None => Remover::of(self.own.as_fd()).ok().flatten(),
        };
        if let Err(error) = self.directory.remove(self.own.as_fd()) {
            tracing::warn!("the state of container {:?} is left behind: {error:#}", self.directory.id);
        }
    }
}
