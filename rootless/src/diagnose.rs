//! Which setting of the host stood in the way, and what to do: asked after a failure only.
//!
//! Each answer rests on something read from the host, never on the error number alone. Where nothing
//! is found there is no answer: a wrong remedy is worse than none.

pub(crate) mod helpers;
mod keys;
mod mounts;
pub(crate) mod namespaces;
mod packages;
pub(crate) mod ranges;
mod shortage;

pub use helpers::powerless_helper;
pub use keys::keys;
pub use mounts::{file_system, no_overlay, noexec};
pub use namespaces::user_namespace;
pub use packages::Package;
pub use ranges::{no_ranges, unread_lines};
pub use shortage::{of_processes, of_space, shortage};
