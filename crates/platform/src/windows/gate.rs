//! What becomes of a key that comes to the hook: it passes as it is, or it is swallowed and its effects are sent.
//!
//! A key passes natively only where its effects are the event itself and everything before it has been handed to the
//! system: so the order is kept, and keys that are not mapped stay what they are. The release of a key that passed
//! goes the way of the ring where that is busy, the system has one state for both; what was swallowed is never let
//! out again. Where the ring is stuck or the handler fails, the gate *opens*: every key passes unseen until all that
//! we may have held is lifted.

use std::mem;

use keyrx_engine::{DeviceId, Effect, Effects, Key, KeyEvent, Motion, Rule, Time};

use super::clock;
use super::output::{Act, KeySet, Outlet, Stuck, opens_menu};
use crate::{Event, Handler, Interruption, Next};

/// What the hook says to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let the key go on as it is.
    Pass,
    /// The key never was.
    Swallow,
}

/// A key, as the hook sees it.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    /// When.
    pub time: Time,
    /// Which.
    pub key: Key,
    /// Whether it came up.
    pub is_up: bool,
    /// Whether no release is to be expected.
    pub has_no_release: bool,
    /// The keyboard, if it was pressed.
    pub device: DeviceId,
}

/// The gate, and the handler that it asks.
pub struct Gate<'a> {
    handler: &'a mut dyn Handler,
    outlet: Outlet,
    /// By key.
    pressed: Box<[Pressed]>,
    menu: Menu,
    has_mask: bool,
    /// AltGr is two keys for Windows, the fake LCtrl first: what was said of that, and whether it came up.
    alt_gr: Option<(bool, Verdict)>,
    /// The Shift that Windows has lifted for a key of the numpad.
    lifted_shift: Option<Key>,
    /// Why the gate is open, if it is, and whether the handler knows.
    open: Option<(Interruption, bool)>,
    deadline: Option<Time>,
    is_stopped: bool,
}

/// What became of the press of a key.
#[derive(Clone, Copy, Debug)]
struct Pressed {
    fate: Fate,
    device: DeviceId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is up.
    Up,
    Passed,
    Swallowed,
    /// It passed while the gate was open: the handler knows nothing of it.
    Apart,
    /// It was a tap for the handler; a release that comes all the same goes the way of the press.
    Tapped(Verdict),
}

/// Whether a Win or Alt that comes up would open a menu without anybody having meant it.
#[derive(Clone, Copy, Debug)]
struct Menu {
    /// Such a key, since whose press no other has been pressed for the system.
    lone: Option<Key>,
    /// The key that fingers have pressed last.
    last: Option<Key>,
}

impl<'a> Gate<'a> {
    /// A gate that leads to `outlet`.
    pub fn new(handler: &'a mut dyn Handler, outlet: Outlet, has_mask: bool) -> Gate<'a> {
        Gate {
            handler,
            outlet,
            pressed: vec![Pressed { fate: Fate::Up, device: DeviceId::UNKNOWN }; Key::COUNT].into(),
            menu: Menu { lone: None, last: None },
            has_mask,
            alt_gr: None,
            lifted_shift: None,
            open: None,
            deadline: None,
            is_stopped: false,
        }
    }

    /// The handler, to be asked.
    pub fn handler(&self) -> &dyn Handler {
        self.handler
    }

    /// The way to the system.
    pub fn outlet(&mut self) -> &mut Outlet {
        &mut self.outlet
    }

    /// The moment that the handler has asked for.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Whether the handler wants an end.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// The end has come: the handler is told nothing more.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// A key came to the hook.
    pub fn key(&mut self, stroke: Stroke) -> Verdict {
        let alt_gr = self.alt_gr.take();
        if let Some((was_up, verdict)) = alt_gr
            && stroke.key == Key::RAlt
            && was_up == stroke.is_up
        {
            return verdict;
        }
        if self.is_open() {
            return self.pass_apart(stroke);
        }
        let Pressed { fate, device } = self.pressed(stroke.key);
        let motion = match (stroke.is_up, fate) {
            (true, Fate::Tapped(verdict)) => {
                self.set_pressed(stroke.key, Fate::Up, device);
                return verdict;
            }
            (true, Fate::Apart) | (false, Fate::Apart) => return self.pass_apart(stroke),
            (true, _) => Motion::Release,
            (false, Fate::Up | Fate::Tapped(_)) => Motion::Press,
            (false, Fate::Passed | Fate::Swallowed) => Motion::Repeat,
        };
        let device = if motion == Motion::Press { stroke.device } else { device };
        if motion == Motion::Press {
            self.menu.last = Some(stroke.key);
        }
        let event = KeyEvent { time: stroke.time, device, key: stroke.key, motion };
        let Some(verdict) = self.ask(event, fate) else { return self.pass_apart(stroke) };
        let next = match (motion, verdict) {
            (Motion::Release, _) => Fate::Up,
            (Motion::Repeat, _) => fate,
            (Motion::Press, Verdict::Pass) => Fate::Passed,
            (Motion::Press, Verdict::Swallow) => Fate::Swallowed,
        };
        self.set_pressed(stroke.key, next, device);
        if motion == Motion::Press && stroke.has_no_release {
            // For the handler it comes up at once. For the system too where it was sent; where it passed, it comes
            // up as it always did.
            let release = KeyEvent { motion: Motion::Release, ..event };
            let sent = self.ask(release, next);
            let fate = if sent.is_some() { Fate::Tapped(verdict) } else { Fate::Apart };
            self.set_pressed(stroke.key, fate, device);
        }
        self.outlet.flush();
        self.handler.carried_out(clock::now());
        verdict
    }

    /// The fake LCtrl, which comes right before an AltGr: what becomes of that is decided now.
    pub fn fake_ctrl(&mut self, stroke: Stroke) -> Verdict {
        let verdict = self.key(Stroke { key: Key::RAlt, ..stroke });
        self.alt_gr = Some((stroke.is_up, verdict));
        verdict
    }

    /// With NumLock on and Shift down, Windows lifts the Shift before a key of the numpad and presses it again
    /// afterwards. That passes: where the key is swallowed, the Shift is pressed again for its effects.
    pub fn fake_shift(&mut self, shift: Key, is_up: bool) {
        self.lifted_shift = is_up.then_some(shift);
    }

    /// Hands an event that is no key to the handler. The effects are sent.
    pub fn tell(&mut self, event: Event<'_>, now: Time) {
        self.tell_open(now);
        if self.is_stopped && !matches!(event, Event::Stopping(_)) {
            return;
        }
        let mut way = Way { outlet: &mut self.outlet, menu: &mut self.menu, now, has_mask: self.has_mask };
        let mut sink =
            Sink { way: &mut way, lifted_shift: None, first: None, is_first: true, is_stuck: false };
        let next = self.handler.handle(event, &mut sink);
        sink.send_first();
        let is_stuck = sink.is_stuck;
        self.follow(next);
        if is_stuck {
            self.open(Interruption::OutputStuck);
        }
        self.outlet.flush();
        self.handler.carried_out(clock::now());
    }

    /// Nothing that we hold may stay down, and what is down is forgotten.
    pub fn interrupt(&mut self, why: Interruption, now: Time) {
        self.forget();
        self.tell(Event::Interrupted(now, why), now);
    }

    /// Lets every key pass unseen until all that may be down because of us is lifted. The handler is told of it by
    /// `tell_open`, since this happens inside of the hook.
    pub fn open(&mut self, why: Interruption) {
        self.outlet.abandon();
        for pressed in &mut self.pressed {
            if pressed.fate != Fate::Up {
                pressed.fate = Fate::Apart;
            }
        }
        self.alt_gr = None;
        self.menu.lone = None;
        self.open = Some((why, false));
    }

    /// Tells the handler that the gate was opened, if it does not know. What it releases is owed already.
    pub fn tell_open(&mut self, now: Time) {
        if let Some((why, false)) = self.open {
            self.open = Some((why, true));
            let next = self.handler.handle(Event::Interrupted(now, why), &mut Nowhere);
            self.follow(next);
        }
    }

    /// Lifts the keys of ours that are down although they were released: the system did not take it when another
    /// desktop was in front.
    pub fn lift_stale(&mut self, is_down: impl Fn(Key) -> bool) {
        let mut stale = KeySet::default();
        for key in self.outlet.take_stale().iter().filter(|key| is_down(*key)) {
            stale.set(key, true);
        }
        if stale != KeySet::default() {
            self.outlet.lift(stale);
        }
    }

    /// Whether keys pass unseen. It ends here, when all is lifted.
    fn is_open(&mut self) -> bool {
        if matches!(self.open, Some((_, true))) && self.outlet.is_lifted() {
            self.open = None;
        }
        self.open.is_some()
    }

    fn pass_apart(&mut self, stroke: Stroke) -> Verdict {
        let fate = if stroke.is_up { Fate::Up } else { Fate::Apart };
        self.set_pressed(stroke.key, fate, DeviceId::UNKNOWN);
        Verdict::Pass
    }

    /// Asks the handler. `None`: the gate was opened, the key must pass.
    fn ask(&mut self, event: KeyEvent, fate: Fate) -> Option<Verdict> {
        let mut way =
            Way { outlet: &mut self.outlet, menu: &mut self.menu, now: event.time, has_mask: self.has_mask };
        let lifted_shift = if event.motion == Motion::Press { self.lifted_shift.take() } else { None };
        let mut sink = Sink { way: &mut way, lifted_shift, first: None, is_first: true, is_stuck: false };
        let next = self.handler.handle(Event::Key(event), &mut sink);
        let verdict = sink.finish(event, fate);
        self.follow(next);
        if verdict.is_none() {
            self.open(Interruption::OutputStuck);
        }
        verdict
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Wait(deadline) => self.deadline = deadline,
            Next::Stop => self.is_stopped = true,
        }
    }

    fn forget(&mut self) {
        self.pressed.iter_mut().for_each(|pressed| pressed.fate = Fate::Up);
        self.alt_gr = None;
        self.lifted_shift = None;
    }

    fn pressed(&self, key: Key) -> Pressed {
        let up = Pressed { fate: Fate::Up, device: DeviceId::UNKNOWN };
        self.pressed.get(key.index()).copied().unwrap_or(up)
    }

    fn set_pressed(&mut self, key: Key, fate: Fate, device: DeviceId) {
        if let Some(pressed) = self.pressed.get_mut(key.index()) {
            *pressed = Pressed { fate, device };
        }
    }
}

/// The ring, with the mask key put in where it is needed.
struct Way<'a> {
    outlet: &'a mut Outlet,
    menu: &'a mut Menu,
    now: Time,
    has_mask: bool,
}

impl Way<'_> {
    /// Whether the release of a Win or Alt would open a menu although it was not pressed for that: something else
    /// was pressed meanwhile that did not reach the system, it was the hold of a tap-hold, or everything is let go.
    fn needs_mask(&self, effect: &Effect) -> bool {
        let is_lone = effect.motion == Motion::Release && self.menu.lone == Some(effect.key);
        let is_meant = self.menu.last == Some(effect.cause.key)
            && !matches!(
                effect.cause.rule,
                Rule::HoldTerm
                    | Rule::HoldOtherPressed(_)
                    | Rule::HoldOtherReleased(_)
                    | Rule::HoldQueueFull
                    | Rule::ReleasedAll
            );
        self.has_mask && is_lone && !is_meant
    }

    /// Takes note of what the system gets to see.
    fn note(&mut self, effect: &Effect) {
        match effect.motion {
            Motion::Press => self.menu.lone = opens_menu(effect.key).then_some(effect.key),
            Motion::Release if self.menu.lone == Some(effect.key) => self.menu.lone = None,
            Motion::Release | Motion::Repeat => {}
        }
    }

    fn send(&mut self, effect: &Effect) -> Result<(), Stuck> {
        if self.needs_mask(effect) {
            self.outlet.push(Act::Mask, self.now)?;
        }
        self.note(effect);
        self.outlet.push(Act::Key(effect.key, effect.motion), self.now)
    }
}

/// Takes the effects of one event. The first is kept back until it is clear whether it is the only one.
struct Sink<'a, 'b> {
    way: &'a mut Way<'b>,
    lifted_shift: Option<Key>,
    first: Option<Effect>,
    is_first: bool,
    is_stuck: bool,
}

impl Sink<'_, '_> {
    fn send(&mut self, effect: &Effect) {
        if let Some(shift) = self.lifted_shift.take() {
            self.is_stuck |= self.way.outlet.push(Act::Key(shift, Motion::Press), self.way.now).is_err();
        }
        self.is_stuck = self.is_stuck || self.way.send(effect).is_err();
    }

    fn send_first(&mut self) {
        if let Some(first) = self.first.take() {
            self.send(&first);
        }
    }

    /// What becomes of the event itself; `None` if its effects could not be sent.
    fn finish(mut self, event: KeyEvent, fate: Fate) -> Option<Verdict> {
        if let Some(first) = self.first
            && (first.key, first.motion) == (event.key, event.motion)
            && self.way.outlet.is_idle()
            && fate != Fate::Swallowed
            && !self.way.needs_mask(&first)
        {
            self.way.note(&first);
            self.way.outlet.passes(first.key, first.motion);
            return Some(Verdict::Pass);
        }
        // The release of a key that was swallowed as if it had never been: it is not down for anybody.
        let is_nothing = |first: &Effect| {
            fate == Fate::Swallowed
                && (first.key, first.motion) == (event.key, Motion::Release)
                && !self.way.outlet.is_down(first.key)
        };
        self.first = self.first.filter(|first| !is_nothing(first));
        self.send_first();
        (!self.is_stuck).then_some(Verdict::Swallow)
    }
}

impl Effects for Sink<'_, '_> {
    fn push(&mut self, effect: Effect) {
        if mem::take(&mut self.is_first) {
            self.first = Some(effect);
        } else {
            self.send_first();
            self.send(&effect);
        }
    }
}

/// Takes effects that are owed already.
struct Nowhere;

impl Effects for Nowhere {
    fn push(&mut self, _: Effect) {}
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyrx_engine::notation::parse;
    use keyrx_engine::{Action, DeviceInfo, Engine, Flavor, Input, KeymapBuilder, LayerId, TapHold};

    use super::super::output::{CAPACITY, Inlet, ring};
    use super::*;

    /// An engine as a handler, and what it was told of beside keys.
    struct Mapper {
        engine: Engine,
        interruptions: Vec<Interruption>,
    }

    impl Handler for Mapper {
        fn wants(&self, _: &DeviceInfo) -> bool {
            true
        }

        fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
            match event {
                Event::Key(event) => assert_ne!(event.key, Key::Fn, "the handler panics"),
                Event::Interrupted(_, why) => self.interruptions.push(why),
                _ => {}
            }
            Next::Wait(match event {
                Event::Key(event) => self.engine.step(Input::Key(event), effects),
                Event::Deadline(time) => self.engine.step(Input::Deadline(time), effects),
                Event::Interrupted(time, _) => self.engine.step(Input::ReleaseAll(time), effects),
                _ => None,
            })
        }
    }

    /// A is B; CapsLock is LCtrl; Z is LMeta; J is J, or LMeta when held for 200 ms; F is a layer in which H is Left;
    /// X is nothing.
    fn mapper() -> Mapper {
        let mut keymap = KeymapBuilder::new();
        let layer = keymap.layer("arrows").unwrap();
        let tap_hold = keymap.tap_hold(TapHold {
            tap: Action::Key(Key::J),
            hold: Action::Key(Key::LMeta),
            term: 200,
            flavor: Flavor::TapPreferred,
            quick_tap: 0,
            flow_tap: 0,
            chordal: false,
            retro_tap: false,
        });
        for (layer, key, action) in [
            (LayerId::BASE, Key::A, Action::Key(Key::B)),
            (LayerId::BASE, Key::CapsLock, Action::Key(Key::LCtrl)),
            (LayerId::BASE, Key::Z, Action::Key(Key::LMeta)),
            (LayerId::BASE, Key::J, tap_hold.unwrap()),
            (LayerId::BASE, Key::F, Action::LayerHold(layer)),
            (layer, Key::H, Action::Key(Key::Left)),
            (LayerId::BASE, Key::X, Action::Nothing),
        ] {
            keymap.map(layer, key, &[], None, action).unwrap();
        }
        Mapper { engine: Engine::new(keymap.build()), interruptions: Vec::new() }
    }

    /// A gate under test: what the system sees is written as `+A` for a native key, `[+A]` for one that was sent.
    struct Scene<'a> {
        gate: Gate<'a>,
        inlet: Inlet,
        seen: String,
        now: Time,
    }

    impl<'a> Scene<'a> {
        fn new(mapper: &'a mut Mapper) -> Scene<'a> {
            let (outlet, inlet) = ring(Arc::default());
            Scene { gate: Gate::new(mapper, outlet, true), inlet, seen: String::new(), now: Time::ZERO }
        }

        fn stroke(&self, key: Key, is_up: bool) -> Stroke {
            Stroke { time: self.now, key, is_up, has_no_release: false, device: DeviceId(0) }
        }

        fn see(&mut self, stroke: Stroke, verdict: Verdict) {
            if verdict == Verdict::Pass {
                let sign = if stroke.is_up { '-' } else { '+' };
                self.seen += &format!(" {sign}{}", stroke.key);
            }
        }

        fn key(&mut self, key: Key, is_up: bool) {
            let stroke = self.stroke(key, is_up);
            let verdict = self.gate.key(stroke);
            self.see(stroke, verdict);
        }

        /// The output thread sends all there is.
        fn send(&mut self) {
            let seen = &mut self.seen;
            while self.inlet.turn(&mut |acts| {
                for act in acts {
                    *seen += &match act {
                        Act::Key(key, Motion::Press) => format!(" [+{key}]"),
                        Act::Key(key, Motion::Release) => format!(" [-{key}]"),
                        Act::Key(key, Motion::Repeat) => format!(" [~{key}]"),
                        Act::Mask => " [mask]".into(),
                        Act::Canary => " [canary]".into(),
                    };
                }
                acts.len()
            }) {}
        }

        /// Plays keys in the notation of scenarios; everything is sent at once.
        fn play(&mut self, keys: &str) {
            let begin = self.now;
            for moment in parse(keys, begin).unwrap().0 {
                self.wait_until(moment.time);
                self.key(moment.key, moment.motion == Motion::Release);
                self.send();
            }
        }

        fn wait_until(&mut self, time: Time) {
            if let Some(deadline) = self.gate.deadline().filter(|deadline| *deadline <= time) {
                self.gate.tell(Event::Deadline(deadline), deadline);
                self.send();
            }
            self.now = time;
        }

        fn seen(&mut self) -> String {
            mem::take(&mut self.seen).trim_start().to_owned()
        }
    }

    fn check(keys: &str, expected: &str) {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play(keys);
        assert_eq!(scene.seen(), expected, "{keys}");
    }

    #[test]
    fn a_key_that_is_not_mapped_keeps_its_native_path_and_a_mapped_one_is_sent() {
        check("+S -S +A -A +X -X", "+S -S [+B] [-B]");
        check("+F +H -H -F +H -H", "[+Left] [-Left] +H -H");
        check("+F +H -F -H", "[+Left] [-Left]");
    }

    #[test]
    fn behind_a_key_that_is_not_sent_yet_a_native_one_is_sent_too() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        for (key, is_up) in [(Key::A, false), (Key::S, false), (Key::S, true), (Key::A, true)] {
            scene.key(key, is_up);
        }
        assert_eq!(scene.seen(), "");
        scene.send();
        assert_eq!(scene.seen(), "[+B] [+S] [-S] [-B]");
        scene.play("+S -S");
        assert_eq!(scene.seen(), "+S -S");
    }

    #[test]
    fn a_native_shift_comes_up_behind_what_was_typed_with_it() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play("+LShift");
        for (key, is_up) in [(Key::A, false), (Key::A, true), (Key::LShift, true)] {
            scene.key(key, is_up);
        }
        scene.send();
        assert_eq!(scene.seen(), "+LShift [+B] [-B] [-LShift]");
    }

    #[test]
    fn what_was_swallowed_is_not_let_out_again() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.key(Key::A, false);
        scene.key(Key::S, false);
        scene.send();
        scene.play("+S -S"); // the auto-repeat, and the release
        assert_eq!(scene.seen(), "[+B] [+S] [~S] [-S]");
    }

    #[test]
    fn auto_repeat_is_a_repeat() {
        check("+S +S +S -S", "+S +S +S -S");
        check("+A +A -A", "[+B] [~B] [-B]");
        check("+CapsLock +CapsLock -CapsLock", "[+LCtrl] [-LCtrl]");
    }

    #[test]
    fn a_lone_win_or_alt_opens_its_menu_if_that_is_what_was_pressed() {
        check("+LMeta -LMeta +LAlt -LAlt", "+LMeta -LMeta +LAlt -LAlt");
        check("+Z -Z", "[+LMeta] [-LMeta]");
        check("+LMeta +S -S -LMeta", "+LMeta +S -S -LMeta");
    }

    #[test]
    fn a_win_or_alt_that_only_served_as_something_else_is_masked() {
        check("+LMeta +X -X -LMeta", "+LMeta [mask] [-LMeta]");
        check("+LAlt +F -F -LAlt", "+LAlt [mask] [-LAlt]");
        check("+J @300 -J", "[+LMeta] [mask] [-LMeta]");
        check("+J @300 +S -S -J", "[+LMeta] +S -S [-LMeta]");
    }

    #[test]
    fn alt_gr_is_one_key() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        for is_up in [false, false, true] {
            let fake = scene.stroke(Key::LCtrl, is_up);
            let verdict = scene.gate.fake_ctrl(fake);
            scene.see(fake, verdict);
            scene.key(Key::RAlt, is_up);
        }
        assert_eq!(scene.seen(), "+LCtrl +RAlt -LCtrl -RAlt");
        // While something waits to be sent, it goes that way; Windows makes the LCtrl when the RAlt is sent.
        scene.key(Key::A, false);
        for is_up in [false, true] {
            let fake = scene.stroke(Key::LCtrl, is_up);
            let verdict = scene.gate.fake_ctrl(fake);
            scene.see(fake, verdict);
            scene.key(Key::RAlt, is_up);
        }
        scene.send();
        assert_eq!(scene.seen(), "[+B] [+RAlt] [-RAlt]");
    }

    #[test]
    fn a_key_without_a_release_is_a_tap() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        for key in [Key::A, Key::Grave] {
            for is_up in [false, false, true] {
                let stroke = Stroke { has_no_release: true, ..scene.stroke(key, is_up) };
                let verdict = scene.gate.key(stroke);
                scene.see(stroke, verdict);
                scene.send();
            }
        }
        assert_eq!(scene.seen(), "[+B] [-B] [+B] [-B] +Grave +Grave -Grave");
    }

    #[test]
    fn a_shift_that_windows_lifts_for_the_numpad_is_back_for_what_is_sent_instead() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.gate.fake_shift(Key::LShift, true);
        scene.play("+Numpad4 -Numpad4");
        scene.gate.fake_shift(Key::LShift, true);
        scene.play("+A -A");
        assert_eq!(scene.seen(), "+Numpad4 -Numpad4 [+LShift] [+B] [-B]");
    }

    #[test]
    fn an_interruption_releases_all_and_forgets_what_is_down() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play("+CapsLock +S");
        scene.gate.interrupt(Interruption::Left, scene.now);
        scene.send();
        assert_eq!(scene.seen(), "[+LCtrl] +S [-S] [-LCtrl]");
        // A key comes up unseen; the next press is one, and a release of nothing passes.
        scene.play("+S -S -CapsLock");
        assert_eq!(scene.seen(), "+S -S -CapsLock");
    }

    #[test]
    fn the_release_of_a_key_that_never_was_is_not_sent() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play("+A");
        scene.gate.tell(Event::Interrupted(scene.now, Interruption::Left), scene.now);
        scene.send();
        scene.play("-A");
        assert_eq!(scene.seen(), "[+B] [-B]");
    }

    #[test]
    fn a_full_ring_opens_the_gate_and_leaves_nothing_down() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play("+CapsLock +S");
        for _ in 0..CAPACITY / 2 {
            scene.key(Key::A, false);
            scene.key(Key::A, true);
        }
        assert_eq!(scene.seen(), "[+LCtrl] +S");
        scene.key(Key::A, false); // there is no room for this one
        scene.key(Key::CapsLock, true);
        scene.key(Key::A, true);
        scene.key(Key::D, false);
        assert_eq!(scene.seen(), "+A -CapsLock -A +D");
        scene.gate.tell_open(scene.now);
        scene.key(Key::S, true);
        assert_eq!(scene.seen(), "-S");
        scene.send();
        assert_eq!(scene.seen(), "[-LCtrl] [-B] [-S]");
        // All is as at the start; a key that was pressed meanwhile comes up as it went down.
        scene.play("-D +A -A +S -S");
        assert_eq!(scene.seen(), "-D [+B] [-B] +S -S");
        assert_eq!(mapper.interruptions, [Interruption::OutputStuck]);
    }

    #[test]
    fn a_ring_that_does_not_move_opens_the_gate_too() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.key(Key::CapsLock, false);
        scene.wait_until(Time::from_millis(1500));
        scene.key(Key::A, false);
        assert_eq!(scene.seen(), "+A");
        scene.gate.tell_open(scene.now);
        scene.send();
        assert_eq!(scene.seen(), "[-LCtrl]");
        scene.play("-CapsLock -A +A -A");
        assert_eq!(scene.seen(), "-CapsLock -A [+B] [-B]");
    }

    #[test]
    fn after_a_failure_of_the_handler_nothing_is_down() {
        let mut mapper = mapper();
        let mut scene = Scene::new(&mut mapper);
        scene.play("+CapsLock");
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.key(Key::Fn, false)));
        assert!(caught.is_err());
        scene.gate.open(Interruption::Failed);
        scene.gate.tell_open(scene.now);
        scene.send();
        scene.play("-CapsLock +A -A");
        assert_eq!(scene.seen(), "[+LCtrl] [-LCtrl] -CapsLock [+B] [-B]");
    }
}
