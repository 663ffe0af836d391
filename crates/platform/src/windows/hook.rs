//! The hook, and what else the system calls us for, all on the thread that runs the loop.
//!
//! The system knows functions, not objects: they find the desk by a pointer of their thread, which is set only while
//! the desk is on the stack. No panic goes through the system's frames.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, null, null_mut};

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::UI::Accessibility::{HWINEVENTHOOK, SetWinEventHook, UnhookWinEvent};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CallNextHookEx, DefWindowProcW, EVENT_SYSTEM_DESKTOPSWITCH, HC_ACTION, HHOOK, HOOKPROC, KBDLLHOOKSTRUCT,
    SetWindowsHookExW, UnhookWindowsHookEx, WH_KEYBOARD_LL, WINEVENT_OUTOFCONTEXT,
};

use super::desk::Desk;
use super::gate::Verdict;
use crate::live::{Kind, Live};

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is const, which clippy does not see")]
    static CURRENT: Cell<*const Desk<'static>> = const { Cell::new(null()) };
}

/// While it lives, the system's calls on this thread go to a desk.
pub struct Current<'a, 'b>(#[expect(dead_code, reason = "it keeps the desk borrowed")] &'a Desk<'b>);

impl<'a, 'b> Current<'a, 'b> {
    pub fn set(desk: &'a Desk<'b>) -> Current<'a, 'b> {
        CURRENT.set(ptr::from_ref(desk).cast());
        Current(desk)
    }
}

impl Drop for Current<'_, '_> {
    fn drop(&mut self) {
        CURRENT.set(null());
    }
}

/// Calls `f` with the desk of this thread, if there is one.
fn with_current<R>(f: impl FnOnce(&Desk<'_>) -> R) -> Option<R> {
    let desk = CURRENT.get();
    // SAFETY: the pointer is null, or was made of a reference that the `Current` which has put it there still holds:
    // it takes it away when it is dropped. Only shared references are made of it, and `f` cannot keep them: it is
    // generic over what the desk borrows.
    unsafe { desk.as_ref() }.map(f)
}

/// An installed hook.
#[derive(Debug)]
pub struct Hook {
    hook: HHOOK,
    _live: Live,
}

impl Hook {
    /// Puts the desk's hook in, in front of all others. Keys come as soon as this thread looks for messages.
    pub fn install() -> io::Result<Hook> {
        Hook::install_as(Some(on_key))
    }

    /// Puts a hook in that calls `procedure`.
    pub fn install_as(procedure: HOOKPROC) -> io::Result<Hook> {
        // SAFETY: the function has the type that this hook wants, and is there as long as the program is.
        let hook = unsafe { SetWindowsHookExW(WH_KEYBOARD_LL, procedure, GetModuleHandleW(null()), 0) };
        if hook.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Hook { hook, _live: Live::new(Kind::Hook) })
    }
}

impl Hook {
    /// The system's name for it.
    pub fn handle(&self) -> HHOOK {
        self.hook
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // SAFETY: the hook is ours. If the system has dropped it already, this fails, and that is all.
        unsafe { UnhookWindowsHookEx(self.hook) };
    }
}

unsafe extern "system" fn on_key(code: i32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    if code == HC_ACTION.cast_signed() {
        // SAFETY: with this code the parameter points to such a structure, which lives until we return.
        let event = unsafe { &*(lparam as *const KBDLLHOOKSTRUCT) };
        let verdict = catch_unwind(AssertUnwindSafe(|| with_current(|desk| desk.on_key(event))));
        match verdict {
            Ok(Some(Verdict::Swallow)) => return 1,
            Ok(_) => {}
            Err(_) => drop(with_current(|desk| desk.on_panic())),
        }
    }
    // SAFETY: these are the parameters that we were called with; the hook is not looked at.
    unsafe { CallNextHookEx(null_mut(), code, wparam, lparam) }
}

/// Follows the switch between desktops: to and from the lock screen and the questions of UAC.
#[derive(Debug)]
pub struct DesktopSwitches {
    hook: HWINEVENTHOOK,
    _live: Option<Live>,
}

impl DesktopSwitches {
    /// Calls the desk of this thread at each switch.
    pub fn follow() -> DesktopSwitches {
        let event = EVENT_SYSTEM_DESKTOPSWITCH;
        // SAFETY: the function has the type that is wanted, and is there as long as the program is.
        let hook = unsafe {
            SetWinEventHook(event, event, null_mut(), Some(on_desktop_switch), 0, 0, WINEVENT_OUTOFCONTEXT)
        };
        DesktopSwitches { hook, _live: (!hook.is_null()).then(|| Live::new(Kind::WinEventHook)) }
    }
}

impl Drop for DesktopSwitches {
    fn drop(&mut self) {
        // SAFETY: the hook is ours, or null, and then this fails.
        unsafe { UnhookWinEvent(self.hook) };
    }
}

unsafe extern "system" fn on_desktop_switch(
    _: HWINEVENTHOOK,
    _: u32,
    _: HWND,
    _: i32,
    _: i32,
    _: u32,
    _: u32,
) {
    if catch_unwind(|| with_current(|desk| desk.on_desktop_switch())).is_err() {
        with_current(|desk| desk.on_panic());
    }
}

/// What our window does with its messages.
///
/// # Safety
/// It is for the system to call.
pub unsafe extern "system" fn on_message(
    window: HWND,
    message: u32,
    wparam: WPARAM,
    lparam: LPARAM,
) -> LRESULT {
    let answer = catch_unwind(|| with_current(|desk| desk.on_message(message, wparam, lparam)));
    match answer {
        Ok(Some(Some(answer))) => return answer,
        Ok(_) => {}
        Err(_) => drop(with_current(|desk| desk.on_panic())),
    }
    // SAFETY: these are the parameters that we were called with.
    unsafe { DefWindowProcW(window, message, wparam, lparam) }
}
