//! How another thread speaks to the loop: it leaves its message where the handler looks, and wakes the loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::Error;
use crate::live::{Counted, Kind};

/// Wakes a running loop, which then hands `Event::Woken` to its handler. Calls that come together may give one event.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Counted<OwnedFd>>);

impl Waker {
    /// A waker for one call of `run`; it is cloned for those who are to wake it.
    pub fn new() -> Result<Waker, Error> {
        match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Waker(Arc::new(Counted::new(Kind::Waker, fd)))),
            Err(source) => Err(Error::System { doing: "make an eventfd".into(), source: source.into() }),
        }
    }

    /// Wakes the loop; it need not run yet.
    pub fn wake(&self) {
        // The one way to fail is a full counter, and then the loop is as good as woken.
        let _ = rustix::io::write(&**self.0, &1_u64.to_ne_bytes());
    }

    /// Takes note of all calls of `wake` so far.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&**self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
