//! What kase would do with a bundle on this host, read from its plan.

use super::draft;
use super::request::Request;
use super::store::Store;
use crate::cgroup::{Cgroup, CgroupFacts};
use crate::hook;
use crate::kernel::mount::Reach;
use crate::plan::cgroup::devices::{self, Answer};
use crate::plan::cgroup::limits::{At, Value};
use crate::plan::devices::{Device, Origin};
use crate::plan::mounts::{Mount, What};
use crate::plan::namespaces::Kind;
use crate::plan::overlay::Upper;
use crate::plan::{Pivot, Plan};
use rootless::caller::Caller;
use rootless::checks;
use serde::ser::{Serialize, Serializer};
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

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (*name, value)))
    }
}

/// The whole: things by their kind, in the order of [`SECTIONS`].
pub struct Explained(pub [Vec<Entry>; SECTIONS.len()]);

/// The kinds, as keys of JSON.
pub const SECTIONS: [&str; 15] = [
    "container",
    "namespaces",
    "ids",
    "mounts",
    "devices",
    "maskedPaths",
    "readonlyPaths",
    "sysctl",
    "capabilities",
    "cgroup",
    "cgroupWrites",
    "deviceRules",
    "seccomp",
    "hooks",
    "notes",
];

impl Serialize for Explained {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(SECTIONS.iter().zip(&self.0))
    }
}

/// Where what is found goes.
type Tell<'a> = &'a mut dyn FnMut(&str, &[(&'static str, &dyn Display)]);

/// Explains; nothing is made.
///
/// # Errors
/// As for create, as far as planning goes.
pub fn explain(store: &Store, caller: Caller, request: &Request) -> anyhow::Result<Explained> {
    let bundle = draft::open(store, request)?;
    let (_, layout, plan) = draft::draw(&bundle, caller, request)?;
    let planned = Cgroup::planned(&plan.cgroup, &layout)?.facts();
    let mut explained = Explained(Default::default());
    let tell: Tell<'_> = &mut |section, fields| {
        let place = SECTIONS.iter().position(|name| *name == section).expect("only these are told of");
        explained.0[place].push(Entry::of(fields));
    };
    container(&plan, tell);
    for kind in Kind::ALL {
        namespace(&plan, kind, tell);
    }
    ids(&plan, tell);
    for one in &plan.mounts {
        mount(one, tell);
    }
    for one in &plan.devices {
        device(one, plan.device_origin, tell);
    }
    for (section, paths) in [("maskedPaths", &plan.masked), ("readonlyPaths", &plan.readonly_paths)] {
        for (_, path) in paths {
            tell(section, &[("path", &path.display())]);
        }
    }
    for one in &plan.sysctl {
        tell("sysctl", &[("name", &one.name), ("value", &one.value)]);
    }
    capabilities(&plan, tell);
    cgroup(&plan, &planned, tell);
    if let Some(filter) = &plan.seccomp {
        let listener = filter.listener.map_or(Path::new(""), |listener| listener.path);
        let (length, flags) = (filter.program.instructions.len(), filter.program.flags);
        tell("seccomp", &[("instructions", &length), ("flags", &flags), ("listener", &listener.display())]);
    }
    for kind in hook::Name::ALL {
        for hook in plan.hooks.of(kind) {
            tell("hooks", &[("kind", &kind.word()), ("path", &hook.path().display())]);
        }
    }
    for (level, text) in plan.notes.iter() {
        tell("notes", &[("text", text), ("level", &level.as_str().to_lowercase())]);
    }
    Ok(explained)
}

fn container(plan: &Plan<'_>, tell: Tell<'_>) {
    let process = &plan.process;
    let words: Vec<_> = process.arguments.iter().map(|word| word.to_string_lossy()).collect();
    let entered = match plan.pivot {
        Pivot::Root => "pivot_root",
        Pivot::Move => "move and chroot",
    };
    let overlay = match plan.overlay.as_ref().map(|overlay| &overlay.upper) {
        None => Path::new(""),
        Some(Upper::Memory) => Path::new("in memory"),
        Some(Upper::Directory(directory)) => directory,
    };
    let instead = plan.overlay.as_ref().map(|_| match checks::fuse_overlayfs() {
        Ok(program) => format!("by {} where the kernel refuses it", program.display()),
        Err(diagnosis) => format!("fails where the kernel refuses it, since {}", diagnosis.cause),
    });
    let yes = |answer| if answer { "yes" } else { "no" };
    tell(
        "container",
        &[
            ("rootfs", &plan.rootfs.display()),
            ("root", &if plan.readonly { "read-only" } else { "writable" }),
            ("overlay", &overlay.display()),
            ("overlaid", &instead.unwrap_or_default()),
            ("entered", &entered),
            ("hostname", &plan.hostname.unwrap_or_default()),
            ("program", &words.join(" ")),
            ("directory", &process.cwd.display()),
            ("user", &format_args!("{}:{}", process.user.uid, process.user.gid)),
            ("terminal", &yes(process.terminal.is_some())),
            ("noNewPrivileges", &yes(process.no_new_privileges)),
        ],
    );
}

fn namespace(plan: &Plan<'_>, kind: Kind, tell: Tell<'_>) {
    let joined = plan.namespaces.join(kind).map(|join| format!("joined: {}", join.path.display()));
    let which = match &joined {
        Some(joined) => joined,
        None if plan.namespaces.makes(kind) => "new",
        None => "the caller's",
    };
    tell("namespaces", &[("kind", &kind.word()), ("which", &which)]);
}

fn ids(plan: &Plan<'_>, tell: Tell<'_>) {
    let Some(maps) = &plan.maps else { return };
    for (kind, map) in [("uid", &maps.uids), ("gid", &maps.gids)] {
        for line in &map.0 {
            let (inside, outside) = (&line.inside, &line.outside);
            tell("ids", &[("kind", &kind), ("inside", inside), ("outside", outside), ("count", &line.count)]);
        }
    }
}

fn mount(mount: &Mount<'_>, tell: Tell<'_>) {
    let deep = |reach: &Reach| if *reach == Reach::Recursive { ", and what is mounted below" } else { "" };
    let what = match &mount.what {
        What::Bind { source, reach } => format!("{} of the host{}", source.display(), deep(reach)),
        What::Inside { path, reach } => format!("/{} of the container{}", path.display(), deep(reach)),
        What::FileSystem { kind, fallback: None, .. } => format!("a new {kind}"),
        What::FileSystem { kind, fallback: Some(host), .. } => format!("a new {kind}, or the host's {host}"),
        What::Cgroup => "the cgroups".to_string(),
    };
    tell(
        "mounts",
        &[
            ("destination", &Path::new("/").join(mount.destination).display()),
            ("what", &what),
            ("flags", &mount.options.flags().join(",")),
            ("data", &mount.options.data.join(",")),
            ("ids", &if mount.idmap.is_some() { "mapped" } else { "" }),
            ("place", &mount.at),
        ],
    );
}

fn device(device: &Device<'_>, origin: Origin, tell: Tell<'_>) {
    let kind = match device.kind {
        libc::S_IFBLK => "block",
        libc::S_IFIFO => "fifo",
        _ => "char",
    };
    let made = format!("made, {:04o}, of {}:{}", device.mode, device.uid, device.gid);
    let origin = if origin == Origin::Made { made.as_str() } else { "the host's" };
    let number = format_args!("{}:{}", libc::major(device.number), libc::minor(device.number)).to_string();
    tell(
        "devices",
        &[("path", &device.path.display()), ("kind", &kind), ("number", &number), ("origin", &origin)],
    );
}

fn capabilities(plan: &Plan<'_>, tell: Tell<'_>) {
    let sets = &plan.process.capabilities;
    for (set, bits) in [
        ("bounding", sets.bounding),
        ("effective", sets.effective),
        ("permitted", sets.permitted),
        ("inheritable", sets.inheritable),
        ("ambient", sets.ambient),
    ] {
        let mut names = String::new();
        for bit in (0..64).filter(|bit| bits & 1 << bit != 0) {
            let known = caps::all().into_iter().find(|one| one.index() == bit);
            // What the kernel knows and kase has no name for has its number.
            names.push_str(&known.map_or_else(|| bit.to_string(), |one| one.to_string()));
            names.push(' ');
        }
        tell("capabilities", &[("set", &set), ("names", &names.trim_end())]);
    }
}

fn cgroup(plan: &Plan<'_>, facts: &CgroupFacts, tell: Tell<'_>) {
    for (name, path) in facts.hierarchies() {
        tell("cgroup", &[("hierarchy", &name), ("path", &path.display())]);
    }
    if let Some(unit) = &facts.unit {
        tell("cgroup", &[("hierarchy", &"systemd"), ("path", &unit.name)]);
    }
    for write in &plan.cgroup.limits.writes {
        let value = match &write.value {
            Value::Text(text) => text.trim_end().to_string(),
            Value::AfterFirstWord(text) => format!("the quota that is there, {text}"),
            Value::SwapOf { total } => format!("{total} with memory"),
            Value::SwapBeside { memory } => format!("what is left beside {memory} of memory"),
        };
        let place = match &write.at {
            At::Place(place) => place.to_string(),
            At::Key(place, key) => format!("{place}[{key:?}]"),
        };
        tell("cgroupWrites", &[("file", &write.file), ("value", &value), ("place", &place)]);
    }
    for rule in plan.cgroup.limits.devices.iter().flatten() {
        let answer = if rule.answer == Answer::Allow { "allow" } else { "deny" };
        let kind = match rule.kind {
            Some(devices::Kind::Character) => "char",
            Some(devices::Kind::Block) => "block",
            None => "any",
        };
        let number = |number: Option<u32>| number.map_or("*".to_string(), |number| number.to_string());
        let number = format!("{}:{}", number(rule.major), number(rule.minor));
        let access = rule.access.letters();
        tell(
            "deviceRules",
            &[("answer", &answer), ("kind", &kind), ("number", &number), ("access", &access)],
        );
    }
}
