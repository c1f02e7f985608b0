//! What a process, a user or the machine has run out of.

use nix::errno::Errno;

use crate::sysroot::Sysroot;

/// What to do where `errno` says that something has run out, whichever call said it: EMFILE and ENFILE, which no call
/// gives for another reason, and ENOMEM. `None` for every other.
///
/// For a clone, whose EAGAIN is a limit, see [`of_processes`]; for calls that write to a file system, [`of_space`].
#[must_use]
pub fn shortage(errno: Errno) -> Option<String> {
    shortage_in(&Sysroot::host(), errno)
}

fn shortage_in(root: &Sysroot, errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::EMFILE => {
            let now = now(root, "Max open files");
            format!("raise the limit of open files: ulimit -n{now}, or LimitNOFILE= of a systemd unit")
        }
        Errno::ENFILE => {
            "raise the number of files that the machine may have open, as root: sysctl -w fs.file-max=NUMBER"
                .into()
        }
        Errno::ENOMEM => {
            "free some memory (free -m), or raise the memory limit of the cgroup that this is in".into()
        }
        _ => return None,
    })
}

/// What to do where a call that writes to a file system says that its room has run out. Elsewhere the same numbers
/// mean other things: ENOSPC of a mount, a limit of mounts; EDQUOT of a key, a quota of keys.
#[must_use]
pub fn of_space(errno: Errno) -> Option<String> {
    Some(match errno {
        Errno::EFBIG => {
            let now = now(&Sysroot::host(), "Max file size");
            format!(
                "raise the limit of file sizes: ulimit -f unlimited{now}, or LimitFSIZE= of a systemd unit"
            )
        }
        Errno::ENOSPC => "free some space or inodes on the file system: df -h; df -i".into(),
        Errno::EDQUOT => {
            "free some of your quota on the file system (quota -s), or have root raise it".into()
        }
        _ => return None,
    })
}

/// What to do where `errno`, of clone(2), says that no process may be added.
#[must_use]
pub fn of_processes(errno: Errno) -> Option<String> {
    (errno == Errno::EAGAIN).then(|| {
        let now = now(&Sysroot::host(), "Max processes");
        format!(
            "end processes, or raise the limit of this user (ulimit -u{now}) or of the cgroup that this is in (pids.max; \
             TasksMax= of a systemd unit)"
        )
    })
}

/// The soft limit of this name in `/proc/self/limits`.
fn now(root: &Sysroot, name: &str) -> String {
    let text = root.readable("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.map(|value| format!(" (now {value})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sysroot::stand_in::StandIn;

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
