//! keyrx: a keyboard remapping daemon.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod demo;
mod devices;
mod doctor;
mod explain;
mod instance;
mod logging;
mod paths;
mod run;
mod scenario;
mod session;
mod signals;
mod simulate;
mod test;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
