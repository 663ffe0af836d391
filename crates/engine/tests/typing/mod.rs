//! Somebody typing English: for the benchmark and for the proof that nothing is allocated.
//!
//! About 115 ms from key to key, each down for 85 ms, so that some overlap; 3 % are shortcuts with a home-row key
//! held, 2 % go through a layer, and after 4 % there is a pause.

use keyrx_engine::{
    Action, DeviceId, Effect, Effects, Engine, Flavor, Input, Key, KeyEvent, Keymap, KeymapBuilder, LayerId,
    Modifiers, Motion, TapHold, Time,
};

const TEXT: &str = "a keyboard is a quiet tool when it does what the hands expect of it and a loud one when it \
    does not so the program that stands between the two has one duty above all the others which is to be \
    forgotten it has to pass on what it has no business with and change what it was asked to change every time \
    and without delay however fast the keys roll over each other and whatever else the machine is doing just now";

/// The key that reaches the layer.
pub const LAYER_KEY: Key = Key::RAlt;

/// A small generator of numbers, the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// At least `count` events, in order of time. Shortcuts hold one of the home-row keys.
pub fn events(count: usize) -> Vec<KeyEvent> {
    let mut dice = Dice(1);
    let mut events = Vec::new();
    let mut time = 0;
    let mut letters = TEXT.chars().cycle();
    let event = |micros: u64, key: Key, motion: Motion| KeyEvent {
        time: Time::from_micros(micros),
        device: DeviceId(0),
        key,
        motion,
    };
    let home_row = [Key::A, Key::S, Key::D, Key::F, Key::J, Key::K, Key::L, Key::Semicolon];
    while events.len() < count {
        let key = match letters.next() {
            Some(' ') | None => Key::Space,
            Some(letter) => Key::from_name(&letter.to_uppercase().to_string()).unwrap_or(Key::Space),
        };
        let down = 70_000 + dice.roll(30_000);
        let holder = match dice.roll(100) {
            0..3 => Some(home_row[dice.roll(8) as usize]).filter(|holder| *holder != key),
            3..5 => Some(LAYER_KEY),
            _ => None,
        };
        if let Some(holder) = holder {
            events.push(event(time, holder, Motion::Press));
            time += 250_000;
        }
        events.push(event(time, key, Motion::Press));
        events.push(event(time + down, key, Motion::Release));
        time += 100_000 + dice.roll(30_000);
        if let Some(holder) = holder {
            time += 120_000;
            events.push(event(time, holder, Motion::Release));
            time += 60_000;
        }
        if dice.roll(100) < 4 {
            time += 800_000;
        }
    }
    events.sort_by_key(|event| event.time);
    events
}

/// A few plain remaps, and a layer with arrows.
pub fn remaps_and_a_layer() -> Keymap {
    let mut builder = KeymapBuilder::new();
    plain(&mut builder).unwrap();
    builder.build()
}

/// The same, and the eight home-row keys with a modifier each.
pub fn home_row_mods() -> Keymap {
    let mut builder = KeymapBuilder::new();
    plain(&mut builder).unwrap();
    let left = [(Key::A, Key::LMeta), (Key::S, Key::LAlt), (Key::D, Key::LCtrl), (Key::F, Key::LShift)];
    let right =
        [(Key::J, Key::RShift), (Key::K, Key::RCtrl), (Key::L, Key::RAlt), (Key::Semicolon, Key::RMeta)];
    for (key, modifier) in left.into_iter().chain(right) {
        let action = builder.tap_hold(TapHold {
            tap: Action::Key(key),
            hold: Action::Key(modifier),
            term: 200,
            flavor: Flavor::Balanced,
            quick_tap: 0,
            flow_tap: 0,
            chordal: false,
            retro_tap: false,
        });
        builder.map(LayerId::BASE, key, &[], None, action.unwrap()).unwrap();
    }
    builder.build()
}

fn plain(builder: &mut KeymapBuilder) -> Result<(), keyrx_engine::TooMany> {
    let arrows = builder.layer("arrows")?;
    let base = LayerId::BASE;
    for (from, to) in [(Key::CapsLock, Key::Escape), (Key::Q, Key::X), (Key::X, Key::Q)] {
        builder.map(base, from, &[], None, Action::Key(to))?;
    }
    builder.map(base, LAYER_KEY, &[], None, Action::LayerHold(arrows))?;
    for (from, to) in [(Key::E, Key::Up), (Key::T, Key::Down), (Key::O, Key::Left), (Key::N, Key::Right)] {
        builder.map(arrows, from, &[], None, Action::Key(to))?;
    }
    builder.map(arrows, Key::Space, &[], None, Action::Chord(Modifiers::SHIFT, Key::Tab))?;
    Ok(())
}

/// Counts effects, as cheaply as that can be.
#[derive(Default)]
pub struct Counter(pub usize);

impl Effects for Counter {
    fn push(&mut self, effect: Effect) {
        self.0 += 1 + (effect.key.index() >> 16);
    }
}

/// Feeds the events to the engine, firing deadlines when they are due, as a platform does. Returns how many effects
/// came out.
#[inline(never)]
pub fn play(engine: &mut Engine, events: &[KeyEvent]) -> usize {
    let mut effects = Counter::default();
    let mut deadline: Option<Time> = None;
    for event in events {
        while let Some(due) = deadline.filter(|due| *due <= event.time) {
            deadline = engine.step(Input::Deadline(due), &mut effects);
        }
        deadline = engine.step(Input::Key(*event), &mut effects);
    }
    effects.0
}
