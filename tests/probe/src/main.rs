//! The payload of the tests' containers.

fn main() {}
