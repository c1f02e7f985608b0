//! Attackers at work, one file a class: each with a control that shows that the attack works on a victim without the
//! defence.

mod forge_records;
mod forge_user_names;
mod inherit_capabilities;
mod look_into_processes;
mod pass_annotations;
mod poison_hook_environments;
mod prepare_files;
mod reuse_process_ids;
mod send_long_id_maps;
mod swapped_paths;
mod use_leaked_descriptors;
mod write_to_terminals;
