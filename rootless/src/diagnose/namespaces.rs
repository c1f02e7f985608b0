//! Why the kernel makes no namespaces, or gives no power in them.

use nix::errno::Errno;

use crate::diagnosis::Diagnosis;
use crate::sysroot::Sysroot;

/// The namespaces that the kernel counts for each user: the name of the limit in `/proc/sys/user`.
const COUNTED: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

/// Why namespaces could not be made, or have no power once made.
///
/// `errno` is what clone3(2) or unshare(2) with `CLONE_NEWUSER` gave, or what writing the maps of
/// the new namespace or a first mount in it gave: AppArmor's restriction shows only there.
#[must_use]
pub fn user_namespace(errno: Errno) -> Option<Diagnosis> {
    user_namespace_in(&Sysroot::host(), errno)
}

pub(crate) fn user_namespace_in(root: &Sysroot, errno: Errno) -> Option<Diagnosis> {
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

fn switched_off(root: &Sysroot) -> Option<Diagnosis> {
    is(root, "/proc/sys/kernel/unprivileged_userns_clone", "0").then(|| {
        Diagnosis::new(
            "this kernel keeps user namespaces to root (kernel.unprivileged_userns_clone is 0)",
            "run as root: sysctl -w kernel.unprivileged_userns_clone=1",
        )
    })
}

/// The kernel makes no user namespace in a chroot, since one could leave it (user_namespaces(7)).
fn chroot(root: &Sysroot) -> Option<Diagnosis> {
    // Only what lies below the caller's root directory is listed, so that in a chroot no mount is
    // at "/". A chroot into a mount point is not told apart.
    let points = root.mount_points()?;
    (!points.is_empty() && !points.iter().any(|point| point == "/")).then(|| {
        Diagnosis::new(
            "this is a chroot, in which the kernel makes no user namespace",
            "enter it by systemd-nspawn or bwrap instead of chroot, which make it the root of its mounts",
        )
    })
}

fn apparmor(root: &Sysroot) -> Option<Diagnosis> {
    let restricted = is(root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1");
    let profile = ["/proc/self/attr/apparmor/current", "/proc/self/attr/current"]
        .iter()
        .find_map(|path| root.setting(path))
        .unwrap_or_default();
    // A process under a profile of its own may do what that allows, so that is not the cause.
    let covered = !["", "unconfined", "unprivileged_userns (enforce)"].contains(&profile.as_str());
    (restricted && !covered).then(|| {
        Diagnosis::new(
            "AppArmor leaves programs without a profile no power in user namespaces \
             (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "give the program an AppArmor profile with the rule \"userns,\", \
             or run as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    })
}

fn seccomp(root: &Sysroot) -> Option<Diagnosis> {
    (root.status("Seccomp")? == "2").then(|| {
        Diagnosis::new(
            "a seccomp filter is on this process, as in a container, and may refuse namespaces",
            "start what surrounds this without that filter (--security-opt seccomp=unconfined)",
        )
    })
}

fn selinux(root: &Sysroot) -> Option<Diagnosis> {
    is(root, "/sys/fs/selinux/enforce", "1").then(|| {
        Diagnosis::new(
            "SELinux is enforcing and its policy may refuse this domain user namespaces",
            "run as root: ausearch -m avc -ts recent, and allow what it lists",
        )
    })
}

/// The kernel says the same of a count that is used up and of a nesting that is too deep.
fn used_up(root: &Sysroot) -> Diagnosis {
    let limits = || COUNTED.iter().filter_map(|kind| Some((kind, limit(root, kind)?)));
    if let Some((kind, _)) = limits().find(|(_, limit)| *limit == 0) {
        return Diagnosis::new(
            format!("this kernel makes no {kind} namespaces (user.max_{kind}_namespaces is 0)"),
            format!("run as root: sysctl -w user.max_{kind}_namespaces=15000"),
        );
    }
    let Some((kind, limit)) = limits().min_by_key(|(_, limit)| *limit) else {
        return Diagnosis::new("user namespaces are nested too deep", "nest fewer than 32 of them");
    };
    Diagnosis::new(
        format!("{kind} namespaces are used up (user.max_{kind}_namespaces is {limit}), or nested too deep"),
        format!(
            "end some containers, run as root: sysctl -w user.max_{kind}_namespaces={}, or nest fewer than 32",
            limit.saturating_mul(2)
        ),
    )
}

fn limit(root: &Sysroot, kind: &str) -> Option<u64> {
    root.setting(&format!("/proc/sys/user/max_{kind}_namespaces"))?.parse().ok()
}

fn not_built(root: &Sysroot) -> Option<Diagnosis> {
    (root.join("/proc/self").exists() && !root.join("/proc/self/ns/user").exists()).then(|| {
        Diagnosis::new(
            "this kernel has no user namespaces",
            "boot a kernel that is built with CONFIG_USER_NS=y, or run as root",
        )
    })
}

/// What euid 0 needs to write maps, and containers are often started without.
pub(crate) fn lacks_capability(root: &Sysroot) -> Option<Diagnosis> {
    const NEEDED: [(u32, &str); 4] =
        [(6, "CAP_SETGID"), (7, "CAP_SETUID"), (21, "CAP_SYS_ADMIN"), (31, "CAP_SETFCAP")];
    let effective = u64::from_str_radix(&root.status("CapEff")?, 16).ok()?;
    let lacking: Vec<&str> =
        NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect();
    (!lacking.is_empty()).then(|| {
        let lacking = lacking.join(", ");
        Diagnosis::new(
            format!("root lacks {lacking} here, which writing id maps may need"),
            format!("start what surrounds this with {lacking}"),
        )
    })
}

fn is(root: &Sysroot, path: &str, value: &str) -> bool {
    root.setting(path).as_deref() == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

    fn cause(host: &StandIn, errno: Errno) -> String {
        user_namespace_in(&host.root(), errno).map(|diagnosis| diagnosis.cause).unwrap_or_default()
    }

    #[test]
    fn a_host_without_a_known_reason_gets_no_answer() {
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
        let diagnosis = user_namespace_in(&host.root(), Errno::EPERM).unwrap();
        assert_eq!(diagnosis.remedy, "run as root: sysctl -w kernel.unprivileged_userns_clone=1");
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
        let host = host.file("/proc/self/attr/current", "engine (unconfined)\n");
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
        let diagnosis = user_namespace_in(&host.root(), Errno::ENOSPC).unwrap();
        assert_eq!(diagnosis.remedy, "run as root: sysctl -w user.max_net_namespaces=15000");
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
}
