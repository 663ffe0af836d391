//! Keys: physical positions with their US names, and every spelling that names them.
//!
//! One table. The first name of a row is the canonical one; after it come the other spellings of keyrx 1.x, the
//! W3C `KeyboardEvent.code` name and the usual short names. The platforms hold the tables that translate a `Key`
//! to and from their own codes; a key that has no row here travels as an *unnamed* key: it can be passed on and
//! held, but not mapped.

use core::fmt;

/// A key, named (it has a row in the table) or unnamed (a code of the platform's that has none).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u16);

macro_rules! keys {
    ($($name:ident = $canonical:literal $(| $alias:literal)* ;)*) => {
        #[allow(dead_code, reason = "the variants only number the constants below")]
        #[repr(u16)]
        enum Row { $($name),* }

        #[allow(non_upper_case_globals, missing_docs, reason = "keys are spelled as users spell them")]
        impl Key {
            $(pub const $name: Key = Key(Row::$name as u16);)*
        }

        static TABLE: &[&[&str]] = &[$(&[$canonical $(, $alias)*]),*];
    };
}

keys! {
    // The eight modifiers come first: their number is their bit in `Modifiers`.
    LShift = "LShift" | "LSFT" | "ShiftLeft" | "LSft" | "LeftShift";
    RShift = "RShift" | "RSFT" | "ShiftRight" | "RSft" | "RightShift";
    LCtrl = "LCtrl" | "LCTL" | "ControlLeft" | "LCtl" | "LeftCtrl" | "LControl";
    RCtrl = "RCtrl" | "RCTL" | "ControlRight" | "RCtl" | "RightCtrl" | "RControl";
    LAlt = "LAlt" | "LALT" | "AltLeft" | "LeftAlt";
    RAlt = "RAlt" | "RALT" | "AltRight" | "RightAlt" | "AltGr" | "ALGR";
    LMeta = "LMeta" | "LGUI" | "MetaLeft" | "LGui" | "LWin" | "LCmd" | "LeftMeta" | "OSLeft";
    RMeta = "RMeta" | "RGUI" | "MetaRight" | "RGui" | "RWin" | "RCmd" | "RightMeta" | "OSRight";
    A = "A" | "KeyA"; B = "B" | "KeyB"; C = "C" | "KeyC"; D = "D" | "KeyD"; E = "E" | "KeyE"; F = "F" | "KeyF";
    G = "G" | "KeyG"; H = "H" | "KeyH"; I = "I" | "KeyI"; J = "J" | "KeyJ"; K = "K" | "KeyK"; L = "L" | "KeyL";
    M = "M" | "KeyM"; N = "N" | "KeyN"; O = "O" | "KeyO"; P = "P" | "KeyP"; Q = "Q" | "KeyQ"; R = "R" | "KeyR";
    S = "S" | "KeyS"; T = "T" | "KeyT"; U = "U" | "KeyU"; V = "V" | "KeyV"; W = "W" | "KeyW"; X = "X" | "KeyX";
    Y = "Y" | "KeyY"; Z = "Z" | "KeyZ";
    Num0 = "Num0" | "0" | "Digit0"; Num1 = "Num1" | "1" | "Digit1"; Num2 = "Num2" | "2" | "Digit2";
    Num3 = "Num3" | "3" | "Digit3"; Num4 = "Num4" | "4" | "Digit4"; Num5 = "Num5" | "5" | "Digit5";
    Num6 = "Num6" | "6" | "Digit6"; Num7 = "Num7" | "7" | "Digit7"; Num8 = "Num8" | "8" | "Digit8";
    Num9 = "Num9" | "9" | "Digit9";
    F1 = "F1"; F2 = "F2"; F3 = "F3"; F4 = "F4"; F5 = "F5"; F6 = "F6"; F7 = "F7"; F8 = "F8"; F9 = "F9";
    F10 = "F10"; F11 = "F11"; F12 = "F12"; F13 = "F13"; F14 = "F14"; F15 = "F15"; F16 = "F16"; F17 = "F17";
    F18 = "F18"; F19 = "F19"; F20 = "F20"; F21 = "F21"; F22 = "F22"; F23 = "F23"; F24 = "F24";
    Escape = "Escape" | "Esc" | "ESC";
    Enter = "Enter" | "Return" | "ENT" | "Ent" | "Ret";
    Backspace = "Backspace" | "BSPC" | "Bspc" | "BackSpace";
    Tab = "Tab" | "TAB";
    Space = "Space" | "SPC" | "Spc";
    CapsLock = "CapsLock" | "CAPS" | "Caps";
    NumLock = "NumLock" | "NLCK" | "Nlck";
    ScrollLock = "ScrollLock" | "SCRL" | "Scrl";
    PrintScreen = "PrintScreen" | "PSCR" | "Pscr" | "PrtSc";
    Pause = "Pause" | "PAUS" | "Paus";
    Insert = "Insert" | "Ins" | "INS";
    Delete = "Delete" | "Del" | "DEL";
    Home = "Home" | "HOME";
    End = "End" | "END";
    PageUp = "PageUp" | "PGUP" | "PgUp";
    PageDown = "PageDown" | "PGDN" | "PgDn";
    Left = "Left" | "LEFT" | "ArrowLeft";
    Right = "Right" | "RGHT" | "ArrowRight" | "Rght";
    Up = "Up" | "UP" | "ArrowUp";
    Down = "Down" | "DOWN" | "ArrowDown";
    LeftBracket = "LeftBracket" | "LBRC" | "BracketLeft" | "Lbrc";
    RightBracket = "RightBracket" | "RBRC" | "BracketRight" | "Rbrc";
    Backslash = "Backslash" | "BSLS" | "Bsls";
    Semicolon = "Semicolon" | "SCLN" | "Scln";
    Quote = "Quote" | "QUOT" | "Quot";
    Comma = "Comma" | "COMM" | "Comm";
    Period = "Period" | "DOT" | "Dot";
    Slash = "Slash" | "SLSH" | "Slsh";
    // 1.x names the Japanese 全角 key by its scan code, which is that of Grave.
    Grave = "Grave" | "GRV" | "Backquote" | "Grv" | "Zenkaku" | "全角" | "半角" | "Hankaku" | "ZenkakuHankaku";
    Minus = "Minus" | "MINS" | "Mins";
    Equal = "Equal" | "EQL" | "Eql";
    Iso102nd = "Iso102nd" | "102nd" | "IntlBackslash" | "NUBS" | "Nubs";
    Numpad0 = "Numpad0" | "P0"; Numpad1 = "Numpad1" | "P1"; Numpad2 = "Numpad2" | "P2";
    Numpad3 = "Numpad3" | "P3"; Numpad4 = "Numpad4" | "P4"; Numpad5 = "Numpad5" | "P5";
    Numpad6 = "Numpad6" | "P6"; Numpad7 = "Numpad7" | "P7"; Numpad8 = "Numpad8" | "P8";
    Numpad9 = "Numpad9" | "P9";
    NumpadDivide = "NumpadDivide" | "PSLS";
    NumpadMultiply = "NumpadMultiply" | "PAST" | "NumpadStar";
    NumpadSubtract = "NumpadSubtract" | "PMNS";
    NumpadAdd = "NumpadAdd" | "PPLS";
    NumpadEnter = "NumpadEnter" | "PENT";
    NumpadDecimal = "NumpadDecimal" | "PDOT";
    NumpadEqual = "NumpadEqual" | "PEQL";
    NumpadComma = "NumpadComma" | "PCMM";
    NumpadParenLeft = "NumpadParenLeft";
    NumpadParenRight = "NumpadParenRight";
    Mute = "Mute" | "MUTE" | "AudioVolumeMute" | "VolumeMute";
    VolumeDown = "VolumeDown" | "VOLD" | "AudioVolumeDown";
    VolumeUp = "VolumeUp" | "VOLU" | "AudioVolumeUp";
    MediaPlayPause = "MediaPlayPause" | "MPLY";
    MediaStop = "MediaStop" | "MSTP";
    MediaPrevious = "MediaPrevious" | "MPRV" | "MediaTrackPrevious";
    MediaNext = "MediaNext" | "MNXT" | "MediaTrackNext";
    MediaPlay = "MediaPlay";
    MediaPause = "MediaPause";
    MediaRecord = "MediaRecord";
    MediaRewind = "MediaRewind";
    MediaFastForward = "MediaFastForward";
    MediaSelect = "MediaSelect";
    Eject = "Eject" | "EJCT";
    MicrophoneMuteToggle = "MicrophoneMuteToggle";
    BrightnessUp = "BrightnessUp" | "BRIU";
    BrightnessDown = "BrightnessDown" | "BRID";
    DisplayToggleIntExt = "DisplayToggleIntExt";
    KeyboardBacklightToggle = "KeyboardBacklightToggle";
    KeyboardLayoutSelect = "KeyboardLayoutSelect";
    PrivacyScreenToggle = "PrivacyScreenToggle";
    ZoomToggle = "ZoomToggle";
    ShowAllWindows = "ShowAllWindows";
    SelectTask = "SelectTask";
    LaunchAssistant = "LaunchAssistant";
    LaunchControlPanel = "LaunchControlPanel";
    LaunchScreenSaver = "LaunchScreenSaver";
    MailForward = "MailForward";
    MailReply = "MailReply";
    MailSend = "MailSend";
    Power = "Power" | "PWR";
    Sleep = "Sleep" | "SLEP";
    Wake = "Wake" | "WAKE" | "WakeUp";
    Suspend = "Suspend";
    BrowserBack = "BrowserBack" | "WBAK";
    BrowserForward = "BrowserForward" | "WFWD";
    BrowserRefresh = "BrowserRefresh" | "WREF";
    BrowserStop = "BrowserStop" | "WSTP";
    BrowserSearch = "BrowserSearch" | "WSCH";
    BrowserFavorites = "BrowserFavorites" | "WFAV";
    BrowserHome = "BrowserHome" | "WHOM";
    AppMail = "AppMail" | "LaunchMail" | "MAIL";
    AppCalculator = "AppCalculator" | "LaunchApp2" | "CALC";
    AppMyComputer = "AppMyComputer" | "LaunchApp1" | "MYCM";
    Menu = "Menu" | "ContextMenu" | "APP";
    Help = "Help" | "HELP";
    Select = "Select" | "SLCT";
    Execute = "Execute" | "EXEC" | "Open";
    Undo = "Undo" | "UNDO";
    Redo = "Redo";
    Cut = "Cut" | "CUT";
    Copy = "Copy" | "COPY";
    Paste = "Paste" | "PSTE";
    Find = "Find" | "FIND";
    Again = "Again" | "AGIN";
    Props = "Props";
    Fn = "Fn";
    Lang3 = "Lang3";
    Hiragana = "Hiragana" | "ひらがな" | "Lang4";
    // 1.x means the one key of Japanese keyboards by either name; a key of its own for Katakana is `Lang3`.
    KatakanaHiragana = "KatakanaHiragana" | "カタカナひらがな" | "KanaMode" | "Katakana" | "カタカナ";
    Henkan = "Henkan" | "変換" | "Convert";
    Muhenkan = "Muhenkan" | "無変換" | "NonConvert";
    Yen = "Yen" | "円" | "¥" | "IntlYen";
    Ro = "Ro" | "ろ" | "IntlRo";
    Hangeul = "Hangeul" | "Hangul" | "한글" | "Lang1";
    Hanja = "Hanja" | "한자" | "Lang2";
    Lang5 = "Lang5";
    MouseLeft = "MouseLeft";
    MouseRight = "MouseRight";
    MouseMiddle = "MouseMiddle";
    MouseBack = "MouseBack";
    MouseForward = "MouseForward";
}

/// Numbers below this are for named keys.
const FIRST_UNNAMED: u16 = 256;

// A row's number must fit into the named range.
const _: () = assert!(TABLE.len() <= FIRST_UNNAMED as usize);

impl Key {
    /// One more than the highest `index`: the size of a table that has a place for every key.
    pub const COUNT: usize = 1024;
    /// One more than the highest `index` of a named key: the size of a table of mappings.
    pub const NAMED: usize = FIRST_UNNAMED as usize;

    /// The key that the platform knows by `code` (0 to 767) and that has no name; `None` beyond that range.
    pub const fn unnamed(code: u16) -> Option<Key> {
        match code.checked_add(FIRST_UNNAMED) {
            Some(number) if (number as usize) < Key::COUNT => Some(Key(number)),
            _ => None,
        }
    }

    /// The platform's code, if this is an unnamed key.
    pub const fn unnamed_code(self) -> Option<u16> {
        self.0.checked_sub(FIRST_UNNAMED)
    }

    /// The key's place in a table of `Key::COUNT` entries.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every named key, in the order of the table.
    pub fn all() -> impl Iterator<Item = Key> {
        (0..TABLE.len()).map(|number| Key(number as u16))
    }

    /// The canonical name, or `None` for an unnamed key.
    pub fn name(self) -> Option<&'static str> {
        TABLE.get(self.index())?.first().copied()
    }

    /// Every spelling of this key, the canonical one first; empty for an unnamed key.
    pub fn spellings(self) -> &'static [&'static str] {
        TABLE.get(self.index()).copied().unwrap_or(&[])
    }

    /// The key that `name` spells, in exact case; `VK_` may stand before any name, and `Key#n` is the unnamed key
    /// of the platform's code `n`.
    pub fn from_name(name: &str) -> Option<Key> {
        let name = name.strip_prefix("VK_").unwrap_or(name);
        if let Some(code) = name.strip_prefix("Key#") {
            return Key::unnamed(code.parse().ok()?);
        }
        Key::all().find(|key| key.spellings().contains(&name))
    }

    /// This key as a modifier; `Modifiers::NONE` for a key that is not one.
    pub const fn modifier(self) -> Modifiers {
        if self.0 < 8 { Modifiers(1 << self.0) } else { Modifiers::NONE }
    }

    /// The hand that types this key on a standard keyboard; thumb keys, Enter, the navigation and function keys,
    /// the numpad and the mouse belong to neither.
    pub fn hand(self) -> Hand {
        match self {
            Key::Grave | Key::Num1 | Key::Num2 | Key::Num3 | Key::Num4 | Key::Num5 => Hand::Left,
            Key::Tab | Key::Q | Key::W | Key::E | Key::R | Key::T => Hand::Left,
            Key::CapsLock | Key::A | Key::S | Key::D | Key::F | Key::G => Hand::Left,
            Key::LShift | Key::Iso102nd | Key::Z | Key::X | Key::C | Key::V | Key::B => Hand::Left,
            Key::LCtrl => Hand::Left,
            Key::Num6 | Key::Num7 | Key::Num8 | Key::Num9 | Key::Num0 | Key::Minus | Key::Equal => {
                Hand::Right
            }
            Key::Yen | Key::Y | Key::U | Key::I | Key::O | Key::P => Hand::Right,
            Key::LeftBracket | Key::RightBracket | Key::Backslash => Hand::Right,
            Key::H | Key::J | Key::K | Key::L | Key::Semicolon | Key::Quote => Hand::Right,
            Key::N | Key::M | Key::Comma | Key::Period | Key::Slash | Key::Ro => Hand::Right,
            Key::RShift | Key::RCtrl => Hand::Right,
            _ => Hand::Neither,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Key#{}", self.0.saturating_sub(FIRST_UNNAMED)),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which hand types a key, for chordal hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// The left hand.
    Left,
    /// The right hand.
    Right,
    /// A thumb, or no hand in particular.
    Neither,
}

/// A set of the eight modifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Modifiers(u8);

impl Modifiers {
    /// No modifier.
    pub const NONE: Modifiers = Modifiers(0);
    /// Either Shift.
    pub const SHIFT: Modifiers = Key::LShift.modifier().union(Key::RShift.modifier());
    /// Either Ctrl.
    pub const CTRL: Modifiers = Key::LCtrl.modifier().union(Key::RCtrl.modifier());
    /// Either Alt.
    pub const ALT: Modifiers = Key::LAlt.modifier().union(Key::RAlt.modifier());
    /// Either Win (Meta).
    pub const WIN: Modifiers = Key::LMeta.modifier().union(Key::RMeta.modifier());

    /// The modifiers of both sets.
    pub const fn union(self, other: Modifiers) -> Modifiers {
        Modifiers(self.0 | other.0)
    }

    /// This set without those of `other`.
    pub const fn without(self, other: Modifiers) -> Modifiers {
        Modifiers(self.0 & !other.0)
    }

    /// Whether the sets have a modifier in common.
    pub const fn intersects(self, other: Modifiers) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The modifiers in the order in which a chord presses them: Shift, Ctrl, Alt, Win, left before right.
    pub fn keys(self) -> impl DoubleEndedIterator<Item = Key> {
        (0..8_u16).map(Key).filter(move |key| self.intersects(key.modifier()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn every_spelling_names_one_key() {
        let mut seen = BTreeMap::new();
        for key in Key::all() {
            for spelling in key.spellings() {
                assert_eq!(seen.insert(*spelling, key), None, "{spelling} is in the table twice");
                assert_eq!(Key::from_name(spelling), Some(key));
            }
        }
    }

    #[test]
    fn vk_may_stand_before_any_name() {
        assert_eq!(Key::from_name("VK_A"), Some(Key::A));
        assert_eq!(Key::from_name("VK_変換"), Some(Key::Henkan));
        assert_eq!(Key::from_name("vk_A"), None);
    }

    #[test]
    fn unnamed_keys_keep_the_code_of_the_platform() {
        let key = Key::unnamed(240).unwrap();
        assert_eq!((key.name(), key.unnamed_code()), (None, Some(240)));
        assert_eq!(Key::from_name(&alloc::format!("{key}")), Some(key));
        assert_eq!(Key::unnamed(767).map(Key::index), Some(Key::COUNT - 1));
        assert_eq!((Key::unnamed(768), Key::A.unnamed_code()), (None, None));
    }

    #[test]
    fn modifiers_come_in_the_order_of_a_chord() {
        let all = Modifiers::WIN.union(Modifiers::SHIFT).union(Modifiers::ALT).union(Modifiers::CTRL);
        let names = all.keys().filter_map(Key::name).collect::<alloc::vec::Vec<_>>();
        assert_eq!(names, ["LShift", "RShift", "LCtrl", "RCtrl", "LAlt", "RAlt", "LMeta", "RMeta"]);
    }
}
