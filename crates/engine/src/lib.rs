//! What keys mean: the engine of keyrx.
//!
//! A `Keymap` says what the keys are mapped to; an `Engine` takes what keyboards report, one `Input` at a time, and
//! hands out `Effect`s and the next moment at which it must be called. No I/O, no clock, no thread, no unsafe code;
//! `Engine::step` neither allocates nor panics.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod action;
mod condition;
mod device;
mod event;
mod key;
mod keymap;

pub use action::{Action, CustomId, Flavor, TapHold};
pub use condition::{Condition, Literal, Test};
pub use device::{DeviceInfo, Pattern};
pub use event::{Cause, DeviceId, Effect, Effects, Input, KeyEvent, Motion, Rule, Time};
pub use key::{Hand, Key, Modifiers};
pub use keymap::{
    ConditionId, Keymap, KeymapBuilder, LanguageId, LayerId, MappingId, PatternId, SequenceId, TapHoldId, TooMany,
};
