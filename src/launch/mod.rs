//! kase's half of a container's process: makes it, and gives it what only kase can.
//!
//! [`spawn`] makes a container's init, and [`join`] a process that is added to a container. What either of them asks
//! for is answered by whoever knows the container.

pub mod child;
pub mod console;
pub mod fuse;
pub mod ids;
pub mod intel_rdt;
pub mod join;
pub mod lent_score;
pub mod limits;
pub mod mount_idmap;
pub mod mounts;
pub mod net_devices;
pub mod notify;
pub mod own_terminal;
pub mod pidfd;
pub mod relay;
pub mod spawn;
