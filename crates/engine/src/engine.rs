//! The engine: one input after another, each through the same stages in the same order.
//!
//! 1. *Time*: what was due before the input happens first (`run_until`).
//! 2. *Pending*: while a key is undecided, events wait in one queue (`arrive`, `settle`).
//! 3. *Look-up*: a press finds its mapping as things stand now (`Situation::look_up`).
//! 4. *Held*: what the press causes is recorded, and its release undoes just that (`carry_out`).
//! 5. *Output*: keys that go down or come up are counted, and become effects.

use alloc::boxed::Box;

use crate::action::{Action, TapHold};
use crate::device::DeviceInfo;
use crate::event::{Cause, DeviceId, Effects, Input, KeyEvent, Motion, Rule, Time};
use crate::held::{AtRelease, Held, Holding, Record, Source};
use crate::key::Key;
use crate::keymap::{Keymap, MappingId, TapHoldId};
use crate::layers::Layers;
use crate::output::Emit;
use crate::pending::{MAX_WAITING, Pending, Undecided, Waiting};
use crate::situation::{Custom, Matches, Situation};
use crate::tap_hold::{Judgement, Verdict, judge};

/// An offered keymap waits for the keys to come up; after so many milliseconds it waits no longer.
const TAKE_OVER_WITHIN: u16 = 500;

/// A keymap in force, and all that has come of the keys so far.
#[derive(Debug)]
pub struct Engine {
    keymap: Box<Keymap>,
    offered: Option<Offered>,
    retired: Option<Box<Keymap>>,
    is_paused: bool,
    now: Time,
    /// How many presses there have been: for retro tap.
    presses: u32,
    pending: Pending,
    situation: Situation,
    held: Held,
    typed: Typed,
    /// By named key: when and on which keyboard its own tap was last released, for quick tap.
    last_taps: Box<[Option<(Time, DeviceId)>]>,
}

/// A keymap that takes over as soon as no key is down.
#[derive(Debug)]
struct Offered {
    keymap: Box<Keymap>,
    matches: Matches,
    /// When it takes over although keys are down.
    at_latest: Time,
}

/// The presses that typed something, for flow tap: the latest, and the latest of another key than that.
#[derive(Clone, Copy, Debug, Default)]
struct Typed {
    last: Option<(Source, Time)>,
    before: Option<(Source, Time)>,
}

impl Typed {
    fn record(&mut self, source: Source, time: Time) {
        if self.last.is_some_and(|(last, _)| last != source) {
            self.before = self.last;
        }
        self.last = Some((source, time));
    }

    fn record_if(&mut self, has_typed: bool, source: Source, time: Time) {
        if has_typed {
            self.record(source, time);
        }
    }

    /// When a key other than `source` typed something last.
    fn by_another(&self, source: Source) -> Option<Time> {
        let other = [self.last, self.before].into_iter().flatten().find(|(typed, _)| *typed != source);
        other.map(|(_, time)| time)
    }
}

impl Engine {
    /// An engine that knows no keyboards yet, with `keymap` in force.
    pub fn new(keymap: Keymap) -> Engine {
        let nobody = Cause { key: Key::A, device: DeviceId::UNKNOWN, mapping: None, rule: Rule::Unmapped };
        let nothing =
            KeyEvent { time: Time::ZERO, device: nobody.device, key: nobody.key, motion: Motion::Press };
        Engine {
            keymap: Box::new(keymap),
            offered: None,
            retired: None,
            is_paused: false,
            now: Time::ZERO,
            presses: 0,
            pending: Pending::new(nothing),
            situation: Situation::new(),
            held: Held::new(nobody),
            typed: Typed::default(),
            last_taps: alloc::vec![None; Key::NAMED].into(),
        }
    }

    /// The end of the engine; the keymap in force goes on.
    pub fn into_keymap(self) -> Keymap {
        *self.keymap
    }

    /// The keymap in force.
    pub fn keymap(&self) -> &Keymap {
        &self.keymap
    }

    /// The keymap that is offered, or else the one in force.
    pub fn latest_keymap(&self) -> &Keymap {
        self.offered.as_ref().map_or(&self.keymap, |offered| &offered.keymap)
    }

    /// Makes a keyboard known, so that mappings of its device blocks hold for it. Events of keyboards that are not
    /// known find the any-keyboard mappings.
    pub fn connect(&mut self, id: DeviceId, info: &DeviceInfo) {
        self.situation.connect(id, info, &self.keymap);
        self.see_offered();
    }

    /// The language of the focused window's keyboard layout, as a BCP 47 tag; empty if there is none.
    pub fn set_layout(&mut self, tag: &str) {
        self.situation.set_layout(tag, &self.keymap);
        self.see_offered();
    }

    fn see_offered(&mut self) {
        if let Some(offered) = &mut self.offered {
            offered.matches = self.situation.matches(&offered.keymap);
        }
    }

    /// Offers another keymap. It takes over in `step`, at the first moment at which no key is down and nothing is
    /// pending, or after 500 ms with everything released; locks stay, and so do layers that it has by name. Gives
    /// back the keymap that was offered before and has not taken over.
    pub fn offer(&mut self, keymap: Keymap, time: Time) -> Option<Box<Keymap>> {
        let offered = Offered {
            matches: self.situation.matches(&keymap),
            keymap: Box::new(keymap),
            at_latest: time.max(self.now).plus_millis(TAKE_OVER_WITHIN),
        };
        self.offered.replace(offered).map(|before| before.keymap)
    }

    /// The keymap that was in force before, once, after an offered one has taken over: to drop it is not the work
    /// of the event path.
    pub fn take_retired(&mut self) -> Option<Box<Keymap>> {
        self.retired.take()
    }

    /// Whether there is a keymap to be taken by `take_retired`.
    pub fn has_retired(&self) -> bool {
        self.retired.is_some()
    }

    /// Whether no key is down, as far as the engine knows, and nothing is pending.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.pending.is_empty()
    }

    /// How large `waiting` can be.
    pub const MOST_WAITING: usize = MAX_WAITING + 1;

    /// How many events wait for the key that is undecided, its own included.
    pub fn waiting(&self) -> usize {
        self.pending.queue.as_slice().len().saturating_add(usize::from(self.pending.undecided.is_some()))
    }

    /// Whether every key passes through.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Takes one input, pushes what is to be done, and returns the moment at which it must be called again if
    /// nothing happens before. Time that runs back is taken as standing still.
    pub fn step(&mut self, input: Input, effects: &mut dyn Effects) -> Option<Time> {
        match input {
            Input::Key(event) => {
                let time = self.run_until(event.time, effects);
                self.arrive(KeyEvent { time, ..event }, effects);
            }
            Input::Deadline(time) => {
                self.run_until(time, effects);
            }
            Input::Disconnected(time, device) => {
                self.run_until(time, effects);
                self.disconnect(device, effects);
            }
            Input::ReleaseAll(time) => {
                self.run_until(time, effects);
                self.release_all(effects);
            }
            Input::Pause(time) => {
                self.run_until(time, effects);
                self.release_all(effects);
                self.situation.layers = Layers::new();
                self.situation.custom = Custom::NONE;
                self.is_paused = true;
            }
            Input::Resume(time) => {
                self.run_until(time, effects);
                self.is_paused = false;
            }
            Input::InputMethod(time, is_open) => {
                self.run_until(time, effects);
                self.situation.input_method_open = is_open;
            }
        }
        if self.is_idle() {
            self.take_over();
        }
        self.deadline()
    }

    // --- Time -------------------------------------------------------------------------------------------------

    /// The moment at which `step` must be called again if nothing happens before.
    pub fn deadline(&self) -> Option<Time> {
        let undecided = self.pending.undecided.as_ref().map(|undecided| undecided.deadline);
        let offered = self.offered.as_ref().map(|offered| offered.at_latest);
        match (undecided, offered) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets everything happen that is due up to `time`, each at its own moment. Returns the time it is then.
    fn run_until(&mut self, time: Time, effects: &mut dyn Effects) -> Time {
        while let Some(deadline) = self.deadline().filter(|deadline| *deadline <= time) {
            self.now = self.now.max(deadline);
            if self.offered.as_ref().is_some_and(|offered| offered.at_latest <= self.now) {
                self.release_all(effects);
                self.take_over();
            } else {
                self.settle(effects);
            }
        }
        self.now = self.now.max(time);
        self.now
    }

    // --- Pending ----------------------------------------------------------------------------------------------

    /// An event comes in.
    fn arrive(&mut self, event: KeyEvent, effects: &mut dyn Effects) {
        if event.motion == Motion::Press {
            // A press of a key that is down: its release was lost, and happens now.
            if self.is_down(event.into()) {
                self.enter(KeyEvent { motion: Motion::Release, ..event }, effects);
            }
            self.presses = self.presses.wrapping_add(1);
        }
        self.enter(event, effects);
    }

    /// An event is carried out, or waits because a key is undecided.
    fn enter(&mut self, event: KeyEvent, effects: &mut dyn Effects) {
        let waiting = Waiting { event, presses: self.presses };
        // Full: the oldest undecided key is decided as hold, until there is room.
        while self.pending.queue.is_full() && self.must_wait(event) {
            self.decide(Verdict::Hold(Rule::HoldQueueFull), effects);
            self.settle(effects);
        }
        if !self.must_wait(event) {
            self.carry_out(waiting, effects);
        } else if event.motion != Motion::Repeat || self.pending.is_down(event.into()).is_none() {
            self.pending.queue.push(waiting);
            self.settle(effects);
        }
    }

    /// While something is undecided everything waits, but for the release of a key whose press has been carried
    /// out; that waits too if what the key holds changes the meaning of what was pressed before the release.
    fn must_wait(&self, event: KeyEvent) -> bool {
        !self.pending.is_empty()
            && (event.motion != Motion::Release
                || self.pending.is_down(event.into()).is_some()
                || self.held.is_modifying(event.into()))
    }

    /// Whether a key is down, by the last event of it that came in.
    fn is_down(&self, source: Source) -> bool {
        self.pending.is_down(source).unwrap_or_else(|| self.held.find(source).is_some())
    }

    /// Decides what can be decided, and carries out what waited for it.
    fn settle(&mut self, effects: &mut dyn Effects) {
        loop {
            if self.pending.undecided.is_some() {
                let is_tap_hold = |source| {
                    let mapping = self.situation.look_up(&self.keymap, source);
                    mapping.is_some_and(|mapping| matches!(mapping.action, Action::TapHold(_)))
                };
                match judge(&mut self.pending, &self.keymap, &self.held, self.now, is_tap_hold) {
                    Judgement::Decided(verdict) => self.decide(verdict, effects),
                    Judgement::Overtaken(release) => self.carry_out(release, effects),
                    Judgement::Undecided => return,
                }
            } else if let Some(waiting) = self.pending.queue.remove(0) {
                self.carry_out(waiting, effects);
            } else {
                return;
            }
        }
    }

    /// The undecided key becomes a tap or a hold.
    fn decide(&mut self, verdict: Verdict, effects: &mut dyn Effects) {
        let Some(undecided) = self.pending.undecided.take() else { return };
        let Some(tap_hold) = self.keymap.tap_hold(undecided.tap_hold).copied() else { return };
        let Undecided { source, mapping, pressed, presses, .. } = undecided;
        match verdict {
            Verdict::Tap(rule) => self.begin_tap(source, pressed, mapping, &tap_hold, rule, effects),
            Verdict::Hold(rule) => {
                let at_release = if tap_hold.retro_tap {
                    AtRelease::RetroTap(undecided.tap_hold, presses)
                } else {
                    AtRelease::Nothing
                };
                self.begin(source, tap_hold.hold, false, at_release, Some(mapping), rule, effects);
            }
        }
    }

    // --- Held -------------------------------------------------------------------------------------------------

    fn carry_out(&mut self, waiting: Waiting, effects: &mut dyn Effects) {
        match waiting.event.motion {
            Motion::Press => self.press(waiting, effects),
            Motion::Release => self.release(waiting, effects),
            Motion::Repeat => self.repeat(waiting.event.into(), effects),
        }
    }

    fn press(&mut self, Waiting { event, presses }: Waiting, effects: &mut dyn Effects) {
        let source = Source::from(event);
        let mapping = if self.is_paused { None } else { self.situation.look_up(&self.keymap, source) };
        let Some(mapping) = mapping else {
            self.typed.record_if(event.key.modifier().is_empty(), source, event.time);
            let pass = Action::Key(event.key);
            return self.begin(source, pass, false, AtRelease::Nothing, None, Rule::Unmapped, effects);
        };
        let Action::TapHold(id) = mapping.action else {
            self.typed.record_if(types(mapping.action), source, event.time);
            let at_release = AtRelease::Nothing;
            let (action, mapping) = (mapping.action, Some(mapping.id));
            return self.begin(source, action, false, at_release, mapping, Rule::Mapped, effects);
        };
        let Some(tap_hold) = self.keymap.tap_hold(id).copied() else { return };
        match self.taps_at_once(&tap_hold, source, event.time) {
            Some(rule) => self.begin_tap(source, event.time, mapping.id, &tap_hold, rule, effects),
            None => {
                self.pending.undecided = Some(Undecided {
                    source,
                    mapping: mapping.id,
                    tap_hold: id,
                    pressed: event.time,
                    deadline: event.time.plus_millis(tap_hold.term),
                    presses,
                    judged: 0,
                });
            }
        }
    }

    /// Whether a tap-hold is the tap from its press on, and by which rule.
    fn taps_at_once(&self, tap_hold: &TapHold, source: Source, pressed: Time) -> Option<Rule> {
        let last_tap = self.last_taps.get(source.key.index()).copied().flatten();
        let own_tap = last_tap.filter(|(_, device)| *device == source.device).map(|(time, _)| time);
        if own_tap.is_some_and(|released| pressed.is_within(tap_hold.quick_tap, released)) {
            return Some(Rule::TapQuick);
        }
        let typed = self.typed.by_another(source);
        typed.filter(|typed| pressed.is_within(tap_hold.flow_tap, *typed)).map(|_| Rule::TapFlow)
    }

    fn begin_tap(
        &mut self,
        source: Source,
        pressed: Time,
        mapping: MappingId,
        tap_hold: &TapHold,
        rule: Rule,
        effects: &mut dyn Effects,
    ) {
        self.typed.record_if(types(tap_hold.tap), source, pressed);
        self.begin(source, tap_hold.tap, true, AtRelease::EndTap, Some(mapping), rule, effects);
    }

    #[expect(clippy::too_many_arguments, reason = "each is one column of the record")]
    fn begin(
        &mut self,
        source: Source,
        action: Action,
        is_tap: bool,
        at_release: AtRelease,
        mapping: Option<MappingId>,
        rule: Rule,
        effects: &mut dyn Effects,
    ) {
        if self.held.is_full()
            && let Some(oldest) = self.held.remove_oldest()
        {
            self.end(oldest.holding, oldest.cause, effects);
        }
        let cause = Cause { key: source.key, device: source.device, mapping, rule };
        effects.decided(cause, action);
        let mut emit = Emit { effects, time: self.now, cause };
        let holding = self.situation.begin(&self.keymap, action, is_tap, &mut emit);
        self.held.insert(Record { source, holding, at_release, cause });
    }

    fn end(&mut self, holding: Holding, cause: Cause, effects: &mut dyn Effects) {
        self.situation.end(holding, &mut Emit { effects, time: self.now, cause });
    }

    fn release(&mut self, Waiting { event, presses }: Waiting, effects: &mut dyn Effects) {
        let source = Source::from(event);
        let Some(record) = self.held.remove(source) else {
            let (key, device) = (source.key, source.device);
            let cause = Cause { key, device, mapping: None, rule: Rule::Unmapped };
            return self.situation.output.pass_release(key, &mut Emit { effects, time: self.now, cause });
        };
        self.end(record.holding, record.cause, effects);
        match record.at_release {
            AtRelease::Nothing => {}
            AtRelease::EndTap => {
                if let Some(last_tap) = self.last_taps.get_mut(source.key.index()) {
                    *last_tap = Some((event.time, source.device));
                }
            }
            AtRelease::RetroTap(id, at_press) if presses == at_press => {
                self.retro_tap(id, record.cause, effects)
            }
            AtRelease::RetroTap(..) => {}
        }
    }

    fn retro_tap(&mut self, id: TapHoldId, cause: Cause, effects: &mut dyn Effects) {
        let Some(tap) = self.keymap.tap_hold(id).map(|tap_hold| tap_hold.tap) else { return };
        let cause = Cause { rule: Rule::TapRetro, ..cause };
        let mut emit = Emit { effects, time: self.now, cause };
        let holding = self.situation.begin(&self.keymap, tap, true, &mut emit);
        self.situation.end(holding, &mut emit);
    }

    fn repeat(&mut self, source: Source, effects: &mut dyn Effects) {
        let Some(record) = self.held.find(source) else { return };
        if let Holding::Key(key) | Holding::Chord(_, key) = record.holding {
            let mut emit = Emit { effects, time: self.now, cause: record.cause };
            self.situation.output.repeat(key, &mut emit);
        }
    }

    // --- All at once ------------------------------------------------------------------------------------------

    /// A keyboard is gone: its keys come up, each as if it had been released.
    fn disconnect(&mut self, device: DeviceId, effects: &mut dyn Effects) {
        while let Some(Source { key, device }) = self.first_down(device) {
            self.enter(KeyEvent { time: self.now, device, key, motion: Motion::Release }, effects);
        }
    }

    fn first_down(&self, device: DeviceId) -> Option<Source> {
        let held = self.held.records().iter().map(|record| record.source);
        let undecided = self.pending.undecided.iter().map(|undecided| undecided.source);
        let waiting = self.pending.queue.as_slice().iter().map(|waiting| waiting.event.into());
        held.chain(undecided).chain(waiting).find(|source| source.device == device && self.is_down(*source))
    }

    /// What is held ends, the latest first; what is pending is dropped; keys that are down are forgotten.
    fn release_all(&mut self, effects: &mut dyn Effects) {
        self.pending.clear();
        self.typed = Typed::default();
        self.last_taps.fill(None);
        while let Some(record) = self.held.pop() {
            self.end(record.holding, Cause { rule: Rule::ReleasedAll, ..record.cause }, effects);
        }
    }

    /// The offered keymap, if there is one, comes into force. No key is down.
    fn take_over(&mut self) {
        let Some(Offered { keymap, matches, .. }) = self.offered.take() else { return };
        self.situation.take_over(&self.keymap, &keymap, &matches);
        self.retired = Some(core::mem::replace(&mut self.keymap, keymap));
    }

    /// What must be true between two steps; an error says what is not. It looks at everything: for tests.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let (mut keys, mut custom, mut layers) = ([0_u16; Key::COUNT], Custom::NONE, 0_usize);
        let mut count = |key: Key| {
            if let Some(holders) = keys.get_mut(key.index()) {
                *holders = holders.saturating_add(1);
            }
        };
        for record in self.held.records() {
            match record.holding {
                Holding::Nothing => {}
                Holding::Key(key) => count(key),
                Holding::Chord(modifiers, key) => modifiers.keys().chain([key]).for_each(&mut count),
                Holding::Modifiers(modifiers) => modifiers.keys().for_each(&mut count),
                Holding::CustomModifier(id) => custom.hold(id),
                Holding::Layer(_) => layers = layers.saturating_add(1),
            }
        }
        let Situation { output, custom: found, layers: active, .. } = &self.situation;
        let queue = self.pending.queue.as_slice();
        let rules = [
            (output.is_held_by(&keys), "an output key is down that no key holds, or the reverse"),
            (
                found.modifiers == custom.modifiers,
                "a custom modifier is on that no key holds, or the reverse",
            ),
            (active.holds() == layers, "a layer is held that no key holds, or the reverse"),
            (self.pending.undecided.is_some() || queue.is_empty(), "events wait for nothing"),
            (queue.is_sorted_by_key(|waiting| waiting.event.time), "waiting events are out of order"),
            (self.deadline().is_none_or(|deadline| deadline > self.now), "a deadline has been missed"),
            (self.offered.is_none() || !self.is_idle(), "an offered keymap has not taken over"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}

/// Whether an action types something, for flow tap.
fn types(action: Action) -> bool {
    match action {
        Action::Key(key) | Action::Chord(_, key) => key.modifier().is_empty(),
        Action::Sequence(_) => true,
        _ => false,
    }
}
