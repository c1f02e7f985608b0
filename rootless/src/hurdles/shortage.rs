//! What a process, a user or the machine has run out of.

use nix::errno::Errno;

use crate::root::Root;

/// What to do where `errno` says that something has run out; `None` for every other.
///
/// No hurdle: that there is too little is all that is known. For a clone, whose EAGAIN is a limit, see
/// [`processes`].
#[must_use]
pub fn shortage(errno: Errno) -> Option<String> {
    shortage_in(&Root::host(), errno)
}

/// What to do where no process may be added.
#[must_use]
pub fn processes(errno: Errno) -> Option<String> {
    let root = Root::host();
    let remedy = || {
        let now = now(&root, "Max processes");
        format!(
            "end processes, or raise the limit of this user (ulimit -u{now}) or of the cgroup that this is in (pids.max; \
             TasksMax= of a systemd unit)"
        )
    };
    (errno == Errno::EAGAIN).then(remedy)
}

/// As [`shortage`], with `/proc` below another root.
#[must_use]
pub fn shortage_in(root: &Root, errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::EMFILE => {
            let now = now(root, "Max open files");
            format!("raise the limit of open files: ulimit -n{now}, or LimitNOFILE= of a systemd unit")
        }
        Errno::ENFILE => {
            "raise the number of files that the machine may have open, as root: sysctl -w fs.file-max=NUMBER"
                .into()
        }
        Errno::EFBIG => {
            let now = now(root, "Max file size");
            format!(
                "raise the limit of file sizes: ulimit -f unlimited{now}, or LimitFSIZE= of a systemd unit"
            )
        }
        Errno::ENOSPC => "free some space or inodes on the file system: df -h; df -i".into(),
        Errno::EDQUOT => {
            "free some of your quota on the file system (quota -s), or have root raise it".into()
        }
        Errno::ENOMEM => {
            "free some memory (free -m), or raise the memory limit of the cgroup that this is in".into()
        }
        _ => return None,
    })
}

/// The soft limit of this name in `/proc/self/limits`.
fn now(root: &Root, name: &str) -> String {
    let text = root.read("/proc/self/limits").ok().flatten().unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.map(|value| format!(" (now {value})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::stand_in::StandIn;

    #[test]
    fn a_limit_is_told_as_it_is_now() {
        let limits = "Max file size             unlimited            unlimited            bytes\n\
                      Max open files            64                   1048576              files\n";
        let host = StandIn::new().file("/proc/self/limits", limits);
        let remedy = shortage_in(&host.root(), Errno::EMFILE).unwrap();
        assert_eq!(
            remedy,
            "raise the limit of open files: ulimit -n (now 64), or LimitNOFILE= of a systemd unit"
        );
        let bare = shortage_in(&StandIn::new().root(), Errno::EMFILE).unwrap();
        assert!(bare.starts_with("raise the limit of open files: ulimit -n, or "), "{bare}");
        assert_eq!(shortage_in(&host.root(), Errno::EACCES), None);
    }
}
