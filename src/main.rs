//! kase: a rootless-first OCI container runtime.

fn main() {}
