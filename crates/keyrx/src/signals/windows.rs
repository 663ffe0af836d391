//! How the system and the user tell a running keyrx to stop: what its console says.

use std::io;

use keyrx_platform::native::console;

use super::Signal;

/// Tells of signals from now on. The first one to stop is told, the second ends the process at once.
pub fn watch(tell: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    console::on_stop(move || tell(Signal::Stop))
}
