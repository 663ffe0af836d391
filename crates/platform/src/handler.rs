//! The one question a platform asks: a thing has happened, what is to be done?
//!
//! The platform owns the loop. A Windows hook must answer before it returns, a Linux loop may read many events at
//! once, the simulated platform runs on a virtual clock: the same `Handler` serves all three.

use std::fmt;

use keyrx_engine::{DeviceId, DeviceInfo, Effects, KeyEvent, Time};

use crate::Error;

/// Everything a platform has to tell.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A keyboard that the handler wants is being read from now on.
    Connected(DeviceId, &'a DeviceInfo),
    /// A keyboard that the handler wants cannot be read. It is tried again when its rights change and after `Woken`.
    Refused(&'a DeviceInfo, &'a Error),
    /// Every keyboard that was there at the start is being read or has been refused. Told once.
    Ready,
    /// Something that the system refuses, and why, or gives again. Told at each change; at first all is given.
    Aid(Aid, Option<&'a Error>),
    /// A keyboard is gone, or is no longer read.
    Disconnected(Time, DeviceId),
    /// A key of such a keyboard moved.
    Key(KeyEvent),
    /// The moment that the handler had asked for has come.
    Deadline(Time),
    /// Keys may have moved unseen. Nothing we hold may stay down.
    Interrupted(Time, Interruption),
    /// Another program has the focus, or other ways of input. Told if the handler needs it.
    Focus(Time, &'a Focus),
    /// Somebody called `Waker::wake`.
    Woken(Time),
    /// What came of all events up to the last `Woken` has been handed to the system: the canary is through.
    Delivered(Time),
    /// The last call: the effects of this one are carried out, then the keyboards are let go.
    Stopping(Time),
}

/// What a platform can do without, should the system refuse it. It is asked for again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aid {
    /// Windows: raw input. Without it nobody knows which keyboard a key belongs to, or sees that the hook was lost.
    RawInput,
    /// Linux: word of device files that come and go. Without it the list of them is read every second.
    DeviceWatch,
}

impl Aid {
    /// How many there are; their numbers are below this.
    pub const COUNT: usize = 2;

    /// What is not so while the system refuses it.
    pub fn lack(self) -> &'static str {
        match self {
            Aid::RawInput => {
                "which keyboard a key belongs to is not known, and mappings of single keyboards do not hold; a lost \
                 hook goes unnoticed"
            }
            Aid::DeviceWatch => "a keyboard that is plugged in is found within a second, not at once",
        }
    }
}

/// Why keys may have moved unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The desktop was left: the screen is locked, a password or an elevation is asked for, the session changed.
    Left,
    /// The desktop is back.
    Returned,
    /// The system goes to sleep.
    Suspended,
    /// The system woke up.
    Resumed,
    /// Keys no longer came to the hook, which was put in again.
    HookLost,
    /// The hook took so long that the system may have dropped it; it was put in again.
    HookSlow,
    /// Keys could not be sent for too long; those that came meanwhile passed through.
    OutputStuck,
    /// The handler failed; the keys passed through.
    Failed,
    /// The handler was held up for so long that the keyboards were let go.
    LetGo,
}

impl Interruption {
    /// How many there are; their numbers are below this.
    pub const COUNT: usize = 9;

    /// All of them, in the order of their numbers, with the names that operators know.
    pub const ALL: [(Interruption, &str); Interruption::COUNT] = [
        (Interruption::Left, "left"),
        (Interruption::Returned, "returned"),
        (Interruption::Suspended, "suspended"),
        (Interruption::Resumed, "resumed"),
        (Interruption::HookLost, "hook_lost"),
        (Interruption::HookSlow, "hook_slow"),
        (Interruption::OutputStuck, "output_stuck"),
        (Interruption::Failed, "failed"),
        (Interruption::LetGo, "let_go"),
    ];

    /// The name that operators know.
    pub fn name(self) -> &'static str {
        Interruption::ALL.get(self as usize).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interruption::Left => "the desktop was left",
            Interruption::Returned => "the desktop is back",
            Interruption::Suspended => "the system goes to sleep",
            Interruption::Resumed => "the system woke up",
            Interruption::HookLost => "keys no longer came to the hook, which was put in again",
            Interruption::HookSlow => "the hook was slow, and was put in again",
            Interruption::OutputStuck => "keys could not be sent for too long, and passed through",
            Interruption::Failed => "an internal error; the key passed through",
            Interruption::LetGo => "keyrx was held up, and the keys passed through",
        })
    }
}

/// What stands in the focus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// The path of the program; empty where the system keeps it to itself.
    pub executable: String,
    /// Whether its input method is open.
    pub is_ime_open: bool,
    /// The language of its keyboard layout, as a BCP 47 tag.
    pub layout: String,
}

/// What a handler makes use of beside keys; what it does not need is not found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Which keyboard a key belongs to.
    pub keyboards: bool,
    /// What stands in the focus.
    pub focus: bool,
}

/// What the handler wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To be told of events, and called with `Event::Deadline` at that moment if it has not been called before.
    Wait(Option<Time>),
    /// An end: the platform answers with `Event::Stopping` and returns.
    Stop,
}

/// Decides what becomes of keys.
pub trait Handler {
    /// Whether a keyboard is to be read. Asked when it appears, and again for each after `Event::Woken`.
    fn wants(&self, device: &DeviceInfo) -> bool;

    /// What it makes use of beside keys. Asked at the start, and again after `Event::Woken` and `Event::Deadline`,
    /// where its keymap may have changed.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Takes an event, and pushes what is to be done into `effects`, in order.
    fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next;

    /// What came of the events so far is on its way, at this moment of the clock that stamps them. For those who
    /// measure; keys do not wait for it.
    fn carried_out(&mut self, _now: Time) {}
}
