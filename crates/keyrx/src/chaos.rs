//! Faults on demand, for tests: at a few points of the program a panic, or a time in which nothing is done.
//!
//! Nothing can be armed but with the hidden flag `--chaos`, or where the keyboards are simulated. Each fault happens
//! once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Where things may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// While the session works on a key.
    Session,
    /// While the control thread works.
    Control,
    /// While a request is answered.
    Request,
    /// While a keymap is read.
    Compile,
    /// While the watcher of files tells of a change.
    Watcher,
    /// When the end has begun.
    Ending,
}

/// By point: 0 for no fault, `PANIC`, or so many milliseconds.
static ARMED: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

const PANIC: u64 = u64::MAX;

/// Has it go wrong when the point is reached next: a stall of so many milliseconds, or else a panic.
pub fn arm(point: Point, stall: Option<u64>) {
    if let Some(fault) = ARMED.get(point as usize) {
        fault.store(stall.unwrap_or(PANIC), Ordering::Relaxed);
    }
}

/// The point is reached.
pub fn strike(point: Point) {
    let Some(fault) = ARMED.get(point as usize) else { return };
    if fault.load(Ordering::Relaxed) == 0 {
        return;
    }
    match fault.swap(0, Ordering::Relaxed) {
        0 => {}
        #[expect(clippy::panic, reason = "a test has asked for it")]
        PANIC => panic!("a test has asked for this"),
        millis => thread::sleep(Duration::from_millis(millis)),
    }
}
