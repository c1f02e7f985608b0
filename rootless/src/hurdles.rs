//! Which setting of the host stood in the way, and what to do: asked after a failure only.

use nix::errno::Errno;

use crate::caller::Caller;
use crate::id_writer::Error;
use crate::root::Root;
use crate::subid;

/// What stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurdle {
    /// What it is.
    pub cause: String,
    /// What to do, in words that start with a verb.
    pub remedy: String,
}

impl Hurdle {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

/// Why a user namespace could not be made (clone3(2) or unshare(2) gave `errno`), or gives no
/// power once made.
#[must_use]
pub fn user_namespace(errno: Errno) -> Option<Hurdle> {
    user_namespace_in(&Root::host(), errno)
}

/// As [`user_namespace`], with `/proc` below another root.
#[must_use]
pub fn user_namespace_in(root: &Root, errno: Errno) -> Option<Hurdle> {
    let is = |path: &str, value: &str| root.setting(path).as_deref() == Some(value);
    if errno == Errno::EPERM && is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(Hurdle::new(
            "kernel.unprivileged_userns_clone is 0",
            "run sysctl -w kernel.unprivileged_userns_clone=1 as root",
        ));
    }
    None
}

/// Why the maps of a user namespace could not be written.
#[must_use]
pub fn id_writer(_error: &Error, _caller: &Caller) -> Option<Hurdle> {
    None
}

/// What a user lacks who has no subordinate ids. `user` is a name or a uid in digits.
#[must_use]
pub fn no_ranges(user: &str) -> Hurdle {
    no_ranges_in(&Root::host(), user)
}

/// As [`no_ranges`], with `/etc` below another root.
#[must_use]
pub fn no_ranges_in(root: &Root, user: &str) -> Hurdle {
    let text = |path| root.read(path).ok().flatten().unwrap_or_default();
    let (subuid, subgid) = (text("/etc/subuid"), text("/etc/subgid"));
    let ends = subid::entries(&subuid).chain(subid::entries(&subgid)).map(|(_, range)| range.end());
    let start = ends.max().unwrap_or(0).max(100_000);
    let last = start + 65_535;
    Hurdle::new(
        format!("{user} has no ranges in /etc/subuid and /etc/subgid"),
        format!("run usermod --add-subuids {start}-{last} --add-subgids {start}-{last} {user} as root"),
    )
}
