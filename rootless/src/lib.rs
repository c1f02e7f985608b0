#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod caller;
pub mod checks;
pub mod delegation;
pub mod diagnose;
mod diagnosis;
pub mod id_map;
pub mod id_writer;
mod program;
mod range;
pub mod state_dir;
pub mod subid;
pub mod symlink;
mod sysroot;

pub use caller::{Caller, Standing};
pub use diagnosis::Diagnosis;
pub use id_map::{IdKind, IdMap, IdMaps, Line};
pub use id_writer::Means;
pub use program::program;
pub use range::Range;
pub use state_dir::StateDir;
pub use subid::Subordinate;
pub use sysroot::Unreadable;
