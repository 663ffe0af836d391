//! keyrx: a keyboard remapping daemon.

#![forbid(unsafe_code)]

mod check;
mod cli;
mod control;
mod crash;
mod demo;
mod devices;
mod doctor;
mod explain;
mod health;
mod instance;
mod lifecycle;
mod lock;
mod log_file;
mod logging;
mod metrics;
mod paths;
mod recovery;
mod run;
mod scenario;
mod sd_notify;
mod session;
mod settings;
mod signals;
mod simulate;
mod state;
mod supervise;
mod supervisor;
mod tap;
mod test;
#[cfg(test)]
mod testing;
mod threads;
mod timestamp;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
