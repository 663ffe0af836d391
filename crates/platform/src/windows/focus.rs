//! What stands in the focus: the program, whether its input method is open, and the language of its layout.
//!
//! All of it is asked on a thread of its own, for the answer may be long in coming: when another window comes to the
//! front, and a moment after a key was pressed, since input methods and layouts are switched by keys. Nobody polls.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Foundation::HWND;
use windows_sys::Win32::Globalization::LCIDToLocaleName;
use windows_sys::Win32::System::Threading::{
    INFINITE, OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION, QueryFullProcessImageNameW,
};
use windows_sys::Win32::UI::Accessibility::{HWINEVENTHOOK, SetWinEventHook, UnhookWinEvent};
use windows_sys::Win32::UI::Input::Ime::ImmGetDefaultIMEWnd;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::GetKeyboardLayout;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    EVENT_SYSTEM_FOREGROUND, GUITHREADINFO, GetForegroundWindow, GetGUIThreadInfo, GetWindowThreadProcessId,
    MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, QS_ALLINPUT, SMTO_ABORTIFHUNG, SendMessageTimeoutW,
    WINEVENT_OUTOFCONTEXT, WM_IME_CONTROL,
};

use super::desktop::Ours;
use super::{pump, waker::Waker};
use crate::Focus;
use crate::live::{Kind, Live};
use crate::threads::{Stop, Threads};

/// How long after a key the input method may take to be another.
const SETTLING: Duration = Duration::from_millis(50);

/// How long a window may take to answer.
const UNTIL_ANSWERED_MS: u32 = 20;

/// How long the end waits for the thread.
const UNTIL_ENDED: Duration = Duration::from_millis(500);

/// IMC_GETOPENSTATUS, which the headers for drivers have.
const GET_OPEN_STATUS: usize = 5;

/// The thread that follows the focus.
#[derive(Debug)]
pub struct Follower {
    poke: Waker,
    _threads: Threads,
}

impl Follower {
    /// Tells what stands in the focus, and again whenever it has changed; then wakes whoever waits for `news`.
    pub fn start(tell: Sender<Focus>, news: Waker) -> io::Result<Follower> {
        let poke = Waker::new().map_err(io::Error::other)?;
        let (poked, end) = (poke.clone(), poke.clone());
        let mut threads = Threads::with_patience(UNTIL_ENDED);
        let desktop = Ours::here();
        threads.start(
            "focus",
            move || end.wake(),
            move |stop| {
                desktop.enter();
                follow(&tell, &news, &poked, stop);
            },
        )?;
        Ok(Follower { poke, _threads: threads })
    }

    /// A key was pressed.
    pub fn look_again(&self) {
        self.poke.wake();
    }
}

fn follow(tell: &Sender<Focus>, news: &Waker, poke: &Waker, stop: &Stop) {
    let _windows = Windows::follow();
    let mut focus = Focus::default();
    let mut process = 0;
    let mut is_known = false;
    while !stop.is_requested() {
        let now = look(&focus, &mut process);
        if !is_known || now != focus {
            is_known = true;
            focus = now;
            if tell.send(focus.clone()).is_err() {
                return;
            }
            news.wake();
        }
        let handle = poke.handle();
        // SAFETY: one handle, which `poke` keeps open.
        let woken =
            unsafe { MsgWaitForMultipleObjectsEx(1, &handle, INFINITE, QS_ALLINPUT, MWMO_INPUTAVAILABLE) };
        pump(); // another window has come to the front: that is all a message can mean here
        if woken == 0 && !stop.is_requested() {
            thread::sleep(SETTLING);
        }
    }
}

/// What stands in the focus now. What cannot be found out stays as it was.
fn look(before: &Focus, process: &mut u32) -> Focus {
    // SAFETY: no condition.
    let front = unsafe { GetForegroundWindow() };
    if front.is_null() {
        return before.clone();
    }
    let mut now = before.clone();
    let mut id = 0;
    // SAFETY: the number is written to where it is said; a window that is gone fails.
    let thread = unsafe { GetWindowThreadProcessId(front, &mut id) };
    if id != *process {
        *process = id;
        now.executable = executable(id).unwrap_or_default();
    }
    let focused = focused(thread).unwrap_or(front);
    // SAFETY: no condition; without a place for the process, only the thread is asked for.
    let thread = unsafe { GetWindowThreadProcessId(focused, null_mut()) };
    // SAFETY: no condition.
    let layout = unsafe { GetKeyboardLayout(thread) } as usize;
    if let Some(tag) = language(layout) {
        now.layout = tag;
    }
    if let Some(is_open) = is_ime_open(focused) {
        now.is_ime_open = is_open;
    }
    now
}

/// The window of a thread that has the focus; it may belong to another program than the one in front.
fn focused(thread: u32) -> Option<HWND> {
    let mut info = GUITHREADINFO { cbSize: size_of::<GUITHREADINFO>() as u32, ..GUITHREADINFO::default() };
    // SAFETY: the structure says its size, and is written to.
    let done = unsafe { GetGUIThreadInfo(thread, &mut info) };
    (done != 0 && !info.hwndFocus.is_null()).then_some(info.hwndFocus)
}

/// The BCP 47 tag of a layout, whose low half is a language.
fn language(layout: usize) -> Option<String> {
    let language = (layout & 0xFFFF) as u32;
    let mut name = [0_u16; 85]; // LOCALE_NAME_MAX_LENGTH
    // SAFETY: `name` has room for as many characters as are said.
    let length = unsafe { LCIDToLocaleName(language, name.as_mut_ptr(), name.len() as i32, 0) };
    let name = name.get(..usize::try_from(length).ok()?.checked_sub(1)?)?;
    Some(String::from_utf16_lossy(name))
}

/// Whether the input method of a window is open. `None` if it does not say so in time.
fn is_ime_open(window: HWND) -> Option<bool> {
    // SAFETY: no condition; without an input method there is no window.
    let ime = unsafe { ImmGetDefaultIMEWnd(window) };
    if ime.is_null() {
        return Some(false);
    }
    let mut is_open = 0;
    // SAFETY: the answer is written to where it is said, during the call; the message has no pointers.
    let answered = unsafe {
        let flags = SMTO_ABORTIFHUNG;
        SendMessageTimeoutW(ime, WM_IME_CONTROL, GET_OPEN_STATUS, 0, flags, UNTIL_ANSWERED_MS, &mut is_open)
    };
    (answered != 0).then_some(is_open != 0)
}

/// The path of a program.
fn executable(process: u32) -> Option<String> {
    // SAFETY: no condition; it fails for a process that we may not ask.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process) };
    if handle.is_null() {
        return None;
    }
    // SAFETY: the handle is new, and nobody else's.
    let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
    let mut path = vec![0_u16; 32_768];
    let mut length = path.len() as u32;
    // SAFETY: `path` has room for as many characters as `length` says; the handle is open.
    let done = unsafe {
        QueryFullProcessImageNameW(handle.as_raw_handle(), PROCESS_NAME_WIN32, path.as_mut_ptr(), &mut length)
    };
    (done != 0).then(|| String::from_utf16_lossy(path.get(..length as usize).unwrap_or_default()))
}

/// Has the system wake this thread when another window comes to the front.
#[derive(Debug)]
struct Windows {
    hook: HWINEVENTHOOK,
    _live: Option<Live>,
}

impl Windows {
    fn follow() -> Windows {
        let event = EVENT_SYSTEM_FOREGROUND;
        // SAFETY: the function has the type that is wanted, and is there as long as the program is.
        let hook =
            unsafe { SetWinEventHook(event, event, null_mut(), Some(nothing), 0, 0, WINEVENT_OUTOFCONTEXT) };
        Windows { hook, _live: (!hook.is_null()).then(|| Live::new(Kind::WinEventHook)) }
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        // SAFETY: the hook is ours, or null, and then this fails.
        unsafe { UnhookWinEvent(self.hook) };
    }
}

/// That it is called has woken the thread, which is what it is for.
unsafe extern "system" fn nothing(_: HWINEVENTHOOK, _: u32, _: HWND, _: i32, _: i32, _: u32, _: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_has_a_language() {
        assert_eq!(language(0x0411_0411).as_deref(), Some("ja-JP"));
        assert_eq!(language(0xE001_0409).as_deref(), Some("en-US"));
    }

    #[test]
    fn a_program_has_a_path() {
        let path = executable(std::process::id()).unwrap();
        assert!(path.to_lowercase().ends_with(".exe"), "{path}");
    }
}
