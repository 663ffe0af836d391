//! How the system and the user tell a running keyrx to stop or to read its keymap again: signals.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Signal;
use keyrx_platform::threads::Threads;

/// Tells of signals from now on. The first one to stop is told, the second ends the process at once.
pub fn watch(threads: &mut Threads, tell: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, stopping.clone())?;
        signal_hook::flag::register(signal, stopping.clone())?;
    }
    listen(threads, tell)
}

/// Tells of all signals from now on.
pub fn listen(threads: &mut Threads, tell: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // A program in a terminal ends with it; a daemon reads its keymap again.
    let has_terminal = std::fs::File::open("/dev/tty").is_ok();
    let handle = signals.handle();
    let started = threads.start(
        "signals",
        move || handle.close(),
        move |_| {
            for signal in signals.forever() {
                tell(if signal == SIGHUP && !has_terminal { Signal::Reload } else { Signal::Stop });
            }
        },
    );
    started.map(drop)
}
