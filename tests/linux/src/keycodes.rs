//! The kernel's codes of the keys that the cases use.
//!
//! Copied from linux/input-event-codes.h and not taken from keyrx, whose table is among the things that are tested.

use keyrx_engine::Key;

#[rustfmt::skip]
const CODES: &[(Key, u16)] = &[
    (Key::Escape, 1), (Key::LCtrl, 29), (Key::LShift, 42), (Key::LAlt, 56), (Key::Space, 57), (Key::CapsLock, 58),
    (Key::Q, 16), (Key::W, 17), (Key::E, 18), (Key::R, 19), (Key::T, 20),
    (Key::Y, 21), (Key::U, 22), (Key::I, 23), (Key::O, 24), (Key::P, 25),
    (Key::A, 30), (Key::S, 31), (Key::D, 32), (Key::F, 33), (Key::G, 34),
    (Key::H, 35), (Key::J, 36), (Key::K, 37), (Key::L, 38),
    (Key::Z, 44), (Key::X, 45), (Key::C, 46), (Key::V, 47), (Key::B, 48), (Key::N, 49), (Key::M, 50),
    (Key::Left, 105), (Key::Mute, 113), (Key::VolumeUp, 115), (Key::F13, 183),
];

/// The code of a key.
pub fn code(key: Key) -> u16 {
    let known = CODES.iter().find(|(known, _)| *known == key).map(|(_, code)| *code);
    known.or(key.unnamed_code()).unwrap_or_else(|| panic!("no code for {key} in the tests' table"))
}

/// The key of a code.
pub fn key(code: u16) -> Key {
    let known = CODES.iter().find(|(_, known)| *known == code).map(|(key, _)| *key);
    known.or(Key::unnamed(code)).unwrap_or_else(|| panic!("the code {code} is out of range"))
}
