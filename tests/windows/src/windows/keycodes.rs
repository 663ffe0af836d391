//! Keys as a keyboard with the US layout sends them: virtual key and scan code, which is 0x100 higher for an extended
//! key.
//!
//! Written from Microsoft's scan code table, and not taken from keyrx, whose table is among the things that are tested.
//! A code without a row travels as an unnamed key: by its scan code, or 0x200 and its virtual key if it has none.

use keyrx_engine::Key;

/// What a keyboard sends for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub vk: u16,
    pub scan: u16,
}

/// The bit of an extended key in `Code::scan`.
pub const EXTENDED: u16 = 0x100;

/// RShift as it is in messages. For hooks of Windows it is an extended key, and Wine takes it for LShift unless it is
/// sent as one.
const PLAIN_RSHIFT: u16 = 0x36;

/// What keyboards send on other layouts, by unnamed keys that stand for it in the tests: LCtrl before AltGr; RShift as
/// it is not sent on Windows; CapsLock of a Japanese and Hangeul of a Korean layout.
const OTHERS: &[(u16, u16, u16)] =
    &[(0x21d, 0xa2, 0x21d), (PLAIN_RSHIFT, 0xa1, PLAIN_RSHIFT), (0x2f0, 0xf0, 0x3a), (0x2f1, 0x15, 0x72)];

#[rustfmt::skip]
const CODES: &[(Key, u16, u16)] = &[
    (Key::Escape, 0x1b, 0x01), (Key::Num1, 0x31, 0x02), (Key::Num2, 0x32, 0x03), (Key::Num3, 0x33, 0x04),
    (Key::Num4, 0x34, 0x05), (Key::Num5, 0x35, 0x06), (Key::Num6, 0x36, 0x07), (Key::Num7, 0x37, 0x08),
    (Key::Num8, 0x38, 0x09), (Key::Num9, 0x39, 0x0a), (Key::Num0, 0x30, 0x0b), (Key::Minus, 0xbd, 0x0c),
    (Key::Equal, 0xbb, 0x0d), (Key::Backspace, 0x08, 0x0e), (Key::Tab, 0x09, 0x0f),
    (Key::Q, 0x51, 0x10), (Key::W, 0x57, 0x11), (Key::E, 0x45, 0x12), (Key::R, 0x52, 0x13), (Key::T, 0x54, 0x14),
    (Key::Y, 0x59, 0x15), (Key::U, 0x55, 0x16), (Key::I, 0x49, 0x17), (Key::O, 0x4f, 0x18), (Key::P, 0x50, 0x19),
    (Key::LeftBracket, 0xdb, 0x1a), (Key::RightBracket, 0xdd, 0x1b), (Key::Enter, 0x0d, 0x1c),
    (Key::LCtrl, 0xa2, 0x1d),
    (Key::A, 0x41, 0x1e), (Key::S, 0x53, 0x1f), (Key::D, 0x44, 0x20), (Key::F, 0x46, 0x21), (Key::G, 0x47, 0x22),
    (Key::H, 0x48, 0x23), (Key::J, 0x4a, 0x24), (Key::K, 0x4b, 0x25), (Key::L, 0x4c, 0x26),
    (Key::Semicolon, 0xba, 0x27), (Key::Quote, 0xde, 0x28), (Key::Grave, 0xc0, 0x29), (Key::LShift, 0xa0, 0x2a),
    (Key::Backslash, 0xdc, 0x2b),
    (Key::Z, 0x5a, 0x2c), (Key::X, 0x58, 0x2d), (Key::C, 0x43, 0x2e), (Key::V, 0x56, 0x2f), (Key::B, 0x42, 0x30),
    (Key::N, 0x4e, 0x31), (Key::M, 0x4d, 0x32), (Key::Comma, 0xbc, 0x33), (Key::Period, 0xbe, 0x34),
    (Key::Slash, 0xbf, 0x35), (Key::RShift, 0xa1, 0x136), (Key::NumpadMultiply, 0x6a, 0x37), (Key::LAlt, 0xa4, 0x38),
    (Key::Space, 0x20, 0x39), (Key::CapsLock, 0x14, 0x3a),
    (Key::F1, 0x70, 0x3b), (Key::F2, 0x71, 0x3c), (Key::F3, 0x72, 0x3d), (Key::F4, 0x73, 0x3e), (Key::F5, 0x74, 0x3f),
    (Key::F6, 0x75, 0x40), (Key::F7, 0x76, 0x41), (Key::F8, 0x77, 0x42), (Key::F9, 0x78, 0x43), (Key::F10, 0x79, 0x44),
    (Key::Pause, 0x13, 0x45), (Key::ScrollLock, 0x91, 0x46),
    (Key::Numpad7, 0x67, 0x47), (Key::Numpad8, 0x68, 0x48), (Key::Numpad9, 0x69, 0x49),
    (Key::NumpadSubtract, 0x6d, 0x4a), (Key::Numpad4, 0x64, 0x4b), (Key::Numpad5, 0x65, 0x4c),
    (Key::Numpad6, 0x66, 0x4d), (Key::NumpadAdd, 0x6b, 0x4e), (Key::Numpad1, 0x61, 0x4f), (Key::Numpad2, 0x62, 0x50),
    (Key::Numpad3, 0x63, 0x51), (Key::Numpad0, 0x60, 0x52), (Key::NumpadDecimal, 0x6e, 0x53),
    (Key::Iso102nd, 0xe2, 0x56), (Key::F11, 0x7a, 0x57), (Key::F12, 0x7b, 0x58), (Key::NumpadEqual, 0x92, 0x59),
    (Key::F13, 0x7c, 0x64), (Key::F14, 0x7d, 0x65), (Key::F15, 0x7e, 0x66), (Key::F16, 0x7f, 0x67),
    (Key::F17, 0x80, 0x68), (Key::F18, 0x81, 0x69), (Key::F19, 0x82, 0x6a), (Key::F20, 0x83, 0x6b),
    (Key::F21, 0x84, 0x6c), (Key::F22, 0x85, 0x6d), (Key::F23, 0x86, 0x6e), (Key::F24, 0x87, 0x76),
    (Key::KatakanaHiragana, 0xff, 0x70), (Key::Hanja, 0xff, 0x71), (Key::Hangeul, 0xff, 0x72), (Key::Ro, 0xc1, 0x73),
    (Key::Hiragana, 0xff, 0x77), (Key::Lang3, 0xff, 0x78), (Key::Henkan, 0x1c, 0x79), (Key::Muhenkan, 0x1d, 0x7b),
    (Key::Yen, 0xff, 0x7d), (Key::NumpadComma, 0xc2, 0x7e),
    (Key::Undo, 0xff, 0x108), (Key::Paste, 0xff, 0x10a), (Key::Cut, 0xff, 0x117), (Key::Copy, 0xff, 0x118),
    (Key::MediaPrevious, 0xb1, 0x110), (Key::MediaNext, 0xb0, 0x119), (Key::NumpadEnter, 0x0d, 0x11c),
    (Key::RCtrl, 0xa3, 0x11d), (Key::Mute, 0xad, 0x120), (Key::AppCalculator, 0xb7, 0x121),
    (Key::MediaPlayPause, 0xb3, 0x122), (Key::MediaStop, 0xb2, 0x124), (Key::Eject, 0xff, 0x12c), (Key::VolumeDown, 0xae, 0x12e),
    (Key::VolumeUp, 0xaf, 0x130), (Key::BrowserHome, 0xac, 0x132), (Key::NumpadDivide, 0x6f, 0x135),
    (Key::PrintScreen, 0x2c, 0x137), (Key::RAlt, 0xa5, 0x138), (Key::Help, 0x2f, 0x13b), (Key::NumLock, 0x90, 0x145),
    (Key::Home, 0x24, 0x147), (Key::Up, 0x26, 0x148), (Key::PageUp, 0x21, 0x149), (Key::Left, 0x25, 0x14b),
    (Key::Right, 0x27, 0x14d), (Key::End, 0x23, 0x14f), (Key::Down, 0x28, 0x150), (Key::PageDown, 0x22, 0x151),
    (Key::Insert, 0x2d, 0x152), (Key::Delete, 0x2e, 0x153),
    (Key::LMeta, 0x5b, 0x15b), (Key::RMeta, 0x5c, 0x15c), (Key::Menu, 0x5d, 0x15d), (Key::Power, 0xff, 0x15e),
    (Key::Sleep, 0x5f, 0x15f), (Key::Wake, 0xff, 0x163),
    (Key::BrowserSearch, 0xaa, 0x165), (Key::BrowserFavorites, 0xab, 0x166), (Key::BrowserRefresh, 0xa8, 0x167),
    (Key::BrowserStop, 0xa9, 0x168), (Key::BrowserForward, 0xa7, 0x169), (Key::BrowserBack, 0xa6, 0x16a),
    (Key::AppMyComputer, 0xb6, 0x16b), (Key::AppMail, 0xb4, 0x16c), (Key::MediaSelect, 0xb5, 0x16d),
    (Key::Select, 0x29, 0), (Key::Execute, 0x2b, 0), (Key::MediaPlay, 0xfa, 0), (Key::ZoomToggle, 0xfb, 0),
];

/// Every key of the table.
pub fn keys() -> impl Iterator<Item = Key> {
    CODES.iter().map(|(key, ..)| *key)
}

/// What a keyboard sends for a key.
pub fn code(key: Key) -> Code {
    let known = CODES.iter().find(|(known, ..)| *known == key).map(|&(_, vk, scan)| Code { vk, scan });
    let unnamed = key.unnamed_code().map(|number| {
        let other = OTHERS.iter().find(|(known, ..)| *known == number);
        // 0xFF is the virtual key of what the layout does not know.
        other.map_or(Code { vk: 0xff, scan: number }, |&(_, vk, scan)| Code { vk, scan })
    });
    known.or(unnamed).unwrap_or_else(|| panic!("no code for {key} in the tests' table"))
}

/// The virtual key that stands in a message: of modifiers without their side.
pub fn vk_in_message(code: Code) -> u16 {
    match code.vk {
        0xa0 | 0xa1 => 0x10,
        0xa2 | 0xa3 => 0x11,
        0xa4 | 0xa5 => 0x12,
        vk => vk,
    }
}

/// Whether the key has another virtual key with each layout.
pub fn depends_on_layout(code: Code) -> bool {
    matches!(code.scan, 0x56 | 0x59 | 0x70..=0x75 | 0x77..=0x7e)
}

/// The key of a scan code, or of a virtual key that has none.
pub fn key(code: Code) -> Key {
    let Code { vk, scan } = code;
    let scan = if scan == PLAIN_RSHIFT { scan | EXTENDED } else { scan };
    let known =
        CODES.iter().find(|(_, known, of)| *of == scan && (scan != 0 || *known == vk)).map(|(key, ..)| *key);
    let number = if scan == 0 { 0x200 | vk } else { scan };
    known.or(Key::unnamed(number)).unwrap_or_else(|| panic!("{code:x?} is out of range"))
}
