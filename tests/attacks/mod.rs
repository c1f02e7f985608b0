//! Attackers at work, one file a class: each with a control that shows that the attack works on a victim without the
//! defence.

mod fake_proc;
mod forge_devices;
mod forge_records;
mod forge_user_names;
mod inherit_capabilities;
mod leave_by_paths;
mod look_into_processes;
mod overwrite_binary;
mod pass_annotations;
mod plant_hostile_trees;
mod poison_hook_environments;
mod prepare_files;
mod redirect_writes;
mod reuse_process_ids;
mod send_long_id_maps;
mod swap_paths;
mod use_leaked_descriptors;
mod write_to_cgroups;
mod write_to_terminals;

use crate::common::{Kase, patience};
use std::time::Instant;

/// Does by path, in a mount namespace of its own, what kase does by descriptor: the script has to succeed.
fn by_path(kase: &Kase, script: &str) {
    let mut unshare = kase.program("unshare");
    if !kase.is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "--propagation", "private", "--pid", "--fork", "sh", "-c", script]);
    kase.finish(unshare).succeeded();
}

/// Lets an attacker try again and again: `ATTACK_ROUNDS` times if that is set, else as often as is enough to notice a
/// mistake. Then on until an attempt is one in which the victim ran, as otherwise nothing was shown.
fn attempts(few: u32, mut victim_runs: impl FnMut() -> bool) {
    let rounds = std::env::var("ATTACK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let mut ran = false;
    for _ in 0..rounds.unwrap_or(few) {
        ran |= victim_runs();
    }
    let deadline = Instant::now() + patience();
    while !ran {
        assert!(Instant::now() < deadline, "the victim never runs");
        ran = victim_runs();
    }
}
