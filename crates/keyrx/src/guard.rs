//! The guard: a thread that sees numbers of progress and nothing else.
//!
//! When the session is at one event, or owes an answer, for half a second, the guard makes the keyboards plain by its
//! own means; after two seconds it ends keyrx, so that another one can start. When the end of keyrx takes five
//! seconds, it lets go and ends that. It sleeps while no key moves.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::daemon::Desk;
use crate::metrics::Metrics;
use crate::threads::{Stop, Threads};

/// How often it looks, while there is something to see.
const LOOK: Duration = Duration::from_millis(50);

/// After so long without anything to see it sleeps.
const UNTIL_SLEEP: Duration = Duration::from_secs(2);

/// When the keyboards are let go, and when keyrx ends, without progress.
const UNTIL_LET_GO: Duration = Duration::from_millis(500);
const UNTIL_END: Duration = Duration::from_secs(2);

/// How long the end may take.
const UNTIL_STOPPED: Duration = Duration::from_secs(5);

/// How long the last line may take to the log.
const UNTIL_LOGGED: Duration = Duration::from_millis(200);

/// Exit codes for those who started keyrx: an internal error, and an end that took too long.
const STALLED: i32 = 70;
const STOP_TOOK_TOO_LONG: i32 = 75;

/// The guard, for as long as this lives.
pub struct Guard {
    _threads: Threads,
}

impl Guard {
    pub fn start(metrics: Arc<Metrics>, desk: Desk) -> Result<Guard> {
        let mut threads = Threads::default();
        threads.start("guard", || {}, move |stop| watch(&metrics, &desk, stop))?;
        Ok(Guard { _threads: threads })
    }
}

/// Wakes the guard where there is something to see again. One instruction where it is awake.
#[derive(Debug, Default)]
pub struct Bell {
    is_asleep: std::sync::atomic::AtomicBool,
    guard: std::sync::OnceLock<Thread>,
}

impl Bell {
    pub fn ring(&self) {
        use std::sync::atomic::Ordering::{AcqRel, Relaxed};
        if self.is_asleep.load(Relaxed)
            && self.is_asleep.swap(false, AcqRel)
            && let Some(guard) = self.guard.get()
        {
            guard.unpark();
        }
    }

    /// Sleeps until it rings, unless there is something to see already.
    fn sleep(&self, is_quiet: impl Fn() -> bool) {
        self.guard.get_or_init(thread::current);
        // What happens from here on rings.
        self.is_asleep.store(true, std::sync::atomic::Ordering::SeqCst);
        if is_quiet() {
            thread::park();
        }
        self.is_asleep.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

fn watch(metrics: &Metrics, desk: &Desk, stop: &Stop) {
    let mut sight = Sight::default();
    let mut before = Instant::now();
    let see =
        || Seen { working: metrics.busy_since().or(metrics.called_at()), stopping: metrics.is_stopping() };
    while !stop.is_requested() {
        let now = Instant::now();
        let passed = now.saturating_duration_since(before);
        before = now;
        match sight.look(see(), passed) {
            Verdict::Fine => {}
            Verdict::Sleep => {
                metrics.bell().sleep(|| see() == Seen::default() && !stop.is_requested());
                before = Instant::now();
                continue;
            }
            Verdict::LetGo => {
                desk.let_go();
                tracing::error!(
                    event = "stalled",
                    "keys were held up for {} ms; the keyboards are plain ones until that is over",
                    UNTIL_LET_GO.as_millis()
                );
            }
            Verdict::Back => tracing::warn!(event = "stall_over", "keys are mapped again"),
            Verdict::End => {
                let error = "keys were held up for 2 s; keyrx ends, to be started again";
                end(desk, STALLED, error);
            }
            Verdict::EndNow => end(desk, STOP_TOOK_TOO_LONG, "the end took 5 s, and is cut short"),
        }
        thread::park_timeout(LOOK);
    }
}

fn end(desk: &Desk, code: i32, error: &str) {
    desk.let_go();
    tracing::error!(event = "gave_up", exit_code = code, "{error}");
    thread::sleep(UNTIL_LOGGED);
    #[expect(clippy::disallowed_methods, reason = "nothing else can end it, and every key is released")]
    std::process::exit(code);
}

/// What the guard sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Since when the session is at the same thing, as a number that is another for another thing.
    working: Option<u64>,
    /// Whether keyrx is ending.
    stopping: bool,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// There is nothing to see.
    Sleep,
    LetGo,
    Back,
    End,
    EndNow,
}

/// What the guard has seen so far. Only time counts in which the guard itself was awake: whoever stops the whole
/// process, or the machine, does not make it end.
#[derive(Debug, Default)]
struct Sight {
    working: Option<u64>,
    /// For how long it was the same.
    same: Duration,
    stopping: Duration,
    quiet: Duration,
    has_let_go: bool,
}

impl Sight {
    /// `passed`: since the last look.
    fn look(&mut self, seen: Seen, passed: Duration) -> Verdict {
        let passed = passed.min(LOOK.saturating_mul(2));
        let is_same = seen.working.is_some() && seen.working == self.working;
        self.working = seen.working;
        self.same = if is_same { self.same.saturating_add(passed) } else { Duration::ZERO };
        self.stopping = if seen.stopping { self.stopping.saturating_add(passed) } else { Duration::ZERO };
        self.quiet = match seen == Seen::default() {
            true => self.quiet.saturating_add(passed),
            false => Duration::ZERO,
        };
        if self.stopping >= UNTIL_STOPPED {
            return Verdict::EndNow;
        }
        match (self.has_let_go, is_same) {
            (_, true) if self.same >= UNTIL_END => Verdict::End,
            (false, true) if self.same >= UNTIL_LET_GO => {
                self.has_let_go = true;
                Verdict::LetGo
            }
            (true, false) => {
                self.has_let_go = false;
                Verdict::Back
            }
            _ if self.quiet >= UNTIL_SLEEP => {
                self.quiet = Duration::ZERO;
                Verdict::Sleep
            }
            _ => Verdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows from looks in a row, `LOOK` apart, with their numbers, beside `Fine`.
    fn check(looks: impl IntoIterator<Item = Seen>, expected: &[(usize, Verdict)]) {
        let mut sight = Sight::default();
        let verdicts = looks.into_iter().map(|seen| sight.look(seen, LOOK)).enumerate();
        let found = verdicts.filter(|(_, verdict)| *verdict != Verdict::Fine).collect::<Vec<_>>();
        assert_eq!(found, expected);
    }

    fn working(number: u64) -> Seen {
        Seen { working: Some(number), ..Seen::default() }
    }

    #[test]
    fn without_progress_the_keyboards_are_let_go_and_then_keyrx_ends() {
        check([working(1); 42], &[(10, Verdict::LetGo), (40, Verdict::End), (41, Verdict::End)]);
    }

    #[test]
    fn when_progress_is_back_it_is_well_again() {
        let looks = [working(1); 15].into_iter().chain([working(2); 9]).chain([working(3); 5]);
        check(looks, &[(10, Verdict::LetGo), (15, Verdict::Back)]);
    }

    #[test]
    fn work_that_is_always_another_is_progress() {
        check((1..200).map(working), &[]);
    }

    #[test]
    fn an_end_that_takes_too_long_is_cut_short() {
        check([Seen { stopping: true, ..Seen::default() }; 100], &[(99, Verdict::EndNow)]);
    }

    #[test]
    fn time_in_which_everything_stood_still_is_no_stall() {
        let mut sight = Sight::default();
        sight.look(working(1), LOOK);
        assert_eq!(sight.look(working(1), Duration::from_secs(3600)), Verdict::Fine);
        assert_eq!(sight.look(Seen::default(), LOOK), Verdict::Fine);
    }

    #[test]
    fn it_sleeps_while_nothing_happens() {
        check([Seen::default(); 41], &[(39, Verdict::Sleep)]);
    }
}
