//! kase: a rootless-first OCI container runtime.

#![allow(dead_code)] // until the command line calls it

mod fault;
mod host;
mod kernel;
mod log;
mod plan;

fn main() {}
