//! Time as the kernel stamps input events: CLOCK_MONOTONIC, as a duration since the boot.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How time passes in this guest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Only waiting takes time, and it takes exactly as long as asked for.
    Virtual,
    /// As on the wall.
    Real,
}

impl Clock {
    /// How much later than said an effect may come.
    pub fn tolerance(self) -> Duration {
        match self {
            Clock::Virtual => ms(1),
            Clock::Real => ms(60),
        }
    }

    /// How long the desktop is watched after the last key of a case.
    pub fn settling(self) -> Duration {
        match self {
            Clock::Virtual => ms(1500),
            Clock::Real => ms(400),
        }
    }
}

pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
