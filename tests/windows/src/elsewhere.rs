//! On other systems than Windows there is nothing to do.

use std::process::ExitCode;

pub fn main() -> ExitCode {
    eprintln!("This program is for Windows and for Wine: run `cargo xtask test windows`.");
    ExitCode::from(2)
}
