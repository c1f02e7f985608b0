//! Device rules of v1's devices controller.

use crate::cgroup::directory;
use crate::fault::{Fault, OrFault};
use crate::plan::cgroup::devices::Rule;
use crate::plan::cgroup::v1;
use std::fs::File;
use std::path::Path;

/// Writes the rules.
///
/// # Errors
/// No such controller; rules that v1 has no form for, or that the cgroup above does not allow.
pub fn restrict(rules: &[Rule], directory: Option<&Path>) -> anyhow::Result<()> {
    let Some(directory) = directory else {
        return Err(Fault::doing("this host has no devices cgroup, which keeps containers from devices")
            .remedy("mount the cgroup v1 controller devices")
            .into());
    };
    // Nearly all lines go into the same file.
    let mut last: Option<(&str, File)> = None;
    for (name, line) in v1::devices(rules)? {
        let path = directory.join(name);
        let refused = || {
            Fault::at("linux.resources.devices", format!("write {line:?} to {}", path.display()))
                .remedy("ask for no device that the cgroup above is denied")
        };
        let file = match last.take() {
            Some((open, file)) if open == name => file,
            _ => directory::open(&path).or_fault(refused)?,
        };
        directory::put(&file, &line).or_fault(refused)?;
        last = Some((name, file));
    }
    Ok(())
}
