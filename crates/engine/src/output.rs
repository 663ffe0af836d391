//! Output: which keys we hold down, counted by holder, and the effects that follow.
//!
//! Two holders of one key give one press and one release. All effects of the engine are pushed here.

use crate::event::{Cause, Effect, Effects, Motion, Time};
use crate::key::{Key, Modifiers};

#[derive(Clone, Debug)]
pub(crate) struct Output {
    holders: [u16; Key::COUNT],
    modifiers: Modifiers,
}

/// Where effects go, and what they have in common.
pub(crate) struct Emit<'a> {
    pub effects: &'a mut dyn Effects,
    pub time: Time,
    pub cause: Cause,
}

impl Emit<'_> {
    fn push(&mut self, motion: Motion, key: Key) {
        self.effects.push(Effect { time: self.time, motion, key, cause: self.cause });
    }
}

impl Output {
    pub fn new() -> Output {
        Output { holders: [0; Key::COUNT], modifiers: Modifiers::NONE }
    }

    /// The modifiers that are down, whoever holds them.
    pub fn modifiers(&self) -> Modifiers {
        self.modifiers
    }

    pub fn holders(&self, key: Key) -> u16 {
        self.holders.get(key.index()).copied().unwrap_or(0)
    }

    /// One more holder of `key`.
    pub fn press(&mut self, key: Key, emit: &mut Emit<'_>) {
        let Some(holders) = self.holders.get_mut(key.index()) else { return };
        *holders = holders.saturating_add(1);
        if *holders == 1 {
            self.modifiers = self.modifiers.union(key.modifier());
            emit.push(Motion::Press, key);
        }
    }

    /// One holder of `key` less.
    pub fn release(&mut self, key: Key, emit: &mut Emit<'_>) {
        let Some(holders) = self.holders.get_mut(key.index()) else { return };
        match *holders {
            0 => {}
            1 => {
                *holders = 0;
                self.modifiers = self.modifiers.without(key.modifier());
                emit.push(Motion::Release, key);
            }
            more => *holders = more.saturating_sub(1),
        }
    }

    /// Presses `key` anew although somebody holds it, and leaves it to its holder. False if nobody does.
    pub fn press_again(&mut self, key: Key, emit: &mut Emit<'_>) -> bool {
        let is_down = self.holders(key) > 0;
        if is_down {
            emit.push(Motion::Release, key);
            emit.push(Motion::Press, key);
        }
        is_down
    }

    /// The keyboard's auto-repeat of a key that is down; modifiers are not repeated.
    pub fn repeat(&self, key: Key, emit: &mut Emit<'_>) {
        if self.holders(key) > 0 && key.modifier().is_empty() {
            emit.push(Motion::Repeat, key);
        }
    }

    /// Passes on the release of a key whose press we have not seen, unless the key is down for another reason.
    pub fn pass_release(&self, key: Key, emit: &mut Emit<'_>) {
        if self.holders(key) == 0 {
            emit.push(Motion::Release, key);
        }
    }

    /// Whether exactly these numbers of holders are counted.
    pub fn is_held_by(&self, holders: &[u16; Key::COUNT]) -> bool {
        let modifiers = Key::all().filter(|key| self.holders(*key) > 0);
        let modifiers = modifiers.fold(Modifiers::NONE, |set, key| set.union(key.modifier()));
        self.holders == *holders && self.modifiers == modifiers
    }
}
