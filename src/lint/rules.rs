//! Settings that contradict each other, beside those that planning refuses.

use super::findings::Findings;
use super::words::list;
use crate::json_tree::Tree;
use std::collections::BTreeMap;
use std::path::Path;

/// Reports them.
pub fn check(config: &Tree, findings: &mut Findings) {
    mounts(list(config, &["mounts"]), findings);
    capabilities(config, findings);
    ids(config, findings);
    if let Some(memory) = config.down(&["linux", "resources", "memory"]) {
        let number = |name| memory.get(name).and_then(Tree::number).filter(|number| *number > 0);
        if let (Some(limit), Some(reservation)) = (number("limit"), number("reservation"))
            && reservation > limit
        {
            findings.warning(
                memory.find("reservation"),
                "linux.resources.memory.reservation",
                format!("{reservation} is more than the limit, {limit}"),
                "lower it, or raise the limit",
            );
        }
    }
    let terminal = config.down(&["process", "terminal"]).is_some_and(Tree::is_true);
    if let Some(size) = config.down(&["process", "consoleSize"])
        && !terminal
    {
        findings.warning(
            size.at,
            "process.consoleSize",
            "has no effect without a terminal",
            "set process.terminal to true, or leave it out",
        );
    }
}

fn destination(mount: &Tree) -> Option<&Path> {
    mount.get("destination").and_then(Tree::text).map(Path::new)
}

fn mounts(listed: &[Tree], findings: &mut Findings) {
    // In this order, the paths below a path follow it.
    let mut earlier: BTreeMap<&Path, usize> = BTreeMap::new();
    for (index, mount) in listed.iter().enumerate() {
        let Some(here) = destination(mount) else { continue };
        // A remount changes a mount that is there, and covers nothing.
        let words = |word: &str| {
            mount.get("options").is_some_and(|options| options.words().any(|(_, _, other)| other == word))
        };
        for (first, second) in [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")] {
            if words(first) && words(second) {
                findings.warning(
                    mount.find("options"),
                    &format!("mounts[{index}].options"),
                    format!("both {first} and {second}: the later one counts"),
                    "leave one of them out",
                );
            }
        }
        if words("remount") {
            continue;
        }
        let covered = earlier.range(here..).next().filter(|(path, _)| path.starts_with(here));
        let covered = covered.map(|(_, earlier)| *earlier);
        earlier.entry(here).or_insert(index);
        if let Some(earlier) = covered {
            findings.warning(
                mount.find("destination"),
                &format!("mounts[{index}].destination"),
                format!("covers mounts[{earlier}], which nobody sees then"),
                "mount what is above before what is below, or leave one of the two out",
            );
        }
    }
}

/// Sets that the kernel cuts down, or refuses: capabilities(7).
fn capabilities(config: &Tree, findings: &mut Findings) {
    let Some(sets) = config.down(&["process", "capabilities"]) else { return };
    let has = |set: &str, name: &str| {
        sets.get(set).is_some_and(|set| set.words().any(|(_, _, other)| other == name))
    };
    for (set, needs) in [
        ("effective", "permitted"),
        ("permitted", "bounding"),
        ("ambient", "permitted"),
        ("ambient", "inheritable"),
    ] {
        let Some(listed) = sets.get(set) else { continue };
        for (index, place, name) in listed.words().filter(|(_, _, name)| !has(needs, name)) {
            findings.warning(
                place.at,
                &format!("process.capabilities.{set}[{index}]"),
                format!("{name} has no effect here, since it is not in {needs}"),
                format!("add it to process.capabilities.{needs}, or leave it out here"),
            );
        }
    }
}

/// Owners that the container's user namespace does not have. Of a devpts they are left out by kase.
fn ids(config: &Tree, findings: &mut Findings) {
    for (own, maps) in [("uid", "uidMappings"), ("gid", "gidMappings")] {
        let maps = list(config, &["linux", maps]);
        if maps.is_empty() {
            continue;
        }
        let mut named = Vec::new();
        if let Some(user) = config.down(&["process", "user"]) {
            named.push((user.find(own), "process.user".to_string(), user.get(own).and_then(Tree::number)));
        }
        for (index, device) in list(config, &["linux", "devices"]).iter().enumerate() {
            let id = device.get(own).and_then(Tree::number);
            named.push((device.find(own), format!("linux.devices[{index}]"), id));
        }
        for place in named.iter_mut().map(|(_, place, _)| place) {
            *place = format!("{place}.{own}");
        }
        for (index, mount) in list(config, &["mounts"]).iter().enumerate() {
            let devpts = mount.get("type").and_then(Tree::text) == Some("devpts");
            let words = mount.get("options").into_iter().flat_map(Tree::words);
            for (word, place, option) in words.filter(|_| !devpts) {
                let id = option.strip_prefix(own).and_then(|rest| rest.strip_prefix('=')?.parse().ok());
                named.push((place.at, format!("mounts[{index}].options[{word}]"), id));
            }
        }
        let mapped = |id: i64| {
            maps.iter().any(|map| {
                let number = |name| map.get(name).and_then(Tree::number).unwrap_or(0);
                let first = number("containerID");
                (first..first.saturating_add(number("size"))).contains(&id)
            })
        };
        for (at, place, id) in named {
            let Some(id) = id.filter(|id| !mapped(*id)) else { continue };
            let what = format!("{own} {id} is not mapped into the container's user namespace");
            let remedy = format!("use one that linux.{own}Mappings has, or map it there");
            findings.error(at, &place, what, remedy);
        }
    }
}
