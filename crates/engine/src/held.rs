//! Held: what each key that is down has caused, so that its release undoes just that.
//!
//! Records are by key and keyboard and hold resolved values, so they stay true whatever becomes of layers,
//! conditions or the keymap in between.

use crate::action::CustomId;
use crate::bounded::Bounded;
use crate::event::{Cause, DeviceId, KeyEvent};
use crate::key::{Key, Modifiers};
use crate::keymap::{LayerId, TapHoldId};

/// So many keys can be down at a time; beyond that the oldest is released first.
pub(crate) const MAX_HELD: usize = 128;

/// A key of a keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub key: Key,
    pub device: DeviceId,
}

impl From<KeyEvent> for Source {
    fn from(event: KeyEvent) -> Source {
        Source { key: event.key, device: event.device }
    }
}

/// What a press has switched on and its release switches off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Nothing,
    Key(Key),
    Chord(Modifiers, Key),
    /// The modifiers of a chord whose key has another holder.
    Modifiers(Modifiers),
    CustomModifier(CustomId),
    Layer(LayerId),
}

impl Holding {
    /// Whether it changes what other keys mean: then its release keeps its place among waiting events.
    pub fn is_modifying(self) -> bool {
        match self {
            Holding::Nothing => false,
            Holding::Key(key) => !key.modifier().is_empty(),
            Holding::Chord(..) | Holding::Modifiers(_) => true,
            Holding::CustomModifier(_) | Holding::Layer(_) => true,
        }
    }
}

/// What the release of a key does beside undoing its press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtRelease {
    Nothing,
    /// A tap of a tap-hold ends here: quick tap counts from now.
    EndTap,
    /// Retro tap: the tap as well, if no key was pressed since the press with this number.
    RetroTap(TapHoldId, u32),
}

/// A key that is down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub source: Source,
    pub holding: Holding,
    pub at_release: AtRelease,
    pub cause: Cause,
}

/// The keys that are down and carried out, in the order of their presses.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    records: Bounded<Record, MAX_HELD>,
}

impl Held {
    pub fn new(filler: Cause) -> Held {
        let source = Source { key: filler.key, device: filler.device };
        let at_release = AtRelease::Nothing;
        Held {
            records: Bounded::new(Record { source, holding: Holding::Nothing, at_release, cause: filler }),
        }
    }

    pub fn records(&self) -> &[Record] {
        self.records.as_slice()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.records.is_full()
    }

    pub fn find(&self, source: Source) -> Option<&Record> {
        self.records().iter().find(|record| record.source == source)
    }

    /// Whether a key holds what changes the meaning of other keys.
    pub fn is_modifying(&self, source: Source) -> bool {
        self.find(source).is_some_and(|record| record.holding.is_modifying())
    }

    /// Takes out the record of a key.
    pub fn remove(&mut self, source: Source) -> Option<Record> {
        let place = self.records().iter().position(|record| record.source == source)?;
        self.records.remove(place)
    }

    /// Takes out the latest record.
    pub fn pop(&mut self) -> Option<Record> {
        self.records.pop()
    }

    /// Takes out the earliest record.
    pub fn remove_oldest(&mut self) -> Option<Record> {
        self.records.remove(0)
    }

    /// There must be room: see `is_full`.
    pub fn insert(&mut self, record: Record) {
        self.records.push(record);
    }
}
