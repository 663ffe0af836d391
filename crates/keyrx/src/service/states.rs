//! What the service manager is told, and when: the states of a service, without the service manager.
//!
//! It has no clock and does nothing itself. Whoever drives it reports each status in the order in which it was given,
//! and nothing else: so the manager sees checkpoints that grow while something is pending, accepts no control then,
//! and is told of the end once.

use std::time::Duration;

/// While something is pending, the manager hears that it goes on so often.
#[cfg(windows)]
pub const TICK: Duration = Duration::from_millis(500);

/// Within so much the manager is told of the next step, or gives the service up.
const HINT: Duration = Duration::from_secs(3);

/// A start that takes longer is over all the same: the service runs, and its health says what is missing.
const START_LIMIT: Duration = Duration::from_secs(15);

/// What the manager shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    StartPending,
    Running,
    StopPending,
    Stopped,
}

/// What the manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: State,
    /// It may send stop, preshutdown, changes of sessions and of power.
    pub accepts: bool,
    pub checkpoint: u32,
    pub wait_hint: Duration,
    /// As of Windows; 0 is success.
    pub exit_code: u32,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of the start is done, or time has passed.
    Tick,
    /// The start is over.
    Ready,
    /// The manager, or the system at its end, wants the service to stop.
    Stop,
    /// The manager asks how it is. It must be answered in every state.
    Interrogate,
    /// All is over.
    Done,
}

/// Where a service is.
#[derive(Clone, Debug)]
pub struct States {
    phase: Phase,
    checkpoint: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting { since: Duration },
    Running,
    Stopping,
    Stopped,
}

impl States {
    /// The first status is to be reported at once: the handler is there, and nothing else.
    pub fn new(now: Duration) -> (States, Status) {
        let states = States { phase: Phase::Starting { since: now }, checkpoint: 1 };
        let status = states.status();
        (states, status)
    }

    /// Takes what has happened. What is to be reported, if anything.
    pub fn step(&mut self, now: Duration, event: Event) -> Option<Status> {
        match (self.phase, event) {
            // The manager has closed the line: whoever spoke now would speak to nobody, or crash.
            (Phase::Stopped, _) => return None,
            (_, Event::Interrogate) => {}
            (Phase::Starting { since }, Event::Tick) if now.saturating_sub(since) >= START_LIMIT => {
                self.runs()
            }
            (Phase::Starting { .. } | Phase::Stopping, Event::Tick) => {
                self.checkpoint = self.checkpoint.saturating_add(1);
            }
            (Phase::Running, Event::Tick) => return None,
            (Phase::Starting { .. }, Event::Ready) => self.runs(),
            (Phase::Running | Phase::Stopping, Event::Ready) => return None,
            // It is not accepted then; one that comes all the same is not lost.
            (Phase::Starting { .. } | Phase::Running, Event::Stop) => self.stops(),
            (Phase::Stopping, Event::Stop) => return None,
            (_, Event::Done) => self.phase = Phase::Stopped,
        }
        Some(self.status())
    }

    fn runs(&mut self) {
        self.phase = Phase::Running;
        self.checkpoint = 0;
    }

    fn stops(&mut self) {
        // The manager compares a checkpoint with the last one, whatever was pending then.
        self.checkpoint = self.checkpoint.saturating_add(1);
        self.phase = Phase::Stopping;
    }

    fn status(&self) -> Status {
        let (state, accepts, wait_hint) = match self.phase {
            Phase::Starting { .. } => (State::StartPending, false, HINT),
            Phase::Running => (State::Running, true, Duration::ZERO),
            Phase::Stopping => (State::StopPending, false, HINT),
            Phase::Stopped => (State::Stopped, false, Duration::ZERO),
        };
        let checkpoint = if wait_hint.is_zero() { 0 } else { self.checkpoint };
        Status { state, accepts, checkpoint, wait_hint, exit_code: 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(events: &[Event]) -> (States, Vec<Status>) {
        let (mut states, first) = States::new(SECOND);
        let mut told = vec![first];
        told.extend(events.iter().filter_map(|event| states.step(SECOND, *event)));
        (states, told)
    }

    fn states(told: &[Status]) -> Vec<(State, u32)> {
        told.iter().map(|status| (status.state, status.checkpoint)).collect()
    }

    #[test]
    fn a_start_and_a_stop_go_through_their_checkpoints() {
        use Event::{Done, Ready, Stop, Tick};
        let (_, told) = after(&[Tick, Tick, Ready, Tick, Stop, Tick, Done]);
        let expected = [
            (State::StartPending, 1),
            (State::StartPending, 2),
            (State::StartPending, 3),
            (State::Running, 0),
            (State::StopPending, 1),
            (State::StopPending, 2),
            (State::Stopped, 0),
        ];
        assert_eq!(states(&told), expected);
        assert!(told.iter().all(|status| status.accepts == (status.state == State::Running)));
    }

    #[test]
    fn a_start_that_takes_too_long_is_over() {
        let (mut states, _) = States::new(SECOND);
        let late = SECOND + START_LIMIT;
        let before = late - Duration::from_millis(1);
        assert_eq!(states.step(before, Event::Tick).map(|it| it.state), Some(State::StartPending));
        assert_eq!(states.step(late, Event::Tick).map(|it| it.state), Some(State::Running));
        assert_eq!(states.step(late, Event::Ready), None, "it has been told");
    }

    #[test]
    fn a_stop_during_the_start_is_not_lost() {
        let (_, told) = after(&[Event::Stop, Event::Ready]);
        assert_eq!(told.last().map(|it| it.state), Some(State::StopPending));
    }

    #[test]
    fn who_asks_is_answered_with_what_was_told_last() {
        let (_, told) = after(&[Event::Ready, Event::Interrogate, Event::Stop, Event::Interrogate]);
        assert_eq!(told[1], told[2]);
        assert_eq!(told[3], told[4]);
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => Just(Event::Tick),
            2 => Just(Event::Ready),
            1 => Just(Event::Stop),
            2 => Just(Event::Interrogate),
            1 => Just(Event::Done),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_the_manager_sees_a_service_that_keeps_its_rules(
            events in proptest::collection::vec((0_u64..3000, event()), 0..80),
        ) {
            let mut now = SECOND;
            let (mut states, first) = States::new(now);
            let mut told = vec![first];
            for (pause, event) in events {
                now += Duration::from_millis(pause);
                let before = told.last().copied().unwrap_or(first);
                let Some(status) = states.step(now, event) else {
                    let is_pending = !matches!(before.state, State::Running | State::Stopped);
                    prop_assert!(!is_pending || event != Event::Tick, "silence while something is pending");
                    continue;
                };
                prop_assert!(before.state != State::Stopped, "something is said after the end");
                prop_assert_eq!(status.accepts, status.state == State::Running);
                prop_assert_eq!(status.checkpoint == 0, matches!(status.state, State::Running | State::Stopped));
                let order = |state| match state {
                    State::StartPending => 0,
                    State::Running => 1,
                    State::StopPending => 2,
                    State::Stopped => 3,
                };
                prop_assert!(order(status.state) >= order(before.state), "it goes back");
                let is_same = status.state == before.state;
                match event {
                    Event::Interrogate => prop_assert_eq!(status, before),
                    _ if is_same => prop_assert!(status.checkpoint > before.checkpoint, "no progress is told"),
                    _ => {}
                }
                told.push(status);
            }
            // Every way leads out: to running or to the end.
            now += START_LIMIT;
            states.step(now, Event::Tick);
            states.step(now, Event::Done);
            prop_assert!(states.step(now, Event::Interrogate).is_none());
        }
    }
}
