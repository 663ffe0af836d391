//! Which desktop is in front: ours, or that of the lock screen and of UAC's questions, where we have no say.

use windows_sys::Win32::System::StationsAndDesktops::{
    CloseDesktop, DESKTOP_READOBJECTS, GetThreadDesktop, GetUserObjectInformationW, HDESK, OpenInputDesktop,
    UOI_NAME,
};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;

/// Whether the desktop of this thread is the one that gets keys.
pub fn is_in_front() -> bool {
    // SAFETY: no condition; it fails for a desktop that we may not open.
    let input = unsafe { OpenInputDesktop(0, 0, DESKTOP_READOBJECTS) };
    if input.is_null() {
        return false;
    }
    // SAFETY: no condition. The handle is the thread's own and is not to be closed.
    let ours = unsafe { GetThreadDesktop(GetCurrentThreadId()) };
    let is_ours = name(input) == name(ours);
    // SAFETY: the handle is ours, and no longer used.
    unsafe { CloseDesktop(input) };
    is_ours
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
