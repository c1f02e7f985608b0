//! A container's processes, and what /proc tells of each.

use super::{Container, Status};
use crate::cgroup::Reach;
use crate::fault::{Fault, OrFault};
use crate::kernel::clock::local;
use crate::kernel::text::read_text;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A row of `ps`.
#[derive(Debug, PartialEq, Eq)]
pub struct ListedProcess {
    /// Its id, in our pid namespace.
    pub pid: i32,
    /// The id of its parent.
    pub parent: i32,
    /// Its effective user.
    pub uid: u32,
    /// Share of one processor over its life, in percent.
    pub share: u64,
    /// When it was started, in seconds since 1970.
    pub started: i64,
    /// Its terminal, as `pts/0`.
    pub terminal: Option<String>,
    /// Processor time, in seconds.
    pub used: u64,
    /// Its arguments; in brackets its name, where it has none.
    pub command: String,
}

/// The ids of the container's processes, in our pid namespace and in order. None of a container that has
/// stopped, but for what its cgroup still holds.
///
/// # Errors
/// A cgroup that cannot be read.
pub fn pids(container: &Container) -> anyhow::Result<Vec<i32>> {
    let mut pids = match (container.has_cgroup(), container.pid()?) {
        (true, _) if container.status()? == Status::Stopped && container.ends_with_init() => Vec::new(),
        (true, _) => container.cgroup().pids(Reach::Recursive)?,
        (false, None) => Vec::new(),
        (false, Some(init)) => same_namespace(init)?,
    };
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Without a cgroup: everything in init's pid namespace, or init alone if that is ours.
fn same_namespace(init: i32) -> anyhow::Result<Vec<i32>> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    // Nobody may look at an init that has not been started, but then there is no other process either.
    let own = namespace("self");
    let Some(inside) = namespace(&init.to_string()).filter(|inside| Some(inside) != own.as_ref()) else {
        return Ok(vec![init]);
    };
    let mut pids = every()?;
    pids.retain(|pid| namespace(&pid.to_string()).as_ref() == Some(&inside));
    pids.push(init);
    Ok(pids)
}

/// The ids of all processes that /proc shows.
pub fn every() -> anyhow::Result<Vec<i32>> {
    let mut pids: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc").or_fault(|| Fault::doing("read /proc").remedy("mount it"))? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

/// What there is to know of these processes; those that have ended meanwhile are left out.
pub fn look(pids: &[i32]) -> anyhow::Result<Vec<ListedProcess>> {
    let clock =
        Clock::look().or_fault(|| Fault::doing("read /proc/stat and /proc/uptime").remedy("mount /proc"))?;
    Ok(pids.iter().filter_map(|pid| clock.process(*pid)).collect())
}

/// Times in /proc are ticks since boot.
struct Clock {
    /// In seconds since 1970.
    boot: i64,
    /// In ticks since boot.
    now: u64,
    /// Ticks a second.
    rate: u64,
}

impl Clock {
    fn look() -> anyhow::Result<Self> {
        let strange = || Fault::doing("their form is unknown");
        let rate =
            sysconf(SysconfVar::CLK_TCK)?.and_then(|rate| u64::try_from(rate).ok()).unwrap_or(100).max(1);
        let uptime = read_text("/proc/uptime")?;
        let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).ok_or_else(strange)?;
        let stat = read_text("/proc/stat")?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        Ok(Self { boot: boot.ok_or_else(strange)?, now: (seconds * rate as f64) as u64, rate })
    }

    fn process(&self, pid: i32) -> Option<ListedProcess> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let uid = fs::metadata(&directory).ok()?.uid();
        // The name of a command may be bytes that are no text.
        let stat = fs::read(directory.join("stat")).ok()?;
        let arguments = fs::read(directory.join("cmdline")).ok()?;
        self.read(pid, uid, &String::from_utf8_lossy(&stat), &arguments)
    }

    /// The fields of proc_pid_stat(5) that follow the name: 4 is the parent, 7 the terminal, 14 and 15 the
    /// processor time in and for the process, 22 the start.
    fn read(&self, pid: i32, uid: u32, stat: &str, arguments: &[u8]) -> Option<ListedProcess> {
        let (front, back) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = back.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let (used, start) = (field(14)? + field(15)?, field(22)?);
        let life = self.now.saturating_sub(start);
        let shown = match arguments {
            [] => format!("[{}]", front.split_once('(')?.1),
            arguments => shown(arguments),
        };
        Some(ListedProcess {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            uid,
            share: (100 * used).checked_div(life).unwrap_or(0).min(99),
            started: self.boot + i64::try_from(start / self.rate).ok()?,
            // The number is signed: for a process without a terminal it is 0, or -1 on some kernels.
            terminal: fields
                .get(4)?
                .parse::<i64>()
                .ok()
                .and_then(|device| terminal(u64::try_from(device).ok()?)),
            used: used / self.rate,
            command: shown,
        })
    }
}

/// A start as `ps` shows it: the time of a day that is today, else the day, else the year.
pub fn start(started: i64, now: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (Ok(then), Ok(today)) = (local(started), local(now)) else { return "?".to_string() };
    if then.year != today.year {
        return then.year.to_string();
    }
    match (then.month, then.day) == (today.month, today.day) {
        true => format!("{:02}:{:02}", then.hour, then.minute),
        false => format!("{}{:02}", MONTHS.get(then.month).unwrap_or(&"?"), then.day),
    }
}

/// Hours, minutes and seconds.
pub fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// With blanks between them. What is in them is as the process wants it.
fn shown(arguments: &[u8]) -> String {
    String::from_utf8_lossy(arguments).trim_end_matches('\0').replace('\0', " ")
}

fn terminal(device: u64) -> Option<String> {
    let (major, minor) = (libc::major(device), libc::minor(device));
    match (major, minor) {
        (0, 0) => None,
        (4, 0..64) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".to_string()),
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        _ => Some(format!("{major}:{minor}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_from_proc() {
        let clock = Clock { boot: 1000, now: 5000, rate: 100 };
        let stat = "7 (a) b (c)) S 1 7 7 34817 7 0 0 0 0 0 1200 300 0 0 20 0 1 0 2000 0 0\n";
        let process = clock.read(7, 5, stat, b"sh\0-c\0a\nb\0").unwrap();
        let expected = ListedProcess {
            pid: 7,
            parent: 1,
            uid: 5,
            share: 50,
            started: 1020,
            terminal: Some("pts/1".into()),
            used: 15,
            command: "sh -c a\nb".into(),
        };
        assert_eq!(process, expected);
        assert_eq!(clock.read(7, 5, stat, b"").unwrap().command, "[a) b (c)]");
    }
}
