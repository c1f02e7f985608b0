//! What kase would do with a bundle on this host, read from its plan.

use super::create::Request;
use super::draft;
use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::cgroup::layout::Layout;
use crate::hook;
use crate::kernel::mount::Reach;
use crate::plan::cgroup::devices::{self, Answer, Rule};
use crate::plan::cgroup::limits::{At, Value, Write};
use crate::plan::devices::{Device, Origin};
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::overlay::Upper;
use crate::plan::{Pivot, Plan};
use rootless::caller::Caller;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::path::Path;

/// One thing, as names and values; the first value says which.
pub struct Entry(pub Vec<(&'static str, String)>);

/// Things of a kind.
pub struct Section {
    /// Its name, as a key of JSON.
    pub name: &'static str,
    /// Its entries.
    pub entries: Vec<Entry>,
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (*name, value)))
    }
}

/// The whole, as one object.
pub struct Explained(pub Vec<Section>);

impl Serialize for Explained {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for section in &self.0 {
            map.serialize_entry(section.name, &section.entries)?;
        }
        map.end()
    }
}

/// Explains; nothing is made.
///
/// # Errors
/// As for create, as far as planning goes.
pub fn explain(caller: Caller, request: &Request) -> anyhow::Result<Explained> {
    let bundle = Bundle::open(&request.bundle, request.config.as_deref())?;
    let layout = Layout::look();
    let (_, plan) = draft::draw(&bundle, caller, &layout, request)?;
    let section = |name, entries| Section { name, entries };
    let planned = Cgroup::planned(&plan.cgroup, &layout)?;
    // On a host of version 1, the tree of version 2 has no controllers and no name.
    let v1 = planned
        .v1
        .iter()
        .map(|(hierarchy, path)| pair(if hierarchy.is_empty() { "v2" } else { hierarchy }, path.display()));
    let cgroup = planned
        .v2
        .iter()
        .map(|path| pair("v2", path.display()))
        .chain(v1)
        .chain(planned.unit.iter().map(|unit| pair("systemd", &unit.name)));
    Ok(Explained(vec![
        section("container", vec![container(&plan)]),
        section("namespaces", Kind::ALL.map(|kind| namespace(&plan, kind)).into()),
        section("ids", ids(&plan)),
        section("mounts", plan.mounts.iter().map(mount).collect()),
        section("devices", plan.devices.iter().map(|node| device(node, plan.device_origin)).collect()),
        section("maskedPaths", paths(&plan.masked)),
        section("readonlyPaths", paths(&plan.readonly_paths)),
        section("sysctl", plan.sysctl.iter().map(|one| pair(one.name, one.value)).collect()),
        section("capabilities", capabilities(&plan)),
        section("cgroup", cgroup.collect()),
        section("cgroupWrites", plan.cgroup.limits.writes.iter().map(write).collect()),
        section("deviceRules", plan.cgroup.limits.devices.iter().flatten().map(rule).collect()),
        section("seccomp", seccomp(&plan)),
        section("hooks", hooks(&plan)),
        section(
            "notes",
            plan.notes
                .iter()
                .map(|(level, text)| {
                    Entry(vec![("text", text.clone()), ("level", level.as_str().to_lowercase())])
                })
                .collect(),
        ),
    ]))
}

fn pair(name: impl ToString, value: impl ToString) -> Entry {
    Entry(vec![("name", name.to_string()), ("value", value.to_string())])
}

fn container(plan: &Plan<'_>) -> Entry {
    let process = &plan.process;
    let words: Vec<_> = process.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let pivot = match plan.pivot {
        Pivot::Root => "pivot_root",
        Pivot::Move => "move and chroot",
        Pivot::Chroot => "chroot",
    };
    let overlay = plan.overlay.as_ref().map(|overlay| match &overlay.upper {
        Upper::Memory => "in memory".to_string(),
        Upper::Directory(directory) => directory.display().to_string(),
    });
    let mut entry = vec![
        ("rootfs", plan.rootfs.display().to_string()),
        ("root", if plan.readonly { "read-only" } else { "writable" }.to_string()),
        ("entered", pivot.to_string()),
        ("program", words.join(" ")),
        ("directory", process.cwd.display().to_string()),
        ("user", format!("{}:{}", process.user.uid, process.user.gid)),
        ("terminal", yes(process.terminal.is_some())),
        ("noNewPrivileges", yes(process.no_new_privileges)),
    ];
    entry.extend(overlay.map(|overlay| ("overlay", overlay)));
    entry.extend(plan.hostname.map(|name| ("hostname", name.to_string())));
    Entry(entry)
}

fn yes(answer: bool) -> String {
    if answer { "yes" } else { "no" }.to_string()
}

fn namespace(plan: &Plan<'_>, kind: Kind) -> Entry {
    let how = match plan.namespaces.join(kind) {
        Some(join) => format!("joined: {}", join.path.display()),
        None if plan.namespaces.makes(kind) => "new".to_string(),
        None => "the caller's".to_string(),
    };
    Entry(vec![("kind", kind.word().to_string()), ("which", how)])
}

fn ids(plan: &Plan<'_>) -> Vec<Entry> {
    let Some(maps) = &plan.maps else { return Vec::new() };
    let lines =
        maps.uids.0.iter().map(|line| ("uid", line)).chain(maps.gids.0.iter().map(|line| ("gid", line)));
    lines
        .map(|(kind, line)| {
            Entry(vec![
                ("kind", kind.to_string()),
                ("inside", line.inside.to_string()),
                ("outside", line.outside.to_string()),
                ("count", line.count.to_string()),
            ])
        })
        .collect()
}

fn mount(mount: &Mount<'_>) -> Entry {
    let deep = |reach: &Reach| if *reach == Reach::Recursive { ", and what is mounted below" } else { "" };
    let what = match &mount.what {
        What::Bind { source, reach } => format!("{} of the host{}", source.display(), deep(reach)),
        What::Inside { path, reach } => format!("/{} of the container{}", path.display(), deep(reach)),
        What::FileSystem { kind, fallback: None, .. } => format!("a new {kind}"),
        What::FileSystem { kind, fallback: Some(host), .. } => format!("a new {kind}, or the host's {host}"),
        What::Cgroup => "the cgroups".to_string(),
    };
    let mut entry = vec![
        ("destination", Path::new("/").join(mount.destination).display().to_string()),
        ("what", what),
        ("flags", mount.options.flags().join(",")),
        ("data", mount.options.data.join(",")),
        ("place", mount.at.to_string()),
    ];
    entry.extend(mount.idmap.as_ref().map(|_| ("ids", "mapped".to_string())));
    Entry(entry)
}

fn device(device: &Device<'_>, origin: Origin) -> Entry {
    let kind = match device.kind {
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        _ => "char",
    };
    let number = format!("{}:{}", libc::major(device.number), libc::minor(device.number));
    let how = match origin {
        Origin::Made => format!("made, {:04o}, of {}:{}", device.mode, device.uid, device.gid),
        Origin::Host => "the host's".to_string(),
    };
    Entry(vec![
        ("path", device.path.display().to_string()),
        ("kind", kind.to_string()),
        ("number", number),
        ("origin", how),
    ])
}

fn paths(paths: &[(crate::fault::Place, &Path)]) -> Vec<Entry> {
    paths.iter().map(|(_, path)| Entry(vec![("path", path.display().to_string())])).collect()
}

fn capabilities(plan: &Plan<'_>) -> Vec<Entry> {
    let sets = &plan.process.capabilities;
    [
        ("bounding", sets.bounding),
        ("effective", sets.effective),
        ("permitted", sets.permitted),
        ("inheritable", sets.inheritable),
        ("ambient", sets.ambient),
    ]
    .into_iter()
    .map(|(set, bits)| {
        let names = (0..64).filter(|bit| bits & 1 << bit != 0);
        let known = caps::all();
        let name = |bit: u8| {
            known.iter().find(|one| one.index() == bit).map_or_else(|| bit.to_string(), ToString::to_string)
        };
        pair(set, names.map(name).collect::<Vec<_>>().join(" "))
    })
    .collect()
}

fn write(write: &Write) -> Entry {
    let value = match &write.value {
        Value::Text(text) => text.clone(),
        Value::AfterFirstWord(text) => format!("the quota that is there, {text}"),
        Value::SwapOf { total } => format!("{total} with memory"),
        Value::SwapBeside { memory } => format!("what is left beside {memory} of memory"),
    };
    let place = match &write.at {
        At::Place(place) => place.to_string(),
        At::Key(place, key) => format!("{place}[{key:?}]"),
    };
    Entry(vec![("file", write.file.to_string()), ("value", value.trim_end().to_string()), ("place", place)])
}

fn rule(rule: &Rule) -> Entry {
    let kind = match rule.kind {
        Some(devices::Kind::Character) => "char",
        Some(devices::Kind::Block) => "block",
        None => "any",
    };
    let number = |number: Option<u32>| number.map_or("*".to_string(), |number| number.to_string());
    Entry(vec![
        ("answer", if rule.answer == Answer::Allow { "allow" } else { "deny" }.to_string()),
        ("kind", kind.to_string()),
        ("number", format!("{}:{}", number(rule.major), number(rule.minor))),
        ("access", rule.access.letters()),
    ])
}

fn seccomp(plan: &Plan<'_>) -> Vec<Entry> {
    let Some(filter) = &plan.seccomp else { return Vec::new() };
    let mut entry = vec![
        ("instructions", filter.program.instructions.len().to_string()),
        ("flags", filter.program.flags.to_string()),
    ];
    entry.extend(filter.listener.map(|listener| ("listener", listener.path.display().to_string())));
    vec![Entry(entry)]
}

fn hooks(plan: &Plan<'_>) -> Vec<Entry> {
    hook::Kind::ALL
        .into_iter()
        .flat_map(|kind| plan.hooks.of(kind).iter().map(move |hook| pair(kind.word(), hook.path().display())))
        .collect()
}
