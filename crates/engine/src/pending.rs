//! Pending: the key that is undecided, and the one queue of events that wait for it.
//!
//! While a key is undecided, later events wait. At the decision they are carried out in order, and the next
//! undecided key among them is judged by those that follow it, each with its own time.

use crate::bounded::Bounded;
use crate::event::{KeyEvent, Motion, Time};
use crate::held::Source;
use crate::keymap::{MappingId, TapHoldId};

/// So many events can wait; at one more the undecided key is decided as hold.
pub(crate) const MAX_WAITING: usize = 64;

/// An event that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub event: KeyEvent,
    /// How many presses there had been when it came, its own included: for retro tap.
    pub presses: u32,
}

/// A tap-hold that is neither yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undecided {
    pub source: Source,
    pub mapping: MappingId,
    pub tap_hold: TapHoldId,
    pub pressed: Time,
    /// When time decides.
    pub deadline: Time,
    pub presses: u32,
    /// How many of the waiting events have been judged.
    pub judged: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub undecided: Option<Undecided>,
    pub queue: Bounded<Waiting, MAX_WAITING>,
}

impl Pending {
    pub fn new(filler: KeyEvent) -> Pending {
        Pending { undecided: None, queue: Bounded::new(Waiting { event: filler, presses: 0 }) }
    }

    pub fn is_empty(&self) -> bool {
        self.undecided.is_none() && self.queue.is_empty()
    }

    pub fn clear(&mut self) {
        self.undecided = None;
        self.queue.clear();
    }

    /// Whether the last that is known here of a key is that it went down; `None` if nothing is known.
    pub fn is_down(&self, source: Source) -> Option<bool> {
        let waiting = self.queue.as_slice().iter().rev();
        let mut motions = waiting.filter(|w| Source::from(w.event) == source).map(|w| w.event.motion);
        match motions.find(|motion| *motion != Motion::Repeat) {
            Some(motion) => Some(motion == Motion::Press),
            None => self.undecided.filter(|undecided| undecided.source == source).map(|_| true),
        }
    }

    /// Whether a key was pressed among the first `count` waiting events.
    pub fn was_pressed(&self, source: Source, count: usize) -> bool {
        let mut waiting = self.queue.as_slice().iter().take(count);
        waiting.any(|w| w.event.motion == Motion::Press && Source::from(w.event) == source)
    }
}
