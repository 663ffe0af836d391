//! Actions: what a mapping makes of its key.
//!
//! An action is a small value; what does not fit into it (a sequence's keys, a tap-hold's settings) lies in the
//! keymap and is named by number.

use crate::key::{Key, Modifiers};
use crate::keymap::{LayerId, SequenceId, TapHoldId};

/// What a mapping makes of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// This key, for as long as the source key is down.
    Key(Key),
    /// These modifiers and then this key.
    Chord(Modifiers, Key),
    /// A custom modifier, while held.
    CustomModifier(CustomId),
    /// A custom lock, toggled at the press.
    CustomLock(CustomId),
    /// A layer, while held.
    LayerHold(LayerId),
    /// A layer, switched on or off at the press.
    LayerToggle(LayerId),
    /// The base layer from now on (`LayerId::BASE`: the original one).
    LayerSwitch(LayerId),
    /// One action when tapped, another when held.
    TapHold(TapHoldId),
    /// Taps of keys, one after the other, at the press.
    Sequence(SequenceId),
    /// Nothing; the search for a mapping ends here.
    Nothing,
    /// Whatever the next mapping in the search says.
    Transparent,
}

/// The number of a custom modifier or lock, `0x00` to `0xFE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomId(u8);

impl CustomId {
    /// One more than the highest number.
    pub const COUNT: usize = 255;

    /// `None` for `0xFF`, which is reserved.
    pub const fn new(number: u8) -> Option<CustomId> {
        if number == 0xFF { None } else { Some(CustomId(number)) }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A key with one action when tapped and another when held. Times are in milliseconds; 0 switches a rule off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapHold {
    /// When tapped. Neither a tap-hold nor transparent.
    pub tap: Action,
    /// When held. Neither a tap-hold nor transparent.
    pub hold: Action,
    /// The tapping term.
    pub term: u16,
    /// How other keys decide before the term is over.
    pub flavor: Flavor,
    /// Pressed again within this time of the release of its own tap, it is the tap at once.
    pub quick_tap: u16,
    /// Pressed within this time of the press of another key that typed, it is the tap at once.
    pub flow_tap: u16,
    /// Another key of the same hand decides for tap.
    pub chordal: bool,
    /// A hold without another key gives the tap as well, when it ends.
    pub retro_tap: bool,
}

/// How other keys decide a tap-hold before its term is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// They do not: only time does.
    TapPreferred,
    /// Hold, as soon as another key has been pressed and released (permissive hold).
    Balanced,
    /// Hold, as soon as another key is pressed (hold on other key press).
    HoldPreferred,
    /// Hold, if another key is pressed within the term; else tap, even at the end of the term.
    TapUnlessInterrupted,
}
