//! What a process sees of itself and of its container. Most of it stands in /proc.

use crate::Answer;
use std::fmt::Write as _;
use std::fs;
use std::io::Error;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The commands whose answers describe the container as a whole, each under its name.
pub fn all() -> Answer {
    let mut text = String::new();
    let parts = [
        ("hostname", sysctl("kernel.hostname")),
        ("id", id()),
        ("caps", caps()),
        ("namespaces", namespaces()),
        ("cwd", cwd()),
        ("mounts", file("/proc/self/mountinfo")),
        ("env", Ok(env())),
    ];
    for (name, answer) in parts {
        let _ = writeln!(text, "{name}:");
        for line in answer?.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    Ok(text)
}

pub fn id() -> Answer {
    status_fields(&["Uid", "Gid", "Groups"])
}

pub fn caps() -> Answer {
    status_fields(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"])
}

/// `Name: value` lines of /proc/self/status, its tabs as single blanks.
pub fn status_fields(names: &[&str]) -> Answer {
    let status = fs::read_to_string("/proc/self/status")?;
    let mut text = String::new();
    for name in names {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value: Vec<&str> = value.unwrap_or("none").split_whitespace().collect();
        let _ = writeln!(text, "{name}: {}", value.join(" "));
    }
    Ok(text)
}

pub fn env() -> String {
    std::env::vars_os().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{}={}", name.to_string_lossy(), value.to_string_lossy());
        text
    })
}

pub fn cwd() -> Answer {
    Ok(std::env::current_dir()?.display().to_string())
}

/// Open descriptors and what they are, without the one that reads the list.
pub fn fds() -> Answer {
    let mut fds: Vec<(u32, String)> = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let target = fs::read_link(entry.path())?.display().to_string();
        if let Ok(fd) = entry.file_name().to_string_lossy().parse()
            && !(target.starts_with("/proc/") && target.ends_with("/fd"))
        {
            fds.push((fd, target));
        }
    }
    fds.sort();
    Ok(lines(fds.into_iter().map(|(fd, target)| format!("{fd} {target}"))))
}

pub fn file(path: &str) -> Answer {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

pub fn link(path: &str) -> Answer {
    Ok(fs::read_link(path)?.display().to_string())
}

pub fn list(directory: &str) -> Answer {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(lines(names))
}

pub fn maps() -> Answer {
    let mut text = String::new();
    for name in ["uid_map", "gid_map", "setgroups"] {
        for line in file(&format!("/proc/self/{name}"))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let _ = writeln!(text, "{name}: {}", words.join(" "));
        }
    }
    Ok(text)
}

/// The mount that covers `path`, `none` where it is no mount point.
pub fn mount(path: &str) -> Answer {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = None;
    for line in mounts.lines() {
        let (mount, filesystem) = line.split_once(" - ").unwrap_or((line, ""));
        let mount: Vec<&str> = mount.split(' ').collect();
        let filesystem: Vec<&str> = filesystem.split(' ').collect();
        if let ([_, _, _, root, point, options, fields @ ..], [kind, source, more @ ..]) =
            (mount.as_slice(), filesystem.as_slice())
            && *point == path
        {
            let fields = if fields.is_empty() { "private".into() } else { fields.join(",") };
            let more = more.join(" ");
            found = Some(format!(
                "type={kind} source={source} root={root} options={options} super={more} propagation={fields}"
            ));
        }
    }
    Ok(found.unwrap_or_else(|| "none".into()))
}

pub fn namespaces() -> Answer {
    let mut text = String::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let _ = writeln!(text, "{name}: {}", link(&format!("/proc/self/ns/{name}"))?);
    }
    Ok(text)
}

/// Every process of this /proc: its number and its command line.
pub fn processes() -> Answer {
    let mut found: Vec<(u32, String)> = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        if let Ok(pid) = entry.file_name().to_string_lossy().parse()
            && let Ok(line) = fs::read_to_string(entry.path().join("cmdline"))
        {
            found.push((pid, line.trim_end_matches('\0').replace('\0', " ")));
        }
    }
    found.sort();
    Ok(lines(found.into_iter().map(|(pid, line)| format!("{pid} {line}"))))
}

/// One line a limit: `open files: SOFT HARD`, without units.
pub fn rlimits() -> Answer {
    let limits = fs::read_to_string("/proc/self/limits")?;
    Ok(lines(limits.lines().skip(1).filter_map(|line| {
        let (name, rest) = line.strip_prefix("Max ")?.split_at_checked(22)?;
        let mut values = rest.split_whitespace();
        Some(format!("{}: {} {}", name.trim(), values.next()?, values.next()?))
    })))
}

/// Type, mode, owner and device number; a symlink is not followed.
pub fn stat(path: &str) -> Answer {
    let data = fs::symlink_metadata(path)?;
    let kind = data.file_type();
    let kind = match () {
        () if kind.is_symlink() => "symlink",
        () if kind.is_dir() => "directory",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "file",
    };
    let device = data.rdev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let (mode, uid, gid) = (data.mode() & 0o7777, data.uid(), data.gid());
    Ok(format!("{kind} mode={mode:04o} owner={uid}:{gid} rdev={major}:{minor}"))
}

/// `kernel.hostname`, or with slashes where a name has a dot in it.
pub fn sysctl(name: &str) -> Answer {
    let name = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    file(&format!("/proc/sys/{name}"))
}

/// Which of the standard descriptors are a terminal, which, and its size.
pub fn tty() -> String {
    let inputs = [std::io::stdin()].map(|stdin| describe_tty("stdin", &stdin, 0));
    let outputs = [std::io::stdout()].map(|stdout| describe_tty("stdout", &stdout, 1));
    let errors = [std::io::stderr()].map(|stderr| describe_tty("stderr", &stderr, 2));
    lines(inputs.into_iter().chain(outputs).chain(errors))
}

fn describe_tty(name: &str, file: &impl std::os::fd::AsFd, fd: u32) -> String {
    let size = match rustix::termios::tcgetwinsize(file) {
        Ok(size) => size,
        Err(error) => return format!("{name}: {}", crate::deeds::errno_name(&Error::from(error))),
    };
    let place = link(&format!("/proc/self/fd/{fd}")).unwrap_or_else(|_| "unknown".into());
    format!("{name}: {place} {}x{}", size.ws_col, size.ws_row)
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().fold(String::new(), |mut text, line| {
        text.push_str(&line);
        text.push('\n');
        text
    })
}
