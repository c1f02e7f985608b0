//! An attacker: looks into each new process that it sees.

use crate::Answer;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;

/// Says what a new process shows of itself, for ever: whether `secret` can be read below its root or its working
/// directory, what its descriptors are, and which capabilities it has. Each line once.
pub fn look_into(secret: &str) -> Answer {
    let before: HashSet<i32> = processes().collect();
    let mut said = HashSet::new();
    let mut looks: HashMap<i32, u32> = HashMap::new();
    say(&mut said, "looking".into());
    loop {
        for pid in processes().filter(|pid| !before.contains(pid)) {
            let count = looks.entry(pid).or_default();
            *count += 1;
            if *count == 1 {
                say(&mut said, format!("process {pid}"));
            }
            look(&mut said, pid, secret);
        }
    }
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn look(said: &mut HashSet<String>, pid: i32, secret: &str) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if let Some(permitted) = status.lines().find_map(|line| line.strip_prefix("CapPrm:")) {
        say(said, format!("permitted {}", permitted.trim()));
    }
    for way in ["root", "cwd"] {
        for path in
            [format!("/proc/{pid}/{way}{secret}"), format!("/proc/{pid}/{way}/../../../../../../..{secret}")]
        {
            if let Ok(text) = fs::read_to_string(path) {
                say(said, format!("{way} {text}"));
            }
        }
    }
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        if let Ok(target) = fs::read_link(entry.path()) {
            let target = target.display().to_string();
            // Sockets and pipes have numbers.
            let kind =
                target.split_inclusive(':').next().filter(|kind| kind.ends_with(':')).unwrap_or(&target);
            say(said, format!("fd {} {kind}", entry.file_name().display()));
        }
        if let Ok(text) = fs::read_to_string(format!("{}{secret}", entry.path().display())) {
            say(said, format!("fd {} {text}", entry.file_name().display()));
        }
    }
}

fn say(said: &mut HashSet<String>, line: String) {
    if said.insert(line.clone()) {
        let mut out = std::io::stdout();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
