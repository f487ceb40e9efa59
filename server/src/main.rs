//! The `tokenkeep` binary.

fn main() {}
