//! What kase would do with a bundle on this host, read from its plan.

use super::create::Request;
use super::draft;
use crate::bundle::Bundle;
use crate::cgroup::layout::Layout;
use crate::cgroup::{Cgroup, CgroupFacts};
use crate::fault::Place;
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
use rootless::id_map::Line;
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::fmt::Display;
use std::path::Path;

/// One thing, as names and values; the first value says which.
pub struct Entry(pub Vec<(&'static str, String)>);

impl Entry {
    /// Of anything that can be shown.
    pub fn of(fields: &[(&'static str, &dyn Display)]) -> Self {
        Self(fields.iter().map(|(name, value)| (*name, value.to_string())).collect())
    }
}

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
    let planned = Cgroup::planned(&plan.cgroup, &layout)?;
    let section = |name, entries| Section { name, entries };
    Ok(Explained(vec![
        section("container", vec![container(&plan)]),
        section("namespaces", Kind::ALL.map(|kind| namespace(&plan, kind)).into()),
        section("ids", ids(&plan)),
        section("mounts", plan.mounts.iter().map(mount).collect()),
        section("devices", plan.devices.iter().map(|node| device(node, plan.device_origin)).collect()),
        section("maskedPaths", paths(&plan.masked)),
        section("readonlyPaths", paths(&plan.readonly_paths)),
        section("sysctl", plan.sysctl.iter().map(|one| pair(&one.name, &one.value)).collect()),
        section("capabilities", capabilities(&plan)),
        section("cgroup", cgroups(&planned)),
        section("cgroupWrites", plan.cgroup.limits.writes.iter().map(write).collect()),
        section("deviceRules", plan.cgroup.limits.devices.iter().flatten().map(rule).collect()),
        section("seccomp", seccomp(&plan)),
        section("hooks", hooks(&plan)),
        section("notes", plan.notes.iter().map(note).collect()),
    ]))
}

fn pair(name: &dyn Display, value: &dyn Display) -> Entry {
    Entry::of(&[("name", name), ("value", value)])
}

fn container(plan: &Plan<'_>) -> Entry {
    let process = &plan.process;
    let words: Vec<_> = process.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let entered = match plan.pivot {
        Pivot::Root => "pivot_root",
        Pivot::Move => "move and chroot",
        Pivot::Chroot => "chroot",
    };
    let yes = |answer| if answer { "yes" } else { "no" };
    let mut entry = Entry::of(&[
        ("rootfs", &plan.rootfs.display()),
        ("root", &if plan.readonly { "read-only" } else { "writable" }),
        ("entered", &entered),
        ("program", &words.join(" ")),
        ("directory", &process.cwd.display()),
        ("user", &format_args!("{}:{}", process.user.uid, process.user.gid)),
        ("terminal", &yes(process.terminal.is_some())),
        ("noNewPrivileges", &yes(process.no_new_privileges)),
    ]);
    entry.0.extend(plan.overlay.as_ref().map(|overlay| match &overlay.upper {
        Upper::Memory => ("overlay", "in memory".to_string()),
        Upper::Directory(directory) => ("overlay", directory.display().to_string()),
    }));
    entry.0.extend(plan.hostname.map(|name| ("hostname", name.to_string())));
    entry
}

fn namespace(plan: &Plan<'_>, kind: Kind) -> Entry {
    let joined = plan.namespaces.join(kind).map(|join| format!("joined: {}", join.path.display()));
    let which = match &joined {
        Some(joined) => joined,
        None if plan.namespaces.makes(kind) => "new",
        None => "the caller's",
    };
    Entry::of(&[("kind", &kind.word()), ("which", &which)])
}

fn ids(plan: &Plan<'_>) -> Vec<Entry> {
    let Some(maps) = &plan.maps else { return Vec::new() };
    let lines = [("uid", &maps.uids.0), ("gid", &maps.gids.0)];
    let entry = |kind: &'static str, line: &Line| {
        Entry::of(&[
            ("kind", &kind),
            ("inside", &line.inside),
            ("outside", &line.outside),
            ("count", &line.count),
        ])
    };
    lines.into_iter().flat_map(|(kind, lines)| lines.iter().map(move |line| entry(kind, line))).collect()
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
    let mut entry = Entry::of(&[
        ("destination", &Path::new("/").join(mount.destination).display()),
        ("what", &what),
        ("flags", &mount.options.flags().join(",")),
        ("data", &mount.options.data.join(",")),
        ("place", &mount.at),
    ]);
    entry.0.extend(mount.idmap.as_ref().map(|_| ("ids", "mapped".to_string())));
    entry
}

fn device(device: &Device<'_>, origin: Origin) -> Entry {
    let kind = match device.kind {
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        _ => "char",
    };
    let made = format_args!("made, {:04o}, of {}:{}", device.mode, device.uid, device.gid).to_string();
    let origin = if origin == Origin::Made { made.as_str() } else { "the host's" };
    Entry::of(&[
        ("path", &device.path.display()),
        ("kind", &kind),
        ("number", &format_args!("{}:{}", libc::major(device.number), libc::minor(device.number))),
        ("origin", &origin),
    ])
}

fn paths(paths: &[(Place, &Path)]) -> Vec<Entry> {
    paths.iter().map(|(_, path)| Entry::of(&[("path", &path.display())])).collect()
}

fn capabilities(plan: &Plan<'_>) -> Vec<Entry> {
    let sets = &plan.process.capabilities;
    let listed = [
        ("bounding", sets.bounding),
        ("effective", sets.effective),
        ("permitted", sets.permitted),
        ("inheritable", sets.inheritable),
        ("ambient", sets.ambient),
    ];
    // What the kernel knows and kase has no name for has its number.
    let name = |bit: u8| {
        let known = caps::all().into_iter().find(|one| one.index() == bit);
        known.map_or_else(|| bit.to_string(), |one| one.to_string())
    };
    let names =
        |bits: u64| (0..64).filter(|bit| bits & 1 << bit != 0).map(name).collect::<Vec<_>>().join(" ");
    listed.into_iter().map(|(set, bits)| pair(&set, &names(bits))).collect()
}

fn cgroups(facts: &CgroupFacts) -> Vec<Entry> {
    // On a host of version 1, the tree of version 2 has no controllers and no name.
    let v1 = facts.v1.iter().map(|(name, path)| (if name.is_empty() { "v2" } else { name }, path));
    let paths = facts.v2.iter().map(|path| ("v2", path)).chain(v1);
    let mut entries: Vec<_> = paths.map(|(name, path)| pair(&name, &path.display())).collect();
    entries.extend(facts.unit.as_ref().map(|unit| pair(&"systemd", &unit.name)));
    entries
}

fn write(write: &Write) -> Entry {
    let value = match &write.value {
        Value::Text(text) => text.clone(),
        Value::AfterFirstWord(text) => format!("the quota that is there, {text}"),
        Value::SwapOf { total } => format!("{total} with memory"),
        Value::SwapBeside { memory } => format!("what is left beside {memory} of memory"),
    };
    let place: &dyn Display = match &write.at {
        At::Place(place) => place,
        At::Key(place, key) => &format!("{place}[{key:?}]"),
    };
    Entry::of(&[("file", &write.file), ("value", &value.trim_end()), ("place", place)])
}

fn rule(rule: &Rule) -> Entry {
    let kind = match rule.kind {
        Some(devices::Kind::Character) => "char",
        Some(devices::Kind::Block) => "block",
        None => "any",
    };
    let number = |number: Option<u32>| number.map_or("*".to_string(), |number| number.to_string());
    Entry::of(&[
        ("answer", &if rule.answer == Answer::Allow { "allow" } else { "deny" }),
        ("kind", &kind),
        ("number", &format_args!("{}:{}", number(rule.major), number(rule.minor))),
        ("access", &rule.access.letters()),
    ])
}

fn seccomp(plan: &Plan<'_>) -> Vec<Entry> {
    let Some(filter) = &plan.seccomp else { return Vec::new() };
    let program = &filter.program;
    let mut entry = Entry::of(&[("instructions", &program.instructions.len()), ("flags", &program.flags)]);
    entry.0.extend(filter.listener.map(|listener| ("listener", listener.path.display().to_string())));
    vec![entry]
}

fn hooks(plan: &Plan<'_>) -> Vec<Entry> {
    let of = |kind: hook::Kind| {
        plan.hooks.of(kind).iter().map(move |hook| pair(&kind.word(), &hook.path().display()))
    };
    hook::Kind::ALL.into_iter().flat_map(of).collect()
}

fn note((level, text): &(tracing::Level, String)) -> Entry {
    Entry::of(&[("text", text), ("level", &level.as_str().to_lowercase())])
}
