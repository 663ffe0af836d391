//! The console that keyrx runs in, and the session that the console is in.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::Win32::System::Threading::{ExitProcess, GetCurrentProcessId};

use super::send_input;

/// The system kills a program 5 s after its console was closed, or when it says that it is done.
const UNTIL_KILLED: Duration = Duration::from_secs(5);

static ON_STOP: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// Calls `tell` when the user presses Ctrl+C or Ctrl+Break, or closes the console. A second time, the process ends at
/// once, with all keys released. To be called once.
pub fn on_stop(tell: impl Fn() + Send + Sync + 'static) -> io::Result<()> {
    let _ = ON_STOP.set(Box::new(tell));
    // SAFETY: the function has the type that is wanted, and is there as long as the program is.
    let done = unsafe { SetConsoleCtrlHandler(Some(on_control), 1) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The system calls it on a thread of its own.
unsafe extern "system" fn on_control(event: u32) -> i32 {
    static IS_STOPPING: AtomicBool = AtomicBool::new(false);
    if IS_STOPPING.swap(true, Ordering::AcqRel) {
        send_input::release_everything();
        // SAFETY: no condition; it does not return. Locks of other threads die with them.
        unsafe { ExitProcess(130) };
    }
    if let Some(tell) = ON_STOP.get() {
        // The message of the panic is all that can be had then.
        let _ = catch_unwind(AssertUnwindSafe(tell));
    }
    if !matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        // When this returns the process is killed. It ends before, when all is in order.
        thread::sleep(UNTIL_KILLED);
    }
    1
}

/// The number of the session: of a user at the console, or at a remote desktop.
pub fn session() -> u32 {
    let mut session = 0;
    // SAFETY: the pointer is to a number that is ours; it fails for no process of our own.
    unsafe { ProcessIdToSessionId(GetCurrentProcessId(), &mut session) };
    session
}
