//! The threads of keyrx: each has a name and an owner, is told to stop, woken, and waited for, but not for ever.
//!
//! A panic does not end a thread: the panic hook has told of it, and after a rest the thread takes up its work again.
//! This is the only place that starts threads.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::live::{Kind, Live};

/// How long a thread rests after a panic, so that one that panics at once does nothing worse than that.
const REST: Duration = Duration::from_secs(1);

/// How long threads may take to end where nobody says otherwise.
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
pub struct Threads {
    threads: Vec<Started>,
    patience: Duration,
}

struct Started {
    name: &'static str,
    stop: Stop,
    wake: Box<dyn Fn() + Send>,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
    handle: JoinHandle<()>,
}

impl Default for Threads {
    fn default() -> Threads {
        Threads::with_patience(PATIENCE)
    }
}

impl Threads {
    /// None yet. Their owner's end waits so long for theirs.
    pub fn with_patience(patience: Duration) -> Threads {
        Threads { threads: Vec::new(), patience }
    }

    /// Starts a thread. `wake` ends whatever it waits for, and so does `unpark`; `work` returns when it is done or
    /// asked to stop, and is called again after a panic.
    pub fn start(
        &mut self,
        name: &'static str,
        wake: impl Fn() + Send + 'static,
        work: impl FnMut(&Stop) + Send + 'static,
    ) -> io::Result<Thread> {
        // Whoever starts threads all its life does not keep those that have ended.
        self.threads.retain(|thread| !matches!(thread.ended.try_recv(), Err(TryRecvError::Disconnected)));
        let stop = Stop::default();
        let (ending, ended) = channel();
        let asked = stop.clone();
        let live = Live::new(Kind::Thread);
        let body = move || {
            let _ending: std::sync::mpsc::Sender<Infallible> = ending;
            let _live = live;
            root(work, &asked);
        };
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        let handle = thread::Builder::new().name(name.into()).spawn(body)?;
        let thread = handle.thread().clone();
        self.threads.push(Started { name, stop, wake: Box::new(wake), ended, handle });
        Ok(thread)
    }

    /// Ends all threads. Those that do not end in time are left behind, and named, here and in the log.
    pub fn stop(&mut self) -> Vec<&'static str> {
        self.stop_while(self.patience, || {})
    }

    /// As `stop`, and does something again and again meanwhile, with so much time in between.
    pub fn stop_while(&mut self, pause: Duration, mut meanwhile: impl FnMut()) -> Vec<&'static str> {
        let until = Instant::now().checked_add(self.patience);
        for thread in self.threads.iter().rev() {
            thread.stop.0.store(true, Ordering::Release);
            (thread.wake)();
            thread.handle.thread().unpark();
        }
        let mut stragglers = Vec::new();
        for Started { name, ended, handle, .. } in self.threads.drain(..).rev() {
            loop {
                let left = until.map_or(pause, |until| until.saturating_duration_since(Instant::now()));
                match ended.recv_timeout(left.min(pause)) {
                    // What is left of it is the system's work.
                    Err(RecvTimeoutError::Disconnected) => drop(handle.join()),
                    Err(RecvTimeoutError::Timeout) if left > pause => {
                        meanwhile();
                        continue;
                    }
                    Err(RecvTimeoutError::Timeout) => stragglers.push(name),
                }
                break;
            }
        }
        if !stragglers.is_empty() {
            tracing::warn!(
                event = "threads_left",
                threads = stragglers.join(", "),
                "threads that did not end in time: {}",
                stragglers.join(", ")
            );
        }
        stragglers
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.threads.iter().map(|thread| thread.name)).finish()
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
    use crate::live::count;
    use crate::live::tests::{alone, present};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_is_woken_to_stop_and_waited_for() {
        let _alone = alone();
        let mut threads = Threads::with_patience(LONG);
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
        assert!(threads.stop().is_empty());
        assert_eq!(present(), [], "what it had is gone");
        assert_eq!(is_done.try_recv().unwrap().as_deref(), Some("waits"));
    }

    #[test]
    fn threads_that_have_ended_are_not_kept() {
        let mut threads = Threads::default();
        for _ in 0..100 {
            threads.start("short", || {}, |_| {}).unwrap().unpark();
            thread::sleep(Duration::from_millis(1));
        }
        let begin = Instant::now();
        while threads.threads.len() > 1 && begin.elapsed() < Duration::from_secs(60) {
            threads.start("short", || {}, |_| {}).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(threads.threads.len(), 1);
    }

    #[test]
    fn stragglers_are_named_and_left_behind() {
        let _alone = alone();
        let mut threads = Threads::with_patience(Duration::from_millis(20));
        let (release, released) = channel::<()>();
        let wait = move |_: &Stop| {
            let _ = released.recv();
        };
        threads.start("stuck", || {}, wait).unwrap();
        threads.start("quick", || {}, |_| {}).unwrap();
        assert_eq!(threads.stop(), ["stuck"]);
        drop(release);
        while count(Kind::Thread) > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn something_may_be_done_while_a_thread_ends() {
        let _alone = alone();
        let mut threads = Threads::with_patience(LONG);
        let (release, released) = channel::<()>();
        let wait = move |_: &Stop| {
            let _ = released.recv();
        };
        threads.start("needs help", || {}, wait).unwrap();
        let mut release = Some(release);
        assert!(threads.stop_while(Duration::from_millis(1), || drop(release.take())).is_empty());
    }

    #[test]
    fn after_a_panic_the_work_is_taken_up_again() {
        let _alone = alone();
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
