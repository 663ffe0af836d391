//! What the service writes into the Event Log: what people must see. Everything else is in its log file.

use std::collections::BTreeMap;
use std::time::Duration;

/// An event that has been told is told again after so long, with how often it has happened.
const QUIET: Duration = Duration::from_secs(60);

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Started { version: String, pid: u32 },
    Stopped { reason: String },
    Installed { program: String },
    Uninstalled,
    Recovered { session: u32 },
    KeymapApplied { session: u32, keymap: String },
    Degraded { session: u32, status: String, reasons: String },
    KeymapRejected { session: u32, reason: String },
    HookReinstalled { session: u32, times: u64 },
    Died { session: u32, how: String, wait: String, deaths: usize },
    Hung { session: u32, silence: String },
    Slow { session: u32, reason: String },
    ClientRefused { pid: u32, reason: String },
    LessRights { session: u32, what: String },
    HealthPort { port: u16, reason: String },
    Ended { session: u32, reason: String },
    CrashedBefore,
    SafeMode { session: u32 },
    Rest { session: u32 },
    Damaged { file: String },
    CannotRun { reason: String },
    AlreadyRunning { who: String },
    NotStarted { session: u32, reason: String },
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Information,
    Warning,
    Error,
}

impl Entry {
    /// The number of its sentence, and the parts of it.
    pub fn sentence(&self) -> (u32, Vec<String>) {
        let of = |session: &u32| session.to_string();
        match self {
            Entry::Started { version, pid } => (1000, vec![version.clone(), pid.to_string()]),
            Entry::Stopped { reason } => (1001, vec![reason.clone()]),
            Entry::Installed { program } => (1002, vec![program.clone()]),
            Entry::Uninstalled => (1003, vec![]),
            Entry::Recovered { session } => (1004, vec![of(session)]),
            Entry::KeymapApplied { session, keymap } => (1005, vec![of(session), keymap.clone()]),
            Entry::Degraded { session, status, reasons } => {
                (2000, vec![of(session), status.clone(), reasons.clone()])
            }
            Entry::KeymapRejected { session, reason } => (2001, vec![of(session), reason.clone()]),
            Entry::HookReinstalled { session, times } => (2002, vec![of(session), times.to_string()]),
            Entry::Died { session, how, wait, deaths } => {
                (2003, vec![of(session), how.clone(), wait.clone(), deaths.to_string()])
            }
            Entry::Hung { session, silence } => (2004, vec![of(session), silence.clone()]),
            Entry::Slow { session, reason } => (2005, vec![of(session), reason.clone()]),
            Entry::ClientRefused { pid, reason } => (2006, vec![pid.to_string(), reason.clone()]),
            Entry::LessRights { session, what } => (2007, vec![of(session), what.clone()]),
            Entry::HealthPort { port, reason } => (2008, vec![port.to_string(), reason.clone()]),
            Entry::Ended { session, reason } => (2009, vec![of(session), reason.clone()]),
            Entry::CrashedBefore => (2010, vec![]),
            Entry::SafeMode { session } => (3000, vec![of(session)]),
            Entry::Rest { session } => (3001, vec![of(session)]),
            Entry::Damaged { file } => (3002, vec![file.clone()]),
            Entry::CannotRun { reason } => (3003, vec![reason.clone()]),
            Entry::AlreadyRunning { who } => (3004, vec![who.clone()]),
            Entry::NotStarted { session, reason } => (3005, vec![of(session), reason.clone()]),
        }
    }
}

/// How bad what has this number is.
pub fn severity(number: u32) -> Severity {
    match number {
        ..2000 => Severity::Information,
        2000..3000 => Severity::Warning,
        _ => Severity::Error,
    }
}

/// The number as the log has it: how bad it is stands in the uppermost bits.
pub fn id(number: u32) -> u32 {
    let severity = match severity(number) {
        Severity::Information => 1,
        Severity::Warning => 2,
        Severity::Error => 3,
    };
    severity << 30 | number
}

/// Keeps the log readable: of what happens again and again in a minute the first is told, and then how often it was.
#[derive(Debug, Default)]
pub struct Throttle(BTreeMap<u32, (Duration, u32)>);

impl Throttle {
    /// Whether one of this number is to be told now; with how many that were not.
    pub fn passes(&mut self, number: u32, now: Duration) -> Option<u32> {
        match self.0.get_mut(&number) {
            Some((told, more)) if now.saturating_sub(*told) < QUIET => {
                *more = more.saturating_add(1);
                None
            }
            told => {
                let more = told.map(|(_, more)| *more).unwrap_or_default();
                self.0.insert(number, (now, 0));
                Some(more)
            }
        }
    }
}

/// The way to the Event Log, if there is one.
#[cfg(windows)]
pub struct Events {
    log: Option<keyrx_platform::native::event_log::EventLog>,
    throttle: keyrx_platform::lock::Guarded<Throttle>,
}

#[cfg(windows)]
impl Events {
    pub fn open() -> Events {
        let log = keyrx_platform::native::event_log::EventLog::open(super::SOURCE).ok();
        Events { log, throttle: keyrx_platform::lock::Guarded::default() }
    }

    /// Writes it, unless it was written a moment ago. A log that cannot be written is no reason for anything to fail.
    pub fn tell(&self, entry: &Entry) {
        use keyrx_platform::native::event_log;
        let (number, mut parts) = entry.sentence();
        let now = keyrx_platform::native::boot::age();
        let Some(more) = self.throttle.with(|throttle| throttle.passes(number, now)) else { return };
        if more > 0
            && let Some(last) = parts.last_mut()
        {
            last.push_str(&format!(" (and {more} more)"));
        }
        let severity = match severity(number) {
            Severity::Information => event_log::Severity::Information,
            Severity::Warning => event_log::Severity::Warning,
            Severity::Error => event_log::Severity::Error,
        };
        if let Some(log) = &self.log {
            let _ = log.report(severity, id(number), &parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    include!("event_table.rs");

    /// One of each.
    fn all() -> Vec<Entry> {
        let [a, b] = ["a", "b"].map(str::to_owned);
        let session = 1;
        vec![
            Entry::Started { version: a.clone(), pid: 2 },
            Entry::Stopped { reason: a.clone() },
            Entry::Installed { program: a.clone() },
            Entry::Uninstalled,
            Entry::Recovered { session },
            Entry::KeymapApplied { session, keymap: a.clone() },
            Entry::Degraded { session, status: a.clone(), reasons: b.clone() },
            Entry::KeymapRejected { session, reason: a.clone() },
            Entry::HookReinstalled { session, times: 2 },
            Entry::Died { session, how: a.clone(), wait: b.clone(), deaths: 2 },
            Entry::Hung { session, silence: a.clone() },
            Entry::Slow { session, reason: a.clone() },
            Entry::ClientRefused { pid: 2, reason: a.clone() },
            Entry::LessRights { session, what: a.clone() },
            Entry::HealthPort { port: 1, reason: a.clone() },
            Entry::Ended { session, reason: a.clone() },
            Entry::CrashedBefore,
            Entry::SafeMode { session },
            Entry::Rest { session },
            Entry::Damaged { file: a.clone() },
            Entry::CannotRun { reason: a.clone() },
            Entry::AlreadyRunning { who: a.clone() },
            Entry::NotStarted { session, reason: b },
        ]
    }

    #[test]
    fn every_event_has_a_sentence_with_a_place_for_each_part_and_no_other() {
        let mut known = BTreeSet::new();
        for entry in all() {
            let (number, parts) = entry.sentence();
            assert!(known.insert(number), "{entry:?} has the number of another");
            let sentence = SENTENCES.iter().find(|(known, _)| *known == number);
            let (_, sentence) = sentence.unwrap_or_else(|| panic!("{entry:?} has no sentence"));
            for place in 1..=9 {
                let has_place = sentence.contains(&format!("%{place}"));
                assert_eq!(has_place, place <= parts.len(), "%{place} in {sentence:?} for {entry:?}");
            }
        }
        let numbers = SENTENCES.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        assert!(numbers.is_sorted_by(|one, other| one < other), "the table is sorted, each number once");
        assert_eq!(known.into_iter().collect::<Vec<_>>(), numbers, "a sentence without an event");
    }

    #[test]
    fn the_number_says_how_bad_it_is() {
        assert_eq!([id(1000), id(2000), id(3000)], [0x4000_03e8, 0x8000_07d0, 0xc000_0bb8]);
    }

    #[test]
    fn what_happens_all_the_time_is_told_once_a_minute_with_how_often() {
        let mut throttle = Throttle::default();
        let at = |second| Duration::from_secs(second);
        assert_eq!(throttle.passes(1, at(100)), Some(0));
        assert_eq!(throttle.passes(2, at(100)), Some(0), "another is another");
        assert_eq!([throttle.passes(1, at(101)), throttle.passes(1, at(159))], [None, None]);
        assert_eq!(throttle.passes(1, at(160)), Some(2));
        assert_eq!(throttle.passes(1, at(300)), Some(0));
    }

    #[test]
    fn the_manual_has_every_sentence() {
        let manual = include_str!("../../../../docs/service.md");
        for (number, sentence) in SENTENCES {
            let row = format!("| {number} | {sentence} |");
            assert!(manual.contains(&row), "docs/service.md lacks this row:\n{row}");
        }
    }
}
