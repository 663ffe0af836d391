//! Windows: only the end of the command is watched. The console tells it to stop, as it tells us.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::Sender;

use super::Cause;
use keyrx_platform::threads::Threads;

/// Nothing tells that the command makes progress, so that no hung one is found.
pub const HAS_HEARTBEAT: bool = false;

/// Windows has no signals.
pub const KILLED: i32 = 9;

pub struct Wire;

impl Wire {
    pub fn open(_: &mut Threads, _: Sender<Cause>) -> io::Result<Wire> {
        Ok(Wire)
    }

    /// To be called when the command has ended.
    pub fn mark(&self, causes: Sender<Cause>) -> impl Fn() + Send + 'static {
        move || drop(causes.send(Cause::Ended))
    }

    pub fn tie(&self, _: &mut Command) {}
}

/// The console has told it.
pub fn ask_to_stop(_: &Child) {}

/// There is no way to say it; a file that changes is read again without.
pub fn reload(_: &Child) {}

/// Nobody is found to hang.
pub fn dump(_: &Child) {}

pub fn signal(_: ExitStatus) -> i32 {
    0
}
