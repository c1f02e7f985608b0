//! Writes limits into the files of a cgroup.
//!
//! Values of one controller depend on each other (quota, period and burst; memory and swap on v1), and which of
//! them has to come first depends on what is there. So whatever the kernel refuses as not fitting is tried
//! once more when the rest is written.

use super::directory::{self, is_denied};
use super::refusals::no_controller;
use crate::fault::{Fault, OrFault};
use crate::kernel::text::read_text;
use crate::plan::cgroup::Version;
use crate::plan::cgroup::limits::{At, Check, Limits, Missing, Value, Write};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Writes everything but device rules; `directory` knows where a controller's files are. Tells the files and
/// values that were written.
///
/// # Errors
/// What the kernel refuses, with its place in config.json, the file and the value.
pub fn write<'a>(
    limits: &Limits,
    directory: impl Fn(&str) -> Option<&'a Path>,
) -> anyhow::Result<Vec<Written>> {
    if let (Some(check), Some(memory)) = (limits.check, directory("memory")) {
        refuse_below_use(check, memory, limits.version)?;
    }
    let mut written = Vec::with_capacity(limits.writes.len());
    let mut again = Vec::new();
    for write in &limits.writes {
        let Some(place) = directory(&write.controller) else {
            if write.missing == Missing::Skip {
                continue;
            }
            let words =
                format!("cannot set {} limit: container could not join or create cgroup", write.controller);
            return Err(no_controller(write, &words).into());
        };
        match one(place, write) {
            Ok(done) => written.extend(done),
            Err(Refusal::Misfit(_)) => again.push((place, write)),
            Err(Refusal::Final(error)) => return Err(error),
        }
    }
    for (place, write) in again {
        match one(place, write) {
            Ok(done) => written.extend(done),
            Err(Refusal::Misfit(error)) => return Err(refused(place, write, &write.file, error)),
            Err(Refusal::Final(error)) => return Err(error),
        }
    }
    Ok(written)
}

/// A file, and what is in it now.
pub type Written = (String, String);

enum Refusal {
    /// It does not fit what is there.
    Misfit(io::Error),
    /// It will never do.
    Final(anyhow::Error),
}

fn one(place: &Path, write: &Write) -> Result<Option<Written>, Refusal> {
    let path = place.join(&*write.file);
    let Some(value) = value(place, &path, write).map_err(Refusal::Final)? else { return Ok(None) };
    match lines(&path, &value) {
        Ok(()) => Ok(Some((write.file.to_string(), value))),
        Err(error) if error.kind() == ErrorKind::NotFound => instead(place, write, error),
        // An old BFQ has a weight for all devices only, and the general controller may know better.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => match &write.missing {
            Missing::Instead(file, value) if lines(&place.join(file), value).is_ok() => {
                Ok(Some(((*file).to_string(), value.clone())))
            }
            _ => Err(Refusal::Misfit(error)),
        },
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(Refusal::Misfit(error)),
        Err(error) => Err(Refusal::Final(refused(place, write, &write.file, error))),
    }
}

fn instead(place: &Path, write: &Write, error: io::Error) -> Result<Option<Written>, Refusal> {
    match &write.missing {
        Missing::Skip => Ok(None),
        Missing::Refuse => Err(Refusal::Final(no_file(place, write, error))),
        Missing::Instead(file, value) => match lines(&place.join(file), value) {
            Ok(()) => Ok(Some(((*file).to_string(), value.clone()))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Refusal::Final(no_file(place, write, error)))
            }
            Err(error) => Err(Refusal::Final(refused(place, write, file, error))),
        },
    }
}

fn lines(path: &Path, value: &str) -> io::Result<()> {
    if !value.contains('\n') {
        return directory::write(path, value);
    }
    value.lines().try_for_each(|line| directory::write(path, line))
}

/// What to write, now that the files can be read; nothing when it follows that nothing is to be written.
fn value(place: &Path, path: &Path, write: &Write) -> anyhow::Result<Option<String>> {
    // The limit in force; nothing is none, also where there is no such file.
    let limit = |file: &str| match directory::number(&place.join(file)) {
        Ok(u64::MAX) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        value => value.map(Some).or_fault(|| unread(write, &place.join(file))),
    };
    match &write.value {
        Value::Text(text) => Ok(Some(text.clone())),
        Value::AfterFirstWord(word) => {
            let text = match read_text(path) {
                // Whoever writes it is told so.
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                text => text.or_fault(|| unread(write, path))?,
            };
            Ok(Some(format!("{} {word}", text.split_whitespace().next().unwrap_or("max"))))
        }
        Value::SwapOf { total } => match limit("memory.max")? {
            Some(memory) => match total.unsigned_abs().checked_sub(memory) {
                Some(swap) => Ok(Some(swap.to_string())),
                None => Err(Fault::at(
                    &write.at,
                    format!("memory+swap limit {total} should be >= memory limit {memory}"),
                )
                .remedy("swap counts memory and swap together: raise it, or set memory.limit too")
                .into()),
            },
            None => Err(Fault::at(&write.at, "unable to set swap limit without memory limit")
                .remedy("set memory.limit too: swap counts both together")
                .into()),
        },
        Value::SwapBeside { memory } => match (limit("memory.max")?, limit("memory.swap.max")?) {
            (Some(old), Some(swap)) => match (old + swap).checked_sub(memory.unsigned_abs()) {
                Some(swap) => Ok(Some(swap.to_string())),
                None => Err(Fault::at(
                    &write.at,
                    format!("memory+swap limit {} should be >= memory limit {memory}", old + swap),
                )
                .remedy("set memory.swap too: it counts memory and swap together")
                .into()),
            },
            _ => Ok(None),
        },
    }
}

fn unread(write: &Write, file: &Path) -> Fault {
    Fault::at(&write.at, format!("read {}", file.display()))
}

fn refuse_below_use(check: Check, memory: &Path, version: Version) -> anyhow::Result<()> {
    let file = match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    let used = match directory::number(&memory.join(file)) {
        // Without the controller nothing is counted, and the limit itself is refused.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        used => used.or_fault(|| {
            Fault::at(
                "linux.resources.memory.checkBeforeUpdate",
                format!("read {file} in {}", memory.display()),
            )
        })?,
    };
    for (limit, field, word) in [(check.total, "swap", "memory+swap"), (check.memory, "limit", "memory")] {
        if let Some(limit) = limit.filter(|limit| limit.unsigned_abs() <= used) {
            return Err(Fault::at(
                format!("linux.resources.memory.{field}"),
                format!("rejecting {word} limit {limit} <= usage {used}"),
            )
            .remedy("use a larger limit, or leave checkBeforeUpdate out")
            .into());
        }
    }
    Ok(())
}

/// The file is not there: the controller, or this file of it, is missing.
fn no_file(place: &Path, write: &Write, error: io::Error) -> anyhow::Error {
    let (controller, file) = (&write.controller, &write.file);
    if matches!(place.try_exists(), Ok(false)) {
        return Fault::at(&write.at, format!("the cgroup {} has gone", place.display()))
            .remedy("see with `kase list` whether the container still runs")
            .caused_by(error);
    }
    let there = match read_text(place.join("cgroup.controllers")) {
        Ok(controllers) => {
            controllers.split_whitespace().any(|word| word == controller) || controller == "cgroup"
        }
        // v1: the directory is the controller's.
        Err(_) => true,
    };
    let place = place.display();
    if there {
        return Fault::at(&write.at, format!("{place} has no {file}: this kernel cannot limit that"))
            .remedy("leave the limit out, or boot a kernel that has it")
            .caused_by(error);
    }
    let words = match &write.at {
        At::Key(_, key) => format!(
            "unified resource {key:?} can't be set: controller {controller:?} not available in {place}"
        ),
        At::Place(_) => format!("controller {controller} is not available in {place}"),
    };
    let fault = Fault::at(&write.at, words);
    match rootless::delegation::missing(controller) {
        Some(diagnosis) => fault.remedy(diagnosis.remedy),
        None => {
            fault.remedy(format!("write +{controller} to cgroup.subtree_control of the cgroups above it"))
        }
    }
    .caused_by(error)
}

fn refused(place: &Path, write: &Write, file: &str, error: io::Error) -> anyhow::Error {
    let value = match &write.value {
        Value::Text(text) => text.as_str(),
        Value::AfterFirstWord(text) => text,
        Value::SwapOf { .. } | Value::SwapBeside { .. } => "the new limit",
    };
    let mut words = format!("write {value:?} to {}", place.join(file).display());
    let remedy = match error.raw_os_error() {
        // v1 does not take a memory limit that is below what cannot be reclaimed.
        Some(libc::EBUSY) if write.controller == "memory" => {
            // Swap counts in one of the two limits; what is told is what that limit is about.
            let counted = if file.starts_with("memory.memsw.") { "memory.memsw" } else { "memory" };
            let number = |count: &str| {
                directory::number(&place.join(format!("{counted}.{count}_in_bytes"))).unwrap_or_default()
            };
            let (used, peak) = (number("usage"), number("max_usage"));
            words += &format!(
                ": unable to set memory limit to {value} (current usage: {used}, peak usage: {peak})"
            );
            "use a larger limit, or end processes of the container first"
        }
        Some(libc::EINVAL | libc::ERANGE) => {
            &format!("use a value that {file} takes, within the limits of the cgroups above")
        }
        // Of a cpuset, which may not be emptied while it has processes.
        Some(libc::ENOSPC) => "name at least one processor or memory node of the cgroup above",
        Some(libc::ENODEV) => "name a device that exists: `lsblk` prints the numbers of whole disks",
        _ if is_denied(&error) => "run kase as root, or in a cgroup that is yours",
        _ => return Fault::at(&write.at, words).caused_by(error),
    };
    Fault::at(&write.at, words).remedy(remedy).caused_by(error)
}
