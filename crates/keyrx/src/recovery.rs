//! What is done about a keyrx that dies again and again: when it is started anew, and how much it may do then.
//!
//! Everything follows from a history of deaths, each with its moment since the system's start. There is no clock in
//! here and no chance: even the jitter comes out of the moment of death. So whoever knows the history decides the same.

use std::fmt;
use std::time::Duration;

/// After how many deaths in a row a start waits for so long, in milliseconds.
const DELAYS_MS: [u64; 9] = [0, 250, 500, 1000, 2000, 4000, 8000, 16_000, LONGEST_DELAY_MS];
const LONGEST_DELAY_MS: u64 = 30_000;

/// A delay is up to so many thousandths longer or shorter.
const JITTER: u64 = 200;

/// Who has lived for so long has been well, and its death is the first in a row.
const WELL: Duration = Duration::from_secs(60);

/// So many deaths within so long lead to safe mode, and so many there to a rest.
const DEATHS_TO_SAFE: usize = 5;
const DEATHS_WITHIN: Duration = Duration::from_secs(60);
const DEATHS_TO_REST: u32 = 3;

/// Without a death for so long, safe mode is over.
const STABLE: Duration = Duration::from_secs(10 * 60);

pub const REST: Duration = Duration::from_secs(10 * 60);

/// A crash is a recent one for so long.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// How much a keyrx may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Normal,
    /// No keymap is read, and all keys pass through.
    Safe,
    /// No keyboard is touched until then.
    Rest { until: Duration },
}

impl Mode {
    /// How one process tells another, which may not know the clock. What is no mode is none.
    pub fn parse(text: &str, now: Duration) -> Option<Mode> {
        match text.split_once(' ') {
            None if text == "normal" => Some(Mode::Normal),
            None if text == "safe" => Some(Mode::Safe),
            Some(("rest", millis)) => {
                let left = Duration::from_millis(millis.parse().ok()?).min(REST);
                Some(Mode::Rest { until: now.saturating_add(left) })
            }
            _ => None,
        }
    }

    pub fn text(self, now: Duration) -> String {
        match self {
            Mode::Rest { until } => format!("{self} {}", until.saturating_sub(now).as_millis()),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Normal => "normal",
            Mode::Safe => "safe",
            Mode::Rest { .. } => "rest",
        })
    }
}

/// How keyrx recovers, for those who look at its health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub mode: Mode,
    pub recent_crashes: usize,
}

/// Deaths, and what they come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The moments of recent deaths.
    deaths: Vec<Duration>,
    /// The moments of those that may lead to safe mode.
    counted: Vec<Duration>,
    /// So many without having been well between them.
    streak: usize,
    stage: Stage,
    next_start: Duration,
}

/// As `Mode`, with what is needed to leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Normal,
    /// Since it began, or since the last death in it.
    Safe {
        since: Duration,
        deaths: u32,
    },
    Rest {
        until: Duration,
    },
}

impl History {
    /// It has died, after having lived for so long.
    pub fn died(&mut self, at: Duration, lived: Duration) {
        // As the record keeps it: what follows is to be the same when it is read again.
        let at = at.saturating_sub(Duration::from_nanos((at.subsec_nanos() % 1_000_000).into()));
        let at = self.deaths.last().map_or(at, |last| at.max(*last));
        self.settle(at);
        let keep = |deaths: &mut Vec<Duration>, within| {
            deaths.retain(|death| at.saturating_sub(*death) < within);
            deaths.push(at);
        };
        keep(&mut self.deaths, RECENT);
        keep(&mut self.counted, DEATHS_WITHIN);
        self.streak = if lived >= WELL { 1 } else { self.streak.saturating_add(1) };
        self.next_start = at.saturating_add(jittered(delay(self.streak), at));
        self.stage = match self.stage {
            Stage::Normal if self.counted.len() >= DEATHS_TO_SAFE => Stage::Safe { since: at, deaths: 0 },
            Stage::Normal => Stage::Normal,
            Stage::Safe { deaths, .. } => match deaths.saturating_add(1) {
                DEATHS_TO_REST.. => Stage::Rest { until: at.saturating_add(REST) },
                deaths => Stage::Safe { since: at, deaths },
            },
            Stage::Rest { until } => {
                // Not even doing nothing helps.
                self.next_start = until;
                Stage::Rest { until }
            }
        };
    }

    /// There is reason to hope that it does not die again: it ended in order, or has something else to do.
    pub fn forgive(&mut self) {
        *self = History { deaths: std::mem::take(&mut self.deaths), ..History::default() };
    }

    /// Whoever started it knows of more deaths.
    pub fn heed(&mut self, mode: Mode, now: Duration) {
        self.settle(now);
        match (mode, self.stage) {
            (Mode::Rest { until }, _) => self.stage = Stage::Rest { until },
            (Mode::Safe, Stage::Normal) => self.stage = Stage::Safe { since: now, deaths: 0 },
            _ => {}
        }
    }

    /// How much it may do.
    pub fn mode(&self, now: Duration) -> Mode {
        match self.stage {
            Stage::Safe { since, .. } if now.saturating_sub(since) < STABLE => Mode::Safe,
            Stage::Rest { until } if now < until => Mode::Rest { until },
            _ => Mode::Normal,
        }
    }

    /// When it may be started again.
    pub fn next_start(&self) -> Duration {
        self.next_start
    }

    /// How many deaths in a row there have been.
    pub fn streak(&self) -> usize {
        self.streak
    }

    pub fn recent_deaths(&self, now: Duration) -> usize {
        self.deaths.iter().filter(|death| now.saturating_sub(**death) < RECENT).count()
    }

    /// After safe mode, and after a rest, the count begins anew.
    fn settle(&mut self, now: Duration) {
        if self.mode(now) == Mode::Normal && self.stage != Stage::Normal {
            self.forgive();
        }
    }
}

/// How long to wait before a start, without jitter.
fn delay(deaths: usize) -> Duration {
    let millis =
        deaths.checked_sub(1).map(|before| DELAYS_MS.get(before).copied().unwrap_or(LONGEST_DELAY_MS));
    Duration::from_millis(millis.unwrap_or_default())
}

/// So that several that died together do not come back together. The moment of death is the seed.
fn jittered(delay: Duration, seed: Duration) -> Duration {
    let seed = u64::try_from(seed.as_micros()).unwrap_or_default();
    let thousandths = 1000_u64.saturating_sub(JITTER).saturating_add(mixed(seed) % (2 * JITTER + 1));
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).saturating_mul(thousandths) / 1000;
    Duration::from_micros(micros).min(Duration::from_millis(LONGEST_DELAY_MS))
}

/// A number of which every bit depends on every bit of the seed (the mixing of `SplitMix64`).
fn mixed(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Dies `times` times, at once after each start. The moments of death, the modes after it, the waits.
    fn die(history: &mut History, mut now: Duration, times: usize) -> Vec<(Duration, Mode, Duration)> {
        let die = |_| {
            let at = now;
            history.died(at, Duration::ZERO);
            now = history.next_start();
            (at, history.mode(at), now - at)
        };
        (0..times).map(die).collect()
    }

    #[test]
    fn the_delays_grow_to_half_a_minute() {
        let delays = (0..12).map(|deaths| delay(deaths).as_millis()).collect::<Vec<_>>();
        let expected = [0, 0, 250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(delays, expected);
    }

    #[test]
    fn the_jitter_follows_from_the_moment_of_death() {
        let jitter = |micros| jittered(SECOND, Duration::from_micros(micros)).as_millis();
        let jitters = [0, 1, 2, 3, 1_000_000].map(jitter);
        assert_eq!(jitters, [1076, 1048, 914, 832, 888]);
    }

    #[test]
    fn five_deaths_within_a_minute_lead_to_safe_mode_and_three_there_to_a_rest() {
        let mut history = History::default();
        let deaths = die(&mut history, 100 * SECOND, 10);
        let modes = deaths.iter().map(|(_, mode, _)| mode.to_string()).collect::<Vec<_>>();
        let expected =
            ["normal", "normal", "normal", "normal", "safe", "safe", "safe", "rest", "rest", "normal"];
        assert_eq!(modes, expected);
        for (deaths, (at, _, wait)) in (1..=8).zip(&deaths) {
            assert_eq!(*wait, jittered(delay(deaths), *at), "after the death {deaths}");
        }
        let (rests_from, ..) = deaths[7];
        let rests_until = rests_from + REST;
        assert_eq!(deaths[7].1, Mode::Rest { until: rests_until });
        assert_eq!(
            deaths[8].0 + deaths[8].2,
            rests_until,
            "who dies resting is not started before the end of it"
        );
        assert_eq!(deaths[9].0, rests_until);
        assert_eq!((deaths[9].1, deaths[9].2), (Mode::Normal, Duration::ZERO));
    }

    #[test]
    fn deaths_that_lie_far_apart_are_no_reason_for_safe_mode() {
        let mut history = History::default();
        for death in 0..20 {
            history.died(16 * death * SECOND, 15 * SECOND);
            assert_eq!(history.mode(16 * death * SECOND), Mode::Normal);
        }
        for death in 100..104 {
            history.died(14 * death * SECOND, 13 * SECOND);
        }
        assert_eq!(history.mode(14 * 103 * SECOND), Mode::Normal);
        history.died(14 * 104 * SECOND, 13 * SECOND);
        assert_eq!(history.mode(14 * 104 * SECOND), Mode::Safe);
    }

    #[test]
    fn after_a_minute_of_health_the_delays_begin_anew() {
        let mut history = History::default();
        die(&mut history, SECOND, 4);
        assert_eq!(history.streak(), 4);
        history.died(100 * SECOND, WELL);
        assert_eq!((history.streak(), history.next_start()), (1, 100 * SECOND));
        history.died(101 * SECOND, SECOND);
        assert_eq!(history.streak(), 2);
    }

    #[test]
    fn safe_mode_ends_when_it_is_stable_or_forgiven() {
        let mut history = History::default();
        let last = die(&mut history, SECOND, 6)[5].0;
        assert_eq!(history.mode(last + STABLE - SECOND), Mode::Safe);
        assert_eq!(history.mode(last + STABLE), Mode::Normal);
        let mut stable = history.clone();
        stable.died(last + STABLE, STABLE);
        assert_eq!(stable.mode(last + STABLE), Mode::Normal);
        history.forgive();
        assert_eq!((history.mode(last), history.streak()), (Mode::Normal, 0));
        assert_eq!(history.recent_deaths(last), 6, "that it died is true nevertheless");
        assert_eq!(history.recent_deaths(last + RECENT), 0);
    }

    #[test]
    fn who_is_told_to_be_careful_is() {
        let mut history = History::default();
        history.heed(Mode::Normal, SECOND);
        assert_eq!(history.mode(SECOND), Mode::Normal);
        history.heed(Mode::Safe, SECOND);
        history.heed(Mode::Normal, SECOND);
        assert_eq!(history.mode(SECOND), Mode::Safe);
        history.heed(Mode::Rest { until: 9 * SECOND }, SECOND);
        assert_eq!(history.mode(SECOND), Mode::Rest { until: 9 * SECOND });
    }

    #[test]
    fn a_mode_is_told_and_understood() {
        let now = 5 * SECOND;
        for mode in [Mode::Normal, Mode::Safe, Mode::Rest { until: 9 * SECOND }] {
            assert_eq!(Mode::parse(&mode.text(now), now), Some(mode));
        }
        let foreign = Mode::parse("rest 999999999999", Duration::ZERO);
        assert_eq!(foreign, Some(Mode::Rest { until: REST }));
        for nonsense in ["", "rest", "rest x", "rest -1", "Safe", "safe 1"] {
            assert_eq!(Mode::parse(nonsense, now), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_waits_are_bounded_and_rest_ends(
            deaths in proptest::collection::vec((0_u64..100_000, 0_u64..100_000, any::<bool>()), 0..200),
        ) {
            let mut history = History::default();
            let mut now = Duration::ZERO;
            for (pause, lived, is_forgiven) in deaths {
                now += Duration::from_millis(pause);
                let severity = |mode| match mode {
                    Mode::Normal => 0,
                    Mode::Safe => 1,
                    Mode::Rest { .. } => 2,
                };
                let before = severity(history.mode(now));
                let was_resting = before == 2;
                history.died(now, Duration::from_millis(lived));
                prop_assert!(severity(history.mode(now)) >= before, "a death makes nothing better");
                let wait = history.next_start().checked_sub(now);
                prop_assert!(wait.is_some(), "a start is never due before the death");
                let limit = if was_resting { REST } else { Duration::from_millis(LONGEST_DELAY_MS) };
                prop_assert!(wait.unwrap_or_default() <= limit);
                prop_assert!(history.recent_deaths(now) >= 1);
                let later = now + REST.max(STABLE);
                prop_assert_eq!(history.mode(later), Mode::Normal);
                if is_forgiven && lived % 10 == 0 {
                    history.forgive();
                }
            }
        }

        #[test]
        fn jitter_stays_within_a_fifth(deaths in 0_usize..100, at in any::<u64>()) {
            let (delay, jittered) = (delay(deaths), jittered(delay(deaths), Duration::from_micros(at)));
            prop_assert!(jittered >= delay * 4 / 5 && jittered <= delay * 6 / 5);
            prop_assert!(jittered <= Duration::from_secs(30));
        }
    }
}
