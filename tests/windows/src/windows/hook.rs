//! A low-level hook beside keyrx's: it writes down every key that it is called for, and maps one key if it is told so.

use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use keyrx_engine::{Key, Motion};
use windows_sys::Win32::Foundation::{LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::Console::SetConsoleCtrlHandler;
use windows_sys::Win32::System::Threading::GetCurrentThreadId;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{
    KEYBDINPUT, KEYEVENTF_EXTENDEDKEY, KEYEVENTF_KEYUP, KEYEVENTF_SCANCODE,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CallNextHookEx, GetMessageW, HC_ACTION, KBDLLHOOKSTRUCT, LLKHF_EXTENDED, LLKHF_UP, MSG,
    PostThreadMessageW, SetWindowsHookExW, WH_KEYBOARD_LL, WM_QUIT,
};

use super::keyboard;
use super::keycodes::{self, EXTENDED};
use super::record::{Record, Source};
use super::time::now;

/// What stands beside a key that this program sends.
pub const MARK: usize = 0x7e57;

/// The key that is mapped and what it becomes.
static MAPPING: OnceLock<(Key, Key)> = OnceLock::new();
/// The thread with the message loop.
static THREAD: AtomicU32 = AtomicU32::new(0);

/// Runs until Ctrl+C.
pub fn run(mapping: Option<(Key, Key)>) {
    if let Some(mapping) = mapping {
        MAPPING.set(mapping).unwrap();
    }
    // SAFETY: has no conditions.
    THREAD.store(unsafe { GetCurrentThreadId() }, Ordering::Relaxed);
    // SAFETY: both procedures have the right type and live as long as the process.
    unsafe {
        assert_ne!(SetConsoleCtrlHandler(Some(interrupted), 1), 0, "{}", io::Error::last_os_error());
        let hook = SetWindowsHookExW(WH_KEYBOARD_LL, Some(hooked), null_mut(), 0);
        assert!(!hook.is_null(), "SetWindowsHookExW: {}", io::Error::last_os_error());
    }
    println!("ready");
    let mut message = MSG::default();
    // SAFETY: the message is ours to be written; no window means all of this thread.
    while unsafe { GetMessageW(&mut message, null_mut(), 0, 0) } > 0 {}
    println!("ended in order");
}

unsafe extern "system" fn interrupted(_: u32) -> i32 {
    // SAFETY: has no conditions; it fails when the thread has ended.
    unsafe { PostThreadMessageW(THREAD.load(Ordering::Relaxed), WM_QUIT, 0, 0) };
    1
}

unsafe extern "system" fn hooked(code: i32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    if code == HC_ACTION.cast_signed() {
        // SAFETY: so it is documented for this hook and code; it lives until we return.
        let event = unsafe { &*(lparam as *const KBDLLHOOKSTRUCT) };
        let record = record(event);
        println!("{record}");
        if let Some((from, to)) = MAPPING.get()
            && record.key() == *from
            && record.extra != MARK
        {
            send(*to, record.motion);
            return 1;
        }
    }
    // SAFETY: the arguments are those that the system has called us with.
    unsafe { CallNextHookEx(null_mut(), code, wparam, lparam) }
}

fn record(event: &KBDLLHOOKSTRUCT) -> Record {
    let scan = u16::try_from(event.scanCode).unwrap();
    Record {
        source: Source::Hook,
        motion: if event.flags & LLKHF_UP != 0 { Motion::Release } else { Motion::Press },
        scan: if event.flags & LLKHF_EXTENDED != 0 { scan | EXTENDED } else { scan },
        vk: u16::try_from(event.vkCode).unwrap(),
        extra: event.dwExtraInfo,
        at: now(),
    }
}

fn send(key: Key, motion: Motion) {
    let code = keycodes::code(key);
    let up = if motion == Motion::Release { KEYEVENTF_KEYUP } else { 0 };
    let extended = if code.scan & EXTENDED != 0 { KEYEVENTF_EXTENDEDKEY } else { 0 };
    keyboard::inject(KEYBDINPUT {
        wVk: code.vk,
        wScan: code.scan & !EXTENDED,
        dwFlags: up | extended | KEYEVENTF_SCANCODE,
        time: 0,
        dwExtraInfo: MARK,
    });
}
