//! How many resources of the system live right now, by kind. It is always counted: where a system counts no handles
//! (Wine), and where nobody watches, a leak shows here.
//!
//! Who owns a resource has a `Live` beside it, or wraps it in `Counted`; both end with the owner, on every way out.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A thread of ours; those of libraries are none.
    Thread,
    /// What wakes a loop: an eventfd, an event.
    Waker,
    /// An icon beside the clock, shown or waiting for a panel to show it.
    Tray,
    /// Linux: an open device file of a keyboard.
    Keyboard,
    /// Linux: a keyboard that is ours alone.
    Grab,
    /// Linux: a device of ours.
    Uinput,
    /// Linux: what waits for several files.
    Epoll,
    /// Linux: what tells of changed files.
    Inotify,
    /// Windows: a keyboard hook.
    Hook,
    /// Windows: a window, which nobody sees.
    Window,
    /// Windows: raw input comes to a window.
    RawInput,
    /// Windows: a hook for what happens to windows and desktops.
    WinEventHook,
    /// Windows: a timer to be waited for.
    Timer,
    /// Windows: a drawn icon.
    Icon,
    /// Windows: a menu.
    Menu,
    /// Windows: an end of a pipe.
    Pipe,
    /// Windows: a process that is watched.
    Process,
}

const KINDS: usize = 17;

impl Kind {
    /// All, in the order of their numbers, with the names that operators know.
    pub const ALL: [(Kind, &str); KINDS] = [
        (Kind::Thread, "thread"),
        (Kind::Waker, "waker"),
        (Kind::Tray, "tray"),
        (Kind::Keyboard, "keyboard"),
        (Kind::Grab, "grab"),
        (Kind::Uinput, "uinput"),
        (Kind::Epoll, "epoll"),
        (Kind::Inotify, "inotify"),
        (Kind::Hook, "hook"),
        (Kind::Window, "window"),
        (Kind::RawInput, "raw_input"),
        (Kind::WinEventHook, "win_event_hook"),
        (Kind::Timer, "timer"),
        (Kind::Icon, "icon"),
        (Kind::Menu, "menu"),
        (Kind::Pipe, "pipe"),
        (Kind::Process, "process"),
    ];
}

static COUNTS: [AtomicU64; KINDS] = [const { AtomicU64::new(0) }; KINDS];

/// How many there are of each kind.
pub fn counts() -> [(&'static str, u64); KINDS] {
    Kind::ALL.map(|(kind, name)| (name, count(kind)))
}

/// How many there are of one kind.
pub fn count(kind: Kind) -> u64 {
    COUNTS.get(kind as usize).map_or(0, |count| count.load(Ordering::Relaxed))
}

/// One resource. It is counted until this is dropped.
#[derive(Debug)]
pub struct Live(Kind);

impl Live {
    /// One more of this kind.
    pub fn new(kind: Kind) -> Live {
        if let Some(count) = COUNTS.get(kind as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Live(kind)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(count) = COUNTS.get(self.0 as usize) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A resource that is counted as long as it lives: an open file, a handle.
#[derive(Debug)]
pub struct Counted<T> {
    resource: T,
    /// Dropped after it.
    _live: Live,
}

impl<T> Counted<T> {
    /// Counts a resource that has just been made.
    pub fn new(kind: Kind, resource: T) -> Counted<T> {
        Counted { resource, _live: Live::new(kind) }
    }
}

impl<T> Deref for Counted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.resource
    }
}

#[cfg(test)]
#[allow(missing_docs, reason = "for tests")]
#[expect(clippy::disallowed_methods, reason = "what another test has left half done is gone when it is over")]
pub mod tests {
    use std::sync::{Mutex, MutexGuard};

    use super::*;

    /// For tests that make or count resources, so that they do not see those of each other.
    pub fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The kinds of which there are any, and how many.
    pub fn present() -> Vec<(Kind, u64)> {
        let counts = Kind::ALL.map(|(kind, _)| (kind, count(kind)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn each_kind_has_its_number_and_a_name_of_its_own() {
        for (number, (kind, name)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, number);
            assert_eq!(Kind::ALL.iter().filter(|(_, other)| other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn what_is_counted_is_counted_until_its_end_by_whatever_way() {
        let _alone = alone();
        let timer = Counted::new(Kind::Timer, "a timer");
        let grabs = [Live::new(Kind::Grab), Live::new(Kind::Grab)];
        assert_eq!((*timer, present()), ("a timer", vec![(Kind::Grab, 2), (Kind::Timer, 1)]));
        let panic = std::panic::catch_unwind(|| {
            let _hook = Live::new(Kind::Hook);
            assert_eq!(count(Kind::Hook), 0, "one too many, as is meant");
        });
        drop((timer, grabs));
        assert_eq!((panic.is_err(), present()), (true, Vec::new()));
    }
}
