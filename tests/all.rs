//! Black-box tests: every deed of kase, seen from outside, in real containers.
//!
//! The runtime under test is the program that `KASE` names (bin/kase if unset), the payload of the
//! containers the static program in tests/probe. `make test` builds both and adds up what was skipped.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[macro_use]
mod common;

mod annotations;
mod attacks;
mod bad_input;
mod cgroups;
mod chaos;
mod command_line;
mod contention;
mod crash;
mod descriptors;
mod devices;
mod doctor;
mod exec;
mod explain;
mod fake_root;
mod features;
mod fields;
mod fuse;
mod gc;
mod hooks;
mod host_mounts;
mod integrate;
mod life;
mod lint;
mod logs;
mod mount_points;
mod mounts;
mod namespaces;
mod network_devices;
mod output_files;
mod overlay;
mod overlay_directory;
mod peers;
mod pidfd;
mod process;
mod programs;
mod propagation;
mod ps;
mod remedies;
mod resources;
mod rootfs;
mod rootless;
mod scheduling;
mod screen;
mod seal;
mod seccomp;
mod security_labels;
mod service;
mod shortage;
mod signals;
mod soak;
mod spec;
mod state;
mod streams;
mod subordinate_ids;
mod terminal;
mod trace;
mod wait;
