//! Keys and the codes that Windows has for them: scan codes of set 1, and virtual keys.
//!
//! Keys are known by scan code, so that no layout has a say. A key that has none is known, and sent, by its virtual
//! key alone. For the others the virtual key of a US keyboard is sent along: Windows works it out itself, but Wine 8
//! takes it as it is given.
//!
//! Scan codes are those of Microsoft's table (learn.microsoft.com, "Keyboard Input Overview"), as the kernel hands
//! them out: without the break bit, an E0 before them as the flag "extended".

use keyrx_engine::Key;

/// A key as Windows codes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The scan code; 0 for a key that has none.
    pub scan: u8,
    /// Whether 0xE0 comes before it.
    pub is_extended: bool,
    /// The virtual key on a US keyboard; 0 where Windows has none.
    pub virtual_key: u8,
}

impl Code {
    /// Whether the key can only be sent by its virtual key: it has no scan code, or one that means another key when
    /// it is sent. Pause is E1 1D 45, of which SendInput can send no prefix, and a bare 45 is NumLock; that NumLock
    /// comes as E0 45 is an invention of the hook's.
    pub fn is_sent_by_virtual_key(self) -> bool {
        matches!(self.scan, 0 | 0x45)
    }
}

/// Extended scan codes are written with this bit.
const E0: u16 = 0x100;

/// Unnamed keys without a scan code are numbered from here by their virtual key; those with one, by `E0 | scan`.
const UNNAMED_BY_VIRTUAL_KEY: u16 = 0x200;

const VK_NUMLOCK: u32 = 0x90;
const VK_PAUSE: u32 = 0x13;

/// The key of a scan code, or of a virtual key where there is no scan code. `None` for what is no key.
pub fn key(scan: u32, is_extended: bool, virtual_key: u32) -> Option<Key> {
    let named = match (scan, is_extended, virtual_key) {
        (0, ..) => return by_virtual_key(u8::try_from(virtual_key).ok()?, is_extended),
        // Both have 45, and which of them is the extended one depends on where one looks (hook, message, raw input).
        (0x45, _, VK_PAUSE) => Some(Key::Pause),
        (0x45, _, VK_NUMLOCK) => Some(Key::NumLock),
        _ => {
            let code = usize::try_from(scan).ok()?;
            let code = if is_extended { code | usize::from(E0) } else { code };
            BY_SCAN.get(code).copied().flatten()
        }
    };
    let unnamed = || {
        let scan = u16::try_from(scan).ok().filter(|scan| *scan < E0)?;
        Key::unnamed(if is_extended { scan | E0 } else { scan })
    };
    named.or_else(unnamed)
}

fn by_virtual_key(virtual_key: u8, is_extended: bool) -> Option<Key> {
    // Programs send these without saying which side is meant.
    let virtual_key = match (virtual_key, is_extended) {
        (0x00 | 0xFF, _) => return None,
        (0x10, _) => 0xA0,
        (0x11, false) => 0xA2,
        (0x11, true) => 0xA3,
        (0x12, false) => 0xA4,
        (0x12, true) => 0xA5,
        (virtual_key, _) => virtual_key,
    };
    let rows = || TABLE.iter().filter(|(.., known)| *known == virtual_key);
    let row = rows().find(|(_, scan, _)| (scan & E0 != 0) == is_extended).or_else(|| rows().next());
    match row {
        Some((key, ..)) => Some(*key),
        None => Key::unnamed(UNNAMED_BY_VIRTUAL_KEY | u16::from(virtual_key)),
    }
}

/// The code of a key; `None` for a key that Windows does not know.
pub fn code(key: Key) -> Option<Code> {
    if let Some(number) = key.unnamed_code() {
        let [high, low] = number.to_be_bytes();
        return Some(match high {
            0 | 1 => Code { scan: low, is_extended: high == 1, virtual_key: 0 },
            _ => Code { scan: 0, is_extended: false, virtual_key: low },
        });
    }
    CODE_OF.get(key.index()).copied().flatten()
}

/// Whether no release is to be expected from a key that is pressed under this virtual key: an IME switches with it,
/// and Windows keeps the release to itself, or the keyboard never sends one. (VK_DBE_ALPHANUMERIC to
/// VK_DBE_NOROMAN, on Japanese keyboards; Hangul and Hanja where they are keys of their own.)
pub fn has_no_release(scan: u32, is_extended: bool, virtual_key: u32) -> bool {
    let is_korean =
        matches!((scan, is_extended, virtual_key), (0x71 | 0xF1, false, 0x19) | (0x72 | 0xF2, false, 0x15));
    matches!(virtual_key, 0xF0..=0xF6) || is_korean
}

/// The same key under another scan code: PrintScreen with Alt (SysRq), Pause with Ctrl (Break), RShift, which the
/// hook calls extended though no keyboard does, and the Korean keys of PS/2 keyboards.
const ALIASES: [(Key, u16); 5] = [
    (Key::PrintScreen, 0x54),
    (Key::Pause, E0 | 0x46),
    (Key::RShift, E0 | 0x36),
    (Key::Hanja, 0xF1),
    (Key::Hangeul, 0xF2),
];

#[expect(clippy::indexing_slicing, reason = "evaluated while compiling, where a panic is an error")]
static BY_SCAN: [Option<Key>; 0x200] = {
    let mut keys = [None; 0x200];
    let mut row = 0;
    while row < TABLE.len() {
        keys[TABLE[row].1 as usize] = Some(TABLE[row].0);
        row += 1;
    }
    row = 0;
    while row < ALIASES.len() {
        keys[ALIASES[row].1 as usize] = Some(ALIASES[row].0);
        row += 1;
    }
    keys[0] = None;
    keys
};

#[expect(clippy::indexing_slicing, reason = "evaluated while compiling, where a panic is an error")]
static CODE_OF: [Option<Code>; Key::NAMED] = {
    let mut codes = [None; Key::NAMED];
    let mut row = 0;
    while row < TABLE.len() {
        let (key, scan, virtual_key) = TABLE[row];
        codes[key.index()] = Some(Code { scan: scan as u8, is_extended: scan & E0 != 0, virtual_key });
        row += 1;
    }
    codes
};

/// By key: the scan code (0: none) and the virtual key.
const TABLE: &[(Key, u16, u8)] = &[
    (Key::Escape, 0x01, 0x1B),
    (Key::Num1, 0x02, 0x31),
    (Key::Num2, 0x03, 0x32),
    (Key::Num3, 0x04, 0x33),
    (Key::Num4, 0x05, 0x34),
    (Key::Num5, 0x06, 0x35),
    (Key::Num6, 0x07, 0x36),
    (Key::Num7, 0x08, 0x37),
    (Key::Num8, 0x09, 0x38),
    (Key::Num9, 0x0A, 0x39),
    (Key::Num0, 0x0B, 0x30),
    (Key::Minus, 0x0C, 0xBD),
    (Key::Equal, 0x0D, 0xBB),
    (Key::Backspace, 0x0E, 0x08),
    (Key::Tab, 0x0F, 0x09),
    (Key::Q, 0x10, 0x51),
    (Key::W, 0x11, 0x57),
    (Key::E, 0x12, 0x45),
    (Key::R, 0x13, 0x52),
    (Key::T, 0x14, 0x54),
    (Key::Y, 0x15, 0x59),
    (Key::U, 0x16, 0x55),
    (Key::I, 0x17, 0x49),
    (Key::O, 0x18, 0x4F),
    (Key::P, 0x19, 0x50),
    (Key::LeftBracket, 0x1A, 0xDB),
    (Key::RightBracket, 0x1B, 0xDD),
    (Key::Enter, 0x1C, 0x0D),
    (Key::LCtrl, 0x1D, 0xA2),
    (Key::A, 0x1E, 0x41),
    (Key::S, 0x1F, 0x53),
    (Key::D, 0x20, 0x44),
    (Key::F, 0x21, 0x46),
    (Key::G, 0x22, 0x47),
    (Key::H, 0x23, 0x48),
    (Key::J, 0x24, 0x4A),
    (Key::K, 0x25, 0x4B),
    (Key::L, 0x26, 0x4C),
    (Key::Semicolon, 0x27, 0xBA),
    (Key::Quote, 0x28, 0xDE),
    (Key::Grave, 0x29, 0xC0),
    (Key::LShift, 0x2A, 0xA0),
    (Key::Backslash, 0x2B, 0xDC),
    (Key::Z, 0x2C, 0x5A),
    (Key::X, 0x2D, 0x58),
    (Key::C, 0x2E, 0x43),
    (Key::V, 0x2F, 0x56),
    (Key::B, 0x30, 0x42),
    (Key::N, 0x31, 0x4E),
    (Key::M, 0x32, 0x4D),
    (Key::Comma, 0x33, 0xBC),
    (Key::Period, 0x34, 0xBE),
    (Key::Slash, 0x35, 0xBF),
    (Key::RShift, 0x36, 0xA1),
    (Key::NumpadMultiply, 0x37, 0x6A),
    (Key::LAlt, 0x38, 0xA4),
    (Key::Space, 0x39, 0x20),
    (Key::CapsLock, 0x3A, 0x14),
    (Key::F1, 0x3B, 0x70),
    (Key::F2, 0x3C, 0x71),
    (Key::F3, 0x3D, 0x72),
    (Key::F4, 0x3E, 0x73),
    (Key::F5, 0x3F, 0x74),
    (Key::F6, 0x40, 0x75),
    (Key::F7, 0x41, 0x76),
    (Key::F8, 0x42, 0x77),
    (Key::F9, 0x43, 0x78),
    (Key::F10, 0x44, 0x79),
    // Windows gives Pause the plain code and NumLock the extended one, whatever the keyboard sends.
    (Key::Pause, 0x45, 0x13),
    (Key::NumLock, E0 | 0x45, 0x90),
    (Key::ScrollLock, 0x46, 0x91),
    (Key::Numpad7, 0x47, 0x67),
    (Key::Numpad8, 0x48, 0x68),
    (Key::Numpad9, 0x49, 0x69),
    (Key::NumpadSubtract, 0x4A, 0x6D),
    (Key::Numpad4, 0x4B, 0x64),
    (Key::Numpad5, 0x4C, 0x65),
    (Key::Numpad6, 0x4D, 0x66),
    (Key::NumpadAdd, 0x4E, 0x6B),
    (Key::Numpad1, 0x4F, 0x61),
    (Key::Numpad2, 0x50, 0x62),
    (Key::Numpad3, 0x51, 0x63),
    (Key::Numpad0, 0x52, 0x60),
    (Key::NumpadDecimal, 0x53, 0x6E),
    (Key::Iso102nd, 0x56, 0xE2),
    (Key::F11, 0x57, 0x7A),
    (Key::F12, 0x58, 0x7B),
    (Key::NumpadEqual, 0x59, 0x92),
    (Key::F13, 0x64, 0x7C),
    (Key::F14, 0x65, 0x7D),
    (Key::F15, 0x66, 0x7E),
    (Key::F16, 0x67, 0x7F),
    (Key::F17, 0x68, 0x80),
    (Key::F18, 0x69, 0x81),
    (Key::F19, 0x6A, 0x82),
    (Key::F20, 0x6B, 0x83),
    (Key::F21, 0x6C, 0x84),
    (Key::F22, 0x6D, 0x85),
    (Key::F23, 0x6E, 0x86),
    (Key::F24, 0x76, 0x87),
    (Key::KatakanaHiragana, 0x70, 0x15),
    (Key::Hanja, 0x71, 0x19),
    (Key::Hangeul, 0x72, 0x15),
    (Key::Ro, 0x73, 0xC1),
    (Key::Hiragana, 0x77, 0xF2),
    (Key::Lang3, 0x78, 0xF1),
    (Key::Henkan, 0x79, 0x1C),
    (Key::Muhenkan, 0x7B, 0x1D),
    (Key::Yen, 0x7D, 0xDC),
    (Key::NumpadComma, 0x7E, 0xC2),
    (Key::MediaPrevious, E0 | 0x10, 0xB1),
    (Key::MediaNext, E0 | 0x19, 0xB0),
    (Key::NumpadEnter, E0 | 0x1C, 0x0D),
    (Key::RCtrl, E0 | 0x1D, 0xA3),
    (Key::Mute, E0 | 0x20, 0xAD),
    (Key::AppCalculator, E0 | 0x21, 0xB7),
    (Key::MediaPlayPause, E0 | 0x22, 0xB3),
    (Key::MediaStop, E0 | 0x24, 0xB2),
    (Key::VolumeDown, E0 | 0x2E, 0xAE),
    (Key::VolumeUp, E0 | 0x30, 0xAF),
    (Key::BrowserHome, E0 | 0x32, 0xAC),
    (Key::NumpadDivide, E0 | 0x35, 0x6F),
    (Key::PrintScreen, E0 | 0x37, 0x2C),
    (Key::RAlt, E0 | 0x38, 0xA5),
    (Key::Home, E0 | 0x47, 0x24),
    (Key::Up, E0 | 0x48, 0x26),
    (Key::PageUp, E0 | 0x49, 0x21),
    (Key::Left, E0 | 0x4B, 0x25),
    (Key::Right, E0 | 0x4D, 0x27),
    (Key::End, E0 | 0x4F, 0x23),
    (Key::Down, E0 | 0x50, 0x28),
    (Key::PageDown, E0 | 0x51, 0x22),
    (Key::Insert, E0 | 0x52, 0x2D),
    (Key::Delete, E0 | 0x53, 0x2E),
    (Key::LMeta, E0 | 0x5B, 0x5B),
    (Key::RMeta, E0 | 0x5C, 0x5C),
    (Key::Menu, E0 | 0x5D, 0x5D),
    (Key::Power, E0 | 0x5E, 0xFF),
    (Key::Sleep, E0 | 0x5F, 0x5F),
    (Key::Wake, E0 | 0x63, 0xFF),
    (Key::BrowserSearch, E0 | 0x65, 0xAA),
    (Key::BrowserFavorites, E0 | 0x66, 0xAB),
    (Key::BrowserRefresh, E0 | 0x67, 0xA8),
    (Key::BrowserStop, E0 | 0x68, 0xA9),
    (Key::BrowserForward, E0 | 0x69, 0xA7),
    (Key::BrowserBack, E0 | 0x6A, 0xA6),
    (Key::AppMyComputer, E0 | 0x6B, 0xB6),
    (Key::AppMail, E0 | 0x6C, 0xB4),
    (Key::MediaSelect, E0 | 0x6D, 0xB5),
    (Key::Help, E0 | 0x3B, 0x2F),
    (Key::Undo, E0 | 0x08, 0xFF),
    (Key::Paste, E0 | 0x0A, 0xFF),
    (Key::Cut, E0 | 0x17, 0xFF),
    (Key::Copy, E0 | 0x18, 0xFF),
    (Key::Eject, E0 | 0x2C, 0xFF),
    // No scan code: known and sent by virtual key alone.
    (Key::Select, 0, 0x29),
    (Key::Execute, 0, 0x2B),
    (Key::MediaPlay, 0, 0xFA),
    (Key::ZoomToggle, 0, 0xFB),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn named(scan: u32, is_extended: bool) -> Option<Key> {
        key(scan, is_extended, 0)
    }

    #[test]
    fn every_key_of_the_table_reads_as_it_is_written() {
        for &(row, scan, virtual_key) in TABLE {
            let code = code(row).unwrap();
            let read = key(u32::from(code.scan), code.is_extended, u32::from(virtual_key));
            assert_eq!(read, Some(row), "{row}: {scan:#x}");
        }
        let mut keys = TABLE.iter().map(|(key, ..)| key).collect::<Vec<_>>();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), TABLE.len(), "a key is in the table twice");
    }

    #[test]
    fn no_two_keys_have_one_scan_code() {
        let mut codes = TABLE.iter().map(|(_, scan, _)| scan).filter(|scan| **scan != 0).collect::<Vec<_>>();
        codes.sort();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    #[test]
    fn extended_keys_are_told_apart() {
        assert_eq!((named(0x1C, false), named(0x1C, true)), (Some(Key::Enter), Some(Key::NumpadEnter)));
        assert_eq!((named(0x1D, false), named(0x1D, true)), (Some(Key::LCtrl), Some(Key::RCtrl)));
        assert_eq!((named(0x47, false), named(0x47, true)), (Some(Key::Numpad7), Some(Key::Home)));
        assert_eq!((named(0x35, false), named(0x35, true)), (Some(Key::Slash), Some(Key::NumpadDivide)));
    }

    #[test]
    fn pause_and_numlock_are_known_by_virtual_key_whichever_is_extended() {
        for is_extended in [false, true] {
            assert_eq!(key(0x45, is_extended, VK_PAUSE), Some(Key::Pause));
            assert_eq!(key(0x45, is_extended, VK_NUMLOCK), Some(Key::NumLock));
        }
        assert_eq!(key(0x46, true, 0x03), Some(Key::Pause), "Ctrl+Pause");
        assert!(code(Key::Pause).unwrap().is_sent_by_virtual_key());
        assert!(code(Key::NumLock).unwrap().is_sent_by_virtual_key());
        assert!(!code(Key::A).unwrap().is_sent_by_virtual_key());
    }

    #[test]
    fn other_codes_of_a_key_are_that_key() {
        assert_eq!(named(0x54, false), Some(Key::PrintScreen));
        assert_eq!(named(0x36, true), Some(Key::RShift));
        assert_eq!((named(0xF1, false), named(0xF2, false)), (Some(Key::Hanja), Some(Key::Hangeul)));
    }

    #[test]
    fn a_key_without_a_scan_code_is_known_by_its_virtual_key() {
        assert_eq!(key(0, false, 0xAF), Some(Key::VolumeUp));
        assert_eq!(key(0, false, 0x29), Some(Key::Select));
        assert_eq!((key(0, false, 0x0D), key(0, true, 0x0D)), (Some(Key::Enter), Some(Key::NumpadEnter)));
        assert_eq!((key(0, false, 0x11), key(0, true, 0x12)), (Some(Key::LCtrl), Some(Key::RAlt)));
        assert_eq!(key(0, false, 0xFF), None);
    }

    #[test]
    fn unnamed_keys_keep_their_codes() {
        for (scan, is_extended) in [(0x5A, false), (0x6F, true), (0x7F, true)] {
            let key = named(scan, is_extended).unwrap();
            assert_eq!(key.name(), None);
            assert_eq!(code(key), Some(Code { scan: scan as u8, is_extended, virtual_key: 0 }));
        }
        let key = key(0, false, 0xF9).unwrap();
        assert_eq!(code(key), Some(Code { scan: 0, is_extended: false, virtual_key: 0xF9 }));
    }

    #[test]
    fn keys_of_an_ime_send_no_release() {
        assert!(has_no_release(0x3A, false, 0xF0) && has_no_release(0x29, false, 0xF4));
        assert!(has_no_release(0x72, false, 0x15) && has_no_release(0x71, false, 0x19));
        assert!(!has_no_release(0x38, true, 0x15), "the right Alt of a Korean layout");
        assert!(!has_no_release(0x3A, false, 0x14));
    }
}
