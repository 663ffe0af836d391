//! The tap: sees what the session is told and what it answers, and counts it, but only once the answer is on its way.
//!
//! It is bounded, and it is lossy: what does not fit while an answer is worked out is not counted. Keys never wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyrx_engine::{Action, Cause, DeviceId, DeviceInfo, Effect, Effects, KeyEvent, Motion, Time};
use keyrx_platform::lock::Guarded;
use keyrx_platform::{Event, Handler, Interruption, Needs, Next};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::metrics::{Hit, Metrics, Path};
use crate::session::Session;

/// So much may happen before an answer is on its way.
const MOST: usize = 256;

/// So much may happen between two looks of those who watch live.
const MOST_LIVE: usize = 4096;

/// A session whose doings are counted.
pub struct Tap {
    session: Session,
    metrics: Arc<Metrics>,
    /// What is not counted yet. It never grows.
    notes: Vec<Note>,
    keyboards: Keyboards,
    live: Option<Live>,
}

/// The keyboards that are read, by their numbers.
pub type Keyboards = Arc<Guarded<BTreeMap<DeviceId, DeviceInfo>>>;

/// What is shown to those who watch live, while there are any. Nothing of it is kept.
pub struct Live {
    ring: Producer<Record>,
    is_watched: Arc<AtomicBool>,
}

/// The other end of it.
pub struct Records {
    pub ring: Consumer<Record>,
    pub is_watched: Arc<AtomicBool>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Record {
    Key(KeyEvent),
    Effect(Effect),
}

/// Both ends.
pub fn live() -> (Live, Records) {
    let (producer, consumer) = RingBuffer::new(MOST_LIVE);
    let is_watched = Arc::new(AtomicBool::new(false));
    (Live { ring: producer, is_watched: is_watched.clone() }, Records { ring: consumer, is_watched })
}

/// Something to be counted.
#[derive(Clone, Copy, Debug)]
enum Note {
    Event(Time, Motion, Path),
    Hit(Hit),
    Live(Record),
}

impl Tap {
    pub fn new(session: Session, metrics: Arc<Metrics>) -> Tap {
        metrics.set_paused(session.is_paused());
        let keyboards = Keyboards::default();
        Tap { session, metrics, notes: Vec::with_capacity(MOST), keyboards, live: None }
    }

    /// With its keyboards, and what it sees while somebody watches, for others to see.
    pub fn shown(self, keyboards: Keyboards, live: Live) -> Tap {
        Tap { keyboards, live: Some(live), ..self }
    }

    /// What the event means for the state of things.
    fn note(&self, event: Event<'_>) {
        match event {
            Event::Connected(id, info) => {
                self.metrics.keyboard_connected();
                self.keyboards.with(|known| known.insert(id, info.clone()));
            }
            Event::Disconnected(_, id) => {
                self.metrics.keyboard_gone();
                self.keyboards.with(|known| known.remove(&id));
            }
            Event::Ready => _ = self.metrics.phases().ready(),
            Event::Woken(_) => self.metrics.session_answers(),
            Event::Delivered(_) => self.metrics.canary_is_back(),
            Event::Aid(aid, refused) => self.metrics.set_refused(aid, refused.is_some()),
            Event::Interrupted(_, why) => {
                self.metrics.count_interruption(why);
                match why {
                    Interruption::Left => self.metrics.set_away(true),
                    Interruption::Returned => self.metrics.set_away(false),
                    _ => {}
                }
            }
            Event::Refused(..) | Event::Key(_) | Event::Deadline(_) => {}
            Event::Focus(..) | Event::Stopping(_) => {}
        }
        self.metrics.set_paused(self.session.is_paused());
        self.metrics.set_keymap_in_force(self.session.keymap_in_force());
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
        let key = match event {
            Event::Key(key) => Some(key),
            _ => None,
        };
        let is_watched = self.live.as_ref().is_some_and(|live| live.is_watched.load(Ordering::Relaxed));
        let _busy = Busy::new(&self.metrics);
        let notes = &mut self.notes;
        let mut seen = Seen {
            effects,
            metrics: &self.metrics,
            key,
            passed: false,
            answered: false,
            swallowed: false,
            is_watched,
            notes,
        };
        if let Some(key) = key {
            seen.show(Record::Key(key));
        }
        let next = self.session.handle(event, &mut seen);
        seen.finish();
        self.metrics.set_waiting(self.session.waiting());
        self.note(event);
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
                Note::Live(record) => {
                    // Who looks too seldom misses something.
                    let _ = self.live.as_mut().map(|live| live.ring.push(record));
                }
            }
        }
    }
}

/// While it lives, the session is at work; also where that ends in a panic.
struct Busy<'a>(&'a Metrics);

impl Busy<'_> {
    fn new(metrics: &Metrics) -> Busy<'_> {
        metrics.session_begins();
        Busy(metrics)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.session_is_done();
    }
}

/// Passes effects on, and sees whether they are the key's own event.
struct Seen<'a> {
    effects: &'a mut dyn Effects,
    metrics: &'a Metrics,
    key: Option<KeyEvent>,
    passed: bool,
    answered: bool,
    /// The key is mapped to nothing.
    swallowed: bool,
    is_watched: bool,
    notes: &'a mut Vec<Note>,
}

impl Seen<'_> {
    fn keep(&mut self, note: Note) {
        if self.notes.len() < MOST {
            self.notes.push(note);
        }
    }

    fn show(&mut self, record: Record) {
        if self.is_watched {
            self.keep(Note::Live(record));
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
        self.metrics.count_effect(effect.motion);
        self.passed |= self.key.is_some_and(|key| {
            effect.cause.mapping.is_none()
                && (effect.cause.key, effect.key, effect.motion) == (key.key, key.key, key.motion)
        });
        self.show(Record::Effect(effect));
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
