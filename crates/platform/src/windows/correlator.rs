//! Which keyboard a key of the hook belongs to: the hook does not say, raw input does, but before the hook or after
//! it, and perhaps never for keys that are swallowed.
//!
//! Nobody waits for it. A key is of the keyboard whose raw input has announced just this press; else of the one that
//! spoke last and may have pressed it, since people seldom change keyboards between two keys; else it is not known.

use keyrx_engine::{DeviceId, Key};

/// A press that raw input has told of belongs to a press of the hook within this time.
const SAME_PRESS_MS: i32 = 250;

/// Keyboards that are told apart; of further ones the least recent is forgotten.
const KEYBOARDS: usize = 16;

/// Presses that raw input has told of and the hook has not.
const ANNOUNCED: usize = 16;

/// What raw input has told so far.
#[derive(Debug, Default)]
pub struct Correlator {
    /// The keyboards, the one that spoke last first, and the key that each pressed last and has not released.
    spoke: Vec<(DeviceId, Option<Key>)>,
    /// Presses that the hook has not told of yet, oldest first.
    announced: Vec<Press>,
    /// Presses that the hook has told of and raw input has not, oldest first.
    answered: Vec<Press>,
}

#[derive(Clone, Copy, Debug)]
struct Press {
    device: DeviceId,
    key: Key,
    stamp: u32,
}

impl Correlator {
    /// A correlator that allocates nothing from now on.
    pub fn new() -> Correlator {
        Correlator {
            spoke: Vec::with_capacity(KEYBOARDS),
            announced: Vec::with_capacity(ANNOUNCED),
            answered: Vec::with_capacity(ANNOUNCED),
        }
    }

    /// Raw input told of a key.
    pub fn raw(&mut self, device: DeviceId, key: Key, is_up: bool, stamp: u32) {
        let down = match self.spoke.iter().position(|(spoke, _)| *spoke == device) {
            Some(place) => self.spoke.remove(place).1,
            None => None,
        };
        let is_repeat = down == Some(key) && !is_up;
        let down = match is_up {
            true => down.filter(|down| *down != key),
            false => Some(key),
        };
        self.spoke.truncate(KEYBOARDS.saturating_sub(1));
        self.spoke.insert(0, (device, down));
        if is_up || is_repeat {
            return;
        }
        // The hook was first: nothing is to be announced.
        if take(&mut self.answered, key, stamp).is_none() {
            push(&mut self.announced, Press { device, key, stamp });
        }
    }

    /// The keyboard of a press that the hook tells of.
    pub fn device_of(&mut self, key: Key, stamp: u32) -> DeviceId {
        if let Some(press) = take(&mut self.announced, key, stamp) {
            return press.device;
        }
        // A keyboard that has this key down cannot press it.
        let may_have = self.spoke.iter().find(|(_, down)| *down != Some(key));
        let device = may_have.map_or(DeviceId::UNKNOWN, |(device, _)| *device);
        push(&mut self.answered, Press { device, key, stamp });
        device
    }

    /// The hook told of a release. Raw input may not tell of it, if the key is swallowed.
    pub fn released(&mut self, key: Key) {
        for (_, down) in &mut self.spoke {
            *down = down.filter(|down| *down != key);
        }
    }

    /// A keyboard is gone.
    pub fn forget(&mut self, device: DeviceId) {
        self.spoke.retain(|(spoke, _)| *spoke != device);
        self.announced.retain(|press| press.device != device);
    }
}

/// Takes out the oldest press of this key that may be the same one.
fn take(presses: &mut Vec<Press>, key: Key, stamp: u32) -> Option<Press> {
    presses.retain(|press| stamp.wrapping_sub(press.stamp).cast_signed() <= SAME_PRESS_MS);
    let place = presses.iter().position(|press| press.key == key)?;
    Some(presses.remove(place))
}

fn push(presses: &mut Vec<Press>, press: Press) {
    if presses.len() == ANNOUNCED {
        presses.remove(0);
    }
    presses.push(press);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: DeviceId = DeviceId(1);
    const TWO: DeviceId = DeviceId(2);

    #[test]
    fn raw_input_before_the_hook_tells_the_keyboard() {
        let mut it = Correlator::new();
        it.raw(ONE, Key::A, false, 100);
        assert_eq!(it.device_of(Key::A, 100), ONE);
        it.raw(ONE, Key::A, true, 150);
        it.raw(TWO, Key::A, false, 200);
        assert_eq!(it.device_of(Key::A, 201), TWO);
    }

    #[test]
    fn two_keyboards_at_once_are_told_apart_when_raw_input_comes_first() {
        let mut it = Correlator::new();
        it.raw(ONE, Key::A, false, 100);
        it.raw(TWO, Key::S, false, 100);
        assert_eq!((it.device_of(Key::A, 101), it.device_of(Key::S, 101)), (ONE, TWO));
    }

    #[test]
    fn raw_input_after_the_hook_serves_the_keys_that_follow() {
        let mut it = Correlator::new();
        assert_eq!(it.device_of(Key::A, 100), DeviceId::UNKNOWN);
        it.raw(ONE, Key::A, false, 100);
        it.raw(ONE, Key::A, true, 150);
        assert_eq!(it.device_of(Key::A, 200), ONE);
        it.raw(ONE, Key::A, false, 200);
        it.raw(ONE, Key::A, true, 250);
        // The first key on the other keyboard is taken for one of the first keyboard; the second is not.
        assert_eq!(it.device_of(Key::S, 1000), ONE);
        it.raw(TWO, Key::S, false, 1000);
        assert_eq!(it.device_of(Key::D, 1100), TWO);
    }

    #[test]
    fn a_late_announcement_is_not_taken_for_the_next_press_of_the_key() {
        let mut it = Correlator::new();
        it.device_of(Key::A, 100);
        it.raw(ONE, Key::A, false, 100);
        it.raw(ONE, Key::A, true, 120);
        it.raw(TWO, Key::B, false, 150);
        assert_eq!(it.device_of(Key::A, 200), TWO, "the one that spoke last");
    }

    #[test]
    fn without_raw_input_the_keyboard_is_the_last_that_spoke() {
        let mut it = Correlator::new();
        it.raw(TWO, Key::A, false, 100);
        it.device_of(Key::A, 100);
        it.raw(TWO, Key::A, true, 110);
        for (key, stamp) in [(Key::S, 5000), (Key::D, 5100), (Key::S, 9000)] {
            assert_eq!(it.device_of(key, stamp), TWO);
        }
    }

    #[test]
    fn a_keyboard_that_has_the_key_down_has_not_pressed_it() {
        let mut it = Correlator::new();
        it.raw(TWO, Key::S, false, 90);
        it.device_of(Key::S, 90);
        it.raw(ONE, Key::A, false, 100);
        assert_eq!(it.device_of(Key::A, 100), ONE);
        assert_eq!(it.device_of(Key::A, 700), TWO);
    }

    #[test]
    fn a_release_that_only_the_hook_tells_of_leaves_nothing_down() {
        let mut it = Correlator::new();
        it.raw(ONE, Key::A, false, 100);
        it.device_of(Key::A, 100);
        it.released(Key::A);
        assert_eq!(it.device_of(Key::A, 300), ONE);
    }

    #[test]
    fn auto_repeat_announces_nothing() {
        let mut it = Correlator::new();
        it.raw(ONE, Key::A, false, 100);
        it.device_of(Key::A, 100);
        it.raw(ONE, Key::A, false, 600);
        it.raw(ONE, Key::A, true, 650);
        it.raw(TWO, Key::B, false, 660);
        assert_eq!(it.device_of(Key::A, 700), TWO);
    }

    #[test]
    fn a_keyboard_that_is_gone_presses_nothing() {
        let mut it = Correlator::new();
        it.raw(ONE, Key::A, false, 100);
        it.forget(ONE);
        assert_eq!(it.device_of(Key::A, 101), DeviceId::UNKNOWN);
    }
}
