//! Who calls: root, the root of a user namespace, or an ordinary user.

use std::cell::OnceCell;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;

use nix::unistd::{getegid, geteuid};

use crate::id_map::{IdMap, IdMaps, Line};
use crate::sysroot::{Sysroot, Unreadable};

/// The inode of the initial user namespace in nsfs. It is the same on every kernel since 3.8 and is
/// `USER_NS_INIT_INO` in <linux/nsfs.h>.
pub const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What the caller is allowed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Effective uid 0 in the initial user namespace.
    Root,
    /// Effective uid 0 in any other user namespace: it rules over the ids that are mapped there.
    NamespaceRoot,
    /// Any other effective uid.
    User,
}

/// The process that calls, by its effective ids.
///
/// The name is found out when first asked for, and once; so are the maps, but for those of a namespace's root.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the caller is allowed to be.
    pub standing: Standing,
    /// The effective uid, as seen in the caller's own user namespace.
    pub uid: u32,
    /// The effective gid, as seen in the caller's own user namespace.
    pub gid: u32,
    name: OnceCell<Option<String>>,
    maps: OnceCell<IdMaps>,
}

impl Caller {
    /// Looks at this process.
    ///
    /// The initial user namespace is told by its inode, not by `/proc/self/uid_map` being
    /// `0 0 4294967295`: a namespace may map everything to itself and still be root over nothing
    /// outside (systemd's `PrivateUsers=full`).
    ///
    /// # Errors
    /// Effective uid 0, and a file in `/proc/self` that would tell over what it rules cannot be read.
    pub fn look() -> Result<Self, Unreadable> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let standing = match uid {
            0 if in_initial_namespace()? => Standing::Root,
            0 => Standing::NamespaceRoot,
            _ => Standing::User,
        };
        let caller = Self::assumed(standing, uid, gid);
        if standing == Standing::NamespaceRoot {
            caller.maps()?;
        }
        Ok(caller)
    }

    /// A caller of these facts, without looking: for planning and for tests.
    #[must_use]
    pub fn assumed(standing: Standing, uid: u32, gid: u32) -> Self {
        Self { standing, uid, gid, name: OnceCell::new(), maps: OnceCell::new() }
    }

    /// The same caller by this name, or by none; `/etc/passwd` is then not read.
    #[must_use]
    pub fn with_name(mut self, name: Option<&str>) -> Self {
        self.name = OnceCell::from(name.map(str::to_owned));
        self
    }

    /// The same caller in a user namespace with these maps; `/proc/self` is then not read.
    #[must_use]
    pub fn with_maps(mut self, maps: IdMaps) -> Self {
        self.maps = OnceCell::from(maps);
        self
    }

    /// The caller's user name, or `None` where only the uid is known.
    ///
    /// `/etc/passwd` is read directly, because a static binary cannot load what nsswitch.conf(5)
    /// names. A user who comes from a directory service is called `$USER` or `$LOGNAME`, unless
    /// `/etc/passwd` gives that name to another uid.
    ///
    /// # Errors
    /// `/etc/passwd` is there and cannot be read.
    pub fn name(&self) -> Result<Option<&str>, Unreadable> {
        if let Some(name) = self.name.get() {
            return Ok(name.as_deref());
        }
        let passwd = Sysroot::host().read("/etc/passwd")?.unwrap_or_default();
        let variables = ["USER", "LOGNAME"].map(|variable| std::env::var(variable).ok());
        let claimed: Vec<&str> = variables.iter().flatten().map(String::as_str).collect();
        Ok(self.name.get_or_init(|| name_of(self.uid, &passwd, &claimed)).as_deref())
    }

    /// The name, or the uid in digits where there is none to be found: what `/etc/subuid` and usermod(8) call this user.
    #[must_use]
    pub fn called(&self) -> String {
        self.name().ok().flatten().map_or_else(|| self.uid.to_string(), str::to_owned)
    }

    /// The maps of the caller's own user namespace: `inside` are the ids that the caller knows,
    /// `outside` those of the namespace around it. Whatever is not in them is unmapped.
    ///
    /// # Errors
    /// `/proc/self/uid_map` or `gid_map` cannot be read or understood.
    pub fn maps(&self) -> Result<&IdMaps, Unreadable> {
        if let Some(maps) = self.maps.get() {
            return Ok(maps);
        }
        let maps = IdMaps { uids: own_map("/proc/self/uid_map")?, gids: own_map("/proc/self/gid_map")? };
        Ok(self.maps.get_or_init(|| maps))
    }

    /// The maps of the namespace that the caller is root of, to whom no other ids exist; `None` for others.
    #[must_use]
    pub fn namespace_maps(&self) -> Option<&IdMaps> {
        self.maps.get().filter(|_| self.standing == Standing::NamespaceRoot)
    }

    /// The uid by which the world outside knows this caller: for a namespace's root, the one that
    /// its 0 is mapped to.
    #[must_use]
    pub fn uid_outside(&self) -> u32 {
        self.namespace_maps().and_then(|maps| maps.uids.outside(self.uid)).unwrap_or(self.uid)
    }

    /// Maps of the caller's own ids alone, as these ids inside: what needs no privilege and no helper.
    #[must_use]
    pub fn own_maps(&self, inside_uid: u32, inside_gid: u32) -> IdMaps {
        let one = |inside, outside| IdMap(vec![Line { inside, outside, count: 1 }]);
        IdMaps { uids: one(inside_uid, self.uid), gids: one(inside_gid, self.gid) }
    }

    /// Whether these maps have only the caller's own ids, one of each kind.
    #[must_use]
    pub fn are_own(&self, maps: &IdMaps) -> bool {
        maps.uids.is_single(self.uid) && maps.gids.is_single(self.gid)
    }
}

fn in_initial_namespace() -> Result<bool, Unreadable> {
    const FILE: &str = "/proc/self/ns/user";
    match std::fs::metadata(FILE) {
        Ok(namespace) => Ok(namespace.ino() == INITIAL_USER_NAMESPACE),
        // A kernel without CONFIG_USER_NS has only the one.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Unreadable::new(FILE, error)),
    }
}

fn own_map(path: &str) -> Result<IdMap, Unreadable> {
    let map = std::fs::read_to_string(path)
        .and_then(|text| text.parse().map_err(|error| Error::new(ErrorKind::InvalidData, error)));
    map.map_err(|source| Unreadable::new(path, source))
}

/// The name of `uid` in passwd(5) text, else the first claimed name that nobody else has there.
fn name_of(uid: u32, passwd: &str, claimed: &[&str]) -> Option<String> {
    let entries = || {
        passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            // nss_compat's `+name` and `-name` lines are rules, not users.
            (!name.is_empty() && !name.starts_with(['+', '-', '#'])).then_some((name, uid))
        })
    };
    if let Some((name, _)) = entries().find(|(_, theirs)| *theirs == uid) {
        return Some(name.to_owned());
    }
    let free = |name: &&&str| {
        !name.is_empty() && !name.contains(':') && entries().all(|(theirs, _)| theirs != **name)
    };
    claimed.iter().find(free).map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        +nis::::::\n\
        # a comment: with: 1000\n\
        alice:x:1000:1000:Alice:/home/alice:/bin/sh\n\
        alias:x:1000:1000::/:/bin/sh\n\
        broken:x:many:1\n";

    #[test]
    fn the_first_passwd_entry_of_a_uid_names_it() {
        assert_eq!(name_of(1000, PASSWD, &["mallory"]).as_deref(), Some("alice"));
    }

    #[test]
    fn a_user_of_a_directory_service_is_called_by_the_environment() {
        assert_eq!(name_of(70000, PASSWD, &["carol"]).as_deref(), Some("carol"));
        assert_eq!(name_of(70000, PASSWD, &["", "carol"]).as_deref(), Some("carol"));
    }

    #[test]
    fn a_claimed_name_that_belongs_to_another_uid_is_not_believed() {
        assert_eq!(name_of(70000, PASSWD, &["alice"]), None);
        assert_eq!(name_of(70000, PASSWD, &["alice", "carol"]).as_deref(), Some("carol"));
        assert_eq!(name_of(70000, PASSWD, &["a:b"]), None);
    }

    #[test]
    fn nobody_is_named_without_passwd_or_environment() {
        assert_eq!(name_of(1000, "", &[]), None);
        assert_eq!(Caller::assumed(Standing::User, 1000, 1000).with_name(None).called(), "1000");
    }

    #[test]
    fn one_own_id_of_each_kind_needs_no_helper() {
        let caller = Caller::assumed(Standing::User, 1000, 100);
        let maps = caller.own_maps(5, 6);
        assert_eq!((maps.uids.to_string(), maps.gids.to_string()), ("5 1000 1\n".into(), "6 100 1\n".into()));
        assert!(caller.are_own(&maps));
        let others = IdMaps { gids: "0 101 1\n".parse().unwrap(), ..maps };
        assert!(!caller.are_own(&others));
    }

    #[test]
    fn a_namespace_root_is_known_outside_by_what_its_0_is_mapped_to() {
        let map: IdMap = "0 1000 1\n1 100000 65536\n".parse().unwrap();
        let caller =
            Caller::assumed(Standing::NamespaceRoot, 0, 0).with_maps(IdMaps { uids: map.clone(), gids: map });
        assert_eq!(caller.uid_outside(), 1000);
    }

    #[test]
    fn this_process_has_a_standing_that_fits_its_uid() {
        let caller = Caller::look().unwrap();
        assert_eq!(caller.standing == Standing::User, caller.uid != 0);
        assert!(caller.maps().unwrap().uids.outside(caller.uid).is_some());
    }
}
