//! cgroup v2: one tree.

mod controllers;
mod device_program;
pub mod freezer;
mod join;
mod oom;
pub mod rights;
mod stats;
mod tree;

pub use controllers::{enable, give_to, hand_down};
pub use tree::Unified;
