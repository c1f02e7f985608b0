//! How much there is of everything that a container has, on the whole machine.

use nix::unistd::sync;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// Of the kernel's caches, those whose objects are a container's or a process's. The others grow with the files that
/// were looked at.
const SLABS: [&str; 22] = [
    "cred",
    "cred_jar",
    "files_cache",
    "filp",
    "fs_cache",
    "key_jar",
    "mm_struct",
    "mnt_cache",
    "mqueue_inode_cache",
    "net_namespace",
    "nsproxy",
    "pid",
    "pid_namespace",
    "proc_dir_entry",
    "shmem_inode_cache",
    "sighand_cache",
    "signal_cache",
    "sock_inode_cache",
    "task_struct",
    "user_namespace",
    "uts_namespace",
    "kernfs_node_cache",
];

/// The kernel takes namespaces and dead cgroups apart some time after they are left.
const SETTLES: Duration = Duration::from_secs(120);

/// Before and after.
#[derive(Default)]
pub struct Counts {
    before: BTreeMap<String, u64>,
}

impl Counts {
    pub fn before(&mut self) {
        self.before = now();
    }

    /// A table, and what there is more of. It is taken again until nothing has grown, or for some time.
    pub fn after(&self, containers: usize) -> (String, Vec<String>) {
        let begun = Instant::now();
        loop {
            let after = now();
            let grown: Vec<String> = after
                .iter()
                .filter(|(name, number)| {
                    **number > self.before.get(*name).unwrap_or(&0) + spare(name, containers)
                })
                .map(|(name, _)| name.clone())
                .collect();
            if grown.is_empty() || begun.elapsed() > SETTLES {
                return (self.table(&after, containers), grown);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn table(&self, after: &BTreeMap<String, u64>, containers: usize) -> String {
        let mut text = format!("  {:<32}{:>9}{:>9}{:>12}\n", "", "before", "after", "may be more");
        for (name, number) in after {
            let (before, spare) = (self.before.get(name).unwrap_or(&0), spare(name, containers));
            text += &format!("  {name:<32}{before:>9}{number:>9}{spare:>12}\n");
        }
        text
    }
}

/// By how much it may grow. This program's own things: not at all. The machine's: others are at work on it, and the
/// kernel keeps objects for each processor, neither of which becomes more with the containers. What each twentieth of
/// them left would show.
fn spare(name: &str, containers: usize) -> u64 {
    match name {
        name if name.starts_with("own ") => 0,
        _ => 500 + containers as u64 / 20,
    }
}

fn now() -> BTreeMap<String, u64> {
    // What the kernel only keeps in case it is asked for again: inodes of namespaces, entries of directories.
    sync();
    let _ = fs::write("/proc/sys/vm/drop_caches", "2");
    let mut found = BTreeMap::new();
    let mut add =
        |name: &str, number: Option<u64>| number.map(|number| found.insert(name.to_string(), number));
    add("own descriptors", entries("/proc/self/fd"));
    add("own children", own_children());
    add("mounts", lines("/proc/self/mountinfo"));
    add("processes", processes());
    add(
        "open files",
        read("/proc/sys/fs/file-nr").split_whitespace().next().and_then(|word| word.parse().ok()),
    );
    add("keys", keys());
    for (name, number) in cgroups() {
        add(&name, Some(number));
    }
    for (name, number) in slabs() {
        add(&name, Some(number));
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn entries(path: &str) -> Option<u64> {
    Some(fs::read_dir(path).ok()?.count() as u64)
}

fn lines(path: &str) -> Option<u64> {
    Some(read(path).lines().count() as u64)
}

/// Zombies are among them.
fn own_children() -> Option<u64> {
    let tasks = fs::read_dir("/proc/self/task").ok()?.flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    Some(children.map(|list| list.split_whitespace().count() as u64).sum())
}

fn processes() -> Option<u64> {
    let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
    Some(names.filter(|name| name.to_string_lossy().parse::<u32>().is_ok()).count() as u64)
}

/// Of all users: `UID: USAGE KEYS/INSTANTIATED …`.
fn keys() -> Option<u64> {
    let text = fs::read_to_string("/proc/key-users").ok()?;
    let count = |line: &str| line.split_whitespace().nth(2)?.split('/').next()?.parse::<u64>().ok();
    Some(text.lines().filter_map(count).sum())
}

/// With those that are gone and not yet taken apart.
fn cgroups() -> Vec<(String, u64)> {
    let text = read("/proc/cgroups");
    let fields = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace());
    fields
        .filter_map(|mut fields| {
            let name = format!("cgroups of {}", fields.next()?);
            Some((name, fields.nth(1)?.parse().ok()?))
        })
        .collect()
}

/// The objects in use; only root may look.
fn slabs() -> Vec<(String, u64)> {
    let text = read("/proc/slabinfo");
    let rows = text.lines().map(|line| line.split_whitespace());
    rows.filter_map(|mut words| {
        let name = words.next().filter(|name| SLABS.contains(name))?;
        Some((format!("slab {name}"), words.next()?.parse().ok()?))
    })
    .collect()
}
