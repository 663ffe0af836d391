//! What a platform may be told. Each takes what concerns it.

/// What `run` and `list` may be told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Linux: read keyboards that programs have made, too.
    pub read_virtual: bool,
    /// Windows: what becomes of keys that other programs send.
    pub injected: Injected,
    /// Windows: the virtual key that is tapped before a lone Win or Alt comes up that is not to open a menu; 0 for
    /// none. 0xE8 means nothing to Windows and, as far as is known, to no program.
    pub mask_key: u8,
}

impl Options {
    /// What holds if nothing else is said.
    pub const USUAL: Options = Options { read_virtual: false, injected: Injected::Pass, mask_key: 0xE8 };
}

impl Default for Options {
    fn default() -> Options {
        Options::USUAL
    }
}

/// What becomes of keys that another program sends: a remote desktop, an on-screen keyboard, AutoHotkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// They are left alone.
    Pass,
    /// They are mapped like those of a keyboard.
    Map,
}
