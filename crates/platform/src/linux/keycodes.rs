//! Keys and the kernel's key codes, one to one.
//!
//! A code that has no row here travels as an unnamed key. Where W3C names a key, the code is the one that browsers
//! take it for.

use keyrx_engine::Key;

use super::bits::CODES;

/// The key of a code; `None` beyond the codes of the kernel.
pub fn key(code: u16) -> Option<Key> {
    KEYS.get(usize::from(code)).copied().flatten().or_else(|| Key::unnamed(code))
}

/// The code of a key.
pub fn code(key: Key) -> Option<u16> {
    key.unnamed_code().or_else(|| CODE_OF.get(key.index()).copied().flatten())
}

/// Whether a code belongs to a mouse rather than to a keyboard (`BTN_MISC` to `BTN_9`, `BTN_MOUSE` to 0x11f).
pub fn is_mouse_button(code: u16) -> bool {
    matches!(code, 0x100..=0x109 | 0x110..=0x11f)
}

/// Whether a code belongs to a keyboard. The `BTN_` ranges do not: they would make udev and libinput take a keyboard
/// for a joystick, a tablet or a touchpad.
pub fn is_keyboard_key(code: u16) -> bool {
    matches!(code, 1..0x100 | 0x160..0x220 | 0x224..0x2c0 | 0x2e8..CODES)
}

#[expect(clippy::indexing_slicing, reason = "evaluated while compiling, where a panic is an error")]
static KEYS: [Option<Key>; CODES as usize] = {
    let mut keys = [None; CODES as usize];
    let mut row = 0;
    while row < TABLE.len() {
        keys[TABLE[row].1 as usize] = Some(TABLE[row].0);
        row += 1;
    }
    keys
};

#[expect(clippy::indexing_slicing, reason = "evaluated while compiling, where a panic is an error")]
static CODE_OF: [Option<u16>; Key::NAMED] = {
    let mut codes = [None; Key::NAMED];
    let mut row = 0;
    while row < TABLE.len() {
        codes[TABLE[row].0.index()] = Some(TABLE[row].1);
        row += 1;
    }
    codes
};

/// Numbers from the kernel's `input-event-codes.h`.
const TABLE: &[(Key, u16)] = &[
    (Key::Escape, 1),
    (Key::Num1, 2),
    (Key::Num2, 3),
    (Key::Num3, 4),
    (Key::Num4, 5),
    (Key::Num5, 6),
    (Key::Num6, 7),
    (Key::Num7, 8),
    (Key::Num8, 9),
    (Key::Num9, 10),
    (Key::Num0, 11),
    (Key::Minus, 12),
    (Key::Equal, 13),
    (Key::Backspace, 14),
    (Key::Tab, 15),
    (Key::Q, 16),
    (Key::W, 17),
    (Key::E, 18),
    (Key::R, 19),
    (Key::T, 20),
    (Key::Y, 21),
    (Key::U, 22),
    (Key::I, 23),
    (Key::O, 24),
    (Key::P, 25),
    (Key::LeftBracket, 26),
    (Key::RightBracket, 27),
    (Key::Enter, 28),
    (Key::LCtrl, 29),
    (Key::A, 30),
    (Key::S, 31),
    (Key::D, 32),
    (Key::F, 33),
    (Key::G, 34),
    (Key::H, 35),
    (Key::J, 36),
    (Key::K, 37),
    (Key::L, 38),
    (Key::Semicolon, 39),
    (Key::Quote, 40),
    (Key::Grave, 41),
    (Key::LShift, 42),
    (Key::Backslash, 43),
    (Key::Z, 44),
    (Key::X, 45),
    (Key::C, 46),
    (Key::V, 47),
    (Key::B, 48),
    (Key::N, 49),
    (Key::M, 50),
    (Key::Comma, 51),
    (Key::Period, 52),
    (Key::Slash, 53),
    (Key::RShift, 54),
    (Key::NumpadMultiply, 55),
    (Key::LAlt, 56),
    (Key::Space, 57),
    (Key::CapsLock, 58),
    (Key::F1, 59),
    (Key::F2, 60),
    (Key::F3, 61),
    (Key::F4, 62),
    (Key::F5, 63),
    (Key::F6, 64),
    (Key::F7, 65),
    (Key::F8, 66),
    (Key::F9, 67),
    (Key::F10, 68),
    (Key::NumLock, 69),
    (Key::ScrollLock, 70),
    (Key::Numpad7, 71),
    (Key::Numpad8, 72),
    (Key::Numpad9, 73),
    (Key::NumpadSubtract, 74),
    (Key::Numpad4, 75),
    (Key::Numpad5, 76),
    (Key::Numpad6, 77),
    (Key::NumpadAdd, 78),
    (Key::Numpad1, 79),
    (Key::Numpad2, 80),
    (Key::Numpad3, 81),
    (Key::Numpad0, 82),
    (Key::NumpadDecimal, 83),
    // KEY_ZENKAKUHANKAKU: what a USB keyboard sends for HID's LANG5. The 全角 key of a PS/2 keyboard sends KEY_GRAVE.
    (Key::Lang5, 85),
    (Key::Iso102nd, 86),
    (Key::F11, 87),
    (Key::F12, 88),
    (Key::Ro, 89),
    (Key::Lang3, 90),
    (Key::Hiragana, 91),
    (Key::Henkan, 92),
    (Key::KatakanaHiragana, 93),
    (Key::Muhenkan, 94),
    (Key::NumpadEnter, 96),
    (Key::RCtrl, 97),
    (Key::NumpadDivide, 98),
    (Key::PrintScreen, 99),
    (Key::RAlt, 100),
    (Key::Home, 102),
    (Key::Up, 103),
    (Key::PageUp, 104),
    (Key::Left, 105),
    (Key::Right, 106),
    (Key::End, 107),
    (Key::Down, 108),
    (Key::PageDown, 109),
    (Key::Insert, 110),
    (Key::Delete, 111),
    (Key::Mute, 113),
    (Key::VolumeDown, 114),
    (Key::VolumeUp, 115),
    (Key::Power, 116),
    (Key::NumpadEqual, 117),
    (Key::Pause, 119),
    (Key::ShowAllWindows, 120), // KEY_SCALE
    (Key::NumpadComma, 121),
    (Key::Hangeul, 122),
    (Key::Hanja, 123),
    (Key::Yen, 124),
    (Key::LMeta, 125),
    (Key::RMeta, 126),
    (Key::Menu, 127), // KEY_COMPOSE
    (Key::BrowserStop, 128),
    (Key::Again, 129),
    (Key::Props, 130),
    (Key::Undo, 131),
    (Key::Select, 132), // KEY_FRONT; KEY_SELECT (0x161) is a button of remote controls
    (Key::Copy, 133),
    (Key::Execute, 134), // KEY_OPEN
    (Key::Paste, 135),
    (Key::Find, 136),
    (Key::Cut, 137),
    (Key::Help, 138),
    (Key::AppCalculator, 140),
    (Key::Sleep, 142),
    (Key::Wake, 143),
    (Key::AppMyComputer, 144), // KEY_FILE
    (Key::AppMail, 155),
    (Key::BrowserFavorites, 156), // KEY_BOOKMARKS
    (Key::BrowserBack, 158),
    (Key::BrowserForward, 159),
    (Key::Eject, 161),
    (Key::MediaNext, 163),
    (Key::MediaPlayPause, 164),
    (Key::MediaPrevious, 165),
    (Key::MediaStop, 166),
    (Key::MediaRecord, 167),
    (Key::MediaRewind, 168),
    (Key::MediaSelect, 171), // KEY_CONFIG
    (Key::BrowserHome, 172),
    (Key::BrowserRefresh, 173),
    (Key::NumpadParenLeft, 179),
    (Key::NumpadParenRight, 180),
    (Key::Redo, 182),
    (Key::F13, 183),
    (Key::F14, 184),
    (Key::F15, 185),
    (Key::F16, 186),
    (Key::F17, 187),
    (Key::F18, 188),
    (Key::F19, 189),
    (Key::F20, 190),
    (Key::F21, 191),
    (Key::F22, 192),
    (Key::F23, 193),
    (Key::F24, 194),
    (Key::MediaPause, 201),
    (Key::Suspend, 205),
    (Key::MediaPlay, 207),
    (Key::MediaFastForward, 208),
    (Key::BrowserSearch, 217),
    (Key::BrightnessDown, 224),
    (Key::BrightnessUp, 225),
    (Key::DisplayToggleIntExt, 227),
    (Key::KeyboardBacklightToggle, 228),
    (Key::MailSend, 231),
    (Key::MailReply, 232),
    (Key::MailForward, 233),
    (Key::MicrophoneMuteToggle, 248),
    (Key::MouseLeft, 0x110),
    (Key::MouseRight, 0x111),
    (Key::MouseMiddle, 0x112),
    (Key::MouseBack, 0x113),    // BTN_SIDE
    (Key::MouseForward, 0x114), // BTN_EXTRA
    (Key::ZoomToggle, 0x174),
    (Key::KeyboardLayoutSelect, 0x176),
    (Key::Fn, 0x1d0),
    (Key::SelectTask, 0x241),
    (Key::LaunchControlPanel, 0x243),
    (Key::LaunchScreenSaver, 0x245),
    (Key::LaunchAssistant, 0x247),
    (Key::PrivacyScreenToggle, 0x279),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_key_has_one_code_and_that_code_is_its_own() {
        for named in Key::all() {
            let code = code(named).unwrap_or_else(|| panic!("{named} has no code"));
            assert_eq!(key(code), Some(named));
        }
        assert_eq!(TABLE.len(), Key::all().count(), "a key is in the table twice");
    }

    #[test]
    fn every_code_has_one_key_and_that_key_has_this_code() {
        for number in 0..CODES {
            assert_eq!(key(number).and_then(code), Some(number));
        }
        assert_eq!(key(CODES), None);
    }

    #[test]
    fn every_named_key_can_be_sent() {
        for named in Key::all() {
            let code = code(named).unwrap();
            assert!(is_keyboard_key(code) != is_mouse_button(code), "{named}");
        }
    }

    #[test]
    fn no_joystick_tablet_or_touchpad_button_is_a_key_of_the_keyboard() {
        // BTN_JOYSTICK, BTN_DIGI, BTN_TOUCH, BTN_WHEEL, BTN_DPAD_UP, BTN_TRIGGER_HAPPY.
        for code in [0x120, 0x140, 0x14a, 0x150, 0x220, 0x223, 0x2c0, 0x2e7] {
            assert!(!is_keyboard_key(code) && !is_mouse_button(code), "{code:#x}");
        }
    }
}
