//! Tap-hold: how an undecided key becomes a tap or a hold.

use crate::action::{Flavor, TapHold};
use crate::event::{Motion, Rule, Time};
use crate::held::Source;
use crate::key::{Hand, Key};
use crate::keymap::Keymap;
use crate::pending::{Pending, Undecided, Waiting};

/// How a key was decided, and by which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Tap(Rule),
    Hold(Rule),
}

impl Verdict {
    /// What the end of the tapping term decides.
    fn by_time(flavor: Flavor) -> Verdict {
        match flavor {
            Flavor::TapUnlessInterrupted => Verdict::Tap(Rule::TapUninterrupted),
            _ => Verdict::Hold(Rule::HoldTerm),
        }
    }
}

/// Judges the undecided key by the events that wait and by the time it is now. `is_tap_hold` looks a key up as
/// things stand.
pub(crate) fn judge(
    pending: &mut Pending,
    keymap: &Keymap,
    now: Time,
    is_tap_hold: impl Fn(Source) -> bool,
) -> Option<Verdict> {
    let undecided = pending.undecided?;
    let tap_hold = keymap.tap_hold(undecided.tap_hold)?;
    let waiting = pending.queue.as_slice().iter().enumerate().skip(undecided.judged);
    for (place, waiting) in waiting {
        if waiting.event.time >= undecided.deadline {
            return Some(Verdict::by_time(tap_hold.flavor));
        }
        let verdict = match waiting.event.motion {
            Motion::Press => by_press(tap_hold, &undecided, waiting, keymap, &is_tap_hold),
            Motion::Release if Source::from(waiting.event) == undecided.source => {
                Some(Verdict::Tap(Rule::TapReleased))
            }
            // The release of a key that was pressed before the undecided one decides nothing.
            Motion::Release if pending.was_pressed(waiting.event.into(), place) => {
                by_other_release(tap_hold.flavor, waiting.event.key)
            }
            Motion::Release | Motion::Repeat => None,
        };
        if verdict.is_some() {
            return verdict;
        }
    }
    if now >= undecided.deadline {
        return Some(Verdict::by_time(tap_hold.flavor));
    }
    let judged = pending.queue.as_slice().len();
    pending.undecided = Some(Undecided { judged, ..undecided });
    None
}

fn by_press(
    tap_hold: &TapHold,
    undecided: &Undecided,
    waiting: &Waiting,
    keymap: &Keymap,
    is_tap_hold: impl Fn(Source) -> bool,
) -> Option<Verdict> {
    let other = waiting.event.key;
    let hand = keymap.hand(undecided.source.key);
    if tap_hold.chordal && hand != Hand::Neither && hand == keymap.hand(other) {
        return Some(Verdict::Tap(Rule::TapSameHand(other)));
    }
    match tap_hold.flavor {
        Flavor::TapPreferred | Flavor::Balanced => None,
        Flavor::HoldPreferred if is_tap_hold(waiting.event.into()) => None,
        Flavor::HoldPreferred | Flavor::TapUnlessInterrupted => {
            Some(Verdict::Hold(Rule::HoldOtherPressed(other)))
        }
    }
}

fn by_other_release(flavor: Flavor, other: Key) -> Option<Verdict> {
    match flavor {
        Flavor::Balanced | Flavor::HoldPreferred => Some(Verdict::Hold(Rule::HoldOtherReleased(other))),
        Flavor::TapPreferred | Flavor::TapUnlessInterrupted => None,
    }
}
