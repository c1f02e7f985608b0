//! Which cgroup hierarchies the host has, and where we are in each.

use crate::fault::{Fault, OrFault};
use crate::host::hierarchies::{self, Hierarchy};
use crate::kernel::text::read_text;
use crate::plan::cgroup::Version;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;

/// Where they are mounted.
pub const MOUNT: &str = hierarchies::USUAL;

/// The hierarchies. The version is known at once, the rest is read when first asked for.
#[derive(Debug)]
pub struct Layout {
    version: Option<Version>,
    hierarchies: OnceCell<Rc<[Hierarchy]>>,
}

impl Layout {
    /// Looks: one statfs(2).
    ///
    /// # Errors
    /// /sys/fs/cgroup that is there and cannot be looked at: a container without the cgroup that its config asks for
    /// is no answer to that.
    pub fn look() -> anyhow::Result<Self> {
        let version = match statfs(MOUNT).map(|stats| stats.filesystem_type()) {
            Ok(CGROUP2_SUPER_MAGIC) => Some(Version::V2),
            Ok(TMPFS_MAGIC) => Some(Version::V1),
            // A plain directory of sysfs, or nothing at all.
            Ok(_) | Err(nix::Error::ENOENT | nix::Error::ENOTDIR) => None,
            Err(error) => {
                return Err(error).or_fault(|| {
                    Fault::doing(format!("see which cgroups are mounted at {MOUNT}"))
                        .remedy(format!("see what `stat -f {MOUNT}` says, as the same user"))
                });
            }
        };
        Ok(Self { version, hierarchies: OnceCell::new() })
    }

    /// Which version has the controllers; nothing on a host without cgroups.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The version as a word for people.
    pub fn words(&self) -> Option<&'static str> {
        self.version.map(|version| match version {
            Version::V2 => "2",
            Version::V1 => "1, whose limits root has, and a user where root gave directories",
        })
    }

    /// Whether the one tree of v2 has the controllers.
    pub fn is_unified(&self) -> bool {
        self.version == Some(Version::V2)
    }

    /// The hierarchies of v1 that are mounted, with the tree beside them: nothing on another host.
    pub fn v1(&self) -> anyhow::Result<Option<Rc<[Hierarchy]>>> {
        if self.version == Some(Version::V1) { self.all().map(Rc::clone).map(Some) } else { Ok(None) }
    }

    /// The hierarchies that containers get a cgroup in. A v1 host may have a v2 tree beside them, which is the last
    /// then.
    pub fn hierarchies(&self) -> anyhow::Result<impl Iterator<Item = &Hierarchy>> {
        Ok(self.all()?.iter().filter(|hierarchy| hierarchy.is_for_containers()))
    }

    fn all(&self) -> anyhow::Result<&Rc<[Hierarchy]>> {
        if let Some(known) = self.hierarchies.get() {
            return Ok(known);
        }
        let read = |path: &str| {
            read_text(path).or_fault(|| Fault::doing(format!("read {path}")).remedy("mount /proc"))
        };
        let own = read("/proc/self/cgroup")?;
        let found = match self.version {
            None => Vec::new(),
            Some(Version::V2) => vec![hierarchies::unified(&own, Path::new(MOUNT), Path::new("/"))],
            Some(Version::V1) => hierarchies::parse(&read("/proc/self/mountinfo")?, &own),
        };
        Ok(self.hierarchies.get_or_init(|| found.into()))
    }

    /// A layout that is told, for tests in a part of a tree.
    #[cfg(test)]
    pub fn assumed(version: Version, hierarchies: Vec<Hierarchy>) -> Self {
        Self { version: Some(version), hierarchies: OnceCell::from(Rc::from(hierarchies)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_layout() {
        let layout = Layout::look().unwrap();
        assert_eq!(layout.version().is_none(), layout.hierarchies().unwrap().next().is_none());
    }
}
