//! Who calls kase: root, an ordinary user with subordinate ids, or one without.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Who calls kase in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root of the machine.
    Root,
    /// An ordinary user with subordinate ranges: `kase-test`, or whoever runs the tests.
    User,
    /// An ordinary user without ranges: `kase-bare`.
    Bare,
}

/// A caller's numbers on this machine.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Caller {
    /// The caller's identity, or why the test cannot run as this caller here.
    pub fn identity(self) -> Result<Identity, String> {
        match self {
            Self::Root if is_root() => Ok(Identity { name: "root".into(), uid: 0, gid: 0 }),
            Self::Root => Err("needs root".into()),
            Self::User if is_root() => {
                account("kase-test").ok_or("no user kase-test: make test-setup".into())
            }
            Self::Bare if is_root() => {
                account("kase-bare").ok_or("no user kase-bare: make test-setup".into())
            }
            Self::User | Self::Bare => {
                let own = own_account().ok_or("the user who runs the tests is in no /etc/passwd")?;
                let has_ranges = !ranges("/etc/subuid", &own).is_empty();
                match (self, has_ranges) {
                    (Self::User, false) => {
                        Err("the user who runs the tests has no range in /etc/subuid".into())
                    }
                    (Self::Bare, true) => Err("needs a user without ranges in /etc/subuid".into()),
                    _ => Ok(own),
                }
            }
        }
    }
}

impl Identity {
    /// A command that runs as this caller with nothing of our environment.
    ///
    /// As root, setting the uid also drops the supplementary groups.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if is_root() && self.uid != 0 {
            command.uid(self.uid).gid(self.gid);
        }
        command.env_clear().env("PATH", path());
        command
    }

    /// Gives `path` to this caller.
    pub fn own(&self, path: &Path) {
        if is_root() {
            std::os::unix::fs::lchown(path, Some(self.uid), Some(self.gid)).unwrap();
        }
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The search path of the commands that kase calls: newuidmap lies in an sbin on some systems.
fn path() -> OsString {
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()
}

fn account(name: &str) -> Option<Identity> {
    find_account(|found, _| found == name)
}

fn own_account() -> Option<Identity> {
    let own = nix::unistd::getuid().as_raw();
    find_account(|_, uid| uid == own)
}

fn find_account(wanted: impl Fn(&str, u32) -> bool) -> Option<Identity> {
    let accounts = fs::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        wanted(name, uid).then(|| Identity { name: name.into(), uid, gid })
    })
}

/// The subordinate ranges (start, length) of a user in `/etc/subuid` or `/etc/subgid`.
pub fn ranges(file: &str, identity: &Identity) -> Vec<(u32, u32)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let uid = identity.uid.to_string();
    let of_user = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == identity.name || owner == uid).then_some(range)
    });
    of_user.collect()
}
