//! What decides about a container's cgroup beside its config.json: the host and the command line.

use super::annotated::Properties;
use rootless::caller::Standing;

/// Which kind of hierarchy has the host's controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller; a v2 tree may stand beside them.
    V1,
    /// One tree.
    V2,
}

impl Version {
    /// Both, the newer one first.
    pub const ALL: [Self; 2] = [Self::V2, Self::V1];
}

/// Who makes cgroups (`--cgroup-manager`, `--systemd-cgroup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Driver {
    /// The file system for root; for a user their systemd, if it runs, else the file system.
    #[default]
    Auto,
    /// systemd, as transient scopes.
    Systemd,
    /// kase, as directories.
    Cgroupfs,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// Who makes cgroups, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager {
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub driver: Driver,
    /// `--systemd-properties`.
    pub properties: Properties,
}

/// What the host and the command line say.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Nothing on a host without cgroups.
    pub version: Option<Version>,
    /// The bus of the systemd that would make our scopes, if it runs.
    pub systemd: Option<Systemd>,
    /// The command line's.
    pub manager: Manager,
    pub standing: Standing,
    /// The container's id.
    pub id: &'a str,
    /// Whom the cgroup is given to, as a uid of the host: with a cgroup namespace and a writable cgroup mount
    /// the container rules over what is below it.
    pub owner: Option<u32>,
}

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Systemd {
    /// The system's, on the system bus.
    System,
    /// The caller's own, on the user bus.
    User,
}
