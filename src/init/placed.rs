//! Waits until this process is where it belongs.

use super::{affinity, tasks_files};
use crate::handshake::{InitEnd, ToInit};
use crate::plan::scheduling::Affinity;
use crate::trace;

/// Shows that kase has recorded this process, mapped its ids and made its cgroup, and that it is in that: whatever needs
/// one of these takes this.
#[derive(Debug)]
pub struct Placed {
    /// What /proc/self/cgroup said before there was a cgroup namespace, where that is wanted.
    pub own_cgroups: String,
}

impl Placed {
    /// Waits for kase's word, and enters the cgroups of v1.
    pub fn wait(kase: &InitEnd, affinity: &Affinity) -> anyhow::Result<Self> {
        trace::step("wait for ids and cgroup");
        let tasks = kase.expect(ToInit::Begin)?;
        trace::step("set-up");
        tasks_files::enter(tasks)?;
        affinity::settle(affinity)?;
        Ok(Self { own_cgroups: String::new() })
    }
}
