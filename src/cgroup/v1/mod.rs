//! cgroup v1: the same cgroup once in each hierarchy. A v2 tree beside the controllers counts as one more.

mod devices;
pub mod freezer;
mod join;
mod oom;
mod paths;
mod stats;
mod tree;

pub use paths::Paths;
pub use tree::Hierarchies;
