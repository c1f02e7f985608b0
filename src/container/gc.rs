//! Clears away what a crash or a reboot left: entries that no engine will delete, since none got its container.
//!
//! A container that has stopped is not among them, however long ago: whoever created it deletes it.

use super::record::{self, Complete, Lock, Record};
use super::store::Store;
use super::{Container, boot, delete};
use nix::sys::stat::fstat;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Why an entry is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its creation did not come to its end, and nobody is at it any more.
    Interrupted,
    /// The host was booted since.
    Rebooted,
}

impl Reason {
    /// For the table and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Rebooted => "rebooted",
        }
    }
}

/// Entries that are nobody's, sorted by id. Another user's are told of and passed over.
///
/// # Errors
/// A root that was given and cannot be read.
pub fn find(store: &Store) -> anyhow::Result<impl Iterator<Item = (Container, Reason)> + use<>> {
    let boot = boot();
    Ok(store
        .containers()?
        .filter_map(move |container| reason(&container, &boot).map(|reason| (container, reason)))
        .filter(|(container, _)| is_ours(container)))
}

fn is_ours(container: &Container) -> bool {
    if !container.is_ours() {
        tracing::warn!(
            "{}: is left alone, since its state is user {}'s: run `kase gc` as that user",
            container.id(),
            container.owner
        );
    }
    container.is_ours()
}

fn reason(container: &Container, boot: &str) -> Option<Reason> {
    let Some(record) = &container.record else { return abandoned(container).then_some(Reason::Interrupted) };
    // Without a word of the boot it was made by an older kase, or where none could be had.
    if !boot.is_empty() && !record.facts.boot.is_empty() && record.facts.boot != boot {
        return Some(Reason::Rebooted);
    }
    if record.complete == Complete::Yes || record::creator(container.own.as_fd()).ok()? == Lock::Held {
        return None;
    }
    // Its creator may have come to the end in between. An init may still wait for a start that nobody asks for.
    let now = Record::read(container.own.as_fd()).ok()??;
    (now.complete == Complete::No).then_some(Reason::Interrupted)
}

/// Whether an entry without a record is older than the moment that lies between the two.
fn abandoned(container: &Container) -> bool {
    const LONG: Duration = Duration::from_secs(60);
    let Ok(stat) = fstat(&container.own) else { return false };
    let changed = UNIX_EPOCH + Duration::from_secs(stat.st_mtime.unsigned_abs());
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > LONG)
}

/// Removes one, with its cgroup.
///
/// # Errors
/// What cannot be removed.
pub fn remove(container: &Container, reason: Reason) -> anyhow::Result<()> {
    match reason {
        Reason::Interrupted => delete::remove(container),
        // No process or cgroup outlives a boot: what now has that id or name is somebody else's.
        Reason::Rebooted => {
            container.directory.remove(container.own.as_fd())?;
            delete::poststop(container);
            Ok(())
        }
    }
}
