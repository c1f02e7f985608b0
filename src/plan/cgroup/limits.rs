//! `linux.resources` as files and values.

mod block_io;
pub mod cpu;
mod memory;
pub(super) mod writes;

pub use writes::{At, Check, Limits, Missing, Occasion, Value, Write};

use super::{Version, v1};
use crate::fault::{Fault, Place};
use crate::plan::notes::Notes;
use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxRdma, LinuxResources};
use std::collections::HashMap;
use writes::{Writes, negative};

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
    let mut writes = Writes { version, occasion, list: Vec::new(), notes };
    if let Some(pids) = resources.pids() {
        // Nothing but one process is how systemd and runc understand 0.
        let value = match pids.limit() {
            ..=-1 => "max".to_string(),
            0 => "1".to_string(),
            limit => limit.to_string(),
        };
        writes.write(Place::of("linux.resources.pids.limit"), "pids.max", value);
    }
    let mut check = None;
    if let Some(memory) = resources.memory() {
        check = memory::decide(memory, &mut writes)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::decide(block_io, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::decide(cpu, &mut writes)?;
    }
    hugetlb(resources.hugepage_limits().as_deref().unwrap_or_default(), &mut writes)?;
    if let Some(devices) = resources.rdma() {
        rdma(devices, &mut writes)?;
    }
    if let Some(network) = resources.network() {
        net(network, &mut writes)?;
    }
    if let Some(files) = resources.unified() {
        unified(files, &mut writes)?;
    }
    cpu::idle_or_weight(&mut writes);
    Ok(Limits { version, writes: writes.list, devices: None, check })
}

fn hugetlb(listed: &[LinuxHugepageLimit], writes: &mut Writes<'_>) -> Result<(), Fault> {
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
        let end = writes.either("limit_in_bytes", "max");
        let value = || Value::Text(entry.limit().to_string());
        writes.add(At::Place(at), format!("hugetlb.{size}.{end}").into(), value());
        // Reservations too, where the kernel counts them (5.7).
        writes.add(At::Place(at), format!("hugetlb.{size}.rsvd.{end}").into(), value()).missing =
            Missing::Skip;
    }
    Ok(())
}

fn rdma(devices: &HashMap<String, LinuxRdma>, writes: &mut Writes<'_>) -> Result<(), Fault> {
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
            writes.add(at, "rdma.max".into(), Value::Text(format!("{name} {}", parts.join(" "))));
        }
    }
    Ok(())
}

fn net(network: &LinuxNetwork, writes: &mut Writes<'_>) -> Result<(), Fault> {
    let priorities = network.priorities().as_deref().unwrap_or_default();
    for (index, entry) in priorities.iter().enumerate() {
        if entry.name().is_empty() || entry.name().contains(char::is_whitespace) {
            let at = Place::nth("linux.resources.network.priorities", index).field(".name");
            return Err(Fault::at(at, format!("{:?} is no interface", entry.name()))
                .remedy("name an interface, such as eth0"));
        }
    }
    let class = network.class_id().filter(|class| *class != 0);
    match writes.version {
        Version::V1 => v1::network(class, priorities, writes),
        Version::V2 if class.is_some() || !priorities.is_empty() => {
            writes.left_out(Place::of("linux.resources.network"));
        }
        Version::V2 => {}
    }
    Ok(())
}

fn unified(files: &HashMap<String, String>, writes: &mut Writes<'_>) -> Result<(), Fault> {
    const UNIFIED: Place = Place::of("linux.resources.unified");
    if writes.version == Version::V1 && !files.is_empty() {
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
        writes.add(At::Key(UNIFIED, file.clone()), file.clone().into(), Value::Text(value.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
