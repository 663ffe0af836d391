//! keyrx: a keyboard remapping daemon.

#![forbid(unsafe_code)]

mod chaos;
mod check;
mod cli;
mod client;
mod control;
mod crash;
mod crashes;
mod daemon;
mod demo;
mod devices;
mod doctor;
mod event_log;
mod explain;
mod guard;
mod health;
mod instance;
mod lifecycle;
mod log_file;
mod logging;
mod metrics;
mod paths;
mod phase;
mod profiles;
mod recovery;
mod rehearsal;
mod run;
mod scenario;
mod sd_notify;
mod selftest;
#[cfg(any(windows, test))]
mod service;
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
mod timestamp;
mod watch;
mod web;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
