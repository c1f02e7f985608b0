//! What every command knows beside its own arguments.

use crate::container::store::Store;
use crate::plan::adapt::Adapt;
use crate::plan::cgroup::Manager;
use rootless::caller::Caller;
use std::path::PathBuf;

/// What every command knows.
pub struct Context {
    pub caller: Caller,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--rootless`.
    pub adapt: Adapt,
    /// `--cgroup-manager`, `--systemd-cgroup`, `--systemd-properties`.
    pub cgroups: Manager,
}

impl Context {
    /// The state root.
    pub fn store(&self) -> anyhow::Result<Store> {
        Store::find(self.root.as_deref(), &self.caller)
    }
}
