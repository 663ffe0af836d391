//! Faults on demand: named events by which keyrx, started with `KEYRX_CHAOS` set, is made to fail.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent};
use windows_sys::core::PCWSTR;
use windows_sys::w;

/// A fault that keyrx can be made to have.
pub struct Fault {
    /// What `KEYRX_CHAOS` has to be.
    pub name: &'static str,
    event: OwnedHandle,
    /// Whether the fault is there while the event is set, or while it is not.
    when_set: bool,
}

impl Fault {
    /// Each time it begins, keyrx removes its hook and does not know that it did.
    pub fn unhook() -> Fault {
        Fault { name: "unhook", event: create(w!("Local\\keyrx-chaos-unhook"), false), when_set: true }
    }

    /// From its beginning to its end, keyrx hands nothing to SendInput.
    pub fn stall_output() -> Fault {
        let fault = Fault {
            name: "stall-output",
            event: create(w!("Local\\keyrx-chaos-stall-output"), true),
            when_set: false,
        };
        fault.end();
        fault
    }

    /// Until its end, raw input is refused.
    pub fn no_raw_input() -> Fault {
        let event = create(w!("Local\\keyrx-chaos-no-raw-input"), true);
        let fault = Fault { name: "no-raw-input", event, when_set: false };
        fault.begin();
        fault
    }

    pub fn begin(&self) {
        self.set(self.when_set);
    }

    pub fn end(&self) {
        self.set(!self.when_set);
    }

    fn set(&self, is_set: bool) {
        let event = self.event.as_raw_handle();
        // SAFETY: the event is open.
        let done = unsafe { if is_set { SetEvent(event) } else { ResetEvent(event) } };
        assert_ne!(done, 0, "{}", io::Error::last_os_error());
    }
}

fn create(name: PCWSTR, stays_set: bool) -> OwnedHandle {
    // SAFETY: the name is a constant that ends with 0.
    let event = unsafe { CreateEventW(null(), i32::from(stays_set), 0, name) };
    assert!(!event.is_null(), "CreateEventW: {}", io::Error::last_os_error());
    // SAFETY: it was opened for us just now, and nobody else closes it.
    unsafe { OwnedHandle::from_raw_handle(event) }
}
