//! What init is given beside the plan.

use super::overlay;
use crate::gate::Gate;
use crate::hook;
use crate::host::hierarchies::Hierarchy;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;

/// What kase gives to init beside the plan.
#[derive(Debug)]
pub struct Inputs {
    /// Where `start` will come to; nothing for `run`, whose kase says it itself.
    pub gate: Option<Gate>,
    /// The rootfs and bind sources, where init could not reach them.
    pub trees: Trees,
    /// The cgroup hierarchies of v1, where init has the mounts that kase has found them among.
    pub hierarchies: Option<Rc<[Hierarchy]>>,
    /// What hooks are told.
    pub state: hook::State,
}

/// Detached trees that kase cloned with its own privileges.
#[derive(Debug, Default)]
pub struct Trees {
    /// The rootfs.
    pub rootfs: Option<OwnedFd>,
    /// What holds the overlay's upper layer.
    pub layers: Option<overlay::Layers>,
    /// The overlay's directory, which is the one that was checked.
    pub checked: Option<OwnedFd>,
    /// By index into the plan's mounts.
    pub sources: Vec<Option<OwnedFd>>,
    /// Where sources that are copied as symlinks lead, by index into the plan's mounts.
    pub links: BTreeMap<usize, PathBuf>,
}
