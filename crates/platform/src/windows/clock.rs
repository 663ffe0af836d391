//! The monotonic clock of Windows: the performance counter.

use std::sync::OnceLock;

use keyrx_engine::Time;
use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

const MICROS: u64 = 1_000_000;

/// The time of the performance counter.
pub fn now() -> Time {
    let mut ticks = 0;
    // SAFETY: writes one i64, through a pointer to one. It does not fail since Windows XP.
    unsafe { QueryPerformanceCounter(&mut ticks) };
    let (ticks, frequency) = (ticks.cast_unsigned(), frequency());
    let rest = (ticks % frequency).saturating_mul(MICROS) / frequency;
    Time::from_micros((ticks / frequency).saturating_mul(MICROS).saturating_add(rest))
}

/// Ticks per second; fixed at the start of the system.
fn frequency() -> u64 {
    static FREQUENCY: OnceLock<u64> = OnceLock::new();
    *FREQUENCY.get_or_init(|| {
        let mut frequency = 0;
        // SAFETY: writes one i64, through a pointer to one. It does not fail since Windows XP.
        unsafe { QueryPerformanceFrequency(&mut frequency) };
        frequency.cast_unsigned().max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_clock_counts_microseconds_and_never_runs_back() {
        let (begin, instant) = (now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let (micros, expected) = (now().micros() - begin.micros(), instant.elapsed().as_micros() as u64);
        assert!(
            micros >= 15_000 && micros <= expected + 15_000,
            "{micros} µs, {expected} µs by the other clock"
        );
    }
}
