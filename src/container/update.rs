//! Changes the limits of a container that runs.

use super::record::Journal;
use super::{Container, Status, processes};
use crate::bundle;
use crate::cgroup::layout::Layout;
use crate::fault::{Fault, OrFault};
use crate::host::facilities::{Facilities, Facility};
use crate::kernel::text::read_bytes;
use crate::launch::intel_rdt::Share;
use crate::plan::cgroup::limits::{self, Occasion};
use crate::plan::intel_rdt::{self, IntelRdt};
use crate::plan::notes::Notes;
use oci_spec::runtime::{LinuxIntelRdt, LinuxResources};
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// Reads resources, in the specification's JSON, from a file or (`-`) from standard input.
pub fn read(file: &Path) -> anyhow::Result<LinuxResources> {
    let mut text = Vec::new();
    match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut text).map(drop),
        false => read_bytes(file).map(|read| text = read),
    }
    .or_fault(|| {
        Fault::doing(format!("read {}", file.display()))
            .remedy("give --resources a file with linux.resources of config.json, or - for standard input")
    })?;
    bundle::resources(&text).map_err(|fault| fault.within(format!("parse {}", file.display())))
}

/// Single values, by their path in `linux.resources`, as the same JSON.
#[derive(Debug, Default)]
pub struct Values(Map<String, Value>);

impl Values {
    /// Sets `section.field`.
    pub fn set(&mut self, section: &str, field: &str, value: Value) {
        let section = self.0.entry(section).or_insert_with(|| Value::Object(Map::new()));
        if let Some(section) = section.as_object_mut() {
            section.insert(field.to_string(), value);
        }
    }

    /// Nothing was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The resources.
    pub fn resources(self) -> anyhow::Result<LinuxResources> {
        let text = Value::Object(self.0).to_string();
        Ok(bundle::resources(text.as_bytes())?)
    }
}

/// Writes the limits that `resources` and `rdt` mention.
///
/// # Errors
/// A container that has stopped, or what the kernel refuses.
pub fn update(
    container: &Container,
    resources: Option<&LinuxResources>,
    rdt: Option<&LinuxIntelRdt>,
) -> anyhow::Result<()> {
    if container.status()? == Status::Stopped {
        return Err(Fault::doing("container not running")
            .remedy(format!("see its status with `kase state {}`", container.id()))
            .into());
    }
    let facilities = Facilities::look(if rdt.is_some() { &[Facility::Resctrl] } else { &[] })?;
    let rdt = intel_rdt::decide(rdt, &facilities)?;
    if let Some(resources) = resources {
        let Some(version) = Layout::look()?.version() else {
            return Err(Fault::doing("this host has no cgroups, so nothing can be limited")
                .remedy("mount cgroup2 at /sys/fs/cgroup")
                .into());
        };
        let mut notes = Notes::default();
        let limits = limits::decide(resources, version, Occasion::Update, &mut notes)?;
        super::draft::log_notes(&notes);
        container.cgroup().update(&limits)?;
    }
    rdt.map_or(Ok(()), |rdt| share(container, &rdt))
}

/// Writes the schemata of the container's group in resctrl. One that has none gets one of its own.
fn share(container: &Container, rdt: &IntelRdt<'_>) -> anyhow::Result<()> {
    if let Some(share) = container.share() {
        return share.change(rdt, &[]);
    }
    let share = Share::choose(rdt, container.id());
    // It is written down before it is made, so that delete removes it in any case.
    Journal::share(container.directory_fd(), share.clone())?;
    share.change(rdt, &processes::pids(container)?)
}

/// A number of bytes, as `50M` or `1g` (powers of 1024), or -1 for no limit.
pub fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no size: write it as in 512M, 1g or -1");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches("ib").trim_end_matches('b');
    let units = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];
    let named = units.iter().find_map(|(unit, shift)| Some((digits.strip_suffix(*unit)?, *shift)));
    let (number, shift) = named.unwrap_or((digits, 0));
    let number: i64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= -1).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, size) in
            [("0", 0), ("-1", -1), ("50M", 50 << 20), ("1g", 1 << 30), ("2kb", 2048), ("3MiB", 3 << 20)]
        {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for text in ["", "M", "x", "1.5x", "-2", "9999999t"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn single_values_make_resources() {
        let mut values = Values::default();
        values.set("memory", "limit", 42.into());
        values.set("cpu", "cpus", "0-1".into());
        let resources = values.resources().unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(42));
        assert_eq!(resources.cpu().as_ref().unwrap().cpus().as_deref(), Some("0-1"));
    }
}
