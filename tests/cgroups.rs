//! Cgroups: every limit by its effect in a real container, in each setting that the host has.

mod count;
mod delegated;
mod effects;
mod events;
mod limits;
mod looks;
mod mount;
mod processes;
mod refused;
mod refused_clone;
mod update;

use crate::common::{Container, Ground};

/// What a probe prints that is added to the container.
fn added<const N: usize>(container: &Container<'_>, args: [&str; N]) -> String {
    let words = ["exec", container.id.as_str(), "/probe"].into_iter().chain(args);
    container.kase.call(words).stdout().to_owned()
}

/// Whether a limit on memory and swap together can be set here.
fn counts_swap(ground: &Ground) -> bool {
    !ground.is_v1() || std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

const MIB: i64 = 1 << 20;
