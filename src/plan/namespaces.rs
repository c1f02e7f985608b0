//! Which namespaces are made, which are joined, and whether that needs a hop.

use crate::fault::{Fault, Place};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use std::path::Path;

/// A kind of namespace, in the order in which they are joined: `mount` last, since it changes what paths
/// mean, and `user` apart, since it changes what may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// user_namespaces(7).
    User,
    /// pid_namespaces(7).
    Pid,
    /// network_namespaces(7).
    Network,
    /// ipc_namespaces(7).
    Ipc,
    /// uts_namespaces(7).
    Uts,
    /// cgroup_namespaces(7).
    Cgroup,
    /// time_namespaces(7).
    Time,
    /// mount_namespaces(7).
    Mount,
}

impl Kind {
    /// Every kind, in joining order.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Pid, Self::Network, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time, Self::Mount];

    /// The CLONE_NEW* flag.
    pub const fn flag(self) -> u64 {
        (match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => 0x80,
            Self::Mount => libc::CLONE_NEWNS,
        }) as u64
    }

    /// The specification's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
            Self::Mount => "mount",
        }
    }

    fn of(typ: LinuxNamespaceType) -> Self {
        match typ {
            LinuxNamespaceType::User => Self::User,
            LinuxNamespaceType::Pid => Self::Pid,
            LinuxNamespaceType::Network => Self::Network,
            LinuxNamespaceType::Ipc => Self::Ipc,
            LinuxNamespaceType::Uts => Self::Uts,
            LinuxNamespaceType::Cgroup => Self::Cgroup,
            LinuxNamespaceType::Time => Self::Time,
            LinuxNamespaceType::Mount => Self::Mount,
        }
    }
}

/// A namespace that exists and is entered by its path.
#[derive(Debug, Clone, Copy)]
pub struct Join<'spec> {
    /// What the path must be.
    pub kind: Kind,
    /// Such as `/proc/42/ns/net` or `/run/netns/blue`.
    pub path: &'spec Path,
    /// `linux.namespaces[i].path`.
    pub at: Place,
}

/// A clock of a new time namespace, `linux.timeOffsets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// `monotonic` or `boottime`.
    pub clock: &'static str,
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The container's namespaces; a kind in neither list is shared with kase.
#[derive(Debug, Default)]
pub struct Namespaces<'spec> {
    /// CLONE_NEW* flags of those that are made.
    new: u64,
    /// Those that are joined, in joining order.
    pub joined: Vec<Join<'spec>>,
    /// Clocks of the new time namespace.
    pub offsets: Vec<Offset>,
}

impl<'spec> Namespaces<'spec> {
    /// Sorts `linux.namespaces` into made and joined.
    ///
    /// # Errors
    /// A kind that is listed twice, a relative path.
    pub fn decide(listed: &'spec [LinuxNamespace]) -> Result<Self, Fault> {
        let mut namespaces = Self::default();
        for (index, entry) in listed.iter().enumerate() {
            let at = Place::nth("linux.namespaces", index);
            let kind = Kind::of(entry.typ());
            if namespaces.has(kind) {
                return Err(Fault::at(at, format!("the {} namespace is listed twice", kind.word()))
                    .remedy("leave one of the two entries out"));
            }
            match entry.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
                None => namespaces.new |= kind.flag(),
                Some(path) if path.is_absolute() => {
                    namespaces.joined.push(Join { kind, path, at: at.field(".path") });
                }
                Some(path) => {
                    return Err(Fault::at(
                        at.field(".path"),
                        format!("{} is not an absolute path", path.display()),
                    )
                    .remedy("name the namespace's file by its whole path, as in /proc/42/ns/net"));
                }
            }
        }
        let order = |join: &Join<'_>| Kind::ALL.iter().position(|kind| *kind == join.kind);
        namespaces.joined.sort_by_key(order);
        Ok(namespaces)
    }

    /// Adds a new namespace that config.json did not ask for.
    pub fn add(&mut self, kind: Kind) {
        self.new |= kind.flag();
    }

    /// The CLONE_NEW* flags of the namespaces that are made or joined.
    pub fn all(&self) -> u64 {
        self.joined.iter().fold(self.new, |flags, join| flags | join.kind.flag())
    }

    /// The CLONE_NEW* flags of the namespaces that are made.
    pub fn made(&self) -> u64 {
        self.new
    }

    /// Whether a new one of this kind is made.
    pub fn makes(&self, kind: Kind) -> bool {
        self.new & kind.flag() != 0
    }

    /// The one of this kind that is joined.
    pub fn join(&self, kind: Kind) -> Option<&Join<'spec>> {
        self.joined.iter().find(|join| join.kind == kind)
    }

    /// Whether the container has one of this kind that is not kase's own.
    pub fn has(&self, kind: Kind) -> bool {
        self.makes(kind) || self.join(kind).is_some()
    }

    /// Whether init goes into a pid namespace that others are in already.
    pub fn joins_pid(&self) -> bool {
        self.join(Kind::Pid).is_some()
    }

    /// Whether a process must go ahead of init, because the kernel lets a process enter some namespaces only
    /// through its children (`pid`, and `time` once its offsets are set), or in an order that one clone3
    /// cannot give (a join before a new `user` namespace, anything after a joined one).
    pub fn needs_hop(&self) -> bool {
        self.join(Kind::User).is_some()
            || self.join(Kind::Pid).is_some()
            || self.join(Kind::Time).is_some()
            || !self.offsets.is_empty()
            || (self.makes(Kind::User) && !self.joined.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxNamespaceBuilder;

    fn entry(typ: LinuxNamespaceType, path: Option<&str>) -> LinuxNamespace {
        let builder = LinuxNamespaceBuilder::default().typ(typ);
        match path {
            Some(path) => builder.path(path).build().unwrap(),
            None => builder.build().unwrap(),
        }
    }

    #[test]
    fn the_hop_table() {
        use LinuxNamespaceType::{Network, Pid, Time, User};
        type Entries<'a> = &'a [(LinuxNamespaceType, Option<&'a str>)];
        let table: [(Entries<'_>, bool); 9] = [
            (&[], false),
            (&[(User, None), (Pid, None), (Network, None)], false),
            (&[(Network, Some("/n"))], false),
            (&[(Pid, Some("/p"))], true),
            (&[(User, Some("/u"))], true),
            (&[(Time, None)], false),
            (&[(Time, Some("/t"))], true),
            (&[(User, None), (Network, Some("/n"))], true),
            (&[(User, None), (Pid, Some("/p"))], true),
        ];
        for (list, hop) in table {
            let listed: Vec<_> = list.iter().map(|(typ, path)| entry(*typ, *path)).collect();
            assert_eq!(Namespaces::decide(&listed).unwrap().needs_hop(), hop, "{list:?}");
        }
    }

    #[test]
    fn a_new_time_namespace_needs_a_hop_only_with_offsets() {
        let listed = [entry(LinuxNamespaceType::Time, None)];
        let mut namespaces = Namespaces::decide(&listed).unwrap();
        namespaces.offsets.push(Offset { clock: "monotonic", seconds: 1, nanoseconds: 0 });
        assert!(namespaces.needs_hop());
    }

    #[test]
    fn a_namespace_listed_twice_is_refused_by_its_index() {
        let listed = [entry(LinuxNamespaceType::Pid, None), entry(LinuxNamespaceType::Pid, Some("/p"))];
        let fault = Namespaces::decide(&listed).unwrap_err();
        assert_eq!(fault.to_string(), "linux.namespaces[1]: the pid namespace is listed twice");
    }

    #[test]
    fn the_user_namespace_is_joined_first_and_mount_last() {
        use LinuxNamespaceType::{Mount, User, Uts};
        let listed = [entry(Mount, Some("/m")), entry(Uts, Some("/u")), entry(User, Some("/s"))];
        let kinds: Vec<_> =
            Namespaces::decide(&listed).unwrap().joined.iter().map(|join| join.kind).collect();
        assert_eq!(kinds, [Kind::User, Kind::Uts, Kind::Mount]);
    }
}
