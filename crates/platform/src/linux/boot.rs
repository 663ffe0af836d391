//! The boot of the system: which one this is, and how long ago it was.

use std::fs;
use std::time::Duration;

use super::now;

/// What tells this boot from all others.
pub fn id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// How long the system has been up, by a clock that nobody sets, and that stands still while it sleeps.
pub fn age() -> Duration {
    Duration::from_micros(now().micros())
}
