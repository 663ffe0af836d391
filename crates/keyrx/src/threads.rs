//! The threads of keyrx: each has a name and an owner, is told to stop, woken, and waited for, but not for ever.
//!
//! A panic does not end a thread: the panic hook has told of it, and after a rest the thread takes up its work again.
//! This is the only place that starts threads.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keyrx_platform::live::{Kind, Live};

/// How long a thread rests after a panic, so that one that panics at once does nothing worse than that.
const REST: Duration = Duration::from_secs(1);

/// How long threads may take to end that nobody has waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a thread is to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether it is. Who waits for something is woken when it becomes so.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Threads with one owner. They end when it does.
#[derive(Default)]
pub struct Threads {
    threads: Vec<Thread>,
}

struct Thread {
    name: &'static str,
    stop: Stop,
    wake: Box<dyn Fn() + Send>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
    handle: JoinHandle<()>,
}

impl Threads {
    /// Starts a thread. `wake` ends whatever it waits for; `work` returns when it is done or asked to stop, and is
    /// called again after a panic.
    pub fn start(
        &mut self,
        name: &'static str,
        wake: impl Fn() + Send + 'static,
        work: impl FnMut(&Stop) + Send + 'static,
    ) -> io::Result<()> {
        let stop = Stop::default();
        let (ending, ended) = channel();
        let asked = stop.clone();
        let live = Live::new(Kind::Thread);
        let handle = thread::Builder::new().name(name.into()).spawn(move || {
            let _ending: std::sync::mpsc::Sender<Infallible> = ending;
            let _live = live;
            root(work, &asked);
        })?;
        self.threads.push(Thread { name, stop, wake: Box::new(wake), ended, handle });
        Ok(())
    }

    /// Ends all threads, and names those that have not ended within `limit`: they are left behind.
    pub fn stop(&mut self, limit: Duration) -> Vec<&'static str> {
        let until = Instant::now().checked_add(limit);
        for thread in self.threads.iter().rev() {
            thread.stop.0.store(true, Ordering::Release);
            (thread.wake)();
            thread.handle.thread().unpark();
        }
        let mut stragglers = Vec::new();
        for Thread { name, ended, handle, .. } in self.threads.drain(..).rev() {
            let left = until.map_or(limit, |until| until.saturating_duration_since(Instant::now()));
            match ended.recv_timeout(left) {
                // What is left of it is the system's work.
                Err(RecvTimeoutError::Disconnected) => drop(handle.join()),
                Err(RecvTimeoutError::Timeout) => stragglers.push(name),
            }
        }
        stragglers
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let stragglers = self.stop(PATIENCE);
        if !stragglers.is_empty() {
            tracing::warn!(
                event = "threads_left",
                threads = stragglers.join(", "),
                "threads that did not end in time: {}",
                stragglers.join(", ")
            );
        }
    }
}

/// Works until the work is done. What it owns is gone when this returns.
fn root(mut work: impl FnMut(&Stop), stop: &Stop) {
    while catch_unwind(AssertUnwindSafe(|| work(stop))).is_err() && !stop.is_requested() {
        thread::park_timeout(REST);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_thread_is_woken_to_stop_and_waited_for() {
        let mut threads = Threads::default();
        let (wake, woken) = sync_channel::<()>(1);
        let (done, is_done) = channel();
        let wake = move || {
            let _ = wake.try_send(());
        };
        threads
            .start("waits", wake, move |stop| {
                while !stop.is_requested() {
                    woken.recv().unwrap();
                }
                done.send(thread::current().name().map(str::to_owned)).unwrap();
            })
            .unwrap();
        assert!(threads.stop(Duration::from_secs(60)).is_empty());
        assert_eq!(is_done.try_recv().unwrap().as_deref(), Some("waits"));
    }

    #[test]
    fn stragglers_are_named_and_left_behind() {
        let mut threads = Threads::default();
        let (release, released) = channel::<()>();
        let wait = move |_: &Stop| {
            let _ = released.recv();
        };
        threads.start("stuck", || {}, wait).unwrap();
        threads.start("quick", || {}, |_| {}).unwrap();
        assert_eq!(threads.stop(Duration::from_millis(20)), ["stuck"]);
        drop(release);
    }

    #[test]
    fn after_a_panic_the_work_is_taken_up_again() {
        let mut threads = Threads::default();
        let (count, counted) = channel();
        let mut times = 0;
        threads
            .start(
                "panics",
                || {},
                move |_| {
                    times += 1;
                    count.send(times).unwrap();
                    assert!(times > 1, "the first time");
                },
            )
            .unwrap();
        let wait = || counted.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((wait(), wait()), (1, 2));
    }
}
