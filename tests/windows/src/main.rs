//! keyrx on Windows: keys are sent as a keyboard would send them, and what the focused window gets is compared.
//!
//! One program with several roles, each its own process: the keyboard, the receiver with its window, a hook beside
//! keyrx's, and the cases, which start the others and the release keyrx. `cargo xtask test windows` builds it and runs
//! it under Wine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test program: failing loudly is its job"
)]

#[cfg_attr(windows, path = "windows/mod.rs")]
#[cfg_attr(not(windows), path = "elsewhere.rs")]
mod windows;

use std::process::ExitCode;

fn main() -> ExitCode {
    windows::main()
}
