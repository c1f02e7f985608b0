//! `linux.resources` as files and values.

mod block_io;
pub mod cpu;
mod memory;

use super::Version;
use super::devices::Rule;
use crate::fault::{Fault, Place};
use crate::plan::notes::Notes;
use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma, LinuxResources};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// Everything that is written into a cgroup.
#[derive(Debug)]
pub struct Limits {
    /// For which version.
    pub version: Version,
    /// In this order.
    pub writes: Vec<Write>,
    /// Nothing leaves access to devices as it is.
    pub devices: Option<Vec<Rule>>,
    /// `memory.checkBeforeUpdate`: refused when more is in use already.
    pub check: Option<Check>,
}

/// A value for a file of a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What asked for it.
    pub at: At,
    /// Whose file it is, in the version's own word: `io`, `blkio`.
    pub controller: Cow<'static, str>,
    pub file: Cow<'static, str>,
    /// What is written, a write(2) for each line.
    pub value: Value,
    /// What if the file is not there.
    pub missing: Missing,
}

/// A place in config.json, also one that is named by what the user wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// One that kase knows.
    Place(Place),
    /// A key of a map.
    Key(Place, String),
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// This.
    Text(String),
    /// The file's first word as it is, then this: a period without a quota.
    AfterFirstWord(String),
    /// What is left of memory and swap together beside the memory limit in force.
    SwapOf {
        /// Together.
        total: i64,
    },
    /// Swap such that memory and swap together stay, once memory has this limit.
    SwapBeside {
        /// The new limit.
        memory: i64,
    },
}

/// What if a file is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The limit cannot be had.
    Refuse,
    /// It does not matter.
    Skip,
    /// Another file says the same.
    Instead(&'static str, String),
}

/// A limit that must be above what is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap.
    pub total: Option<i64>,
}

/// Whether the cgroup is new, or has limits already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It is new.
    Create,
    /// What is not mentioned stays.
    Update,
}

impl Limits {
    /// No limits.
    pub fn none(version: Version) -> Self {
        Self { version, writes: Vec::new(), devices: None, check: None }
    }

    /// The place of the first limit.
    pub fn first(&self) -> Option<Place> {
        self.writes.iter().find(|write| write.missing != Missing::Skip).map(|write| match write.at {
            At::Place(place) | At::Key(place, _) => place,
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(out),
            Self::Key(place, key) => write!(out, "{place}.{key}"),
        }
    }
}

/// The writes, while they are collected.
struct Sheet<'a> {
    version: Version,
    occasion: Occasion,
    writes: Vec<Write>,
    notes: &'a mut Notes,
}

impl Sheet<'_> {
    fn write(&mut self, at: Place, file: &'static str, value: impl ToString) -> &mut Write {
        self.add(At::Place(at), file.into(), Value::Text(value.to_string()))
    }

    fn add(&mut self, at: At, file: Cow<'static, str>, value: Value) -> &mut Write {
        let controller = match &file {
            Cow::Borrowed(file) => file.split('.').next().unwrap_or_default().into(),
            Cow::Owned(file) => file.split('.').next().unwrap_or_default().to_string().into(),
        };
        self.writes.push(Write { at, controller, file, value, missing: Missing::Refuse });
        self.writes.last_mut().expect("just pushed")
    }

    /// v1's file, or v2's.
    fn either(&self, v1: &'static str, v2: &'static str) -> &'static str {
        match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        }
    }

    /// A field that this version has no file for.
    fn left_out(&mut self, at: Place) {
        let version = self.either("v1", "v2");
        self.notes.warn(format!("{at}: left out, cgroup {version} has nothing like it"));
    }
}

/// Decides what to write. Device rules are not among it: an update leaves them alone.
///
/// # Errors
/// Values that no kernel takes, fields that only the other version has.
pub fn decide(
    resources: &LinuxResources,
    version: Version,
    occasion: Occasion,
    notes: &mut Notes,
) -> Result<Limits, Fault> {
    let mut sheet = Sheet { version, occasion, writes: Vec::new(), notes };
    if let Some(pids) = resources.pids() {
        // Nothing but one process is how systemd and runc understand 0.
        let value = match pids.limit() {
            ..=-1 => "max".to_string(),
            0 => "1".to_string(),
            limit => limit.to_string(),
        };
        sheet.write(Place::of("linux.resources.pids.limit"), "pids.max", value);
    }
    let mut check = None;
    if let Some(memory) = resources.memory() {
        check = memory::decide(memory, &mut sheet)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::decide(block_io, &mut sheet)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::decide(cpu, &mut sheet)?;
    }
    hugetlb(resources.hugepage_limits().as_deref().unwrap_or_default(), &mut sheet)?;
    if let Some(devices) = resources.rdma() {
        rdma(devices, &mut sheet)?;
    }
    if let Some(network) = resources.network() {
        net(network, &mut sheet)?;
    }
    if let Some(files) = resources.unified() {
        unified(files, &mut sheet)?;
    }
    cpu::idle_or_weight(&mut sheet);
    Ok(Limits { version, writes: sheet.writes, devices: None, check })
}

/// A number of bytes: nothing when it is unset, `max` for -1.
fn bytes(value: Option<i64>, at: Place, unlimited: &str) -> Result<Option<String>, Fault> {
    match value {
        None | Some(0) => Ok(None),
        Some(-1) => Ok(Some(unlimited.to_string())),
        Some(value) if value < 0 => Err(negative(at, value)),
        Some(value) => Ok(Some(value.to_string())),
    }
}

fn negative(at: Place, value: i64) -> Fault {
    Fault::at(at, format!("{value} is no limit")).remedy("use a number from 0 up, or -1 for no limit")
}

fn hugetlb(listed: &[LinuxHugepageLimit], sheet: &mut Sheet<'_>) -> Result<(), Fault> {
    for (index, entry) in listed.iter().enumerate() {
        let at = Place::nth("linux.resources.hugepageLimits", index);
        let size = entry.page_size();
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        if !number
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(Fault::at(at.field(".pageSize"), format!("{size:?} is no page size"))
                .remedy("write it as 64KB, 2MB or 1GB; /sys/kernel/mm/hugepages has what the host knows"));
        }
        if entry.limit() < 0 {
            return Err(negative(at.field(".limit"), entry.limit()));
        }
        let end = sheet.either("limit_in_bytes", "max");
        let value = || Value::Text(entry.limit().to_string());
        sheet.add(At::Place(at), format!("hugetlb.{size}.{end}").into(), value());
        // Reservations too, where the kernel counts them (5.7).
        sheet.add(At::Place(at), format!("hugetlb.{size}.rsvd.{end}").into(), value()).missing =
            Missing::Skip;
    }
    Ok(())
}

fn rdma(devices: &HashMap<String, LinuxRdma>, sheet: &mut Sheet<'_>) -> Result<(), Fault> {
    let mut devices: Vec<_> = devices.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    for (name, limit) in devices {
        let at = At::Key(Place::of("linux.resources.rdma"), name.clone());
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Fault::at(at, "this is no device").remedy("use a name from /sys/class/infiniband"));
        }
        let parts = [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())];
        let parts: Vec<_> =
            parts.iter().filter_map(|(key, value)| value.map(|value| format!("{key}={value}"))).collect();
        if !parts.is_empty() {
            sheet.add(at, "rdma.max".into(), Value::Text(format!("{name} {}", parts.join(" "))));
        }
    }
    Ok(())
}

fn net(network: &LinuxNetwork, sheet: &mut Sheet<'_>) -> Result<(), Fault> {
    let priorities = network.priorities().as_deref().unwrap_or_default();
    for (index, entry) in priorities.iter().enumerate() {
        if entry.name().is_empty() || entry.name().contains(char::is_whitespace) {
            let at = Place::nth("linux.resources.network.priorities", index).field(".name");
            return Err(Fault::at(at, format!("{:?} is no interface", entry.name()))
                .remedy("name an interface, such as eth0"));
        }
    }
    let class = network.class_id().filter(|class| *class != 0);
    if sheet.version == Version::V2 {
        if class.is_some() || !priorities.is_empty() {
            sheet.left_out(Place::of("linux.resources.network"));
        }
        return Ok(());
    }
    if let Some(class) = class {
        sheet.write(Place::of("linux.resources.network.classID"), "net_cls.classid", class);
    }
    for (index, entry) in priorities.iter().enumerate() {
        let at = Place::nth("linux.resources.network.priorities", index);
        sheet.write(at, "net_prio.ifpriomap", format!("{} {}", entry.name(), entry.priority()));
    }
    Ok(())
}

fn unified(files: &HashMap<String, String>, sheet: &mut Sheet<'_>) -> Result<(), Fault> {
    const UNIFIED: Place = Place::of("linux.resources.unified");
    if sheet.version == Version::V1 && !files.is_empty() {
        return Err(Fault::at(
            UNIFIED,
            "invalid configuration: cannot set unified resources: this host has cgroup v1",
        )
        .remedy("use the other fields of linux.resources, or boot with cgroup v2"));
    }
    let mut files: Vec<_> = files.iter().collect();
    files.sort();
    for (file, value) in files {
        let fault = |words: String| Fault::at(UNIFIED, words);
        if file.contains(['/', '\0']) {
            return Err(fault(format!("unified resource {file:?} must be a file name (no slashes)"))
                .remedy("name the file alone, as in memory.high"));
        }
        let form =
            file.split_once('.').is_some_and(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
        if !form {
            return Err(fault(format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER"))
                .remedy("name the file as the kernel does, as in memory.high"));
        }
        if matches!(file.as_str(), "cgroup.procs" | "cgroup.threads" | "cgroup.kill" | "cgroup.freeze") {
            return Err(fault(format!("{file} is no limit")).remedy("take it out"));
        }
        sheet.add(At::Key(UNIFIED, file.clone()), file.clone().into(), Value::Text(value.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
