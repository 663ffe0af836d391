//! The cases, by what they are about.

mod daemon;
mod devices;
mod guard;
mod keys;
mod permissions;
mod reload;
mod resources;
mod selftest;
mod stopping;
mod tray;

use crate::scene::Scene;
use crate::time::Clock;

/// Something that holds of keyrx on a real kernel.
pub struct Case {
    /// What holds, in words.
    pub name: &'static str,
    pub clocks: Clocks,
    pub run: fn(&mut Scene),
}

/// The clocks under which a case is run.
#[derive(Clone, Copy)]
pub enum Clocks {
    /// Exact times, no races.
    Virtual,
    /// Only the wall's clock tells.
    Real,
    Both,
}

impl Clocks {
    pub fn include(self, clock: Clock) -> bool {
        match self {
            Clocks::Virtual => clock == Clock::Virtual,
            Clocks::Real => clock == Clock::Real,
            Clocks::Both => true,
        }
    }
}

pub fn all() -> impl Iterator<Item = &'static Case> {
    let groups = [
        keys::CASES,
        devices::CASES,
        reload::CASES,
        stopping::CASES,
        permissions::CASES,
        daemon::CASES,
        guard::CASES,
        selftest::CASES,
        resources::CASES,
        tray::CASES,
    ];
    groups.into_iter().flatten()
}
