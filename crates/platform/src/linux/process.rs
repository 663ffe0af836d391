//! Processes that we have started, beyond what the standard library does with them.

use std::io;
use std::process::Child;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// What a process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// To end in order.
    Stop,
    /// To read its files again.
    Reload,
    /// To end at once, and to leave behind what shows why it hung.
    Dump,
}

/// A process of which the end can be waited for by another thread.
#[derive(Clone, Copy, Debug)]
pub struct Awaited(Pid);

impl Awaited {
    /// The process must be collected by the standard library (`Child::try_wait`) only after `wait` has returned.
    pub fn of(child: &Child) -> io::Result<Awaited> {
        pid(child).map(Awaited)
    }

    /// Returns when the process has ended, and leaves it to be collected: so its number stays its own.
    pub fn wait(self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        // It fails only for a process that has been collected, and so has ended.
        let _ = retry_on_intr(|| waitid(WaitId::Pid(self.0), options));
    }
}

/// Tells a child something. One that has ended, and has not been collected, hears it no more.
pub fn tell(child: &Child, what: Tell) -> io::Result<()> {
    let signal = match what {
        Tell::Stop => Signal::TERM,
        Tell::Reload => Signal::HUP,
        Tell::Dump => Signal::ABORT,
    };
    Ok(kill_process(pid(child)?, signal)?)
}

fn pid(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
