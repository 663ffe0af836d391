//! The receiver: a window that has the focus and writes down every key that reaches it, by message and by raw input.

use std::ptr::{null, null_mut};

use keyrx_engine::Motion;
use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::SetFocus;
use windows_sys::Win32::UI::Input::{
    GetRawInputData, HRAWINPUT, RAWINPUT, RAWINPUTDEVICE, RAWINPUTHEADER, RAWKEYBOARD, RID_INPUT,
    RIDEV_INPUTSINK, RIM_TYPEKEYBOARD, RegisterRawInputDevices,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DefWindowProcW, DispatchMessageW, GetMessageExtraInfo, GetMessageW, KF_EXTENDED,
    KF_REPEAT, KF_UP, MSG, PostQuitMessage, RI_KEY_BREAK, RI_KEY_E0, RegisterClassW, SetForegroundWindow,
    WM_DESTROY, WM_INPUT, WM_KEYDOWN, WM_KEYUP, WM_KILLFOCUS, WM_SETFOCUS, WM_SYSKEYDOWN, WM_SYSKEYUP,
    WNDCLASSW, WS_OVERLAPPEDWINDOW, WS_VISIBLE,
};
use windows_sys::w;

use super::keycodes::EXTENDED;
use super::record::{Record, Source};
use super::time::now;

/// Runs until it is killed.
pub fn run() {
    let window = open();
    let keyboards =
        RAWINPUTDEVICE { usUsagePage: 1, usUsage: 6, dwFlags: RIDEV_INPUTSINK, hwndTarget: window };
    // SAFETY: one device, of the size given; the window is ours and lives as long as the process.
    let registered = unsafe {
        RegisterRawInputDevices(&keyboards, 1, u32::try_from(size_of::<RAWINPUTDEVICE>()).unwrap())
    };
    assert_ne!(registered, 0, "RegisterRawInputDevices: {}", std::io::Error::last_os_error());
    // SAFETY: the window is ours.
    unsafe {
        SetForegroundWindow(window);
        SetFocus(window);
    }
    println!("ready");
    let mut message = MSG::default();
    // SAFETY: the message is ours to be written; no window means all of this thread.
    while unsafe { GetMessageW(&mut message, null_mut(), 0, 0) } > 0 {
        match message.message {
            // Not passed on: what the system makes of Alt and F10 is a menu that would take the next keys.
            WM_KEYDOWN | WM_KEYUP | WM_SYSKEYDOWN | WM_SYSKEYUP => println!("{}", seen(&message)),
            WM_INPUT => {
                if let Some(record) = raw(message.lParam as HRAWINPUT) {
                    println!("{record}");
                }
                // SAFETY: the message came from GetMessageW. The system frees the raw input here.
                unsafe { DispatchMessageW(&message) };
            }
            // SAFETY: the message came from GetMessageW.
            _ => unsafe {
                DispatchMessageW(&message);
            },
        }
    }
}

fn open() -> HWND {
    // SAFETY: the class and its strings live as long as they are used; the procedure has the right type.
    let window = unsafe {
        let class = WNDCLASSW {
            lpfnWndProc: Some(procedure),
            hInstance: GetModuleHandleW(null()),
            lpszClassName: w!("keyrx receiver"),
            ..WNDCLASSW::default()
        };
        RegisterClassW(&class);
        CreateWindowExW(
            0,
            class.lpszClassName,
            w!("keyrx receiver"),
            WS_OVERLAPPEDWINDOW | WS_VISIBLE,
            0,
            0,
            200,
            100,
            null_mut(),
            null_mut(),
            class.hInstance,
            null(),
        )
    };
    assert!(!window.is_null(), "CreateWindowExW: {}", std::io::Error::last_os_error());
    window
}

unsafe extern "system" fn procedure(window: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    match message {
        WM_SETFOCUS => println!("focus"),
        WM_KILLFOCUS => println!("focus lost"),
        // SAFETY: has no conditions.
        WM_DESTROY => unsafe { PostQuitMessage(0) },
        _ => {}
    }
    // SAFETY: the arguments are those that the system has called us with.
    unsafe { DefWindowProcW(window, message, wparam, lparam) }
}

/// The record of a key message.
fn seen(message: &MSG) -> Record {
    let flags = u32::try_from((message.lParam >> 16) & 0xffff).unwrap();
    let scan = u16::try_from(flags & 0xff).unwrap();
    Record {
        source: Source::Window,
        motion: match (flags & KF_UP != 0, flags & KF_REPEAT != 0) {
            (true, _) => Motion::Release,
            (false, false) => Motion::Press,
            (false, true) => Motion::Repeat,
        },
        scan: if flags & KF_EXTENDED != 0 { scan | EXTENDED } else { scan },
        vk: u16::try_from(message.wParam).unwrap(),
        // SAFETY: has no conditions; it belongs to the message that this thread has got last.
        extra: unsafe { GetMessageExtraInfo() } as usize,
        at: now(),
    }
}

/// The record of a raw input.
fn raw(handle: HRAWINPUT) -> Option<Record> {
    let mut input = RAWINPUT::default();
    let mut size = u32::try_from(size_of::<RAWINPUT>()).unwrap();
    let header = u32::try_from(size_of::<RAWINPUTHEADER>()).unwrap();
    // SAFETY: writes at most `size` bytes to `input`, which has that size; a keyboard's input fits.
    let got = unsafe { GetRawInputData(handle, RID_INPUT, (&raw mut input).cast(), &mut size, header) };
    if got == u32::MAX || input.header.dwType != RIM_TYPEKEYBOARD {
        return None;
    }
    // SAFETY: the type says that it is a keyboard's.
    let RAWKEYBOARD { MakeCode, Flags, VKey, ExtraInformation, .. } = unsafe { input.data.keyboard };
    let flags = u32::from(Flags);
    Some(Record {
        source: Source::Raw,
        motion: if flags & RI_KEY_BREAK != 0 { Motion::Release } else { Motion::Press },
        scan: if flags & RI_KEY_E0 != 0 { MakeCode | EXTENDED } else { MakeCode },
        vk: VKey,
        extra: ExtraInformation as usize,
        at: now(),
    })
}
