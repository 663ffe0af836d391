//! How other threads speak to the loop: they leave a message where the handler looks, and wake the loop. Or, where
//! the handler hangs, they let the keyboards go without it.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::sync::Arc;
use std::time::Duration;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent, WaitForSingleObject};

use super::hatch::Hatch;
use crate::live::{Counted, Kind};
use crate::{Error, Queue};

/// Another thread's way to a running loop.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<Counted<OwnedHandle>>,
    hatch: Arc<Hatch>,
}

impl Waker {
    /// A waker for one call of `run`; it is cloned for those who are to wake it.
    pub fn new() -> Result<Waker, Error> {
        match event(null(), Reset::ByTheWait) {
            Ok(event) => Ok(Waker { event: Arc::new(event), hatch: Arc::default() }),
            Err(source) => Err(Error::System { doing: "make an event".into(), source }),
        }
    }

    /// Wakes the loop, which then hands `Event::Woken` to its handler; it need not run yet. Calls that come together
    /// may give one event.
    pub fn wake(&self) {
        set(&self.event);
    }

    /// What waits to be handed to the system, once the loop runs.
    pub fn output_queue(&self) -> Option<Queue> {
        self.hatch.output_queue()
    }

    /// Makes the keyboards plain ones, whatever the loop is at, and lifts every key that we hold. When the loop is back
    /// it takes them again.
    pub fn let_go(&self) {
        self.hatch.let_go();
    }

    /// For tests: does as if the machine had slept.
    pub fn pretend_sleep(&self) {
        self.hatch.pretend_sleep();
        self.wake();
    }

    pub(super) fn hatch(&self) -> &Arc<Hatch> {
        &self.hatch
    }

    /// Waits for a call of `wake`, or for so long, and takes note of all calls so far.
    pub fn wait(&self, limit: Duration) {
        // The largest number would mean for ever, which is longer than anybody asks for.
        let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX - 1).min(u32::MAX - 1);
        // SAFETY: the handle is open as long as we are.
        unsafe { WaitForSingleObject(self.handle(), limit) };
    }

    /// What the loop waits for; the wait takes note of all calls of `wake` so far.
    pub(super) fn handle(&self) -> HANDLE {
        self.event.as_raw_handle()
    }
}

/// Sets an event.
pub(super) fn set(event: &OwnedHandle) {
    // SAFETY: the handle is open as long as its owner is there. Setting an event that may be set cannot fail.
    unsafe { SetEvent(event.as_raw_handle()) };
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
