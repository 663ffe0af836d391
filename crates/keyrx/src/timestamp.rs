//! The time of day, for people to read. Nothing is decided by it: it may be set back at any moment.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment, written as RFC 3339 has it, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    since_1970: Duration,
}

impl Timestamp {
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    /// Without milliseconds.
    pub fn seconds(self) -> String {
        let (year, month, day) = date(self.since_1970.as_secs() / 86_400);
        let second = self.since_1970.as_secs() % 86_400;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl From<SystemTime> for Timestamp {
    /// What was before 1970 counts as then.
    fn from(time: SystemTime) -> Timestamp {
        Timestamp { since_1970: time.duration_since(UNIX_EPOCH).unwrap_or_default() }
    }
}

/// With milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        write!(f, "{}.{:03}Z", seconds.trim_end_matches('Z'), self.since_1970.subsec_millis())
    }
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March, so that the leap day comes last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, text: &str) {
        let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(7);
        assert_eq!(Timestamp::from(time).seconds(), text);
        assert_eq!(Timestamp::from(time).to_string(), text.replace('Z', ".007Z"));
    }

    #[test]
    fn moments_are_written_as_rfc_3339() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_769_774_400, "2026-01-30T12:00:00Z");
        check(4_107_542_399, "2100-02-28T23:59:59Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(253_402_300_799, "9999-12-31T23:59:59Z");
    }

    #[test]
    fn a_clock_before_1970_is_no_error() {
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)).seconds(), "1970-01-01T00:00:00Z");
    }
}
