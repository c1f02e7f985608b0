//! How the files of kase hang together, checked: which room may import which, no circles between files, where `unsafe`
//! may stand, what is pure, how long a file may be. A room is a file or a directory of src/.

#![cfg(test)]
#![allow(clippy::unwrap_used)]

mod modules;
mod security;
mod tests;

use modules::{Crate, Files, Naming};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A room, and the rooms that it may import.
const ROOMS: &str = "
    main        cli seal log fault host kernel
    trace       output_file
    cli         container doctor lint integrate bundle config plan seccomp seal host hook fault log rootless trace
    lint        json_tree plan seccomp bundle config host fault rootless
    integrate   json_tree fault kernel rootless
    doctor      container cgroup plan seccomp bundle host fault kernel rootless
    accounts    kernel
    container   lint output_file accounts plan seccomp cgroup launch bundle config host fault log hook gate handshake kernel rootless trace
    plan        seccomp config host hook fault kernel rootless
    seccomp     fault
    cgroup      plan host fault log kernel rootless
    launch      plan seccomp init hook gate handshake host fault log kernel rootless trace
    init        accounts interpreter plan seccomp hook gate handshake host fault log kernel rootless trace
    hook        interpreter output_file fault kernel trace
    gate        handshake fault kernel
    interpreter fault kernel
    output_file kernel rootless
    handshake   fault kernel
    bundle      config json_tree fault kernel
    config
    json_tree
    host        kernel rootless fault
    seal        kernel fault rootless
    log         output_file fault
    fault       rootless
    kernel
";

/// Rooms without system calls, files, the clock and the environment. Of the kernel they may name types and constants.
const PURE: [&str; 4] = ["plan", "seccomp", "lint", "json_tree"];
const IMPURE: [&str; 8] = [
    "std::fs",
    "std::env",
    "std::net",
    "std::time",
    "std::thread",
    "std::process",
    "nix::unistd",
    "nix::fcntl",
];
/// Arithmetic that only looks like calls of the kernel.
const ARITHMETIC: [&str; 3] = ["libc::makedev", "libc::major", "libc::minor"];

/// Beside the kernel, `unsafe` stands only in what is never shipped: what measures our filters against libseccomp and
/// the kernel, the floor of the benchmarks, and one request of ptrace that nix lacks.
const UNSAFE: [&str; 4] = ["src/kernel/", "tests/seccomp/", "tests/floor/", "tests/inject/"];

/// The lines of a file before its tests.
const LONGEST: usize = 420;
/// A generated table is as long as it is, and so is a table of cases.
const TABLES: [&str; 2] = ["src/seccomp/table.rs", "tests/seccomp_differential.rs"];

/// Words of our own for what has a name already.
const WORDS: &str = r"(?i)midwife|witness|\bborn\b|\bdoors?\b|furnish";

/// Everything that is wrong with the rooms of a crate.
fn rooms(read: &Crate, table: &str) -> BTreeSet<String> {
    let table: BTreeMap<&str, Vec<&str>> = table
        .lines()
        .filter_map(|line| {
            line.split_whitespace().next().map(|room| (room, line.split_whitespace().skip(1).collect()))
        })
        .collect();
    let mut wrong = BTreeSet::new();
    for file in &read.files {
        if !table.contains_key(room_of(file)) {
            wrong.insert(format!(
                "{file}: this room is not in the table of tests/structure: say whom it may import"
            ));
        }
    }
    for naming in &read.namings {
        let room = room_of(&naming.file);
        let Some(allowed) = table.get(room) else {
            continue;
        };
        let other = match naming.written[0].as_str() {
            "rootless" => "rootless",
            "kase" => naming.written.get(1).map_or("main", String::as_str),
            _ => continue,
        };
        // A name that is no room is an item of main.rs.
        if other != room && (other == "rootless" || table.contains_key(other)) && !allowed.contains(&other) {
            let Naming { file, line, .. } = &naming;
            wrong.insert(format!(
                "{file}:{line}: {room} may not import {other}; it may: {}",
                allowed.join(" ")
            ));
        }
    }
    wrong
}

fn room_of(file: &str) -> &str {
    let name = file.trim_start_matches("src/");
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// What pure rooms name that is not pure.
fn impure(read: &Crate) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for naming in read.namings.iter().filter(|naming| PURE.contains(&room_of(&naming.file))) {
        let path = naming.path.join("::");
        let is_function = naming.path.last().unwrap().starts_with(|first: char| first.is_ascii_lowercase());
        let is_below = |module: &&str| {
            path.strip_prefix(*module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let is_impure = IMPURE.iter().any(is_below)
            || path.starts_with("libc::") && naming.is_called && !ARITHMETIC.contains(&path.as_str())
            || path.starts_with("kase::kernel::")
                && is_function
                && !naming.is_module
                && !path.ends_with("::default");
        if is_impure {
            let room = room_of(&naming.file);
            wrong.insert(format!("{}:{}: {room} is pure, so no `{path}`", naming.file, naming.line));
        }
    }
    wrong
}

/// Files that name each other in a circle, each with what it names of the next. A module that only declares others and
/// hands their names on is in none.
fn circles(read: &Crate) -> Vec<String> {
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for naming in &read.namings {
        let Some(to) = naming.definer.as_ref().filter(|to| **to != naming.file) else {
            continue;
        };
        let what = format!("{}:{} names {}", naming.file, naming.line, naming.path.join("::"));
        arrows.entry(naming.file.clone()).or_default().entry(to.clone()).or_insert(what);
    }
    let mut found = Vec::new();
    let mut told = BTreeSet::new();
    for start in arrows.keys() {
        let Some(circle) = shortest(&arrows, start) else {
            continue;
        };
        if circle.iter().all(|file| !told.contains(file)) {
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let steps: Vec<_> = steps.map(|(from, to)| arrows[from][to].as_str()).collect();
            found.push(steps.join(", "));
        }
        told.extend(circle);
    }
    found
}

/// The shortest way from a file back to itself.
fn shortest(arrows: &BTreeMap<String, BTreeMap<String, String>>, start: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ahead = VecDeque::from([start]);
    while let Some(file) = ahead.pop_front() {
        for next in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut way = vec![file.to_string()];
                let mut at = file;
                while let Some(earlier) = before.get(at) {
                    way.insert(0, (*earlier).to_string());
                    at = earlier;
                }
                return Some(way);
            }
            if !before.contains_key(next.as_str()) {
                before.insert(next, file);
                ahead.push_back(next);
            }
        }
    }
    None
}

/// Files that are too long.
fn long(files: &Files<'_>) -> Vec<String> {
    let length =
        |text: &str| text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]")).count();
    let files = files.iter().filter(|(file, _)| !TABLES.contains(file));
    let long = files.map(|(file, text)| (file, length(text))).filter(|(_, length)| *length > LONGEST);
    long.map(|(file, length)| {
        format!("{file}: {length} lines before its tests, at most {LONGEST}: split it by noun")
    })
    .collect()
}

/// Files with one of the words that have better ones.
fn worded(files: &Files<'_>) -> Vec<String> {
    let words = regex_lite::Regex::new(WORDS).unwrap();
    let lines = files
        .iter()
        .filter(|(file, _)| file.starts_with("src/"))
        .flat_map(|(file, text)| text.lines().enumerate().map(move |(index, line)| (file, index + 1, line)));
    let found = lines.filter_map(|(file, number, line)| {
        Some(format!(
            "{file}:{number}: {:?}: use the specification's, the kernel's or runc's word",
            words.find(line)?.as_str()
        ))
    });
    found.collect()
}

/// Where `unsafe` stands outside of the kernel's room and what is never shipped. Tests within a file are free.
fn unsafe_words(files: &Files<'_>) -> Vec<String> {
    let files = files
        .iter()
        .filter(|(file, text)| text.contains("unsafe") && !UNSAFE.iter().any(|room| file.starts_with(room)));
    let found = files.flat_map(|(file, text)| {
        let lines = modules::lines_outside_tests(file, text, "unsafe");
        lines.into_iter().map(move |line| {
            format!("{file}:{line}: `unsafe` stands only in src/kernel: wrap the call there")
        })
    });
    found.collect()
}
