//! Keyboards that exist only here, on a clock that only the caller moves, failing when the caller says so.
//!
//! It drives a `Handler` just as the real platforms do: for `keyrx test`, `keyrx simulate`, the demo and the tests.

mod live;

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use keyrx_engine::{Cause, DeviceId, DeviceInfo, Effect, Key, KeyEvent, Motion, Rule, Time};

pub use live::{Printed, Remote, Stage, run, stage};

use crate::{Error, Event, Handler, Interruption, Next};

/// More deadlines than this in one `finish` are a handler's mistake.
const MOST_DEADLINES: usize = 100_000;

/// A handler among simulated keyboards.
pub struct Simulated<'h> {
    handler: &'h mut dyn Handler,
    keyboards: Vec<Keyboard>,
    output: Output,
    now: Time,
    deadline: Option<Time>,
    effects: Vec<Effect>,
    /// The output keys that are down.
    held: BTreeSet<Key>,
    /// The zero of the clock, where time is real: then it is measured how long answers take.
    start: Option<Instant>,
}

/// A keyboard; its place is its `DeviceId`.
struct Keyboard {
    info: DeviceInfo,
    is_plugged_in: bool,
    /// Whether its keys go to the handler; otherwise they go their own way.
    is_read: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Working,
    /// The next effect of the handler cannot be carried out.
    Broken,
    /// The handler has stopped, or its output has failed: every keyboard has been let go, and it is told no more.
    Gone,
}

impl<'h> Simulated<'h> {
    /// No keyboard yet, and no time passed.
    pub fn new(handler: &'h mut dyn Handler) -> Simulated<'h> {
        Simulated::starting(handler, None)
    }

    /// As `new`, where the caller moves the clock along with the real one.
    pub fn in_real_time(handler: &'h mut dyn Handler, start: Instant) -> Simulated<'h> {
        Simulated::starting(handler, Some(start))
    }

    fn starting(handler: &'h mut dyn Handler, start: Option<Instant>) -> Simulated<'h> {
        let mut simulated = Simulated {
            handler,
            keyboards: Vec::new(),
            output: Output::Working,
            now: Time::ZERO,
            deadline: None,
            effects: Vec::new(),
            held: BTreeSet::new(),
            start,
        };
        simulated.tell(Event::Ready);
        simulated
    }

    /// Plugs a keyboard in. One like it that was unplugged before gives it its number.
    pub fn connect(&mut self, info: DeviceInfo) -> DeviceId {
        let before = self.keyboards.iter().position(|it| !it.is_plugged_in && it.info == info);
        let place = before.unwrap_or(self.keyboards.len());
        if before.is_none() {
            self.keyboards.push(Keyboard { info, is_plugged_in: false, is_read: false });
        }
        if let Some(keyboard) = self.keyboards.get_mut(place) {
            keyboard.is_plugged_in = true;
        }
        let device = DeviceId(place as u16);
        self.choose(device);
        device
    }

    /// Pulls a keyboard out, whatever is down on it.
    pub fn unplug(&mut self, device: DeviceId) {
        let Some(keyboard) = self.keyboard(device) else { return };
        keyboard.is_plugged_in = false;
        if mem::take(&mut keyboard.is_read) {
            self.tell(Event::Disconnected(self.now, device));
        }
    }

    /// Moves a key of a keyboard that is plugged in.
    pub fn key(&mut self, device: DeviceId, key: Key, motion: Motion) {
        let time = self.now;
        match self.keyboard(device) {
            Some(keyboard) if keyboard.is_read => {
                self.tell(Event::Key(KeyEvent { time, device, key, motion }))
            }
            Some(_) => {
                let cause = Cause { key, device, mapping: None, rule: Rule::Unmapped };
                self.effects.push(Effect { time, motion, key, cause });
            }
            None => {}
        }
    }

    /// Lets time pass until `to`; deadlines are called out on the way, those of the last instant too.
    pub fn advance(&mut self, to: Time) {
        while self.call_deadline(to) {}
        self.now = self.now.max(to);
    }

    /// Tells of an interruption, such as the system being suspended.
    pub fn interrupt(&mut self, why: Interruption) {
        self.tell(Event::Interrupted(self.now, why));
    }

    /// Whether the handler has stopped, or its output has failed.
    pub fn is_over(&self) -> bool {
        self.output == Output::Gone
    }

    /// Does what a waker does on a real platform.
    pub fn wake(&mut self) {
        self.tell(Event::Woken(self.now));
        self.tell(Event::Delivered(self.now));
        for place in 0..self.keyboards.len() {
            self.choose(DeviceId(place as u16));
        }
    }

    /// From now on no effect can be carried out: at the first one the keyboards are let go, and work as they do
    /// without keyrx.
    pub fn break_output(&mut self) {
        if self.output == Output::Working {
            self.output = Output::Broken;
        }
    }

    /// What has come out since this was last asked.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The moment that the handler has asked for: for those who let real time pass.
    pub fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Lets time pass until no deadline is left, and gives what has come out since it was last asked.
    pub fn finish(mut self) -> Result<Vec<Effect>, Error> {
        for _ in 0..MOST_DEADLINES {
            let Some(deadline) = self.deadline else { return Ok(self.effects) };
            self.call_deadline(deadline);
        }
        Err(Error::EndlessDeadlines)
    }

    fn keyboard(&mut self, device: DeviceId) -> Option<&mut Keyboard> {
        self.keyboards.get_mut(usize::from(device.0)).filter(|keyboard| keyboard.is_plugged_in)
    }

    /// Asks whether a keyboard is wanted, and tells what changes by that.
    fn choose(&mut self, device: DeviceId) {
        if self.output == Output::Gone {
            return;
        }
        let Some(keyboard) = self.keyboards.get_mut(usize::from(device.0)) else { return };
        let is_read = keyboard.is_plugged_in && self.handler.wants(&keyboard.info);
        let was_read = mem::replace(&mut keyboard.is_read, is_read);
        let info = keyboard.info.clone();
        match (was_read, is_read) {
            (false, true) => self.tell(Event::Connected(device, &info)),
            (true, false) => self.tell(Event::Disconnected(self.now, device)),
            (true, true) | (false, false) => {}
        }
    }

    /// Calls the deadline out if it comes by `to`.
    fn call_deadline(&mut self, to: Time) -> bool {
        let Some(deadline) = self.deadline.take_if(|deadline| *deadline <= to) else { return false };
        self.now = self.now.max(deadline);
        self.tell(Event::Deadline(deadline));
        true
    }

    fn tell(&mut self, event: Event<'_>) {
        if self.output == Output::Gone {
            return;
        }
        let before = self.effects.len();
        let next = self.handler.handle(event, &mut self.effects);
        if self.output == Output::Broken && self.effects.len() > before {
            self.effects.truncate(before);
            self.let_go();
            return;
        }
        for effect in self.effects.iter().skip(before) {
            match effect.motion {
                Motion::Press => self.held.insert(effect.key),
                Motion::Release => self.held.remove(&effect.key),
                Motion::Repeat => false,
            };
        }
        let now = self.start.map_or(self.now, live::now);
        self.handler.carried_out(now);
        match (next, event) {
            (_, Event::Stopping(_)) => self.let_go(),
            (Next::Stop, _) => self.tell(Event::Stopping(self.now)),
            (Next::Wait(deadline), _) => self.deadline = deadline,
        }
    }

    /// Does what the system does when keyrx is gone: what it held is released, and keyboards are plain keyboards.
    fn let_go(&mut self) {
        self.output = Output::Gone;
        self.deadline = None;
        for keyboard in &mut self.keyboards {
            keyboard.is_read = false;
        }
        for key in mem::take(&mut self.held) {
            let cause = Cause { key, device: DeviceId::UNKNOWN, mapping: None, rule: Rule::ReleasedAll };
            self.effects.push(Effect { time: self.now, motion: Motion::Release, key, cause });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyrx_engine::Effects;

    /// Maps A to B, releases what it holds when its keyboard goes or it is interrupted or stopped, taps X a second
    /// after each press, and stops at Escape. It does not want mice.
    #[derive(Default)]
    struct Mapper {
        holds: bool,
        wants_nothing: bool,
        ticks: bool,
        log: Vec<String>,
    }

    impl Handler for Mapper {
        fn wants(&self, device: &DeviceInfo) -> bool {
            !self.wants_nothing && device.name != "mouse"
        }

        fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
            let cause = Cause { key: Key::A, device: DeviceId(0), mapping: None, rule: Rule::Mapped };
            let mut push = |time, key, motion| effects.push(Effect { time, motion, key, cause });
            match event {
                Event::Key(KeyEvent { key: Key::Escape, .. }) => return Next::Stop,
                Event::Key(KeyEvent { time, motion, .. }) => {
                    self.holds = motion != Motion::Release;
                    push(time, Key::B, motion);
                    if motion == Motion::Press {
                        return Next::Wait(Some(time.plus_millis(1000)));
                    }
                }
                Event::Deadline(time) => {
                    push(time, Key::X, Motion::Press);
                    push(time, Key::X, Motion::Release);
                    if self.ticks {
                        return Next::Wait(Some(time));
                    }
                }
                Event::Disconnected(time, _) | Event::Interrupted(time, _) | Event::Stopping(time) => {
                    if mem::take(&mut self.holds) {
                        push(time, Key::B, Motion::Release);
                    }
                }
                Event::Connected(..) | Event::Refused(..) | Event::Ready => {}
                Event::Focus(..) | Event::Aid(..) | Event::Woken(_) | Event::Delivered(_) => {}
            }
            if !matches!(event, Event::Key(_) | Event::Deadline(_)) {
                let text = format!("{event:?}");
                self.log.extend(text.split('(').next().map(String::from));
            }
            Next::Wait(None)
        }
    }

    fn written(effects: &[Effect]) -> String {
        let one = |effect: &Effect| {
            let sign = match effect.motion {
                Motion::Press => '+',
                Motion::Release => '-',
                Motion::Repeat => '~',
            };
            format!("@{} {sign}{}", effect.time.micros() / 1000, effect.key)
        };
        effects.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn check(play: impl FnOnce(&mut Simulated<'_>), expected: &str) -> Vec<String> {
        let mut mapper = Mapper::default();
        let mut simulated = Simulated::new(&mut mapper);
        play(&mut simulated);
        assert_eq!(written(&simulated.finish().unwrap()), expected);
        mapper.log
    }

    fn keyboard(simulated: &mut Simulated<'_>) -> DeviceId {
        simulated.connect(DeviceInfo::named("keyboard"))
    }

    #[test]
    fn deadlines_come_in_their_own_time_and_before_an_event_of_the_same_instant() {
        let log = check(
            |it| {
                let device = keyboard(it);
                it.key(device, Key::A, Motion::Press);
                it.advance(Time::from_millis(1000));
                it.key(device, Key::A, Motion::Release);
                it.advance(Time::from_millis(1500));
                it.key(device, Key::A, Motion::Press);
            },
            "@0 +B @1000 +X @1000 -X @1000 -B @1500 +B @2500 +X @2500 -X",
        );
        assert_eq!(log, ["Ready", "Connected"]);
    }

    #[test]
    fn keys_of_a_device_that_is_not_wanted_go_their_own_way() {
        let log = check(
            |it| {
                let device = it.connect(DeviceInfo::named("mouse"));
                it.key(device, Key::MouseLeft, Motion::Press);
            },
            "@0 +MouseLeft",
        );
        assert_eq!(log, ["Ready"]);
    }

    #[test]
    fn an_unplugged_keyboard_says_no_more_and_keeps_its_number() {
        let log = check(
            |it| {
                let device = keyboard(it);
                it.key(device, Key::A, Motion::Press);
                it.unplug(device);
                it.key(device, Key::A, Motion::Release);
                assert_eq!(it.connect(DeviceInfo::named("another")), DeviceId(1));
                assert_eq!(keyboard(it), device);
            },
            "@0 +B @0 -B",
        );
        assert_eq!(log, ["Ready", "Connected", "Disconnected", "Connected", "Connected"]);
    }

    #[test]
    fn after_a_wake_every_keyboard_is_asked_for_again() {
        let mut mapper = Mapper { wants_nothing: true, ..Mapper::default() };
        let mut simulated = Simulated::new(&mut mapper);
        let device = keyboard(&mut simulated);
        simulated.key(device, Key::A, Motion::Press);
        assert_eq!(written(&simulated.take_effects()), "@0 +A");
        simulated.wake();
        drop(simulated);
        assert_eq!(mapper.log, ["Ready", "Woken", "Delivered"]);
        mapper.wants_nothing = false;
        let mut simulated = Simulated::new(&mut mapper);
        let device = keyboard(&mut simulated);
        simulated.wake();
        simulated.key(device, Key::A, Motion::Press);
        assert_eq!(written(&simulated.take_effects()), "@0 +B");
    }

    #[test]
    fn when_the_output_fails_nothing_stays_down_and_keyboards_are_plain() {
        check(
            |it| {
                let device = keyboard(it);
                it.key(device, Key::A, Motion::Press);
                it.break_output();
                it.advance(Time::from_millis(1000));
                it.key(device, Key::A, Motion::Press);
            },
            "@0 +B @1000 -B @1000 +A",
        );
    }

    #[test]
    fn after_the_last_event_keyboards_are_plain() {
        let log = check(
            |it| {
                let device = keyboard(it);
                it.key(device, Key::A, Motion::Press);
                it.key(device, Key::Escape, Motion::Press);
                it.key(device, Key::A, Motion::Press);
                it.interrupt(Interruption::Left);
            },
            "@0 +B @0 -B @0 +A",
        );
        assert_eq!(log, ["Ready", "Connected", "Stopping"]);
    }

    #[test]
    fn an_interruption_is_told() {
        let log = check(
            |it| {
                let device = keyboard(it);
                it.key(device, Key::A, Motion::Press);
                it.interrupt(Interruption::Left);
            },
            "@0 +B @0 -B",
        );
        assert_eq!(log, ["Ready", "Connected", "Interrupted"]);
    }

    #[test]
    fn deadlines_without_end_are_an_error() {
        let mut mapper = Mapper { ticks: true, ..Mapper::default() };
        let mut simulated = Simulated::new(&mut mapper);
        let device = keyboard(&mut simulated);
        simulated.key(device, Key::A, Motion::Press);
        assert!(matches!(simulated.finish(), Err(Error::EndlessDeadlines)));
    }
}
