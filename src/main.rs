//! kase: a rootless-first OCI container runtime.

#![cfg_attr(not(test), no_main)]

mod accounts;
mod bundle;
mod cgroup;
mod cli;
mod config;
mod container;
mod doctor;
mod fault;
mod gate;
mod handshake;
mod hook;
mod host;
mod init;
mod integrate;
mod interpreter;
mod json_tree;
mod kernel;
mod launch;
mod lint;
mod log;
mod output_file;
mod plan;
mod seal;
mod seccomp;
mod trace;

#[global_allocator]
static ALLOCATOR: kernel::allocator::Allocator = kernel::allocator::Allocator::new();

#[cfg(not(fuzzing))]
start!(cli::main, again: seal::COMMANDS);

/// What `make fuzz` executes in place of a command.
#[cfg(fuzzing)]
#[path = "../tests/fuzz/targets/mod.rs"]
pub mod fuzz;
