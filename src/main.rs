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

start!(cli::main, again: seal::COMMANDS);
