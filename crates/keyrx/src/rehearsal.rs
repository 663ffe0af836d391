//! A keymap is tried out before it touches a key: every key is typed, alone and beside others, and in the end nothing
//! may be down.

use std::collections::BTreeSet;

use keyrx_engine::{DeviceId, Effect, Engine, Input, Key, KeyEvent, Keymap, Motion, Time};

/// How long a key is down that is to be held, longer than any usual term; and between two keys.
const HOLD_MS: u16 = 400;
const STEP_MS: u16 = 10;

/// More moments than these in a row are one too many.
const MOST_DEADLINES: usize = 1000;

/// Gives the keymap back, or says what is wrong with what came out.
pub fn rehearse(keymap: Keymap) -> Result<Keymap, String> {
    let mut rehearsal = Rehearsal { engine: Engine::new(keymap), now: Time::ZERO, down: BTreeSet::new() };
    let mut before = None;
    for key in Key::all() {
        // Tapped, held, and rolled over the key before it.
        rehearsal.press(key, STEP_MS);
        rehearsal.release(key, STEP_MS);
        rehearsal.press(key, HOLD_MS);
        rehearsal.release(key, STEP_MS);
        if let Some(before) = before.replace(key) {
            rehearsal.press(before, STEP_MS);
            rehearsal.press(key, STEP_MS);
            rehearsal.release(before, STEP_MS);
            rehearsal.release(key, STEP_MS);
        }
        rehearsal.settle()?;
    }
    Ok(rehearsal.engine.into_keymap())
}

struct Rehearsal {
    engine: Engine,
    now: Time,
    /// What is down for the system.
    down: BTreeSet<Key>,
}

impl Rehearsal {
    fn press(&mut self, key: Key, then: u16) {
        self.key(key, Motion::Press, then);
    }

    fn release(&mut self, key: Key, then: u16) {
        self.key(key, Motion::Release, then);
    }

    fn key(&mut self, key: Key, motion: Motion, then: u16) {
        self.step(Input::Key(KeyEvent { time: self.now, device: DeviceId::UNKNOWN, key, motion }));
        self.now = self.now.plus_millis(then);
    }

    fn step(&mut self, input: Input) {
        let mut effects: Vec<Effect> = Vec::new();
        self.engine.step(input, &mut effects);
        for effect in effects {
            match effect.motion {
                Motion::Press => _ = self.down.insert(effect.key),
                Motion::Release => _ = self.down.remove(&effect.key),
                Motion::Repeat => {}
            }
        }
    }

    /// Lets time run until nothing is waited for; no key is down on the keyboard.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..MOST_DEADLINES {
            let Some(deadline) = self.engine.deadline() else {
                return match self.down.first() {
                    None => Ok(()),
                    Some(key) => Err(format!("{key} stays down when all keys are up")),
                };
            };
            self.now = self.now.max(deadline);
            self.step(Input::Deadline(deadline));
        }
        Err("it waits without end".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keymaps_of_all_kinds_pass() {
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../keymaps")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|end| end == "rhai") {
                rehearse(keyrx_config::load(&path).keymap.unwrap()).unwrap();
            }
        }
    }

    #[test]
    fn what_stays_down_is_found() {
        let keymap = keyrx_config::load_text("test", r#"map("A", "B");"#, None).keymap.unwrap();
        let mut rehearsal = Rehearsal { engine: Engine::new(keymap), now: Time::ZERO, down: BTreeSet::new() };
        rehearsal.press(Key::A, STEP_MS);
        assert_eq!(rehearsal.settle().unwrap_err(), "B stays down when all keys are up");
    }
}
