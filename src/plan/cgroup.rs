//! Where a container's cgroup is, and what is written into it.
//!
//! The plan knows the host's cgroup version, so it holds the very files and values: a deed only writes them,
//! and an error names the place in config.json that asked. Zero means unset wherever engines send it so
//! (`cpu.shares`, `memory.limit`, `blockIO.weight`), -1 means no limit.

pub mod annotated;
pub mod devices;
pub mod limits;
pub mod properties;
mod setting;
pub mod unit;
pub mod v1;

pub use setting::{Driver, Manager, Setting, Systemd, Version};

use super::notes::Notes;
use crate::fault::{Fault, Place};
use limits::{Limits, Occasion};
use oci_spec::runtime::Linux;
use rootless::caller::Standing;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use unit::Unit;

/// What is decided about a container's cgroup.
#[derive(Debug)]
pub struct CgroupPlan {
    pub location: Location,
    /// What asked for a cgroup, if anything did. Else a caller who may not make one does without.
    pub asked: Option<Place>,
    /// What is written.
    pub limits: Limits,
    /// See [`Setting::owner`].
    pub owner: Option<u32>,
}

/// Where a cgroup is.
#[derive(Debug, PartialEq, Eq)]
pub enum Location {
    Nowhere,
    /// From the root of each hierarchy.
    FromRoot(PathBuf),
    /// From our own cgroup (v1) or from the one above it (v2, where ours has processes and thus no children
    /// with controllers).
    FromOwn(PathBuf),
    /// Where systemd puts it.
    Unit(Unit),
}

const PATH: Place = Place::of("linux.cgroupsPath");

/// Decides.
pub fn decide(
    linux: Option<&Linux>,
    annotations: Option<&HashMap<String, String>>,
    setting: &Setting<'_>,
    notes: &mut Notes,
) -> Result<CgroupPlan, Fault> {
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref()).filter(|path| *path != Path::new(""));
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    // Without cgroups, version 2 has a file for whatever can be asked for; the first of them names the place.
    let version = setting.version.unwrap_or(Version::V2);
    let limits = match resources {
        Some(resources) => limits::decide(resources, version, Occasion::Create, notes)?,
        None => Limits::none(version),
    };
    let location = locate(path, annotations, setting)?;
    let asked = path.map(|_| PATH).or(limits.first());
    if location == Location::Nowhere && asked.is_some() {
        missed(setting, limits.first(), notes)?;
    }
    // Whoever names the driver wants what it makes.
    let asked =
        asked.or((setting.manager.driver == Driver::Systemd).then_some(Place::of("--systemd-cgroup")));
    let mut plan = CgroupPlan { location, asked, limits, owner: setting.owner };
    if let Location::Unit(_) = &plan.location {
        properties::round(&mut plan.limits);
    }
    let listed = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    let rules = devices::decide(listed, replaced(linux))?;
    // Only real root may attach a device program, or change the rules of v1's devices controller.
    if setting.standing == Standing::Root && plan.location != Location::Nowhere {
        plan.limits.devices = Some(rules);
    } else if !listed.is_empty() {
        const LEFT_OUT: &str = "linux.resources.devices: left out";
        match setting.standing {
            Standing::Root => notes.warn(format!("{LEFT_OUT}: without a cgroup nothing restricts devices")),
            _ => notes.debug(format!("{LEFT_OUT}: the kernel lets only root restrict devices")),
        }
    }
    Ok(plan)
}

/// The paths of `linux.devices`: a configured node takes the place of a default one, and of its rule.
fn replaced(linux: Option<&Linux>) -> impl Iterator<Item = &Path> + Clone {
    let devices = linux.and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    devices.iter().map(|device| device.path().as_path())
}

/// No cgroup, though something asks for one.
fn missed(setting: &Setting<'_>, limit: Option<Place>, notes: &mut Notes) -> Result<(), Fault> {
    let Some(at) = limit else { return Ok(()) };
    if setting.manager.driver == Driver::Disabled {
        notes.warn(format!("{at}: left out, because cgroups are disabled on the command line"));
        return Ok(());
    }
    Err(Fault::at(at, "this host has no cgroups, so nothing can be limited")
        .remedy("mount cgroup2 at /sys/fs/cgroup, or leave linux.resources out"))
}

fn locate(
    path: Option<&Path>,
    annotations: Option<&HashMap<String, String>>,
    setting: &Setting<'_>,
) -> Result<Location, Fault> {
    let (Some(version), driver) = (setting.version, setting.manager.driver) else {
        return Ok(Location::Nowhere);
    };
    let as_unit = match driver {
        Driver::Disabled => return Ok(Location::Nowhere),
        Driver::Systemd => true,
        Driver::Cgroupfs => false,
        Driver::Auto => {
            let slice = path.is_none_or(|path| unit::parts(path).is_some());
            setting.standing != Standing::Root
                && version == Version::V2
                && setting.systemd == Some(Systemd::User)
                && slice
        }
    };
    if as_unit {
        let Some(bus) = setting.systemd else {
            return Err(Fault::doing("systemd not running on this host, cannot use systemd cgroups manager")
                .remedy("leave --systemd-cgroup out, or give --cgroup-manager cgroupfs"));
        };
        if version == Version::V1 {
            return Err(Fault::doing(
                "kase has systemd make cgroups on cgroup v2 only, and this host has v1",
            )
            .remedy("give --cgroup-manager cgroupfs, or boot with systemd.unified_cgroup_hierarchy=1"));
        }
        return unit::decide(path, annotations, setting, bus).map(Location::Unit);
    }
    match path {
        None => Ok(Location::FromOwn(PathBuf::from(setting.id))),
        Some(path) => {
            let clean = clean(path)?;
            Ok(if path.is_absolute() { Location::FromRoot(clean) } else { Location::FromOwn(clean) })
        }
    }
}

/// The path's names, relative.
fn clean(path: &Path) -> Result<PathBuf, Fault> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => {
                return Err(Fault::at(PATH, format!("{} leads out of the tree by ..", path.display()))
                    .remedy("write the path without .."));
            }
        }
    }
    if clean.as_os_str().is_empty() {
        return Err(Fault::at(PATH, format!("{} is the root of the tree", path.display()))
            .remedy("name a cgroup below it, as in /kase/web, or leave linux.cgroupsPath out"));
    }
    if clean.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, 0 | b'\n')) {
        return Err(Fault::at(PATH, "a cgroup's name has no newline and no NUL byte").remedy("take it out"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::annotated::Properties;
    use super::*;
    use serde_json::json;

    const ROOT: Setting<'static> = Setting {
        version: Some(Version::V2),
        systemd: None,
        manager: Manager { driver: Driver::Auto, properties: Properties::Scope },
        standing: Standing::Root,
        id: "web",
        owner: None,
    };
    const USER: Setting<'static> = Setting { standing: Standing::User, systemd: Some(Systemd::User), ..ROOT };

    fn plan(linux: &serde_json::Value, setting: &Setting<'_>) -> Result<CgroupPlan, Fault> {
        let linux = serde_json::from_value(linux.clone()).unwrap();
        decide(Some(&linux), None, setting, &mut Notes::default())
    }

    #[test]
    fn without_a_path_the_id_names_the_cgroup_beside_our_own() {
        let plan = plan(&json!({}), &ROOT).unwrap();
        assert_eq!(plan.location, Location::FromOwn("web".into()));
        assert_eq!(plan.asked, None);
    }

    #[test]
    fn an_absolute_path_starts_at_the_root_and_a_relative_one_at_our_own() {
        let at = |path: &str| plan(&json!({"cgroupsPath": path}), &ROOT).map(|plan| plan.location);
        assert_eq!(at("/a//b/./c/").unwrap(), Location::FromRoot("a/b/c".into()));
        assert_eq!(at("a/b").unwrap(), Location::FromOwn("a/b".into()));
        assert_eq!(at("a.slice:cri:id").unwrap(), Location::FromOwn("a.slice:cri:id".into()));
        assert!(at("/a/../../b").unwrap_err().to_string().starts_with("linux.cgroupsPath: /a/../../b leads"));
        assert!(at("/").unwrap_err().to_string().contains("root of the tree"));
    }

    #[test]
    fn a_user_with_a_systemd_gets_a_scope_without_asking() {
        let scope = plan(&json!({}), &USER).unwrap().location;
        assert!(
            matches!(scope, Location::Unit(unit) if unit.name == "kase-web.scope" && unit.slice == "user.slice")
        );
        let path = plan(&json!({"cgroupsPath": "/a"}), &USER).unwrap().location;
        assert_eq!(path, Location::FromRoot("a".into()));
        let legacy = plan(&json!({}), &Setting { version: Some(Version::V1), ..USER }).unwrap().location;
        assert_eq!(legacy, Location::FromOwn("web".into()));
    }

    #[test]
    fn systemd_is_asked_for_only_where_it_runs() {
        let setting = Setting { manager: Manager { driver: Driver::Systemd, ..ROOT.manager }, ..ROOT };
        let fault = plan(&json!({}), &setting).unwrap_err().to_string();
        assert_eq!(fault, "systemd not running on this host, cannot use systemd cgroups manager");
    }

    #[test]
    fn a_limit_without_cgroups_is_refused_by_its_place() {
        let nothing = Setting { version: None, ..ROOT };
        let fault = plan(&json!({"resources": {"pids": {"limit": 5}}}), &nothing).unwrap_err();
        assert!(fault.to_string().starts_with("linux.resources.pids.limit: this host has no cgroups"));
        assert!(plan(&json!({"cgroupsPath": "/a"}), &nothing).is_ok());
        let disabled = Setting { manager: Manager { driver: Driver::Disabled, ..ROOT.manager }, ..ROOT };
        let plan = plan(&json!({"resources": {"pids": {"limit": 5}}}), &disabled).unwrap();
        assert_eq!(plan.location, Location::Nowhere);
    }

    #[test]
    fn only_root_has_device_rules() {
        assert!(plan(&json!({}), &ROOT).unwrap().limits.devices.is_some());
        assert!(plan(&json!({}), &USER).unwrap().limits.devices.is_none());
    }
}
