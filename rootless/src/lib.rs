//! What an ordinary user has for containers: ids, a state directory, and reasons when it fails.
//!
//! ```text
//! Caller::look() ──▶ Subordinate::look() ──▶ IdMaps::of() ──▶ Means::choose() ──▶ id_writer::write()
//!       │                                       │ check(), permitted()                │
//!       └──▶ StateDir::find()                   └── before any process exists         └─▶ hurdles
//! ```
//!
//! Success costs a handful of system calls: every file is read once, nothing asks the C library's
//! user database (a static binary has none), and no thread is started. [`hurdles`] is asked only
//! after a failure.
#![forbid(unsafe_code)]

pub mod caller;
pub mod checks;
pub mod delegation;
pub mod hurdles;
pub mod id_map;
pub mod id_writer;
pub mod root;
pub mod state_dir;
pub mod subid;

pub use caller::{Caller, Standing};
pub use hurdles::Hurdle;
pub use id_map::{IdMap, IdMaps, Kind, Line};
pub use id_writer::Means;
pub use root::Root;
pub use state_dir::StateDir;
pub use subid::{Range, Subordinate};
