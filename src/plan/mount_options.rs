//! The words in `mounts[].options`, sorted into what the kernel does with each.

use crate::kernel::mount::{Attributes, Propagation, Reach, attribute};
use libc::c_ulong;

/// All options of one mount.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Options<'spec> {
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it (the `r…` words).
    pub recursive: Attributes,
    /// MS_* bits of the file system as a whole, which only a new one or a remount takes.
    pub super_flags: c_ulong,
    /// Changes of propagation, in their order.
    pub propagation: Vec<(Propagation, Reach)>,
    /// `bind`, `rbind`.
    pub bind: Option<Reach>,
    /// `idmap`, `ridmap`.
    pub idmap: Option<Reach>,
    /// Extensions of mount's behaviour.
    pub extension: Extension,
    /// Whether `remount` was among them: the mount is there, and is changed.
    pub remount: bool,
    /// What is left: the file system's own options.
    pub data: Vec<&'spec str>,
}

/// What becomes of what is there already.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    #[default]
    None,
    /// A new tmpfs begins with what the mount point held.
    CopyUp,
    /// A source that is a symlink is made again, not followed.
    CopySymlink,
}

enum Word {
    Set(u64),
    Clear(u64),
    Atime(u64),
    NotNoatime,
    RecursiveSet(u64),
    RecursiveClear(u64),
    RecursiveAtime(u64),
    Super(c_ulong),
    NotSuper(c_ulong),
    Propagate(Propagation, Reach),
    Bind(Reach),
    IdMap(Reach),
    Remount,
    Extend(Extension),
    Nothing,
}

/// Every word that kase knows, for `features` too. A few name what is the kernel's default or is gone from
/// it; mount(8) and runc accept them.
const WORDS: &[(&str, Word)] = &[
    ("async", Word::NotSuper(libc::MS_SYNCHRONOUS)),
    ("atime", Word::NotNoatime),
    ("bind", Word::Bind(Reach::One)),
    ("copy-symlink", Word::Extend(Extension::CopySymlink)),
    ("defaults", Word::Nothing),
    ("dev", Word::Clear(attribute::NODEV)),
    ("diratime", Word::Clear(attribute::NODIRATIME)),
    ("dirsync", Word::Super(libc::MS_DIRSYNC)),
    ("exec", Word::Clear(attribute::NOEXEC)),
    ("idmap", Word::IdMap(Reach::One)),
    ("iversion", Word::Super(libc::MS_I_VERSION)),
    ("lazytime", Word::Super(MS_LAZYTIME)),
    ("loud", Word::NotSuper(libc::MS_SILENT)),
    ("mand", Word::Super(libc::MS_MANDLOCK)),
    ("noatime", Word::Atime(attribute::NOATIME)),
    ("nodev", Word::Set(attribute::NODEV)),
    ("nodiratime", Word::Set(attribute::NODIRATIME)),
    ("noexec", Word::Set(attribute::NOEXEC)),
    ("noiversion", Word::NotSuper(libc::MS_I_VERSION)),
    ("nolazytime", Word::NotSuper(MS_LAZYTIME)),
    ("nomand", Word::NotSuper(libc::MS_MANDLOCK)),
    ("norelatime", Word::Nothing),
    ("nostrictatime", Word::Nothing),
    ("nosuid", Word::Set(attribute::NOSUID)),
    ("nosymfollow", Word::Set(attribute::NOSYMFOLLOW)),
    ("private", Word::Propagate(Propagation::Private, Reach::One)),
    ("ratime", Word::RecursiveAtime(0)),
    ("rbind", Word::Bind(Reach::Recursive)),
    ("rdev", Word::RecursiveClear(attribute::NODEV)),
    ("rdiratime", Word::RecursiveClear(attribute::NODIRATIME)),
    ("relatime", Word::Atime(0)),
    ("remount", Word::Remount),
    ("rexec", Word::RecursiveClear(attribute::NOEXEC)),
    ("ridmap", Word::IdMap(Reach::Recursive)),
    ("rnoatime", Word::RecursiveAtime(attribute::NOATIME)),
    ("rnodev", Word::RecursiveSet(attribute::NODEV)),
    ("rnodiratime", Word::RecursiveSet(attribute::NODIRATIME)),
    ("rnoexec", Word::RecursiveSet(attribute::NOEXEC)),
    ("rnorelatime", Word::Nothing),
    ("rnostrictatime", Word::Nothing),
    ("rnosuid", Word::RecursiveSet(attribute::NOSUID)),
    ("rnosymfollow", Word::RecursiveSet(attribute::NOSYMFOLLOW)),
    ("ro", Word::Set(attribute::RDONLY)),
    ("rprivate", Word::Propagate(Propagation::Private, Reach::Recursive)),
    ("rrelatime", Word::RecursiveAtime(0)),
    ("rro", Word::RecursiveSet(attribute::RDONLY)),
    ("rrw", Word::RecursiveClear(attribute::RDONLY)),
    ("rshared", Word::Propagate(Propagation::Shared, Reach::Recursive)),
    ("rslave", Word::Propagate(Propagation::Slave, Reach::Recursive)),
    ("rstrictatime", Word::RecursiveAtime(attribute::STRICTATIME)),
    ("rsuid", Word::RecursiveClear(attribute::NOSUID)),
    ("rsymfollow", Word::RecursiveClear(attribute::NOSYMFOLLOW)),
    ("runbindable", Word::Propagate(Propagation::Unbindable, Reach::Recursive)),
    ("rw", Word::Clear(attribute::RDONLY)),
    ("shared", Word::Propagate(Propagation::Shared, Reach::One)),
    ("silent", Word::Super(libc::MS_SILENT)),
    ("slave", Word::Propagate(Propagation::Slave, Reach::One)),
    ("strictatime", Word::Atime(attribute::STRICTATIME)),
    ("suid", Word::Clear(attribute::NOSUID)),
    ("symfollow", Word::Clear(attribute::NOSYMFOLLOW)),
    ("sync", Word::Super(libc::MS_SYNCHRONOUS)),
    ("tmpcopyup", Word::Extend(Extension::CopyUp)),
    ("unbindable", Word::Propagate(Propagation::Unbindable, Reach::One)),
];

/// The words, sorted.
pub fn known() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word)
}

impl<'spec> Options<'spec> {
    /// The words that say what is left of all of them.
    pub fn flags(&self) -> Vec<&'static str> {
        let atime = |change: Attributes, kind: u64| {
            change.clear & attribute::ATIME != 0 && change.set & attribute::ATIME == kind
        };
        let holds = |word: &Word| match *word {
            Word::Set(bit) => self.attributes.set & bit != 0,
            Word::Clear(bit) => self.attributes.clear & bit != 0 && self.attributes.set & bit == 0,
            Word::Atime(kind) => atime(self.attributes, kind),
            Word::RecursiveSet(bit) => self.recursive.set & bit != 0,
            Word::RecursiveClear(bit) => self.recursive.clear & bit != 0 && self.recursive.set & bit == 0,
            Word::RecursiveAtime(kind) => atime(self.recursive, kind),
            Word::Super(bit) => self.super_flags & bit != 0,
            Word::Propagate(propagation, reach) => self.propagation.contains(&(propagation, reach)),
            Word::IdMap(reach) => self.idmap == Some(reach),
            Word::Remount => self.remount,
            Word::Extend(extension) => self.extension == extension,
            // Binding is not how, but what; the others ask for what is so anyway.
            Word::Bind(_) | Word::NotSuper(_) | Word::NotNoatime | Word::Nothing => false,
        };
        WORDS.iter().filter(|(_, word)| holds(word)).map(|(name, _)| *name).collect()
    }

    /// Sorts the words of one mount. Of contradicting words the later wins; an unknown one belongs to the
    /// file system, which will say so if it does not know it either.
    pub fn sort(words: impl IntoIterator<Item = &'spec str>) -> Self {
        let mut options = Self::default();
        for word in words {
            let Ok(found) = WORDS.binary_search_by_key(&word, |(known, _)| known) else {
                // Podman 5 sends an empty word among others, which asks for nothing.
                options.data.extend((!word.is_empty()).then_some(word));
                continue;
            };
            match WORDS[found].1 {
                Word::Set(bit) => set(&mut options.attributes, bit),
                Word::Clear(bit) => clear(&mut options.attributes, bit),
                Word::Atime(kind) => atime(&mut options.attributes, kind),
                Word::NotNoatime => not_noatime(&mut options.attributes),
                Word::RecursiveSet(bit) => set(&mut options.recursive, bit),
                Word::RecursiveClear(bit) => clear(&mut options.recursive, bit),
                Word::RecursiveAtime(kind) => atime(&mut options.recursive, kind),
                Word::Super(bit) => options.super_flags |= bit,
                Word::NotSuper(bit) => options.super_flags &= !bit,
                Word::Propagate(propagation, reach) => options.propagation.push((propagation, reach)),
                // As the MS_REC of mount(2), which no later word takes away.
                Word::Bind(reach) if options.bind != Some(Reach::Recursive) => options.bind = Some(reach),
                Word::Bind(_) => {}
                Word::IdMap(reach) => options.idmap = Some(reach),
                Word::Remount => options.remount = true,
                Word::Extend(extension) => options.extension = extension,
                Word::Nothing => {}
            }
        }
        options
    }

    /// The MS_* bits for mount(2) of a new file system.
    pub fn mount_flags(&self) -> c_ulong {
        let set = self.attributes.set;
        let pairs = [
            (attribute::RDONLY, libc::MS_RDONLY),
            (attribute::NOSUID, libc::MS_NOSUID),
            (attribute::NODEV, libc::MS_NODEV),
            (attribute::NOEXEC, libc::MS_NOEXEC),
            (attribute::NODIRATIME, libc::MS_NODIRATIME),
            (attribute::NOSYMFOLLOW, MS_NOSYMFOLLOW),
        ];
        let mut flags = self.super_flags;
        for (attribute, flag) in pairs {
            if set & attribute != 0 {
                flags |= flag;
            }
        }
        flags
            | match set & attribute::ATIME {
                attribute::NOATIME => libc::MS_NOATIME,
                attribute::STRICTATIME => libc::MS_STRICTATIME,
                _ => libc::MS_RELATIME,
            }
    }
}

fn set(change: &mut Attributes, bit: u64) {
    change.set |= bit;
    change.clear &= !bit;
}

fn clear(change: &mut Attributes, bit: u64) {
    change.clear |= bit;
    change.set &= !bit;
}

/// The three kinds are one field: to set one, mount_setattr(2) wants the field cleared.
fn atime(change: &mut Attributes, kind: u64) {
    change.set = change.set & !attribute::ATIME | kind;
    change.clear |= attribute::ATIME;
}

/// Takes an earlier `noatime` back. By itself it asks for no kind, as in mount(8).
fn not_noatime(change: &mut Attributes) {
    if change.set & attribute::ATIME == attribute::NOATIME {
        change.set &= !attribute::ATIME;
        change.clear &= !attribute::ATIME;
    }
}

/// Not in libc.
const MS_LAZYTIME: c_ulong = 1 << 25;
const MS_NOSYMFOLLOW: c_ulong = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_sorted_for_the_search() {
        assert!(WORDS.is_sorted_by_key(|(word, _)| word));
    }

    #[test]
    fn the_later_of_two_contradicting_words_wins() {
        assert_eq!(Options::sort(["ro", "rw"]).attributes, Attributes { set: 0, clear: attribute::RDONLY });
        assert_eq!(Options::sort(["rw", "ro"]).attributes, Attributes { set: attribute::RDONLY, clear: 0 });
    }

    #[test]
    fn an_access_time_kind_clears_the_whole_field() {
        let change = Options::sort(["strictatime", "noatime"]).attributes;
        assert_eq!(change, Attributes { set: attribute::NOATIME, clear: attribute::ATIME });
    }

    #[test]
    fn atime_alone_asks_for_nothing() {
        assert_eq!(Options::sort(["atime"]).attributes, Attributes::default());
        assert_eq!(Options::sort(["noatime", "atime"]).attributes, Attributes::default());
        assert_eq!(Options::sort(["strictatime", "atime"]).attributes.set, attribute::STRICTATIME);
    }

    #[test]
    fn a_word_of_the_file_system_is_passed_on() {
        let options = Options::sort(["nosuid", "size=64k", "mode=755"]);
        assert_eq!(options.data, ["size=64k", "mode=755"]);
        assert_eq!(options.mount_flags(), libc::MS_NOSUID | libc::MS_RELATIME);
    }
}
