//! How the system and the user tell a running keyrx to stop: what its console says.

use std::io;

use keyrx_platform::native::console;

use super::Signal;
use keyrx_platform::threads::Threads;

/// Tells of signals from now on. The first one to stop is told, the second ends the process at once.
/// Windows brings a thread of its own for it.
pub fn watch(_: &mut Threads, tell: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    console::on_stop(move || tell(Signal::Stop))
}

/// As `watch`: who is told a second time has no time.
pub fn listen(threads: &mut Threads, tell: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    watch(threads, tell)
}
