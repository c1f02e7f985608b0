//! config.json, the options and the host, made into one decision: the [`Plan`].
//!
//! Planning is validating: what cannot work is refused here, before a state directory, a cgroup or a process
//! exists. Pure: no system call, no file, no clock, no environment; everything comes in as an argument.
//!
//! The plan borrows from the specification and holds decisions only. A step is an entry of config.json, never
//! a system call, and carries its [`Place`] so that the error of carrying it out names it too.

pub mod adapt;
pub mod attributes;
pub mod capabilities;
pub mod cgroup;
pub mod devices;
pub mod exec;
pub mod fake_root;
pub mod hooks;
pub mod host_paths;
pub mod id_maps;
pub mod intel_rdt;
pub mod labels;
pub mod memory_policy;
pub mod mount_idmap;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod net_devices;
pub mod notes;
pub mod number_list;
pub mod overlay;
pub mod payload;
pub mod personality;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod sysctl;

use crate::config::Config;
use crate::fault::{Fault, Place};
use crate::host::Host;
use crate::kernel::mount::{Propagation, Reach, attribute};
use adapt::Adapt;
use attributes::ProcessAttributes;
use cgroup::CgroupPlan;
use devices::{Device, Origin};
use intel_rdt::IntelRdt;
use labels::MountLabel;
use mounts::{Mount, Setting, What};
use namespaces::{Kind, Namespaces, Offset};
use net_devices::NetDevice;
use notes::Notes;
use oci_spec::runtime::{Linux, LinuxTimeOffset};
use overlay::Overlay;
use process::ProcessPlan;
use rootless::caller::Standing;
use rootless::id_map::IdMaps;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// How the rootfs becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pivot {
    /// pivot_root(2); what was there is unmounted.
    Root,
    /// The mount is moved over `/`, then chroot(2) (`--no-pivot`, for a root on an initramfs).
    Move,
}

/// What the command line adds to config.json.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The bundle's directory, absolute.
    pub bundle: &'a Path,
    /// `--rootless`.
    pub adapt: Adapt,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// `--no-new-keyring`.
    pub no_new_keyring: bool,
    /// `--preserve-fds`.
    pub preserve_fds: u32,
    /// The container's id.
    pub id: &'a str,
    /// The version of the host's cgroups; nothing on a host without them.
    pub version: Option<cgroup::Version>,
    /// The bus of the systemd that would make our scopes, if it runs.
    pub systemd: Option<cgroup::Systemd>,
    /// `--cgroup-manager`, `--systemd-cgroup`, `--systemd-properties`.
    pub cgroups: cgroup::Manager,
    /// `--overlay`: a directory, or `tmpfs`.
    pub overlay: Option<&'a Path>,
    /// `--fake-root`.
    pub fake_root: bool,
}

/// Everything that is decided about one container.
#[derive(Debug)]
pub struct Plan<'spec> {
    /// Made and joined.
    pub namespaces: Namespaces<'spec>,
    /// For the user namespace that is made.
    pub maps: Option<IdMaps>,
    /// The rootfs on the host, absolute.
    pub rootfs: PathBuf,
    /// What lies over it.
    pub overlay: Option<Overlay>,
    /// `root.readonly`.
    pub readonly: bool,
    /// `linux.rootfsPropagation`.
    pub propagation: Option<(Propagation, Reach)>,
    /// How it becomes the root.
    pub pivot: Pivot,
    /// In their order.
    pub mounts: Vec<Mount<'spec>>,
    /// Nothing when the host's /dev is bound.
    pub devices: Vec<Device<'spec>>,
    /// How device nodes come to be.
    pub device_origin: Origin,
    /// `linux.maskedPaths`.
    pub masked: Vec<(Place, &'spec Path)>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<(Place, &'spec Path)>,
    /// `linux.sysctl`, sorted by name.
    pub sysctl: Vec<sysctl::Parameter<'spec>>,
    /// `hostname`.
    pub hostname: Option<&'spec str>,
    /// `domainname`.
    pub domainname: Option<&'spec str>,
    /// What is executed.
    pub process: ProcessPlan<'spec>,
    /// How the kernel treats it.
    pub attributes: ProcessAttributes<'spec>,
    /// `linux.mountLabel`, for the mounts that are kase's own.
    pub mount_label: Option<MountLabel<'spec>>,
    /// `linux.netDevices`.
    pub net_devices: Vec<NetDevice<'spec>>,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt<'spec>>,
    /// Whether init gets a session keyring of its own.
    pub keyring: bool,
    /// Descriptors from 3 on that the container inherits.
    pub preserve_fds: u32,
    /// The system call filter.
    pub seccomp: Option<seccomp::Filter<'spec>>,
    /// Whether apt is told of `--fake-root` in a /dev of the container's own.
    pub tells_apt: bool,
    /// The container's cgroup and what limits it.
    pub cgroup: CgroupPlan,
    /// `hooks`.
    pub hooks: hooks::Hooks<'spec>,
    /// What the user ought to know; logged once the plan stands.
    pub notes: Notes,
}

impl<'spec> Plan<'spec> {
    /// Decides everything.
    ///
    /// # Errors
    /// The first thing in config.json that cannot work, with its place.
    pub fn draw(config: &'spec Config, host: &Host, options: &Options<'_>) -> Result<Self, Fault> {
        version(&config.oci_version)?;
        let mut notes = Notes::default();
        let linux = config.linux.as_deref().ok_or_else(|| missing("linux"))?;
        let root = config.root.as_ref().ok_or_else(|| missing("root"))?;

        let mut namespaces = Namespaces::decide(linux.namespaces().as_deref().unwrap_or_default())?;
        mounts_apart(&namespaces)?;
        let maps = id_maps::decide(
            linux.uid_mappings().as_deref().unwrap_or_default(),
            linux.gid_mappings().as_deref().unwrap_or_default(),
            &mut namespaces,
            host,
            options.adapt,
            &mut notes,
        )?;
        namespaces.offsets = offsets(linux.time_offsets().as_ref(), &namespaces)?;
        // The ids that exist inside: those of the new user namespace, or of the one that kase is in.
        let ids =
            maps.as_ref().or_else(|| host.caller.namespace_maps().filter(|_| !namespaces.has(Kind::User)));
        // Init is the root of a user namespace other than the initial one, where less works.
        let confined = namespaces.has(Kind::User) || host.caller.standing != Standing::Root;
        let adapt = if confined { options.adapt } else { Adapt::No };
        let rootfs = mounts::rootfs(root.path(), options.bundle);
        let setting = Setting {
            bundle: options.bundle,
            rootfs: &rootfs,
            namespaces: &namespaces,
            maps: ids,
            standing: host.caller.standing,
            adapt,
        };
        let mut mounts = mounts::decide(config.mounts.as_deref().unwrap_or_default(), &setting, &mut notes)?;
        let annotations = config.annotations.as_ref();
        let label = linux.mount_label().as_deref();
        let mount_label = labels::mount_label(label, annotations, &host.facilities, &mut notes)?;
        if let Some(label) = mount_label {
            mounts.iter_mut().for_each(|mount| mount.mark(label));
        }
        let devices = if devices::binds_dev(&mounts) {
            Vec::new()
        } else {
            devices::decide(linux.devices().as_deref().unwrap_or_default(), ids, &mut notes)?
        };
        let cgroup = cgroup(config, host, options, &namespaces, ids, &mounts, &mut notes)?;
        let fake_root = fake_root::decide(options.fake_root, annotations, ids, &mut notes)?;
        let overlay = overlay::decide(&overlay::Setting {
            option: options.overlay,
            annotations,
            bundle: options.bundle,
            rootfs: &rootfs,
            namespaces: &namespaces,
            maps: maps.as_ref(),
            confined,
        })?;
        let tells_apt = fake_root && devices::has_own_dev(&mounts);
        let propagation = propagation(linux)?;
        if overlay.is_some() && matches!(propagation, Some((Propagation::Shared, _))) {
            notes.warn("linux.rootfsPropagation: with --overlay, mounts in the container do not show on the host: the overlay is no mount of the host's".into());
        }
        Ok(Self {
            rootfs,
            overlay,
            readonly: root.readonly().unwrap_or(false),
            propagation,
            pivot: if options.no_pivot { Pivot::Move } else { Pivot::Root },
            mounts,
            devices,
            device_origin: if confined { Origin::Host } else { Origin::Made },
            masked: mounts::paths(linux.masked_paths().as_deref().unwrap_or_default(), "linux.maskedPaths")?,
            readonly_paths: mounts::paths(
                linux.readonly_paths().as_deref().unwrap_or_default(),
                "linux.readonlyPaths",
            )?,
            sysctl: sysctl::decide(linux.sysctl().as_ref(), &namespaces)?,
            hostname: name(config.hostname.as_deref(), "hostname", &namespaces)?,
            domainname: name(config.domainname.as_deref(), "domainname", &namespaces)?,
            process: process::decide(config.process.as_deref(), ids, host.last_capability, &mut notes)?
                .with_groups(process::groups(annotations)),
            attributes: attributes::decide(
                config.process.as_deref(),
                Some(linux),
                &host.facilities,
                adapt,
                &mut notes,
            )?,
            mount_label,
            net_devices: net_devices::decide(
                linux.net_devices().as_ref(),
                &namespaces,
                host.caller.standing,
            )?,
            intel_rdt: intel_rdt::decide(linux.intel_rdt().as_ref(), &host.facilities)?,
            cgroup,
            tells_apt,
            seccomp: seccomp::decide(linux.seccomp().as_ref(), fake_root, annotations, &mut notes)?,
            hooks: hooks::decide(config.hooks.as_ref())?,
            keyring: !options.no_new_keyring,
            preserve_fds: options.preserve_fds,
            namespaces,
            maps,
            notes,
        })
    }
}

fn cgroup(
    config: &Config,
    host: &Host,
    options: &Options<'_>,
    namespaces: &Namespaces<'_>,
    ids: Option<&IdMaps>,
    mounts: &[Mount<'_>],
    notes: &mut Notes,
) -> Result<CgroupPlan, Fault> {
    let writable = mounts
        .iter()
        .any(|mount| mount.what == What::Cgroup && mount.options.attributes.set & attribute::RDONLY == 0);
    let setting = cgroup::Setting {
        version: options.version,
        systemd: options.systemd,
        manager: options.cgroups,
        standing: host.caller.standing,
        id: options.id,
        owner: ids.filter(|_| writable && namespaces.makes(Kind::Cgroup)).and_then(|ids| ids.uids.outside(0)),
    };
    cgroup::decide(config.linux.as_deref(), config.annotations.as_ref(), &setting, notes)
}

fn missing(field: &str) -> Fault {
    Fault::at(field, "is missing")
        .remedy(format!("add {field} to config.json; `kase spec` writes a complete one"))
}

/// Engines send versions from 1.0.2-dev to 1.3.0; what a newer 1.x adds is optional.
fn version(version: &str) -> Result<(), Fault> {
    let mut parts = version.splitn(3, '.');
    let minor = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.next() == Some("1")
        && parts.next().is_some_and(minor)
        && parts.next().is_some_and(|patch| patch.starts_with(|first: char| first.is_ascii_digit()))
    {
        return Ok(());
    }
    let wrong = match version {
        "" => "there is none".to_string(),
        version => format!("{version:?} is not supported"),
    };
    Err(Fault::at("ociVersion", wrong).remedy("use a version from 1.0.0 to 1.3.0"))
}

fn name<'spec>(
    name: Option<&'spec str>,
    field: &'static str,
    namespaces: &Namespaces<'_>,
) -> Result<Option<&'spec str>, Fault> {
    /// The kernel's __NEW_UTS_LEN.
    const LONGEST: usize = 64;
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !namespaces.has(Kind::Uts) {
        return Err(Fault::at(field, "the container has no uts namespace of its own")
            .remedy("add {\"type\": \"uts\"} to linux.namespaces"));
    }
    if name.len() > LONGEST {
        return Err(Fault::at(field, format!("{} bytes are too long", name.len()))
            .remedy(format!("use at most {LONGEST} bytes")));
    }
    Ok(Some(name))
}

/// Without one of its own, all that the container mounts would be the host's and outlive it.
fn mounts_apart(namespaces: &Namespaces<'_>) -> Result<(), Fault> {
    match namespaces.has(Kind::Mount) {
        true => Ok(()),
        false => Err(Fault::at("linux.namespaces", "the container has no mount namespace of its own")
            .remedy("add {\"type\": \"mount\"} to linux.namespaces")),
    }
}

fn propagation(linux: &Linux) -> Result<Option<(Propagation, Reach)>, Fault> {
    let Some(word) = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let options = mount_options::Options::sort([word]);
    match options.propagation.first() {
        Some(propagation) => Ok(Some(*propagation)),
        None => Err(Fault::at("linux.rootfsPropagation", format!("{word:?} is no propagation"))
            .remedy("use shared, slave, private or unbindable, or one of them with an r before it")),
    }
}

fn offsets(
    listed: Option<&HashMap<String, LinuxTimeOffset>>,
    namespaces: &Namespaces<'_>,
) -> Result<Vec<Offset>, Fault> {
    let mut offsets = Vec::new();
    for (clock, offset) in listed.into_iter().flatten() {
        let clock = match clock.as_str() {
            "monotonic" => "monotonic",
            "boottime" => "boottime",
            other => {
                return Err(Fault::at(format!("linux.timeOffsets.{other}"), "this clock has no offset")
                    .remedy("use monotonic or boottime"));
            }
        };
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds >= 1_000_000_000 {
            return Err(Fault::at(
                format!("linux.timeOffsets.{clock}.nanosecs"),
                format!("{nanoseconds} is a second or more"),
            )
            .remedy("put whole seconds into secs"));
        }
        offsets.push(Offset { clock, seconds: offset.secs().unwrap_or(0), nanoseconds });
    }
    offsets.sort_by_key(|offset| offset.clock);
    if !offsets.is_empty() && !namespaces.makes(Kind::Time) {
        return Err(Fault::at("linux.timeOffsets", "the container has no new time namespace")
            .remedy("add {\"type\": \"time\"} to linux.namespaces"));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootless::caller::Caller;

    fn host(standing: Standing, uid: u32) -> Host {
        Host::assumed(Caller::assumed(standing, uid, uid))
    }

    fn config(process: &str) -> Config {
        let text = format!(
            r#"{{"ociVersion": "1.3.0", "root": {{"path": "rootfs"}}, "process": {process},
                 "linux": {{"namespaces": [{{"type": "mount"}}]}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    const TRUE: &str = r#"{"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}}"#;

    fn draw<'spec>(config: &'spec Config, host: &Host) -> Result<Plan<'spec>, Fault> {
        let options = Options {
            bundle: Path::new("/bundle"),
            adapt: Adapt::Yes,
            no_pivot: false,
            no_new_keyring: false,
            preserve_fds: 0,
            id: "web",
            version: None,
            systemd: None,
            cgroups: cgroup::Manager::default(),
            overlay: None,
            fake_root: false,
        };
        Plan::draw(config, host, &options)
    }

    #[test]
    fn an_ordinary_user_gets_a_user_namespace_that_the_config_lacks() {
        let config = config(TRUE);
        let plan = draw(&config, &host(Standing::User, 1000)).unwrap();
        assert!(plan.namespaces.makes(Kind::User));
        assert_eq!(plan.maps.unwrap().uids.to_string().trim(), "0 1000 1");
        assert_eq!(plan.device_origin, Origin::Host);
    }

    #[test]
    fn root_gets_what_the_config_says() {
        let config = config(TRUE);
        let plan = draw(&config, &host(Standing::Root, 0)).unwrap();
        assert!(!plan.namespaces.has(Kind::User));
        assert_eq!(plan.device_origin, Origin::Made);
    }

    #[test]
    fn a_user_outside_the_maps_is_named_before_anything_is_made() {
        let config = config(&TRUE.replace(r#""uid": 0"#, r#""uid": 1000"#));
        let fault = draw(&config, &host(Standing::User, 1000)).unwrap_err();
        assert!(fault.to_string().starts_with("process.user.uid: 1000 is not mapped"), "{fault}");
    }

    #[test]
    fn a_version_that_is_not_1_is_refused() {
        let mut config = config(TRUE);
        config.oci_version = "2.0.0".into();
        assert!(draw(&config, &host(Standing::Root, 0)).unwrap_err().to_string().starts_with("ociVersion"));
    }
}
