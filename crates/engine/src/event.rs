//! What goes into the engine and what comes out of it.
//!
//! The engine has no clock: every input carries its time, and every effect the time at which it is due.

use crate::action::Action;
use crate::key::Key;
use crate::keymap::MappingId;

/// A moment, in microseconds of a monotonic clock whose zero means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The clock's zero.
    pub const ZERO: Time = Time(0);

    /// The moment `micros` µs after the clock's zero.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// The moment `millis` ms after the clock's zero.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1000))
    }

    /// Microseconds since the clock's zero.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The moment `millis` ms later.
    pub const fn plus_millis(self, millis: u16) -> Time {
        Time(self.0.saturating_add(Time::from_millis(millis as u64).0))
    }

    /// Whether `earlier` lies less than `millis` ms before this moment.
    pub const fn is_within(self, millis: u16, earlier: Time) -> bool {
        self.0.saturating_sub(earlier.0) < Time::from_millis(millis as u64).0
    }
}

/// A keyboard, as the platform numbers it. `DeviceId::UNKNOWN` serves only any-keyboard mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

impl DeviceId {
    /// The keyboard of an event whose keyboard the platform cannot tell.
    pub const UNKNOWN: DeviceId = DeviceId(u16::MAX);
}

/// What a key did, or is made to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Motion {
    /// It went down.
    Press,
    /// It came up.
    Release,
    /// It is still down: the keyboard's auto-repeat.
    Repeat,
}

/// One record of a keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// When, by the keyboard's own stamp.
    pub time: Time,
    /// Which keyboard.
    pub device: DeviceId,
    /// Which key.
    pub key: Key,
    /// What it did.
    pub motion: Motion,
}

/// Everything that can happen to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A keyboard's record.
    Key(KeyEvent),
    /// Time has passed: `step` had asked to be called by then.
    Deadline(Time),
    /// A keyboard is gone: what its keys hold ends.
    Disconnected(Time, DeviceId),
    /// Every output key we hold is released, pending decisions are dropped, keys still down are forgotten.
    /// Locks and toggled layers stay.
    ReleaseAll(Time),
    /// As `ReleaseAll`, and locks, toggled and switched layers are cleared as well. Until `Resume` every key passes
    /// through.
    Pause(Time),
    /// Keys that are pressed from now on are mapped; those that are down stay what they are.
    Resume(Time),
    /// The focused window's input method was opened or closed.
    InputMethod(Time, bool),
}

/// What is to be done with a key, by which mapping and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// When it is due: the time of the input or deadline that caused it.
    pub time: Time,
    /// Press, release or repeat.
    pub motion: Motion,
    /// Of this key.
    pub key: Key,
    /// Why.
    pub cause: Cause,
}

/// Why an effect came about, in terms that can be put in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The physical key that caused it.
    pub key: Key,
    /// The keyboard of that key.
    pub device: DeviceId,
    /// The mapping that caused it, or `None` where the key passed through.
    pub mapping: Option<MappingId>,
    /// The rule that decided.
    pub rule: Rule,
}

/// The rule by which a mapping came to its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The key is mapped nowhere.
    Unmapped,
    /// A plain mapping.
    Mapped,
    /// Tap: released before the tapping term.
    TapReleased,
    /// Tap: pressed again within the quick-tap time of its own tap.
    TapQuick,
    /// Tap: pressed within the flow-tap time of another key that typed.
    TapFlow,
    /// Tap: this key of the same hand was pressed (chordal hold).
    TapSameHand(Key),
    /// Tap: the term ran out with no other key pressed (tap-unless-interrupted).
    TapUninterrupted,
    /// Tap as well: the hold was released with no other key pressed (retro tap).
    TapRetro,
    /// Hold: held for the tapping term.
    HoldTerm,
    /// Hold: this other key was pressed.
    HoldOtherPressed(Key),
    /// Hold: this other key was pressed and released.
    HoldOtherReleased(Key),
    /// Hold: more keys waited for the decision than the queue can hold.
    HoldQueueFull,
    /// Everything was released: the keyboard is gone, mapping is paused, or a new keymap takes over.
    ReleasedAll,
}

/// Takes the engine's effects, in order, one at a time.
pub trait Effects {
    /// Carries out `effect`, or keeps it for that.
    fn push(&mut self, effect: Effect);

    /// A press has found its meaning; what comes of it follows. For those who count or show it.
    fn decided(&mut self, _cause: Cause, _action: Action) {}
}

impl Effects for alloc::vec::Vec<Effect> {
    fn push(&mut self, effect: Effect) {
        alloc::vec::Vec::push(self, effect);
    }
}
