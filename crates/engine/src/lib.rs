//! What keys mean: the engine of keyrx.
//!
//! A `Keymap` says what the keys are mapped to; an `Engine` takes what keyboards report, one `Input` at a time, and
//! hands out `Effect`s and the next moment at which it must be called. No I/O, no clock, no thread, no unsafe code;
//! `Engine::step` neither allocates nor panics.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, reason = "tests may fail"))]

extern crate alloc;

mod action;
mod bounded;
mod condition;
mod device;
mod engine;
mod event;
mod held;
mod key;
mod keymap;
mod layers;
pub mod notation;
mod output;
mod pending;
mod situation;
mod tap_hold;

pub use action::{Action, CustomId, Flavor, TapHold};
pub use condition::{Condition, Literal, Test};
pub use device::{DeviceInfo, Pattern};
pub use engine::Engine;
pub use event::{Cause, DeviceId, Effect, Effects, Input, KeyEvent, Motion, Rule, Time};
pub use key::{Hand, Key, Modifiers};
pub use keymap::{
    ConditionId, Keymap, KeymapBuilder, LanguageId, LayerId, MappingId, PatternId, SequenceId, TapHoldId,
    TooMany,
};
