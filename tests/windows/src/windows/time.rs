//! Time as the performance counter tells it: one clock for all processes of the machine, in microseconds.

use std::time::Duration;

use windows_sys::Win32::System::Performance::{QueryPerformanceCounter, QueryPerformanceFrequency};

pub fn now() -> Duration {
    let (mut ticks, mut per_second) = (0, 0);
    // SAFETY: both only write the integer they are given.
    unsafe {
        QueryPerformanceCounter(&mut ticks);
        QueryPerformanceFrequency(&mut per_second);
    }
    let micros = i128::from(ticks) * 1_000_000 / i128::from(per_second);
    Duration::from_micros(u64::try_from(micros).unwrap())
}

pub const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
