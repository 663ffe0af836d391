//! The one question a platform asks: a thing has happened, what is to be done?
//!
//! The platform owns the loop. A Windows hook must answer before it returns, a Linux loop may read many events at
//! once, the simulated platform runs on a virtual clock: the same `Handler` serves all three.

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
    /// A keyboard is gone, or is no longer read.
    Disconnected(Time, DeviceId),
    /// A key of such a keyboard moved.
    Key(KeyEvent),
    /// The moment that the handler had asked for has come.
    Deadline(Time),
    /// Keys may have moved unseen: the system was suspended, the desktop left. Nothing we hold may stay down.
    Interrupted(Time),
    /// Somebody called `Waker::wake`.
    Woken(Time),
    /// The last call: the effects of this one are carried out, then the keyboards are let go.
    Stopping(Time),
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

    /// Takes an event, and pushes what is to be done into `effects`, in order.
    fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next;
}
