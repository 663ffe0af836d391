//! What the system tells windows and Wine does not: the test says it in its place.

use std::ptr::null;

use windows_sys::Win32::UI::WindowsAndMessaging::{FindWindowW, SendMessageW};
use windows_sys::w;

/// Sends a message and its first parameter to the window of keyrx; its answer.
pub fn tell_keyrx((message, what): (u32, u32)) -> isize {
    // SAFETY: the name is a constant that ends with 0; no title means any.
    let window = unsafe { FindWindowW(w!("keyrx"), null()) };
    assert!(!window.is_null(), "keyrx has no window");
    // SAFETY: the parameters of these messages are numbers.
    unsafe { SendMessageW(window, message, what as usize, 0) }
}
