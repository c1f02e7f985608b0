//! What a test must not leave behind: processes, mounts, cgroups, state.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// Everything that is left of the test `name` in `dir`. Killed processes get a moment to be gone.
pub fn find(dir: &Path, name: &str, state: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for patience in 0..1000 {
        left = Vec::new();
        left.extend(processes(name).into_iter().map(describe_process));
        left.extend(mounts(dir).into_iter().map(|mount| format!("mount {}", mount.display())));
        left.extend(cgroups(name).into_iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
        // crun keeps a directory of this name, to mask others with.
        let states = entries(state).into_iter().filter(|entry| !entry.ends_with(".empty-directory"));
        left.extend(states.map(|entry| format!("state {}", entry.display())));
        if left.is_empty() || patience == 999 {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    left
}

/// Clears it away, so that one test's failure is not the next one's.
pub fn clear(dir: &Path, name: &str) {
    for pid in processes(name) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for mount in mounts(dir).into_iter().rev() {
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
    for cgroup in cgroups(name).into_iter().rev() {
        let _ = fs::remove_dir(cgroup);
    }
}

/// Processes with the test's name in their environment: kase's own, and the containers', whose configs
/// carry it. Zombies have none.
pub fn processes(name: &str) -> Vec<i32> {
    let marker = format!("KASE_TEST={name}");
    let own = std::process::id().cast_signed();
    let pids =
        entries(Path::new("/proc")).into_iter().filter_map(|entry| entry.file_name()?.to_str()?.parse().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
        })
        .collect()
}

/// Its command line, and what it waits for in the kernel.
pub fn describe_process(pid: i32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    format!("process {pid} ({}): {}", read("wchan"), read("cmdline").replace('\0', " "))
}

/// Mount points below `dir`, in the order of mounting.
fn mounts(dir: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir)).collect()
}

/// Cgroups whose name has the test's in it, parents before children.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((directory, depth)) = next.pop() {
        let children = entries(&directory).into_iter().filter(|entry| is_directory(entry));
        for child in children {
            if child.file_name().is_some_and(|found| is_of_test(&found.to_string_lossy(), name)) {
                found.push(child.clone());
            }
            if depth < 8 {
                next.push((child, depth + 1));
            }
        }
    }
    found
}

/// `kase-7-1` is not the test of `kase-7-12`.
fn is_of_test(cgroup: &str, name: &str) -> bool {
    cgroup.split_once(name).is_some_and(|(_, rest)| !rest.starts_with(|next: char| next.is_ascii_digit()))
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.is_dir())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}
