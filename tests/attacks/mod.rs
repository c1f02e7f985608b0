//! Attackers at work, one file a class: each with a control that shows that the attack works on a victim without the
//! defence.

mod forge_user_names;
mod look_into_processes;
mod swapped_paths;
