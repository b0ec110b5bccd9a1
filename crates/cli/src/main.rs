//! The `wkube` binary.

fn main() {}
