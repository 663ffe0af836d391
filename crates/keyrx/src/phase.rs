//! What a run of keyrx is at, from its start to its end, and why it ends.
//!
//! `Phases` has the only copy, and each change that there can be is a method of it; a run only goes forward. Whether
//! mapping is paused, or keyrx rests, is another matter: either may be so in every phase.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::guard::Bell;

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Keyboards that were there at the start are yet to be taken.
    Starting,
    Running,
    /// Clients are told, and have until then to go; keys are mapped still.
    Draining {
        why: Reason,
        until: Instant,
    },
    /// Keys are released, and mapped no more; one thread after the other ends.
    Ending(Reason),
    /// What is left is to end the process.
    Stopped(Reason),
}

/// Why a run ends. A guard that loses patience, or a second signal, ends the process whatever its phase is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A signal, or the console of Windows.
    Signal,
    /// `keyrx stop`, or whoever else asks by the API.
    Command,
    /// The menu of the tray.
    Tray,
    /// The session of the user ends.
    Session,
    /// The keyboards can be read no more, or a thread cannot run.
    Failure,
    /// The session of keys panicked.
    Panic,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Signal => "signal",
            Reason::Command => "command",
            Reason::Tray => "tray",
            Reason::Session => "session",
            Reason::Failure => "failure",
            Reason::Panic => "panic",
        }
    }

    /// Whether somebody wanted it: then it is no crash, whatever happens from there on.
    pub fn is_wanted(self) -> bool {
        match self {
            Reason::Signal | Reason::Command | Reason::Tray | Reason::Session => true,
            Reason::Failure | Reason::Panic => false,
        }
    }
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining { .. } => "draining",
            Phase::Ending(_) => "ending",
            Phase::Stopped(_) => "stopped",
        }
    }

    /// Why it ends, if it does.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Phase::Starting | Phase::Running => None,
            Phase::Draining { why, .. } | Phase::Ending(why) | Phase::Stopped(why) => Some(why),
        }
    }

    /// Whether the end has come for keys, too.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Ending(_) | Phase::Stopped(_))
    }
}

/// The phase of this run, for all its threads. Each change says whether it is one.
#[derive(Debug)]
pub struct Phases {
    phase: watch::Sender<Phase>,
    /// Wakes the guard, which sees to it that the end comes to an end.
    bell: Arc<Bell>,
}

impl Phases {
    pub fn new(bell: Arc<Bell>) -> Phases {
        Phases { phase: watch::Sender::new(Phase::Starting), bell }
    }

    pub fn now(&self) -> Phase {
        *self.phase.borrow()
    }

    /// For who waits for a change.
    pub fn follow(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Every keyboard that was there at the start is read or has been refused.
    pub fn ready(&self) -> bool {
        self.change(|phase| (phase == Phase::Starting).then_some(Phase::Running))
    }

    /// The end begins.
    pub fn drain(&self, why: Reason, until: Instant) -> bool {
        self.change(|phase| phase.reason().is_none().then_some(Phase::Draining { why, until }))
    }

    /// Keys are mapped no more. A reason that there was before stays.
    pub fn end(&self, why: Reason) -> bool {
        self.change(|phase| (!phase.is_over()).then_some(Phase::Ending(phase.reason().unwrap_or(why))))
    }

    /// All is done.
    pub fn stopped(&self) -> bool {
        self.change(|phase| match phase {
            Phase::Ending(why) => Some(Phase::Stopped(why)),
            Phase::Starting | Phase::Running | Phase::Draining { .. } | Phase::Stopped(_) => None,
        })
    }

    fn change(&self, next: impl FnOnce(Phase) -> Option<Phase>) -> bool {
        let has_changed = self.phase.send_if_modified(|phase| {
            let next = next(*phase);
            *phase = next.unwrap_or(*phase);
            next.is_some()
        });
        self.bell.ring();
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_forward_only_and_keeps_its_first_reason() {
        let until = Instant::now();
        let why = Reason::Command;
        let (starting, running, draining) = (Phase::Starting, Phase::Running, Phase::Draining { why, until });
        let (ending, stopped) = (Phase::Ending(why), Phase::Stopped(why));
        // From each phase, what comes of each call: a phase, or no change.
        let table = [
            (starting, [Some(running), Some(draining), Some(ending), None]),
            (running, [None, Some(draining), Some(ending), None]),
            (draining, [None, None, Some(ending), None]),
            (ending, [None, None, None, Some(stopped)]),
            (stopped, [None, None, None, None]),
        ];
        type Call = fn(&Phases, Reason, Instant) -> bool;
        let calls: [Call; 4] = [
            |phases, _, _| phases.ready(),
            Phases::drain,
            |phases, why, _| phases.end(why),
            |phases, _, _| phases.stopped(),
        ];
        for (from, expected) in table {
            for (call, expected) in calls.into_iter().zip(expected) {
                let phases = Phases { phase: watch::Sender::new(from), bell: Arc::default() };
                // Who has a reason already hears no other.
                let said = if from.reason().is_some() { Reason::Panic } else { why };
                let has_changed = call(&phases, said, until);
                assert_eq!(
                    (has_changed, phases.now()),
                    (expected.is_some(), expected.unwrap_or(from)),
                    "{from:?}"
                );
            }
        }
    }

    #[test]
    fn who_follows_sees_each_change_and_only_changes() {
        let phases = Phases::new(Arc::default());
        let mut followed = phases.follow();
        phases.ready();
        assert!(followed.has_changed().unwrap());
        assert_eq!(*followed.borrow_and_update(), Phase::Running);
        phases.ready();
        phases.stopped();
        assert!(!followed.has_changed().unwrap());
    }
}
