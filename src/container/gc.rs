//! Clears away what a crash or a reboot left: entries that no engine will delete, since none got its container.
//!
//! A container that has stopped is not among them, however long ago: whoever created it deletes it.

use super::Container;
use super::identity::boot;
use super::locks::Lock;
use super::record::Complete;
use super::store::Store;
use nix::sys::stat::fstat;
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
/// A root that was given and cannot be read; in an item, an entry that cannot be.
pub fn find(
    store: &Store,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(Container, Reason)>> + use<>> {
    let found = |container: Container| anyhow::Ok(reason(&container)?.map(|reason| (container, reason)));
    Ok(store
        .containers()?
        .filter_map(move |container| container.and_then(found).transpose())
        .filter(|found| found.as_ref().is_ok_and(|(container, _)| is_ours(container)) || found.is_err()))
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

fn reason(container: &Container) -> anyhow::Result<Option<Reason>> {
    let Some(record) = &container.record else {
        return Ok(abandoned(container)?.then_some(Reason::Interrupted));
    };
    let (now, then) = (boot()?, &record.facts.boot);
    // Records of older versions have no id of the boot, nor have those of hosts on which it could not be read.
    if !now.is_empty() && !then.is_empty() && then != now {
        return Ok(Some(Reason::Rebooted));
    }
    // The init of an interrupted creation may still wait for a start that will not come.
    Ok((record.complete == Complete::No && record.lock == Lock::Free).then_some(Reason::Interrupted))
}

/// Whether an entry without a record is older than the moment that lies between the two.
fn abandoned(container: &Container) -> anyhow::Result<bool> {
    const LONG: Duration = Duration::from_secs(60);
    let changed = UNIX_EPOCH + Duration::from_secs(fstat(&container.own)?.st_mtime.unsigned_abs());
    Ok(SystemTime::now().duration_since(changed).is_ok_and(|age| age > LONG))
}
