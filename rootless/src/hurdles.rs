//! Which setting of the host stood in the way, and what to do: asked after a failure only.
//!
//! Each answer rests on something read from the host, never on the error number alone. Where nothing
//! is found there is no answer: a wrong remedy is worse than none.

mod helpers;
mod keys;
mod mounts;
mod packages;
mod ranges;
mod shortage;

use std::path::Path;

use nix::errno::Errno;

use crate::caller::Caller;
use crate::id_writer::Error;
use crate::root::Root;

pub use keys::{keys, keys_in};
pub use mounts::{file_system, file_system_in, no_overlay, noexec};
pub use packages::Package;
pub use ranges::{no_ranges, no_ranges_in, unread_lines};
pub use shortage::{processes, shortage, shortage_in};

/// What stood in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurdle {
    /// What it is.
    pub cause: String,
    /// What to do, in words that start with a verb.
    pub remedy: String,
}

impl Hurdle {
    pub(crate) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

/// The namespaces that the kernel counts for each user: the name of the limit in `/proc/sys/user`.
const COUNTED: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

/// Why namespaces could not be made, or have no power once made.
///
/// `errno` is what clone3(2) or unshare(2) with `CLONE_NEWUSER` gave, or what writing the maps of
/// the new namespace or a first mount in it gave: AppArmor's restriction shows only there.
#[must_use]
pub fn user_namespace(errno: Errno) -> Option<Hurdle> {
    user_namespace_in(&Root::host(), errno)
}

/// As [`user_namespace`], with `/proc` and `/sys` below another root.
#[must_use]
pub fn user_namespace_in(root: &Root, errno: Errno) -> Option<Hurdle> {
    match errno {
        Errno::EPERM => {
            switched_off(root).or_else(|| chroot(root)).or_else(|| apparmor(root)).or_else(|| seccomp(root))
        }
        Errno::EACCES => apparmor(root).or_else(|| selinux(root)),
        // A surrounding engine's filter answers ENOSYS to clone3(2), whose flags it cannot see.
        Errno::ENOSYS => seccomp(root),
        Errno::ENOSPC | Errno::EUSERS => Some(used_up(root)),
        Errno::EINVAL => not_built(root),
        _ => None,
    }
}

/// Why the maps of a user namespace could not be written; the same as [`Error::hurdle`].
#[must_use]
pub fn id_writer(error: &Error, caller: &Caller) -> Option<Hurdle> {
    id_writer_in(&Root::host(), error, caller)
}

/// As [`id_writer`], with `/etc`, `/proc` and `/sys` below another root. The helpers themselves are
/// looked at where the error says that they are.
#[must_use]
pub fn id_writer_in(root: &Root, error: &Error, caller: &Caller) -> Option<Hurdle> {
    match error {
        Error::NoHelper(name) => Some(helpers::missing(root, name)),
        Error::Unmapped(_) => Some(Hurdle::new(
            error.to_string(),
            "run this outside of the user namespace, or in one that maps uid 0 and your subordinate ids, as of \
             unshare --map-root-user --map-auto",
        )),
        Error::Helper { program, said, .. } => helpers::failed(root, program, said, caller),
        Error::Start { .. } => None,
        Error::Write { source, .. } => match Errno::from_raw(source.raw_os_error()?) {
            Errno::EPERM if caller.uid == 0 => lacks_capability(root),
            errno @ (Errno::EPERM | Errno::EACCES) => user_namespace_in(root, errno),
            _ => None,
        },
    }
}

/// What is wrong with newuidmap(1) and newgidmap(1), found at these paths, before they are needed.
#[must_use]
pub fn powerless_helper(program: &Path) -> Option<Hurdle> {
    helpers::powerless(&Root::host(), program)
}

fn switched_off(root: &Root) -> Option<Hurdle> {
    is(root, "/proc/sys/kernel/unprivileged_userns_clone", "0").then(|| {
        Hurdle::new(
            "this kernel keeps user namespaces to root (kernel.unprivileged_userns_clone is 0)",
            "run as root: sysctl -w kernel.unprivileged_userns_clone=1",
        )
    })
}

/// The kernel makes no user namespace in a chroot, since one could leave it (user_namespaces(7)).
fn chroot(root: &Root) -> Option<Hurdle> {
    // Only what lies below the caller's root directory is listed, so that in a chroot no mount is
    // at "/". A chroot into a mount point is not told apart.
    let mounts = root.read("/proc/self/mountinfo").ok()??;
    let rooted = mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    (!mounts.is_empty() && !rooted).then(|| {
        Hurdle::new(
            "this is a chroot, in which the kernel makes no user namespace",
            "enter it by systemd-nspawn or bwrap instead of chroot, which make it the root of its mounts",
        )
    })
}

fn apparmor(root: &Root) -> Option<Hurdle> {
    let restricted = is(root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1");
    let profile = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|path| root.setting(path))
        .unwrap_or_default();
    // A process under a profile of its own may do what that allows, so that is not the cause.
    let covered = !["", "unconfined", "unprivileged_userns (enforce)"].contains(&profile.as_str());
    (restricted && !covered).then(|| {
        Hurdle::new(
            "AppArmor leaves programs without a profile no power in user namespaces \
             (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "give the program an AppArmor profile with the rule \"userns,\", \
             or run as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    })
}

fn seccomp(root: &Root) -> Option<Hurdle> {
    (status(root, "Seccomp")?.trim() == "2").then(|| {
        Hurdle::new(
            "a seccomp filter is on this process, as in a container, and may refuse namespaces",
            "start what surrounds this without that filter (--security-opt seccomp=unconfined)",
        )
    })
}

fn selinux(root: &Root) -> Option<Hurdle> {
    is(root, "/sys/fs/selinux/enforce", "1").then(|| {
        Hurdle::new(
            "SELinux is enforcing and its policy may refuse this domain user namespaces",
            "run as root: ausearch -m avc -ts recent, and allow what it lists",
        )
    })
}

/// The kernel says the same of a count that is used up and of a nesting that is too deep.
fn used_up(root: &Root) -> Hurdle {
    let limits = || COUNTED.iter().filter_map(|kind| Some((kind, limit(root, kind)?)));
    if let Some((kind, _)) = limits().find(|(_, limit)| *limit == 0) {
        return Hurdle::new(
            format!("this kernel makes no {kind} namespaces (user.max_{kind}_namespaces is 0)"),
            format!("run as root: sysctl -w user.max_{kind}_namespaces=15000"),
        );
    }
    let Some((kind, limit)) = limits().min_by_key(|(_, limit)| *limit) else {
        return Hurdle::new("user namespaces are nested too deep", "nest fewer than 32 of them");
    };
    Hurdle::new(
        format!("{kind} namespaces are used up (user.max_{kind}_namespaces is {limit}), or nested too deep"),
        format!(
            "end some containers, run as root: sysctl -w user.max_{kind}_namespaces={}, or nest fewer than 32",
            limit.saturating_mul(2)
        ),
    )
}

fn limit(root: &Root, kind: &str) -> Option<u64> {
    root.setting(&format!("/proc/sys/user/max_{kind}_namespaces"))?.parse().ok()
}

fn not_built(root: &Root) -> Option<Hurdle> {
    (root.join("/proc/self").exists() && !root.join("/proc/self/ns/user").exists()).then(|| {
        Hurdle::new(
            "this kernel has no user namespaces",
            "boot a kernel that is built with CONFIG_USER_NS=y, or run as root",
        )
    })
}

/// What euid 0 needs to write maps, and containers are often started without.
fn lacks_capability(root: &Root) -> Option<Hurdle> {
    const NEEDED: [(u32, &str); 4] =
        [(6, "CAP_SETGID"), (7, "CAP_SETUID"), (21, "CAP_SYS_ADMIN"), (31, "CAP_SETFCAP")];
    let effective = u64::from_str_radix(status(root, "CapEff")?.trim(), 16).ok()?;
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect();
    (!lacking.is_empty()).then(|| {
        let lacking = lacking.join(", ");
        Hurdle::new(
            format!("root lacks {lacking} here, which writing id maps may need"),
            format!("start what surrounds this with {lacking}"),
        )
    })
}

/// A field of `/proc/self/status`.
fn status(root: &Root, field: &str) -> Option<String> {
    let text = root.read("/proc/self/status").ok()??;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn is(root: &Root, path: &str, value: &str) -> bool {
    root.setting(path).as_deref() == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Standing;
    use crate::root::stand_in::StandIn;

    fn cause(host: &StandIn, errno: Errno) -> String {
        user_namespace_in(&host.root(), errno).map(|hurdle| hurdle.cause).unwrap_or_default()
    }

    #[test]
    fn a_host_without_a_known_hurdle_gets_no_answer() {
        let host = StandIn::new()
            .file("/proc/sys/kernel/unprivileged_userns_clone", "1\n")
            .file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n")
            .file("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
            .file("/proc/self/ns/user", "")
            .file("/proc/self/status", "Seccomp:\t0\n");
        for errno in [Errno::EPERM, Errno::EACCES, Errno::ENOSYS, Errno::EINVAL, Errno::EIO] {
            assert_eq!(user_namespace_in(&host.root(), errno), None, "{errno}");
        }
        assert_eq!(user_namespace_in(&StandIn::new().root(), Errno::EPERM), None);
    }

    #[test]
    fn user_namespaces_that_are_switched_off_are_named() {
        let host = StandIn::new().file("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
        let hurdle = user_namespace_in(&host.root(), Errno::EPERM).unwrap();
        assert_eq!(hurdle.remedy, "run as root: sysctl -w kernel.unprivileged_userns_clone=1");
        assert_eq!(cause(&host, Errno::ENOMEM), "");
    }

    #[test]
    fn a_chroot_has_no_mount_at_its_root() {
        let host = StandIn::new().file("/proc/self/mountinfo", "30 22 0:5 / /proc rw - proc proc rw\n");
        assert!(cause(&host, Errno::EPERM).contains("chroot"));
    }

    #[test]
    fn apparmor_restricts_programs_without_a_profile() {
        let host = StandIn::new().file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        assert!(cause(&host, Errno::EACCES).contains("AppArmor"));
        let host = host.file("/proc/self/attr/current", "unconfined\n");
        assert!(cause(&host, Errno::EPERM).contains("AppArmor"));
        let host = host.file("/proc/self/attr/current", "kase (unconfined)\n");
        assert_eq!(cause(&host, Errno::EPERM), "");
    }

    #[test]
    fn a_filter_around_us_may_refuse_namespaces() {
        let host = StandIn::new().file("/proc/self/status", "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n");
        assert!(cause(&host, Errno::EPERM).contains("seccomp"));
        assert!(cause(&host, Errno::ENOSYS).contains("seccomp"));
    }

    #[test]
    fn selinux_answers_eacces() {
        let host = StandIn::new().file("/sys/fs/selinux/enforce", "1");
        assert!(cause(&host, Errno::EACCES).contains("SELinux"));
        assert_eq!(cause(&host, Errno::EPERM), "");
    }

    #[test]
    fn a_limit_of_0_is_named_whichever_namespace_has_it() {
        let host = StandIn::new()
            .file("/proc/sys/user/max_user_namespaces", "15000\n")
            .file("/proc/sys/user/max_net_namespaces", "0\n");
        let hurdle = user_namespace_in(&host.root(), Errno::ENOSPC).unwrap();
        assert_eq!(hurdle.remedy, "run as root: sysctl -w user.max_net_namespaces=15000");
    }

    #[test]
    fn the_lowest_limit_is_the_one_that_is_used_up() {
        let host = StandIn::new()
            .file("/proc/sys/user/max_user_namespaces", "10\n")
            .file("/proc/sys/user/max_net_namespaces", "5\n");
        assert!(cause(&host, Errno::ENOSPC).starts_with("net namespaces are used up"));
        assert!(cause(&StandIn::new(), Errno::EUSERS).contains("nested"));
    }

    #[test]
    fn a_kernel_without_user_namespaces_is_told() {
        let host = StandIn::new().file("/proc/self/status", "");
        assert!(cause(&host, Errno::EINVAL).contains("no user namespaces"));
    }

    #[test]
    fn root_without_its_capabilities_cannot_write_maps() {
        let host = StandIn::new().file("/proc/self/status", "CapEff:\t00000000a80425fb\n");
        let refused = |errno: Errno| Error::Write {
            path: "/proc/1/uid_map".into(),
            text: String::new(),
            source: errno.into(),
        };
        let root = Caller::assumed(Standing::NamespaceRoot, 0, 0);
        let hurdle = id_writer_in(&host.root(), &refused(Errno::EPERM), &root).unwrap();
        assert_eq!(hurdle.remedy, "start what surrounds this with CAP_SYS_ADMIN");
        assert_eq!(id_writer_in(&host.root(), &refused(Errno::EINVAL), &root), None);
    }
}
