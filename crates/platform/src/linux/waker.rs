//! How another thread speaks to the loop: it leaves its message where the handler looks, and wakes the loop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::Timespec;

use crate::Error;

/// Wakes a running loop, which then hands `Event::Woken` to its handler. Calls that come together may give one event.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// A waker for one call of `run`; it is cloned for those who are to wake it.
    pub fn new() -> Result<Waker, Error> {
        match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Waker(Arc::new(fd))),
            Err(source) => Err(Error::System { doing: "make an eventfd".into(), source: source.into() }),
        }
    }

    /// Wakes the loop; it need not run yet.
    pub fn wake(&self) {
        // The one way to fail is a full counter, and then the loop is as good as woken.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits for a call of `wake`, or for so long, and takes note of all calls so far.
    pub fn wait(&self, limit: Duration) {
        // More than the kernel can count is for ever. An early end is a wake-up without a cause, which harms nobody.
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], limit.as_ref());
        self.clear();
    }

    /// Takes note of all calls of `wake` so far.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
