//! Tap-hold: how an undecided key becomes a tap or a hold.

use crate::action::{Flavor, TapHold};
use crate::event::{Motion, Rule, Time};
use crate::held::{Held, Source};
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

/// What the events that wait say of the undecided key.
pub(crate) enum Judgement {
    /// It is decided.
    Decided(Verdict),
    /// This release has its turn before it is: the press was carried out by an earlier decision, and so it need
    /// not wait any longer. It is out of the queue.
    Overtaken(Waiting),
    /// It is not decided yet.
    Undecided,
}

/// Judges the undecided key by the events that wait, in their order, and by the time it is now. `is_tap_hold` looks
/// a key up as things stand.
pub(crate) fn judge(
    pending: &mut Pending,
    keymap: &Keymap,
    held: &Held,
    now: Time,
    is_tap_hold: impl Fn(Source) -> bool,
) -> Judgement {
    let Some(Undecided { source, tap_hold, deadline, judged, .. }) = pending.undecided else {
        return Judgement::Undecided;
    };
    let Some(tap_hold) = keymap.tap_hold(tap_hold) else { return Judgement::Undecided };
    let by_time = Judgement::Decided(Verdict::by_time(tap_hold.flavor));
    for (place, waiting) in pending.queue.as_slice().iter().enumerate().skip(judged) {
        let other = Source::from(waiting.event);
        if waiting.event.time >= deadline {
            return by_time;
        }
        let verdict = match waiting.event.motion {
            Motion::Press => by_press(tap_hold, source.key, other, keymap, &is_tap_hold),
            Motion::Release if other == source => Some(Verdict::Tap(Rule::TapReleased)),
            Motion::Release if pending.was_pressed(other, place) => by_release(tap_hold.flavor, other.key),
            // The release of a key that was pressed before the undecided one decides nothing.
            Motion::Release if held.is_modifying(other) => None,
            Motion::Release => {
                let release = *waiting;
                pending.queue.remove(place);
                pending.undecided.iter_mut().for_each(|undecided| undecided.judged = place);
                return Judgement::Overtaken(release);
            }
            Motion::Repeat => None,
        };
        if let Some(verdict) = verdict {
            return Judgement::Decided(verdict);
        }
    }
    if now >= deadline {
        return by_time;
    }
    let judged = pending.queue.as_slice().len();
    pending.undecided.iter_mut().for_each(|undecided| undecided.judged = judged);
    Judgement::Undecided
}

fn by_press(
    tap_hold: &TapHold,
    key: Key,
    other: Source,
    keymap: &Keymap,
    is_tap_hold: impl Fn(Source) -> bool,
) -> Option<Verdict> {
    let hand = keymap.hand(key);
    if tap_hold.chordal && hand != Hand::Neither && hand == keymap.hand(other.key) {
        return Some(Verdict::Tap(Rule::TapSameHand(other.key)));
    }
    match tap_hold.flavor {
        Flavor::TapPreferred | Flavor::Balanced => None,
        Flavor::HoldPreferred if is_tap_hold(other) => None,
        Flavor::HoldPreferred | Flavor::TapUnlessInterrupted => {
            Some(Verdict::Hold(Rule::HoldOtherPressed(other.key)))
        }
    }
}

fn by_release(flavor: Flavor, other: Key) -> Option<Verdict> {
    match flavor {
        Flavor::Balanced | Flavor::HoldPreferred => Some(Verdict::Hold(Rule::HoldOtherReleased(other))),
        Flavor::TapPreferred | Flavor::TapUnlessInterrupted => None,
    }
}
