//! `kase doctor`: whether containers run on this host for this caller, and whether a given one does.
//!
//! Nothing is decided here that is not decided when a container is made: the checks are those of `rootless`, a
//! try of what init does, and the plan.

mod bundle;
mod trial;

pub use bundle::{Outlook, outlook};

use crate::cgroup::layout::Layout;
use crate::fault::Report;
use crate::host::{self, Host, Subids};
use crate::kernel::process::limit;
use crate::seccomp::known;
use nix::sys::utsname::uname;
use rootless::Diagnosis;
use rootless::caller::Caller;
use rootless::checks::{self, Check, Level};
use std::fs;

/// Every check of this host, in the order in which a container needs them.
pub fn host(caller: &Caller) -> anyhow::Result<Vec<Check>> {
    let host = Host::look(caller.clone(), Subids::Needed, &[])?;
    let mut checks = vec![kernel()];
    let tried = trial::checks(&host);
    let refused = tried.iter().any(|check| check.name == "overlay" && check.level != Level::Ok);
    checks.extend(tried);
    checks.push(checks::subordinate_ids(caller));
    checks.push(checks::helpers(caller));
    checks.push(cgroup_version());
    checks.extend(checks::delegation(caller));
    checks.push(checks::session_bus(caller));
    checks.push(checks::linger(caller));
    checks.push(fuse_overlayfs(refused));
    checks.push(seccomp());
    checks.push(security_modules());
    checks.push(open_files());
    checks.push(checks::keys(caller));
    checks.push(checks::state_directory(caller, "kase"));
    checks.push(engines());
    Ok(checks)
}

fn kernel() -> Check {
    const NAME: &str = "kernel";
    // The system call works without /proc too.
    let release =
        uname().map_or_else(|_| String::new(), |names| names.release().to_string_lossy().into_owned());
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 12) {
        return Check::ok(NAME, format!("Linux {release}"));
    }
    let diagnosis = Diagnosis::new(
        format!("Linux {release} is too old"),
        "boot Linux 5.12 or newer (mount_setattr, openat2, clone3)",
    );
    Check::not_ok(NAME, Level::Failure, diagnosis)
}

fn cgroup_version() -> Check {
    const NAME: &str = "cgroup version";
    let layout = match Layout::look() {
        Ok(layout) => layout,
        Err(error) => {
            let report = Report::of(&error);
            let diagnosis = Diagnosis::new(report.line, report.remedy.unwrap_or_default());
            return Check::not_ok(NAME, Level::Failure, diagnosis);
        }
    };
    match layout.words() {
        Some(words) => Check::ok(NAME, words),
        None => Check::warning(
            NAME,
            Diagnosis::new(
                "none is mounted, so nothing can be limited",
                "run as root: mount -t cgroup2 none /sys/fs/cgroup",
            ),
        ),
    }
}

fn fuse_overlayfs(needed: bool) -> Check {
    const NAME: &str = "fuse-overlayfs";
    match (checks::fuse_overlayfs(), needed) {
        (Ok(path), true) => Check::ok(NAME, format!("{}, in place of the kernel's overlay", path.display())),
        (Ok(path), false) => {
            Check::ok(NAME, format!("{}, where the kernel refuses an overlay", path.display()))
        }
        (Err(diagnosis), false) => {
            Check::ok(NAME, format!("{}; needed where the kernel refuses an overlay", diagnosis.cause))
        }
        (Err(diagnosis), true) => Check::warning(NAME, diagnosis),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    let flags = host::seccomp_flags(known::FLAGS);
    if flags.is_empty() {
        let diagnosis = Diagnosis::new(
            "this kernel has no filters, so config.json may have no linux.seccomp",
            "boot a kernel that is built with CONFIG_SECCOMP_FILTER=y",
        );
        return Check::warning(NAME, diagnosis);
    }
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    match actions.split_whitespace().any(|action| action == "user_notif") {
        true => Check::ok(NAME, "filters and notifications"),
        false => Check::ok(NAME, "filters, without notifications"),
    }
}

fn security_modules() -> Check {
    let listed = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let found = match listed.trim() {
        "" => "none can be seen (/sys/kernel/security is not mounted)",
        listed => listed,
    };
    Check::ok("security modules", found)
}

/// Engines ask for a million; what is above the caller's hard limit is refused.
fn open_files() -> Check {
    const NAME: &str = "open files";
    const USUAL: u64 = 1 << 20;
    let Ok((soft, hard)) = limit(libc::RLIMIT_NOFILE) else { return Check::ok(NAME, "unknown") };
    let shown = if hard == libc::RLIM_INFINITY { "unlimited".to_string() } else { hard.to_string() };
    if hard >= 4096 {
        let note = if hard < USUAL { ": process.rlimits may not ask for more" } else { "" };
        return Check::ok(NAME, format!("{soft}, at most {shown}{note}"));
    }
    Check::warning(
        NAME,
        Diagnosis::new(
            format!("at most {shown} (RLIMIT_NOFILE)"),
            "raise the hard limit: as root, write \"* hard nofile 1048576\" to \
                     /etc/security/limits.d/containers.conf, and log in again",
        ),
    )
}

fn engines() -> Check {
    let known = ["docker", "podman", "containerd", "crio", "nerdctl", "buildah", "runc", "crun"];
    let found: Vec<_> = known.into_iter().filter(|name| rootless::program(name).is_some()).collect();
    let found = if found.is_empty() { "none in PATH; kase needs none".to_string() } else { found.join(", ") };
    Check::ok("engines", found)
}
