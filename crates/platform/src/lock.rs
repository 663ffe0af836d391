//! Locks, off the path of keys, for this crate and the program.
//!
//! Whoever panics with a lock in hand may leave what it guards half changed. The next one repairs that, counts it and
//! goes on; so taking the lock cannot fail. This is the only place that locks a mutex.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value that one thread at a time may change.
#[derive(Debug)]
pub struct Guarded<T> {
    value: Mutex<T>,
    repair: fn(&mut T),
}

static REPAIRED: AtomicU64 = AtomicU64::new(0);

/// How many values have been repaired since the start.
pub fn repaired() -> u64 {
    REPAIRED.load(Ordering::Relaxed)
}

impl<T> Guarded<T> {
    /// `repair` makes a value whole again that was left half changed.
    pub const fn new(value: T, repair: fn(&mut T)) -> Guarded<T> {
        Guarded { value: Mutex::new(value), repair }
    }

    /// Lends the value to `change`, which must not come back for it.
    pub fn with<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        #[expect(clippy::disallowed_methods, reason = "the one type that repairs")]
        let mut value = self.value.lock().unwrap_or_else(|poisoned| {
            let mut value = poisoned.into_inner();
            (self.repair)(&mut value);
            self.value.clear_poison();
            REPAIRED.fetch_add(1, Ordering::Relaxed);
            value
        });
        change(&mut value)
    }
}

/// What a panic has left half changed begins anew.
impl<T: Default> Default for Guarded<T> {
    fn default() -> Guarded<T> {
        Guarded::new(T::default(), |value| *value = T::default())
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_a_panic_left_half_done_is_repaired_and_counted() {
        let pair = Guarded::new((1, 1), |pair| pair.1 = pair.0);
        let before = repaired();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            pair.with(|pair| {
                pair.0 = 2;
                panic!("half way");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(pair.with(|pair| *pair), (2, 2));
        assert_eq!(pair.with(|pair| *pair), (2, 2));
        assert_eq!(repaired(), before + 1);
    }
}
