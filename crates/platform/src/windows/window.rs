//! A window that nobody sees: it takes raw input and what the system has to say of power, sessions and the end.
//!
//! It is a top-level window, since windows for messages only are told nothing of power and of the end of a session.

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::System::RemoteDesktop::{
    NOTIFY_FOR_THIS_SESSION, WTSRegisterSessionNotification, WTSUnRegisterSessionNotification,
};
use windows_sys::Win32::UI::Input::{
    GetRawInputData, HRAWINPUT, RAWINPUT, RAWINPUTDEVICE, RAWINPUTHEADER, RAWKEYBOARD, RID_INPUT,
    RIDEV_DEVNOTIFY, RIDEV_INPUTSINK, RIDEV_REMOVE, RIM_TYPEKEYBOARD, RegisterRawInputDevices,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DestroyWindow, RegisterClassExW, WNDCLASSEXW, WS_EX_NOACTIVATE, WS_EX_TOOLWINDOW,
    WS_POPUP,
};
use windows_sys::core::PCWSTR;
use windows_sys::w;

use super::hook;
use crate::live::{Kind, Live};

/// The window. Its messages go to the desk of its thread.
#[derive(Debug)]
pub struct Window {
    window: HWND,
    /// As long as raw input comes to it.
    raw_input: Option<Live>,
    _live: Live,
}

impl Window {
    /// Makes the window.
    pub fn open() -> io::Result<Window> {
        let window = create(w!("keyrx"), hook::on_message)?;
        Ok(Window { window, raw_input: None, _live: Live::new(Kind::Window) })
    }

    /// Asks for raw input of all keyboards, whoever has the focus, and to be told when one comes or goes.
    pub fn listen_to_keyboards(&mut self) -> io::Result<()> {
        register(RIDEV_INPUTSINK | RIDEV_DEVNOTIFY, self.window)?;
        self.raw_input = Some(Live::new(Kind::RawInput));
        Ok(())
    }

    /// Asks to be told when the session is locked, unlocked, connected. Without it, the switches of desktops tell.
    pub fn listen_to_sessions(&self) {
        // SAFETY: the window is ours.
        unsafe { WTSRegisterSessionNotification(self.window, NOTIFY_FOR_THIS_SESSION) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = register(RIDEV_REMOVE, null_mut());
        // SAFETY: the window is ours, and made by this thread: it is not `Send`.
        unsafe {
            WTSUnRegisterSessionNotification(self.window);
            DestroyWindow(self.window);
        }
    }
}

/// Makes a top-level window that nobody sees. The class ends with a zero.
pub fn create(
    class: PCWSTR,
    on_message: unsafe extern "system" fn(HWND, u32, WPARAM, LPARAM) -> LRESULT,
) -> io::Result<HWND> {
    // SAFETY: the class, a string as said above, is read during the call; the function has the type that is wanted,
    // and is there as long as the program is. That the class exists already, from an earlier call, is no error.
    let window = unsafe {
        let instance = GetModuleHandleW(null());
        let description = WNDCLASSEXW {
            cbSize: size_of::<WNDCLASSEXW>() as u32,
            lpfnWndProc: Some(on_message),
            hInstance: instance,
            lpszClassName: class,
            ..WNDCLASSEXW::default()
        };
        RegisterClassExW(&description);
        let (style, parent, menu) = (WS_EX_TOOLWINDOW | WS_EX_NOACTIVATE, null_mut(), null_mut());
        CreateWindowExW(style, class, class, WS_POPUP, 0, 0, 0, 0, parent, menu, instance, null())
    };
    if window.is_null() { Err(io::Error::last_os_error()) } else { Ok(window) }
}

/// Keyboards and numpads are two kinds to raw input.
fn register(flags: u32, window: HWND) -> io::Result<()> {
    let devices = [6, 7].map(|usage| RAWINPUTDEVICE {
        usUsagePage: 1,
        usUsage: usage,
        dwFlags: flags,
        hwndTarget: window,
    });
    // SAFETY: as many devices as are there, of the size that is said.
    let done = unsafe {
        RegisterRawInputDevices(devices.as_ptr(), devices.len() as u32, size_of::<RAWINPUTDEVICE>() as u32)
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What a WM_INPUT tells: the number of the keyboard, and the key. `None` for what is no keyboard's.
pub fn raw_key(message: HRAWINPUT) -> Option<(usize, RAWKEYBOARD)> {
    let mut input = RAWINPUT::default();
    let mut size = size_of::<RAWINPUT>() as u32;
    // SAFETY: `input` has room for as many bytes as `size` says. A message that is none, or has more to tell, fails.
    let length = unsafe {
        GetRawInputData(
            message,
            RID_INPUT,
            (&raw mut input).cast(),
            &mut size,
            size_of::<RAWINPUTHEADER>() as u32,
        )
    };
    if length == u32::MAX || input.header.dwType != RIM_TYPEKEYBOARD {
        return None;
    }
    // SAFETY: the type says that this field was written.
    Some((input.header.hDevice as usize, unsafe { input.data.keyboard }))
}
