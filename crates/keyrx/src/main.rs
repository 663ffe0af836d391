//! keyrx: a keyboard remapping daemon.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod demo;
mod devices;
mod explain;
mod run;
mod scenario;
mod session;
mod simulate;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
