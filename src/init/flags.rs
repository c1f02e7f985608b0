//! The flags of bind mounts: what an entry asks for, beside what the host has locked.

use crate::fault::{Fault, OrFault};
use crate::kernel::mount::{self, Attributes, Reach, attribute};
use crate::plan::mounts::{Mount, What};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

/// Whether a bind mount may take away the flags that its source has on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Init has the host's privileges.
    Free,
    /// A user namespace's root may not. The kernel sees to it for trees that init clones; those that kase cloned
    /// for it have the same flags in the end, so that it does not matter which.
    Locked,
}

/// A bare bind keeps its source's flags. Any flag given clears the others, as `mount --bind -o` suggests, but
/// not how access times are kept, and not what is locked, because it came from a more privileged mount namespace.
pub fn bind(mount: &Mount<'_>, tree: BorrowedFd<'_>, flags: Flags) -> anyhow::Result<()> {
    const CLEARED: u64 =
        attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC | attribute::NOSYMFOLLOW;
    let given = mount.options.attributes;
    if !given.is_empty() {
        let clear = given.clear | CLEARED | access_times(given);
        let all = Attributes { set: given.set, clear: clear & !(given.set & !attribute::ATIME) };
        // What the container has made itself is locked by nobody.
        let own = matches!(mount.what, What::Inside { .. });
        match flags {
            Flags::Locked if !own => keep_locked(mount, tree, all),
            Flags::Locked | Flags::Free => change(mount, tree, all),
        }
        .or_fault(|| Fault::at(mount.at.field(".options"), "set the mount's flags"))?;
    }
    let recursive = mount.options.recursive;
    if recursive.is_empty() {
        return Ok(());
    }
    mount::set_attributes(tree, recursive, Reach::Recursive).map_err(|error| {
        let at = mount.at.field(".options");
        match error.kind() {
            ErrorKind::PermissionDenied => {
                Fault::at(at, "the host has locked a flag of the mount, or of one below it").remedy(
                    "leave out the words that change it: rrw, rdev, rsuid, rexec and those of access times",
                )
            }
            _ => Fault::at(at, "set the flags of the mount and of all below it"),
        }
        .caused_by(error)
    })
}

/// What a change of how access times are kept clears: both words of it belong together, as in mount(2).
fn access_times(given: Attributes) -> u64 {
    let changes = given.clear & attribute::ATIME != 0 || given.set & attribute::NODIRATIME != 0;
    if changes { ACCESS_TIMES } else { 0 }
}

pub const ACCESS_TIMES: u64 = attribute::ATIME | attribute::NODIRATIME;

/// Changes a mount's flags, but for those that the host has locked.
pub fn change(mount: &Mount<'_>, mounted: BorrowedFd<'_>, wanted: Attributes) -> io::Result<()> {
    match mount::set_attributes(mounted, wanted, Reach::One) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => keep_locked(mount, mounted, wanted),
        done => done,
    }
}

/// Changes what can be changed of a mount that the host has made: a user namespace can neither take away its flags nor
/// keep access times in another way. Engines write `rw` and `relatime` without a look at the host, so that this is no
/// error; but it is told.
fn keep_locked(mount: &Mount<'_>, mounted: BorrowedFd<'_>, wanted: Attributes) -> io::Result<()> {
    const LOCKED: u64 = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let there = mount::attributes(mounted)?;
    let kept = kept(mount.options.attributes, there);
    if !kept.is_empty() {
        tracing::warn!(
            "{}: {} stays {}: the host has mounted it so",
            mount.at.field(".options"),
            mount.destination.display(),
            kept.join(" and ")
        );
    }
    let locked = there & LOCKED;
    let change = Attributes {
        set: (wanted.set | locked) & !ACCESS_TIMES,
        clear: wanted.clear & !locked & !ACCESS_TIMES,
    };
    mount::set_attributes(mounted, change, Reach::One)
}

/// The words of what a mount is and was asked not to be.
fn kept(asked: Attributes, there: u64) -> Vec<&'static str> {
    let loosened = [
        (attribute::RDONLY, "ro"),
        (attribute::NOSUID, "nosuid"),
        (attribute::NODEV, "nodev"),
        (attribute::NOEXEC, "noexec"),
        (attribute::NODIRATIME, "nodiratime"),
    ];
    let mut words: Vec<_> = loosened
        .into_iter()
        .filter_map(|(bit, word)| (asked.clear & there & bit != 0).then_some(word))
        .collect();
    if asked.clear & attribute::ATIME != 0 && (asked.set ^ there) & attribute::ATIME != 0 {
        words.push(match there & attribute::ATIME {
            attribute::NOATIME => "noatime",
            attribute::STRICTATIME => "strictatime",
            _ => "relatime",
        });
    }
    if asked.set & attribute::NODIRATIME != 0 && there & (attribute::NODIRATIME | attribute::NOATIME) == 0 {
        words.push("diratime");
    }
    words
}
