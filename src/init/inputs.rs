//! What init is given beside the plan.

use super::mounts::PreparedMount;
use super::overlay;
use crate::gate::Gate;
use crate::hook;
use crate::host::hierarchies::Hierarchy;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// What kase gives to init beside the plan.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Where `start` will come to; nothing for `run`, whose kase says it itself.
    pub gate: Option<Gate>,
    /// The rootfs and bind sources, where init could not reach them.
    pub trees: Trees<'a>,
    /// The cgroup hierarchies of v1, where init has the mounts that kase has found them among.
    pub hierarchies: Option<Rc<[Hierarchy]>>,
    /// What hooks are told.
    pub state: hook::State,
}

/// What kase has prepared of the root and its mounts, with privileges that init need not have.
#[derive(Debug)]
pub struct Trees<'a> {
    /// The rootfs.
    pub rootfs: Option<OwnedFd>,
    /// The overlay's directory.
    pub overlay: overlay::Prepared,
    /// The entries of `mounts`, in their order.
    pub mounts: Vec<PreparedMount<'a>>,
}
