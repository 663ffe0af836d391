//! How other threads speak to the loop: they leave a message where the handler looks, and wake the loop. Or, where
//! the handler hangs, they let the keyboards go without it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::ioctl::{IntegerSetter, NoArg, ioctl};
use rustix::time::Timespec;

use super::keyboard::EVIOCGRAB;
use super::uinput::UI_DEV_DESTROY;
use crate::live::{Counted, Kind};
use crate::lock::Guarded;
use crate::{Error, Queue};

/// Another thread's way to a running loop.
#[derive(Clone, Debug)]
pub struct Waker {
    fd: Arc<Counted<OwnedFd>>,
    hatch: Arc<Hatch>,
}

/// What is to be let go when the loop cannot do it. It keeps nothing open.
#[derive(Debug)]
struct Hatch {
    held: Guarded<Held>,
    was_let_go: AtomicBool,
    /// For tests: the machine is to be taken for one that slept.
    pretends_sleep: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    keyboards: Vec<Weak<Counted<OwnedFd>>>,
    outputs: Vec<Weak<Counted<OwnedFd>>>,
}

impl Waker {
    /// A waker for one call of `run`; it is cloned for those who are to wake it.
    pub fn new() -> Result<Waker, Error> {
        let hatch = Hatch {
            held: Guarded::new(Held::default(), |_| {}),
            was_let_go: AtomicBool::new(false),
            pretends_sleep: AtomicBool::new(false),
        };
        match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Waker { fd: Arc::new(Counted::new(Kind::Waker, fd)), hatch: Arc::new(hatch) }),
            Err(source) => Err(Error::System { doing: "make an eventfd".into(), source: source.into() }),
        }
    }

    /// Wakes the loop, which then hands `Event::Woken` to its handler; it need not run yet. Calls that come together
    /// may give one event.
    pub fn wake(&self) {
        // The one way to fail is a full counter, and then the loop is as good as woken.
        let _ = rustix::io::write(&**self.fd, &1_u64.to_ne_bytes());
    }

    /// What waits to be handed to the system, where there is a queue of it: here all is written at once.
    pub fn output_queue(&self) -> Option<Queue> {
        None
    }

    /// Makes the keyboards plain ones, whatever the loop is at: they are no longer grabbed, and what our keyboard
    /// holds comes up with its end. When the loop is back it takes them again.
    pub fn let_go(&self) {
        // First: so what fails in the loop from here on is known to be our doing.
        self.hatch.was_let_go.store(true, Ordering::Release);
        self.hatch.held.with(|held| {
            for keyboard in held.keyboards.drain(..).filter_map(|keyboard| keyboard.upgrade()) {
                // SAFETY: EVIOCGRAB takes an integer, and zero means that the grab ends.
                let _ = unsafe { ioctl(&**keyboard, IntegerSetter::<EVIOCGRAB>::new_usize(0)) };
            }
            for output in held.outputs.drain(..).filter_map(|output| output.upgrade()) {
                // SAFETY: UI_DEV_DESTROY takes no argument.
                let _ = unsafe { ioctl(&**output, NoArg::<UI_DEV_DESTROY>::new()) };
            }
        });
    }

    /// For tests: does as if the machine had slept.
    pub fn pretend_sleep(&self) {
        self.hatch.pretends_sleep.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits for a call of `wake`, or for so long, and takes note of all calls so far.
    pub fn wait(&self, limit: Duration) {
        // More than the kernel can count is for ever. An early end is a wake-up without a cause, which harms nobody.
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut [PollFd::new(&**self.fd, PollFlags::IN)], limit.as_ref());
        self.clear();
    }

    /// Takes note of all calls of `wake` so far.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&**self.fd, &mut [0; 8]);
    }

    /// Whether the keyboards were let go since it was asked by `take_let_go`.
    pub(super) fn was_let_go(&self) -> bool {
        self.hatch.was_let_go.load(Ordering::Acquire)
    }

    /// As `was_let_go`, once.
    pub(super) fn take_let_go(&self) -> bool {
        self.hatch.was_let_go.swap(false, Ordering::AcqRel)
    }

    /// Whether the machine is to be taken for one that slept.
    pub(super) fn take_pretended_sleep(&self) -> bool {
        self.hatch.pretends_sleep.swap(false, Ordering::AcqRel)
    }

    /// A grabbed keyboard.
    pub(super) fn holds_keyboard(&self, fd: &Arc<Counted<OwnedFd>>) {
        self.hatch.held.with(|held| {
            held.keyboards.retain(|keyboard| keyboard.strong_count() > 0);
            held.keyboards.push(Arc::downgrade(fd));
        });
    }

    /// What keys are sent through.
    pub(super) fn holds_output(&self, fds: [&Arc<Counted<OwnedFd>>; 2]) {
        self.hatch.held.with(|held| held.outputs = fds.map(Arc::downgrade).into());
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
