//! The guard: a thread that sees numbers of progress and nothing else.
//!
//! When the session is at one event, or owes an answer, for half a second, the guard makes the keyboards plain by its
//! own means; after two seconds it ends keyrx, so that another one can start. When the end of keyrx takes five
//! seconds, it lets go and ends that. It sleeps while no key moves.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use anyhow::Result;

use crate::crash;
use crate::daemon::Desk;
use crate::metrics::Metrics;
use keyrx_platform::threads::{Stop, Threads};

/// How soon it looks again for a session that hangs to be back.
const SOON: Duration = Duration::from_millis(50);

/// A look that comes so much too late was kept from coming.
const LATE: Duration = Duration::from_millis(200);

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
    let see = || Seen {
        working: metrics.busy_since().or(metrics.called_at()),
        stopping: metrics.phases().now().reason().is_some(),
    };
    while !stop.is_requested() {
        match sight.look(see(), metrics.uptime()) {
            Verdict::Fine => {}
            Verdict::LetGo => {
                desk.let_go();
                tracing::error!(
                    event = "stalled",
                    for_ms = UNTIL_LET_GO.as_millis() as u64,
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
        match sight.next {
            Some(at) => thread::park_timeout(at.saturating_sub(metrics.uptime())),
            None => metrics.bell().sleep(|| see() == Seen::default() && !stop.is_requested()),
        }
    }
}

fn end(desk: &Desk, code: i32, error: &str) {
    desk.let_go();
    if code == STALLED {
        crash::stalled(error, code as u32);
    }
    tracing::error!(event = "gave_up", exit_code = code, "{error}");
    thread::sleep(UNTIL_LOGGED);
    #[expect(clippy::disallowed_methods, reason = "nothing else can end it, and every key is released")]
    std::process::exit(code);
}

/// What the guard sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Since when the session is at the same thing, in microseconds: another number for another thing.
    working: Option<u64>,
    /// Whether keyrx is ending.
    stopping: bool,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    LetGo,
    Back,
    End,
    EndNow,
}

/// What the guard has seen so far. Moments are counted from the start of keyrx. Time in which the guard itself did not
/// run does not count: whoever stops the whole process, or the machine, does not make it end.
#[derive(Debug, Default)]
struct Sight {
    /// What the session is at, and since when.
    working: Option<(u64, Duration)>,
    stopping: Option<Duration>,
    has_let_go: bool,
    was_quiet: bool,
    /// When it looks again; `None`: when the bell rings.
    next: Option<Duration>,
}

impl Sight {
    fn look(&mut self, seen: Seen, now: Duration) -> Verdict {
        let late =
            self.next.map(|next| now.saturating_sub(next)).filter(|late| *late > LATE).unwrap_or_default();
        let is_on_time = self.next.is_some() && late.is_zero();
        self.stopping = match self.stopping {
            _ if !seen.stopping => None,
            Some(since) => Some(since.saturating_add(late)),
            None => Some(now),
        };
        let same = self.working.filter(|(known, _)| seen.working == Some(*known));
        self.working = seen.working.map(|working| match same {
            Some((_, since)) if is_on_time => (working, since),
            None if is_on_time => (working, Duration::from_micros(working)),
            _ => (working, now),
        });
        let is_quiet = seen == Seen::default();
        let was_quiet = std::mem::replace(&mut self.was_quiet, is_quiet);
        let verdict = self.judge(same.is_some(), now);
        let working = self
            .working
            .map(|(_, since)| since.saturating_add(if self.has_let_go { UNTIL_END } else { UNTIL_LET_GO }));
        let stopping = self.stopping.map(|since| since.saturating_add(UNTIL_STOPPED));
        let usual = now.saturating_add(if self.has_let_go { SOON } else { UNTIL_LET_GO });
        self.next = match is_quiet && was_quiet && !self.has_let_go {
            true => None,
            // Something that begins now is seen in time, too.
            false => [working, stopping, Some(usual)].into_iter().flatten().min().map(|at| at.max(now)),
        };
        verdict
    }

    fn judge(&mut self, is_same: bool, now: Duration) -> Verdict {
        let age = |since: Option<Duration>| since.map(|since| now.saturating_sub(since)).unwrap_or_default();
        let working = age(self.working.map(|(_, since)| since));
        if age(self.stopping) >= UNTIL_STOPPED {
            return Verdict::EndNow;
        }
        match self.has_let_go {
            true if !is_same => {
                self.has_let_go = false;
                Verdict::Back
            }
            true if working >= UNTIL_END => Verdict::End,
            false if working >= UNTIL_LET_GO => {
                self.has_let_go = true;
                Verdict::LetGo
            }
            _ => Verdict::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Looks as often as it wants to, from the first ring of the bell on: what follows when, beside `Fine`, up to
    /// the moment `end`, and how often it has looked. `work` says since when the session is at something.
    fn check(
        work: impl Fn(u64) -> Option<u64>,
        stopping_at: u64,
        end: u64,
        expected: &[(u64, Verdict)],
    ) -> u32 {
        let (mut sight, mut now, mut looks, mut found) = (Sight::default(), 1, 0, Vec::new());
        while now < end {
            let seen = Seen { working: work(now).map(|at| at * 1000), stopping: now >= stopping_at };
            let verdict = sight.look(seen, ms(now));
            looks += 1;
            if verdict != Verdict::Fine {
                found.push((now, verdict));
            }
            match sight.next {
                Some(next) => now = (next.as_millis() as u64).max(now + 1),
                None => break,
            }
        }
        assert_eq!(found, expected);
        looks
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn without_progress_the_keyboards_are_let_go_and_then_keyrx_ends() {
        check(|_| Some(1), NEVER, 2002, &[(501, Verdict::LetGo), (2001, Verdict::End)]);
        // It began between two looks.
        check(|now| (now >= 300).then_some(300), NEVER, 2301, &[(800, Verdict::LetGo), (2300, Verdict::End)]);
    }

    #[test]
    fn when_progress_is_back_it_is_well_again() {
        let work = |now| Some(if now < 700 { 1 } else { now });
        check(work, NEVER, 5000, &[(501, Verdict::LetGo), (701, Verdict::Back)]);
    }

    #[test]
    fn work_that_is_always_another_is_progress_and_costs_two_looks_a_second() {
        let looks = check(Some, NEVER, 60_000, &[]);
        assert!(looks <= 121, "{looks}");
    }

    #[test]
    fn an_end_that_takes_too_long_is_cut_short() {
        check(|_| None, 1, 5002, &[(5001, Verdict::EndNow)]);
    }

    #[test]
    fn it_sleeps_while_nothing_happens() {
        assert_eq!(check(|_| None, NEVER, 60_000, &[]), 2);
    }

    #[test]
    fn time_in_which_everything_stood_still_is_no_stall() {
        let working = Seen { working: Some(1000), ..Seen::default() };
        let mut sight = Sight::default();
        assert_eq!(sight.look(working, ms(1)), Verdict::Fine);
        assert_eq!(sight.look(working, ms(3_600_000)), Verdict::Fine);
        // But from here on it counts.
        let next = sight.next.unwrap();
        assert!(next <= ms(3_600_502), "{next:?}");
        assert_eq!(sight.look(working, next), Verdict::LetGo);
        // A bell that was rung long ago.
        let mut sight = Sight::default();
        assert_eq!(sight.look(working, ms(3_600_000)), Verdict::Fine);
        assert_eq!(sight.look(Seen::default(), ms(3_600_100)), Verdict::Fine);
    }
}
