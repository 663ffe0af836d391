//! The tap: sees what the session is told and what it answers, and counts it, but only once the answer is on its way.
//!
//! It is bounded, and it is lossy: what does not fit while an answer is worked out is not counted. Keys never wait.

use std::sync::Arc;

use keyrx_engine::{Action, Cause, DeviceInfo, Effect, Effects, KeyEvent, Motion, Time};
use keyrx_platform::{Event, Handler, Interruption, Needs, Next};

use crate::metrics::{Hit, Metrics, Path};
use crate::session::Session;

/// So much may happen before an answer is on its way.
const MOST: usize = 256;

/// A session whose doings are counted.
pub struct Tap {
    session: Session,
    metrics: Arc<Metrics>,
    /// What is not counted yet. It never grows.
    notes: Vec<Note>,
}

/// Something to be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    Event(Time, Motion, Path),
    Hit(Hit),
}

impl Tap {
    pub fn new(session: Session, metrics: Arc<Metrics>) -> Tap {
        metrics.set_paused(session.is_paused());
        Tap { session, metrics, notes: Vec::with_capacity(MOST) }
    }

    /// What the event means for the state of things.
    fn note(&self, event: Event<'_>) {
        match event {
            Event::Connected(..) => self.metrics.keyboard_connected(),
            Event::Disconnected(..) => self.metrics.keyboard_gone(),
            Event::Ready => self.metrics.set_ready(),
            Event::Woken(_) => self.metrics.session_answers(),
            Event::Interrupted(_, Interruption::Left) => self.metrics.set_away(true),
            Event::Interrupted(_, Interruption::Returned) => self.metrics.set_away(false),
            Event::Interrupted(..) | Event::Refused(..) | Event::Key(_) | Event::Deadline(_) => {}
            Event::Focus(..) | Event::Stopping(_) => {}
        }
        self.metrics.set_paused(self.session.is_paused());
    }
}

impl Handler for Tap {
    fn wants(&self, device: &DeviceInfo) -> bool {
        self.session.wants(device)
    }

    fn needs(&self) -> Needs {
        self.session.needs()
    }

    fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
        self.metrics.session_begins();
        let key = match event {
            Event::Key(key) => Some(key),
            _ => None,
        };
        let mut seen =
            Seen { effects, key, passed: false, answered: false, swallowed: false, notes: &mut self.notes };
        let next = self.session.handle(event, &mut seen);
        seen.finish();
        self.note(event);
        self.metrics.session_is_done();
        next
    }

    fn carried_out(&mut self, now: Time) {
        for note in self.notes.drain(..) {
            match note {
                Note::Event(time, motion, path) => {
                    self.metrics.count_event(motion, path);
                    self.metrics.measure(now.micros().saturating_sub(time.micros()));
                }
                Note::Hit(hit) => self.metrics.count_hit(hit),
            }
        }
    }
}

/// Passes effects on, and sees whether they are the key's own event.
struct Seen<'a> {
    effects: &'a mut dyn Effects,
    key: Option<KeyEvent>,
    passed: bool,
    answered: bool,
    /// The key is mapped to nothing.
    swallowed: bool,
    notes: &'a mut Vec<Note>,
}

impl Seen<'_> {
    fn keep(&mut self, note: Note) {
        if self.notes.len() < MOST {
            self.notes.push(note);
        }
    }

    fn finish(mut self) {
        let Some(key) = self.key else { return };
        let path = match (self.passed, self.answered) {
            (true, _) => Path::Passed,
            (false, true) => Path::Mapped,
            // It waits, or has changed what other keys mean; but a repeat does neither.
            (false, false) if self.swallowed || key.motion == Motion::Repeat => Path::Dropped,
            (false, false) => Path::Mapped,
        };
        self.keep(Note::Event(key.time, key.motion, path));
    }
}

impl Effects for Seen<'_> {
    fn push(&mut self, effect: Effect) {
        self.answered = true;
        self.passed |= self.key.is_some_and(|key| {
            effect.cause.mapping.is_none()
                && (effect.cause.key, effect.key, effect.motion) == (key.key, key.key, key.motion)
        });
        self.effects.push(effect);
    }

    fn decided(&mut self, cause: Cause, action: Action) {
        let is_own = self.key.is_some_and(|key| (key.key, key.motion) == (cause.key, Motion::Press));
        self.swallowed |= is_own && action == Action::Nothing;
        if let Some(hit) = Hit::of(cause.rule, action) {
            self.keep(Note::Hit(hit));
        }
        self.effects.decided(cause, action);
    }
}

#[cfg(test)]
mod tests {
    use keyrx_engine::{Key, notation};
    use keyrx_platform::simulated::Simulated;

    use super::*;

    /// Types on a keyboard with a keymap: what was counted.
    fn counted(keymap: &str, typed: &str) -> Arc<Metrics> {
        let loaded = keyrx_config::load_text("test", keymap, None);
        let metrics = Arc::new(Metrics::new());
        let mut tap = Tap::new(Session::new(loaded.keymap.unwrap()), metrics.clone());
        let mut simulated = Simulated::new(&mut tap);
        let keyboard = simulated.connect(DeviceInfo { name: "keyboard".into(), ..DeviceInfo::default() });
        let (moments, end) = notation::parse(typed, Time::ZERO).unwrap();
        for moment in moments {
            simulated.advance(moment.time);
            simulated.key(keyboard, moment.key, moment.motion);
        }
        simulated.advance(end);
        drop(simulated);
        metrics
    }

    fn paths(keymap: &str, typed: &str) -> [u64; 3] {
        let events = counted(keymap, typed).snapshot().events;
        [Path::Passed, Path::Mapped, Path::Dropped].map(|path| events.by_path(path))
    }

    fn hits(keymap: &str, typed: &str) -> Vec<(Hit, u64)> {
        let snapshot = counted(keymap, typed).snapshot();
        let hits = Hit::ALL.into_iter().zip(snapshot.hits).map(|((hit, _), count)| (hit, count));
        hits.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn keys_that_are_mapped_nowhere_pass() {
        assert_eq!(paths(r#"map("A", "B");"#, "+Q 5 -Q"), [2, 0, 0]);
        assert_eq!(paths(r#"map("A", "B");"#, "+A 5 -A"), [0, 2, 0]);
        assert_eq!(hits(r#"map("A", "B");"#, "+Q 5 -Q +A 5 -A +A 5 -A"), [(Hit::Key, 2)]);
    }

    #[test]
    fn a_key_mapped_to_itself_is_mapped() {
        assert_eq!(paths(r#"map("A", "A");"#, "+A 5 -A"), [0, 2, 0]);
    }

    #[test]
    fn taps_and_holds_are_told_apart() {
        let keymap = r#"map("CapsLock", tap_hold("Escape", "LCtrl"));"#;
        assert_eq!(
            hits(keymap, "+CapsLock 50 -CapsLock 500 +CapsLock 300 -CapsLock"),
            [(Hit::Tap, 1), (Hit::Hold, 1)]
        );
        assert_eq!(paths(keymap, "+CapsLock 50 -CapsLock"), [0, 2, 0]);
    }

    #[test]
    fn the_session_is_counted_as_busy_only_while_it_is() {
        let metrics = counted("", "+A 5 -A");
        assert_eq!(metrics.snapshot().busy_since, None);
    }

    #[test]
    fn notes_that_do_not_fit_are_lost_and_nothing_grows() {
        let loaded = keyrx_config::load_text("test", "", None);
        let mut tap = Tap::new(Session::new(loaded.keymap.unwrap()), Arc::new(Metrics::new()));
        let mut effects = Vec::new();
        let device = keyrx_engine::DeviceId(0);
        for number in 0..2000 {
            let motion = if number % 2 == 0 { Motion::Press } else { Motion::Release };
            let event = KeyEvent { time: Time::from_millis(number), device, key: Key::A, motion };
            tap.handle(Event::Key(event), &mut effects);
        }
        assert_eq!((effects.len(), tap.notes.len(), tap.notes.capacity()), (2000, MOST, MOST));
        tap.carried_out(Time::from_millis(2000));
        assert_eq!(tap.metrics.snapshot().events.total(), MOST as u64);
    }
}
