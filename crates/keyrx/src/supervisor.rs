//! Who keeps one process alive: when it is started, when it counts as hung, when it is given up.
//!
//! It does nothing itself and has no clock: it is told what happened and when, and says what is to be done. There is
//! at most one child at any moment: a start follows only an end.

use std::time::Duration;

use crate::lifecycle::{self, is_end};
use crate::recovery::{History, Mode};

/// For so long a program is at its start.
const AT_START: Duration = Duration::from_secs(10);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until the first sign of life. Without a limit, one that never gives any is watched by its end alone.
    pub ready: Option<Duration>,
    /// From one sign of life to the next, once there was one.
    pub heartbeat: Duration,
    /// From being asked to stop until the end.
    pub stop: Duration,
    /// For a dump of one that hangs.
    pub dump: Duration,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is a child already, which a supervisor before this one has started.
    #[cfg_attr(not(any(windows, test)), expect(dead_code, reason = "only the service of Windows finds one"))]
    Adopted,
    /// The child has given a sign of life.
    Alive,
    /// The child says that it ends.
    Stopping,
    /// The child has something new to try.
    Forgiven,
    /// The dump of the child that hangs is there, or cannot be had.
    #[cfg_attr(not(any(windows, test)), expect(dead_code, reason = "elsewhere the system makes dumps"))]
    Dumped,
    Exited(How),
    StopRequested,
    /// The moment has come that was asked for.
    Timer,
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Code(i32),
    Signal(i32),
    /// It was not there, or could not be started.
    NotStarted,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// If it fails, that is an end: `How::NotStarted`.
    Start(Mode),
    AskToStop,
    Dump,
    Kill,
    /// Is to be kept, so that the next supervisor decides as this one would.
    Keep(lifecycle::Event),
    /// People are to be told.
    Report(Report),
    /// There is no child, and will be none.
    End(How),
}

/// What people are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Died {
        how: How,
        was_hung: bool,
        lived: Duration,
        deaths: usize,
        wait: Duration,
        mode: Mode,
    },
    /// No sign of life for so long.
    Hung(Duration),
    /// It was asked to stop, and has not, for so long.
    StopTooLong(Duration),
}

/// One child, and what has become of those before.
#[derive(Debug)]
pub struct Supervisor {
    limits: Limits,
    history: History,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no child.
    Waiting {
        until: Duration,
    },
    Running {
        since: Duration,
        alive: Option<Duration>,
    },
    /// It hangs, and has been told to leave a dump.
    Dumping {
        since: Duration,
        until: Duration,
    },
    /// It hangs and has been killed; until then the system may take to end it.
    Killed {
        since: Duration,
        until: Duration,
    },
    /// It ends, because we asked it to or by itself.
    Stopping {
        since: Duration,
        until: Duration,
        is_asked: bool,
    },
    Ended,
}

impl Supervisor {
    /// The first child is due at once, unless the history has it wait. `Event::Timer` sets it going.
    pub fn new(limits: Limits, history: History) -> Supervisor {
        let phase = Phase::Waiting { until: history.next_start() };
        Supervisor { limits, history, phase }
    }

    /// Takes what has happened, and says what is to be done.
    pub fn step(&mut self, now: Duration, event: &Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Alive => {
                if let Phase::Running { alive, .. } = &mut self.phase {
                    *alive = Some(now);
                }
            }
            Event::Stopping => {
                if let Phase::Running { since, .. } = self.phase {
                    let until = now.saturating_add(self.limits.stop);
                    self.phase = Phase::Stopping { since, until, is_asked: false };
                }
            }
            Event::Forgiven => {
                self.history.forgive();
                let reason = "the child has something new to try".into();
                actions.push(Action::Keep(lifecycle::Event::Forgiven { reason }));
            }
            Event::Adopted => {
                if let Phase::Waiting { .. } | Phase::Ended = self.phase {
                    self.phase = Phase::Running { since: now, alive: None };
                }
            }
            Event::Dumped => {
                if let Phase::Dumping { until, .. } = &mut self.phase {
                    *until = now;
                }
            }
            Event::Exited(how) => self.exited(now, *how, &mut actions),
            Event::StopRequested => self.stop(now, &mut actions),
            Event::Timer => {}
        }
        self.do_what_is_due(now, &mut actions);
        actions
    }

    /// When `Event::Timer` is wanted.
    pub fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until }
            | Phase::Dumping { until, .. }
            | Phase::Killed { until, .. }
            | Phase::Stopping { until, .. } => Some(until),
            Phase::Running { since, alive: None } => Some(since.saturating_add(self.limits.ready?)),
            Phase::Running { alive: Some(alive), .. } => Some(alive.saturating_add(self.limits.heartbeat)),
            Phase::Ended => None,
        }
    }

    /// Whether there is a child, as far as is known.
    #[cfg_attr(not(any(windows, test)), expect(dead_code, reason = "only the service of Windows asks"))]
    pub fn has_child(&self) -> bool {
        !matches!(self.phase, Phase::Waiting { .. } | Phase::Ended)
    }

    /// When the next child is due, if one is.
    #[cfg_attr(not(windows), expect(dead_code, reason = "only the service of Windows asks"))]
    pub fn next_start(&self) -> Option<Duration> {
        if let Phase::Waiting { until } = self.phase { Some(until) } else { None }
    }

    /// How much the child may do, by what has become of those before.
    #[cfg_attr(not(windows), expect(dead_code, reason = "only the service of Windows asks"))]
    pub fn history(&self) -> &History {
        &self.history
    }

    fn do_what_is_due(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Waiting { .. } => {
                actions.push(Action::Start(self.history.mode(now)));
                self.phase = Phase::Running { since: now, alive: None };
            }
            Phase::Running { since, alive } => {
                let silence = now.saturating_sub(alive.unwrap_or(since));
                actions.extend([Action::Report(Report::Hung(silence)), Action::Dump]);
                self.phase = Phase::Dumping { since, until: now.saturating_add(self.limits.dump) };
            }
            Phase::Dumping { since, .. } | Phase::Killed { since, .. } => {
                actions.push(Action::Kill);
                self.phase = Phase::Killed { since, until: now.saturating_add(self.limits.dump) };
            }
            Phase::Stopping { since, is_asked, .. } => {
                actions.extend([Action::Report(Report::StopTooLong(self.limits.stop)), Action::Kill]);
                self.phase = match is_asked {
                    true => Phase::Stopping { since, until: now.saturating_add(self.limits.stop), is_asked },
                    false => Phase::Killed { since, until: now.saturating_add(self.limits.dump) },
                };
            }
            Phase::Ended => {}
        }
    }

    fn exited(&mut self, now: Duration, how: How, actions: &mut Vec<Action>) {
        let (since, was_hung, was_alive) = match self.phase {
            Phase::Waiting { .. } | Phase::Ended => return,
            Phase::Stopping { is_asked: true, .. } => return self.end(how, actions),
            Phase::Running { since, alive } => (since, false, alive.is_some()),
            Phase::Stopping { since, .. } => (since, false, true),
            Phase::Dumping { since, .. } | Phase::Killed { since, .. } => (since, true, true),
        };
        let lived = now.saturating_sub(since);
        // What is wrong with its input a program says at its start. Later it is how Windows ends what is killed.
        let is_at_start = !was_alive && lived < AT_START;
        if let How::Code(code) = how
            && !was_hung
            && is_end(code)
            && (is_at_start || !matches!(code, 1..=3))
        {
            return self.end(how, actions);
        }
        self.history.died(now, lived);
        let until = self.history.next_start();
        actions.push(Action::Keep(lifecycle::Event::Died {
            how: format!("{how:?}"),
            lived_ms: u64::try_from(lived.as_millis()).unwrap_or(u64::MAX),
        }));
        actions.push(Action::Report(Report::Died {
            how,
            was_hung,
            lived,
            deaths: self.history.streak(),
            wait: until.saturating_sub(now),
            mode: self.history.mode(now),
        }));
        self.phase = Phase::Waiting { until };
    }

    fn stop(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let until = now.saturating_add(self.limits.stop);
        match self.phase {
            Phase::Waiting { .. } => self.end(How::Code(0), actions),
            Phase::Running { since, .. } => {
                actions.push(Action::AskToStop);
                self.phase = Phase::Stopping { since, until, is_asked: true };
            }
            // It ends already. Of two who ask, the second does not want to wait.
            Phase::Stopping { since, is_asked: false, until } => {
                self.phase = Phase::Stopping { since, until, is_asked: true };
            }
            Phase::Stopping { since, is_asked: true, .. }
            | Phase::Dumping { since, .. }
            | Phase::Killed { since, .. } => {
                actions.push(Action::Kill);
                self.phase = Phase::Stopping { since, until, is_asked: true };
            }
            Phase::Ended => {}
        }
    }

    fn end(&mut self, how: How, actions: &mut Vec<Action>) {
        let code = match how {
            How::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
            // It was asked to end, and that it has done.
            How::Signal(_) | How::NotStarted => 0,
        };
        if code == 0 {
            self.history.forgive(); // as who reads the record does
        }
        actions.push(Action::Keep(lifecycle::Event::Stop { code }));
        actions.push(Action::End(how));
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lifecycle::Record;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);
    const LIMITS: Limits = Limits {
        ready: Some(Duration::from_secs(15)),
        heartbeat: Duration::from_secs(3),
        stop: Duration::from_secs(6),
        dump: SECOND,
    };

    /// A supervisor among children that do as they are told, on a clock that only a test moves.
    struct World {
        supervisor: Supervisor,
        record: Record,
        now: Duration,
        has_child: bool,
        starts: Vec<(Duration, Mode)>,
        reports: Vec<Report>,
        /// What else was to be done, in order.
        done: Vec<Action>,
        end: Option<How>,
    }

    impl World {
        fn new() -> World {
            World::after(Record::default(), 1000 * SECOND)
        }

        /// As it is when a supervisor comes back.
        fn after(record: Record, now: Duration) -> World {
            let supervisor = Supervisor::new(LIMITS, record.history());
            let (starts, reports, done) = (Vec::new(), Vec::new(), Vec::new());
            let mut world =
                World { supervisor, record, now, has_child: false, starts, reports, done, end: None };
            world.tell(Event::Timer);
            world
        }

        fn tell(&mut self, event: Event) {
            if let Event::Exited(_) = event {
                self.has_child = false;
            }
            for action in self.supervisor.step(self.now, &event) {
                assert!(self.end.is_none(), "nothing is done after the end");
                match action {
                    Action::Start(mode) => {
                        assert!(!self.has_child, "two children at once");
                        self.has_child = true;
                        self.starts.push((self.now, mode));
                    }
                    Action::Keep(event) => self.record.add(self.now, event),
                    Action::Report(report) => self.reports.push(report),
                    Action::End(how) => {
                        assert!(!self.has_child, "a child is left behind");
                        self.end = Some(how);
                    }
                    Action::AskToStop | Action::Dump | Action::Kill => {
                        assert!(self.has_child, "there is nobody to be told");
                        self.done.push(action);
                    }
                }
            }
            assert_eq!(
                self.record.history(),
                self.supervisor.history,
                "the next supervisor would decide otherwise"
            );
        }

        /// Time passes, with everything that is due in it.
        fn wait(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(deadline) = self.supervisor.deadline().filter(|deadline| *deadline <= until) {
                self.now = self.now.max(deadline);
                self.tell(Event::Timer);
            }
            self.now = until;
        }

        fn die(&mut self) {
            self.tell(Event::Exited(How::Signal(9)));
        }

        /// Waits until the next child has been started. How long that took.
        fn until_started(&mut self) -> Duration {
            let begin = self.now;
            while !self.has_child {
                let deadline = self.supervisor.deadline().expect("a start is due");
                self.wait(deadline.saturating_sub(self.now).max(MILLI));
            }
            self.starts.last().unwrap().0 - begin
        }
    }

    #[test]
    fn who_dies_at_each_start_is_started_later_and_later_then_in_safe_mode_then_to_rest() {
        let mut world = World::new();
        assert_eq!(world.starts, [(1000 * SECOND, Mode::Normal)], "the first at once");
        let waits = (0..8).map(|_| {
            world.die();
            world.until_started().as_millis()
        });
        let waits = waits.collect::<Vec<_>>();
        let bounds = [(0, 0), (200, 300), (400, 600), (800, 1200), (1600, 2400), (3200, 4800), (6400, 9600)];
        for (wait, (least, most)) in waits.iter().zip(bounds) {
            assert!((least..=most).contains(wait), "{waits:?}");
        }
        assert!((12_800..=19_200).contains(&waits[7]), "{waits:?}");
        let modes = world.starts.iter().map(|(_, mode)| mode.to_string()).collect::<Vec<_>>();
        let expected = [&["normal"; 5][..], &["safe"; 3], &["rest"]].concat();
        assert_eq!(modes, expected);
        let Mode::Rest { until } = world.starts[8].1 else { panic!("it does not rest") };
        world.die();
        world.until_started();
        assert_eq!(world.starts[9], (until, Mode::Normal));
    }

    #[test]
    fn the_next_supervisor_decides_as_the_one_before_would_have() {
        let mut world = World::new();
        for death in 0..8 {
            world.die();
            let due = world.supervisor.deadline();
            let record = std::mem::take(&mut world.record);
            world = World::after(record, world.now);
            assert_eq!(
                world.supervisor.deadline().filter(|_| !world.has_child),
                due.filter(|_| !world.has_child)
            );
            world.until_started();
            assert!(world.has_child, "after death {death}");
        }
        assert!(matches!(world.starts.last().unwrap().1, Mode::Rest { .. }));
    }

    #[test]
    fn who_gives_no_sign_of_life_is_dumped_killed_and_started_again() {
        let mut world = World::new();
        world.tell(Event::Alive);
        for _ in 0..100 {
            world.wait(LIMITS.heartbeat - MILLI);
            world.tell(Event::Alive);
        }
        assert!(world.done.is_empty());
        world.wait(LIMITS.heartbeat);
        assert_eq!(
            (&world.done[..], &world.reports[..]),
            (&[Action::Dump][..], &[Report::Hung(LIMITS.heartbeat)][..])
        );
        world.wait(LIMITS.dump);
        assert_eq!(world.done, [Action::Dump, Action::Kill]);
        world.die();
        assert!(matches!(world.reports[1], Report::Died { was_hung: true, wait: Duration::ZERO, .. }));
        assert_eq!(world.starts.len(), 2);
    }

    #[test]
    fn a_dump_that_is_there_is_not_waited_for() {
        let mut world = World::new();
        world.tell(Event::Dumped);
        assert!(world.done.is_empty(), "nobody hangs");
        world.tell(Event::Alive);
        world.wait(LIMITS.heartbeat);
        world.tell(Event::Dumped);
        assert_eq!(world.done, [Action::Dump, Action::Kill]);
        world.tell(Event::Dumped);
        assert_eq!(world.done.len(), 2);
    }

    #[test]
    fn a_child_that_is_there_already_is_adopted_and_no_second_one_is_started() {
        let mut supervisor = Supervisor::new(LIMITS, History::default());
        assert_eq!(supervisor.step(SECOND, &Event::Adopted), []);
        assert!(supervisor.has_child());
        assert_eq!(supervisor.step(SECOND, &Event::Adopted), [], "it is the same");
        assert_eq!(supervisor.deadline(), LIMITS.ready.map(|ready| SECOND + ready), "it has to be heard of");
        supervisor.step(2 * SECOND, &Event::Alive);
        let actions = supervisor.step(3 * SECOND, &Event::Exited(How::Signal(9)));
        assert!(actions.contains(&Action::Start(Mode::Normal)), "it is watched as any other: {actions:?}");
        // One that was given up is taken back when it shows up.
        supervisor.step(4 * SECOND, &Event::Exited(How::Code(3)));
        assert!(!supervisor.has_child());
        supervisor.step(5 * SECOND, &Event::Adopted);
        assert!(supervisor.has_child());
    }

    #[test]
    fn who_is_never_ready_hangs_too() {
        let mut world = World::new();
        world.wait(LIMITS.ready.unwrap() - MILLI);
        assert!(world.done.is_empty());
        world.wait(MILLI);
        assert_eq!(world.done, [Action::Dump]);
        world.tell(Event::Exited(How::Code(1)));
        assert_eq!(world.starts.len(), 2, "how it ends then is not its own doing");
        let limits = Limits { ready: None, ..LIMITS };
        let mut patient = Supervisor::new(limits, History::default());
        patient.step(SECOND, &Event::Timer);
        assert_eq!(patient.deadline(), None);
    }

    #[test]
    fn who_has_nothing_to_do_is_not_started_again() {
        for code in [0, 1, 2, 3, 75, 130] {
            let mut world = World::new();
            world.tell(Event::Exited(How::Code(code)));
            assert_eq!((world.end, world.starts.len()), (Some(How::Code(code)), 1));
        }
        for how in
            [How::Code(70), How::Code(101), How::Code(-1_073_741_819), How::Signal(11), How::NotStarted]
        {
            let mut world = World::new();
            world.tell(Event::Exited(how));
            assert_eq!((world.end, world.starts.len()), (None, 2), "{how:?}");
        }
        let mut world = World::new();
        world.tell(Event::Alive);
        world.tell(Event::Exited(How::Code(1)));
        assert_eq!((world.end, world.starts.len()), (None, 2), "so Windows ends what is killed");
    }

    #[test]
    fn a_stop_is_asked_for_once_then_enforced() {
        let mut world = World::new();
        world.tell(Event::StopRequested);
        world.wait(LIMITS.stop - MILLI);
        assert_eq!(world.done, [Action::AskToStop]);
        world.wait(MILLI);
        assert_eq!(world.done, [Action::AskToStop, Action::Kill]);
        world.die();
        assert_eq!(world.end, Some(How::Signal(9)));
        let mut hasty = World::new();
        hasty.tell(Event::StopRequested);
        hasty.tell(Event::StopRequested);
        assert_eq!(hasty.done, [Action::AskToStop, Action::Kill]);
        let mut childless = World::new();
        childless.die();
        childless.die();
        assert!(!childless.has_child);
        childless.tell(Event::StopRequested);
        assert_eq!(childless.end, Some(How::Code(0)));
    }

    #[test]
    fn a_child_may_end_by_itself_and_is_killed_if_it_cannot() {
        let mut world = World::new();
        world.tell(Event::Alive);
        world.tell(Event::Stopping);
        world.wait(LIMITS.stop);
        assert_eq!(world.done, [Action::Kill]);
        world.die();
        assert_eq!((world.end, world.starts.len()), (None, 2));
        world.tell(Event::Stopping);
        world.tell(Event::StopRequested);
        assert_eq!(world.done, [Action::Kill], "it knows");
        world.tell(Event::Exited(How::Code(0)));
        assert_eq!(world.end, Some(How::Code(0)));
    }

    #[test]
    fn a_child_with_something_new_to_try_is_forgiven() {
        let mut world = World::new();
        for _ in 0..5 {
            world.die();
            world.until_started();
        }
        assert_eq!(world.starts.last().unwrap().1, Mode::Safe);
        world.tell(Event::Forgiven);
        world.die();
        assert_eq!(world.until_started(), Duration::ZERO);
        assert_eq!(world.starts.last().unwrap().1, Mode::Normal);
    }

    fn event() -> impl Strategy<Value = Event> {
        let how = prop_oneof![
            Just(How::Signal(9)),
            Just(How::NotStarted),
            prop_oneof![Just(0), Just(1), Just(70)].prop_map(How::Code),
        ];
        prop_oneof![
            6 => Just(Event::Alive),
            1 => Just(Event::Stopping),
            1 => Just(Event::Forgiven),
            1 => Just(Event::Dumped),
            8 => how.prop_map(Event::Exited),
            2 => Just(Event::Timer),
        ]
    }

    proptest! {
        /// What holds in every world is asserted in `World::tell`.
        #[test]
        fn a_stop_ends_in_no_child_whatever_happened_before(
            events in proptest::collection::vec((0_u64..20_000, event()), 0..60),
            is_obedient in any::<bool>(),
        ) {
            let mut world = World::new();
            for (pause, event) in events {
                world.wait(Duration::from_millis(pause));
                if world.end.is_some() {
                    return Ok(());
                }
                if world.has_child || !matches!(event, Event::Exited(_)) {
                    world.tell(event);
                }
            }
            if world.end.is_some() {
                return Ok(());
            }
            world.done.clear();
            world.tell(Event::StopRequested);
            let begin = world.now;
            while world.end.is_none() {
                prop_assert!(world.now - begin <= LIMITS.stop, "it takes too long");
                match (world.done.pop(), is_obedient) {
                    (Some(Action::Kill), _) => world.die(),
                    (Some(Action::AskToStop), true) => world.tell(Event::Exited(How::Code(0))),
                    _ => world.wait(100 * MILLI),
                }
            }
            prop_assert_eq!(world.supervisor.deadline(), None);
        }
    }
}
