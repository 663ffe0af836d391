//! No keyboards: what runs while keyrx rests, and takes none.
//!
//! It has the shape of the other platforms: the handler is woken, called at its deadlines, and told of the end.

use std::time::Duration;

use keyrx_engine::{Effect, Effects, Time};

use crate::native::now;
use crate::{Event, Handler, Next};

/// Why `run` has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The handler has said stop, and has been told that it stops.
    Stopped,
    /// There is no more rest. The handler goes on elsewhere.
    Rested,
}

/// Runs the handler until it says stop, or there is nothing left of the rest: how much there is, is asked at every
/// wake-up. `wait` returns after so long, or when somebody wakes it.
pub fn run(handler: &mut dyn Handler, wait: impl Fn(Duration), left: &dyn Fn() -> Option<Duration>) -> Ended {
    let nowhere = &mut Nowhere;
    let Some(mut rest) = left() else { return Ended::Rested };
    let mut next = handler.handle(Event::Ready, nowhere);
    loop {
        let Next::Wait(deadline) = next else {
            handler.handle(Event::Stopping(now()), nowhere);
            return Ended::Stopped;
        };
        let until = |moment: Time| moment.micros().saturating_sub(now().micros());
        wait(deadline.map_or(rest, |moment| rest.min(Duration::from_micros(until(moment)))));
        // A wake-up is what brings a handler up to date, deadlines and all.
        next = handler.handle(Event::Woken(now()), nowhere);
        if next != Next::Stop {
            handler.handle(Event::Delivered(now()), nowhere);
        }
        match left() {
            Some(left) => rest = left,
            None if next != Next::Stop => return Ended::Rested,
            None => {}
        }
    }
}

/// Without a keyboard no key is down, and there is none to release.
struct Nowhere;

impl Effects for Nowhere {
    fn push(&mut self, _: Effect) {}
}
