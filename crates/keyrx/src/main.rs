//! keyrx: a keyboard remapping daemon.

fn main() {}
