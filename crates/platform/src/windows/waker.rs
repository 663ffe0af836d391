//! How another thread speaks to the loop: it leaves its message where the handler looks, and wakes the loop.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::Arc;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent};

use crate::Error;
use crate::live::{Counted, Kind};

/// Wakes a running loop, which then hands `Event::Woken` to its handler. Calls that come together may give one event.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Counted<OwnedHandle>>);

impl Waker {
    /// A waker for one call of `run`; it is cloned for those who are to wake it.
    pub fn new() -> Result<Waker, Error> {
        match event(null(), Reset::ByTheWait) {
            Ok(event) => Ok(Waker(Arc::new(event))),
            Err(source) => Err(Error::System { doing: "make an event".into(), source }),
        }
    }

    /// Wakes the loop; it need not run yet.
    pub fn wake(&self) {
        // SAFETY: the handle is open as long as we are. Setting an event that may be set cannot fail.
        unsafe { SetEvent(self.handle()) };
    }

    /// What the loop waits for; the wait takes note of all calls of `wake` so far.
    pub(super) fn handle(&self) -> HANDLE {
        self.0.as_raw_handle()
    }
}

/// How an event is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    ByTheWait,
    ByHand,
}

/// An event that is not set. The name is null or ends with a zero.
pub(super) fn event(name: *const u16, reset: Reset) -> io::Result<Counted<OwnedHandle>> {
    // SAFETY: the name is null or a string as said above, which every caller sees to.
    let handle = unsafe { CreateEventW(null(), (reset == Reset::ByHand).into(), 0, name) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(Counted::new(Kind::Waker, unsafe { OwnedHandle::from_raw_handle(handle) }))
}
