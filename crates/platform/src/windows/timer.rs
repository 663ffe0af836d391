//! A timer that a wait can include, finer than the system's clock interrupt where that is offered.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use keyrx_engine::Time;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Threading::{
    CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, CancelWaitableTimer, CreateWaitableTimerExW, SetWaitableTimer,
    TIMER_ALL_ACCESS,
};

use super::clock;
use crate::live::{Counted, Kind};

/// A timer that is set for one moment at a time.
#[derive(Debug)]
pub struct Timer {
    handle: Counted<OwnedHandle>,
    moment: Option<Time>,
}

impl Timer {
    /// A timer that is not set. High resolution is there since Windows 10 1803, and not in Wine 8.
    pub fn new() -> io::Result<Timer> {
        let handle = create(CREATE_WAITABLE_TIMER_HIGH_RESOLUTION).or_else(|_| create(0))?;
        Ok(Timer { handle: Counted::new(Kind::Timer, handle), moment: None })
    }

    /// Has the timer go off at `moment`, or not at all.
    pub fn set(&mut self, moment: Option<Time>) {
        if self.moment == moment {
            return;
        }
        self.moment = moment;
        let handle = self.handle.as_raw_handle();
        let Some(moment) = moment else {
            // SAFETY: the handle is open as long as we are.
            unsafe { CancelWaitableTimer(handle) };
            return;
        };
        // In units of 100 ns; below zero it is counted from now. Zero would be long ago, which serves as well.
        let micros = moment.micros().saturating_sub(clock::now().micros());
        let due = i64::try_from(micros).unwrap_or(i64::MAX).saturating_mul(-10);
        // SAFETY: the handle is open as long as we are; `due` is read during the call; there is no routine.
        unsafe { SetWaitableTimer(handle, &due, 0, None, null(), 0) };
    }

    /// It went off, and is no longer set.
    pub fn went_off(&mut self) {
        self.moment = None;
    }

    /// What goes off.
    pub fn handle(&self) -> HANDLE {
        self.handle.as_raw_handle()
    }
}

fn create(flags: u32) -> io::Result<OwnedHandle> {
    // SAFETY: the pointers that are null may be.
    let handle = unsafe { CreateWaitableTimerExW(null(), null(), flags, TIMER_ALL_ACCESS) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
