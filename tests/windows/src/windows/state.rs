//! The system's own idea of which keys are down.
//!
//! For Wine 8 a key that a hook has swallowed is down all the same until it comes up, which for Windows it is not. And
//! what it answers may be what was the case 50 ms ago.

use keyrx_engine::Key;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{
    GetAsyncKeyState, KEYBDINPUT, KEYEVENTF_EXTENDEDKEY, KEYEVENTF_KEYUP,
};

use super::keyboard;
use super::keycodes::{self, EXTENDED};

/// The virtual keys that are down: without mouse buttons, and of modifiers only the sides.
fn down() -> impl Iterator<Item = u16> {
    let keys = (7_u16..0xff).filter(|vk| !(0x10..=0x12).contains(vk));
    // SAFETY: has no conditions.
    keys.filter(|vk| unsafe { GetAsyncKeyState(i32::from(*vk)) } < 0)
}

/// The names of the keys that are down.
pub fn keys_down() -> Vec<String> {
    down().map(|vk| key(vk).map_or_else(|| format!("vk {vk:#x}"), |key| key.to_string())).collect()
}

/// Lets every key come up.
pub fn release_all() {
    for vk in down() {
        let scan = key(vk).map_or(0, |key| keycodes::code(key).scan);
        let extended = if scan & EXTENDED != 0 { KEYEVENTF_EXTENDEDKEY } else { 0 };
        keyboard::inject(KEYBDINPUT {
            wVk: vk,
            wScan: scan & !EXTENDED,
            dwFlags: KEYEVENTF_KEYUP | extended,
            time: 0,
            dwExtraInfo: 0,
        });
    }
}

fn key(vk: u16) -> Option<Key> {
    keycodes::keys().find(|key| keycodes::code(*key).vk == vk)
}
