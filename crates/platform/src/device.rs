//! Keyboards as `list` shows them.

use std::fmt;
use std::path::PathBuf;

use keyrx_engine::DeviceInfo;

/// A device with the keys of a keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its device file, or the name by which Windows opens it.
    pub node: PathBuf,
    /// How keymaps know it.
    pub info: DeviceInfo,
    /// What it has beside keys.
    pub kind: Kind,
    /// Whether a program made it.
    pub is_virtual: bool,
    /// Whether we have the right to read it. Windows asks for none.
    pub is_readable: bool,
    /// Why it is not read, whatever the keymap says; `None` if it can be.
    pub excluded: Option<Excluded>,
}

/// What a device with the keys of a keyboard has beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that a keyboard has not.
    Keyboard,
    /// It moves a pointer or a wheel as well, which goes on by our own pointer while it is read.
    Combined,
    /// A touchpad, touch screen or tablet is in the same device.
    Touch,
}

/// Why a keyboard is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// It is what a keyrx sends its keys with.
    OurOutput,
    /// A program made it.
    Virtual,
    /// To read its keys would be to lose its touches: they come from the same device, and have nowhere to go.
    Touch,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Excluded::OurOutput => "keyrx sends its keys with it",
            Excluded::Virtual => "a program made it",
            Excluded::Touch => "it is a touch device as well, which would stop working",
        })
    }
}
