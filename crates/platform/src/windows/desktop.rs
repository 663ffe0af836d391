//! Which desktop is in front: ours, or that of the lock screen and of UAC's questions, where we have no say.

use windows_sys::Win32::System::StationsAndDesktops::{
    CloseDesktop, DESKTOP_READOBJECTS, GetThreadDesktop, GetUserObjectInformationW, HDESK, OpenInputDesktop,
    SetThreadDesktop, UOI_NAME,
};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// Whether the desktop of this thread is the one that gets keys.
pub fn is_in_front() -> bool {
    let Some(input) = Desktop::of_input() else { return false };
    // SAFETY: no condition. The handle is the thread's own and is not to be closed.
    let ours = unsafe { GetThreadDesktop(GetCurrentThreadId()) };
    name(input.0) == name(ours)
}

/// The desktop of a thread, for other threads of the process: where a service has started it, Wine gives only the first
/// thread the desktop that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ours(usize);

impl Ours {
    /// That of this thread.
    pub fn here() -> Ours {
        // SAFETY: no condition. The handle is the thread's own and is not to be closed.
        Ours(unsafe { GetThreadDesktop(GetCurrentThreadId()) } as usize)
    }

    /// Has this thread be on it, which must not have a window or a hook yet. Where it is there already nothing happens.
    pub fn enter(self) {
        // SAFETY: the handle is good as long as the process; one that is not fails.
        unsafe { SetThreadDesktop(self.0 as HDESK) };
    }
}

/// An open desktop.
#[derive(Debug)]
struct Desktop(HDESK);

impl Desktop {
    /// The one that gets keys; `None` if we may not open it.
    fn of_input() -> Option<Desktop> {
        // SAFETY: no condition.
        let input = unsafe { OpenInputDesktop(0, 0, DESKTOP_READOBJECTS) };
        (!input.is_null()).then_some(Desktop(input))
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and no longer used.
        unsafe { CloseDesktop(self.0) };
    }
}

fn name(desktop: HDESK) -> Option<[u16; 64]> {
    let mut name = [0_u16; 64];
    let mut length = 0;
    // SAFETY: `name` has as many bytes as are said; an invalid handle fails.
    let done = unsafe {
        GetUserObjectInformationW(
            desktop,
            UOI_NAME,
            name.as_mut_ptr().cast(),
            size_of_val(&name) as u32,
            &mut length,
        )
    };
    (done != 0).then_some(name)
}
