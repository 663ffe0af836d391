//! A taskbar, as far as a program with an icon can tell: a window of its class, which is told what to do with icons.
//!
//! Wine has none without a display. Its messages are Wine's own, but for the number of what is to be done.

use std::ptr::null_mut;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::DataExchange::COPYDATASTRUCT;
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::UI::Shell::{NIM_ADD, NIM_DELETE, NIM_MODIFY, NIM_SETVERSION};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DefWindowProcW, DispatchMessageW, GetMessageW, HWND_BROADCAST, MSG, PostMessageW,
    PostQuitMessage, RegisterClassW, RegisterWindowMessageW, SendNotifyMessageW, UnregisterClassW, WM_CLOSE,
    WM_COPYDATA, WM_DESTROY, WNDCLASSW, WS_POPUP,
};
use windows_sys::w;

/// What a program asks of the taskbar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Add,
    Modify,
    Delete,
    SetVersion,
}

/// To whom the window tells it, and whether an icon is there.
static TELL: Mutex<Option<(Sender<Asked>, bool)>> = Mutex::new(None);

pub struct Taskbar {
    window: usize,
    asked: Receiver<Asked>,
    thread: Option<JoinHandle<()>>,
}

impl Taskbar {
    /// Makes it and tells all programs of it.
    pub fn start() -> Taskbar {
        let (tell, asked) = channel();
        *TELL.lock().unwrap() = Some((tell, false));
        let (open, opened) = channel();
        let thread = thread::spawn(move || {
            open.send(make() as usize).unwrap();
            let mut message = MSG::default();
            // SAFETY: the message is ours to be written; no window means all of this thread.
            while unsafe { GetMessageW(&mut message, null_mut(), 0, 0) } > 0 {
                // SAFETY: the message came from GetMessageW.
                unsafe { DispatchMessageW(&message) };
            }
            // SAFETY: the class is ours, and has no window any more.
            unsafe { UnregisterClassW(w!("Shell_TrayWnd"), GetModuleHandleW(std::ptr::null())) };
        });
        let window = opened.recv().unwrap();
        // SAFETY: the name ends with a zero; no other condition.
        unsafe { SendNotifyMessageW(HWND_BROADCAST, RegisterWindowMessageW(w!("TaskbarCreated")), 0, 0) };
        Taskbar { window, asked, thread: Some(thread) }
    }

    /// Waits until it is asked for this.
    pub fn wait_for(&self, what: Asked) {
        while self.asked.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|_| panic!("no {what:?}"))
            != what
        {}
    }
}

impl Drop for Taskbar {
    fn drop(&mut self) {
        // SAFETY: no condition.
        unsafe { PostMessageW(self.window as HWND, WM_CLOSE, 0, 0) };
        self.thread.take().unwrap().join().unwrap();
    }
}

fn make() -> HWND {
    // SAFETY: the class and its strings are read during the call; the function is there as long as the program is.
    let window = unsafe {
        let instance = GetModuleHandleW(std::ptr::null());
        let class = w!("Shell_TrayWnd");
        let description = WNDCLASSW {
            lpfnWndProc: Some(on_message),
            hInstance: instance,
            lpszClassName: class,
            ..WNDCLASSW::default()
        };
        RegisterClassW(&description);
        CreateWindowExW(
            0,
            class,
            class,
            WS_POPUP,
            0,
            0,
            0,
            0,
            null_mut(),
            null_mut(),
            instance,
            std::ptr::null(),
        )
    };
    assert!(!window.is_null(), "no window: {}", std::io::Error::last_os_error());
    window
}

unsafe extern "system" fn on_message(window: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    match message {
        WM_COPYDATA => {
            // SAFETY: with this message the parameter points to such a structure, which lives until we return.
            let data = unsafe { &*(lparam as *const COPYDATASTRUCT) };
            let mut tell = TELL.lock().unwrap();
            let Some((tell, is_there)) = tell.as_mut() else { return 0 };
            let asked = match u32::try_from(data.dwData).unwrap() {
                NIM_ADD => Asked::Add,
                NIM_MODIFY => Asked::Modify,
                NIM_DELETE => Asked::Delete,
                NIM_SETVERSION => Asked::SetVersion,
                _ => return 0,
            };
            // As the taskbar does: an icon is added once, and everything else is for one that is there.
            if (asked == Asked::Add) == *is_there {
                return 0;
            }
            *is_there = asked != Asked::Delete;
            let _ = tell.send(asked);
            1
        }
        WM_DESTROY => {
            // SAFETY: no condition.
            unsafe { PostQuitMessage(0) };
            0
        }
        // SAFETY: these are the parameters that we were called with.
        _ => unsafe { DefWindowProcW(window, message, wparam, lparam) },
    }
}
