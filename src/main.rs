//! kase: a rootless-first OCI container runtime.

#[allow(dead_code)]
mod seccomp;

fn main() {}
