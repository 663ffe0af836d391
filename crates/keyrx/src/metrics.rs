//! What is counted and measured, never of single keys.
//!
//! Whoever counts does it with one atomic instruction and waits for nobody. Numbers only grow; what is of interest
//! lately is the difference of two readings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyrx_engine::{Action, Motion, Rule};

use keyrx_platform::{Aid, Interruption, lock};

use crate::guard::Bell;
use crate::phase::{Phase, Phases};

/// What came of a key's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// It went out at once as it came in.
    Passed,
    /// It was answered otherwise, waits for its meaning, or changed a layer or the like.
    Mapped,
    /// Nothing came of it.
    Dropped,
}

/// What kind of mapping a press met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    Key,
    Chord,
    Layer,
    Modifier,
    Sequence,
    Nothing,
    Tap,
    Hold,
}

impl Hit {
    /// All, in the order of their numbers, with the names that operators know.
    pub const ALL: [(Hit, &str); 8] = [
        (Hit::Key, "key"),
        (Hit::Chord, "chord"),
        (Hit::Layer, "layer"),
        (Hit::Modifier, "modifier"),
        (Hit::Sequence, "sequence"),
        (Hit::Nothing, "nothing"),
        (Hit::Tap, "tap"),
        (Hit::Hold, "hold"),
    ];

    /// `None` for a key that is mapped nowhere.
    pub fn of(rule: Rule, action: Action) -> Option<Hit> {
        match rule {
            Rule::Unmapped => return None,
            Rule::TapReleased
            | Rule::TapQuick
            | Rule::TapFlow
            | Rule::TapSameHand(_)
            | Rule::TapUninterrupted
            | Rule::TapRetro => return Some(Hit::Tap),
            Rule::HoldTerm | Rule::HoldOtherPressed(_) | Rule::HoldOtherReleased(_) | Rule::HoldQueueFull => {
                return Some(Hit::Hold);
            }
            Rule::Mapped | Rule::ReleasedAll => {}
        }
        Some(match action {
            Action::Key(_) => Hit::Key,
            Action::Chord(..) => Hit::Chord,
            Action::CustomModifier(_) | Action::CustomLock(_) => Hit::Modifier,
            Action::LayerHold(_) | Action::LayerToggle(_) | Action::LayerSwitch(_) => Hit::Layer,
            Action::Sequence(_) => Hit::Sequence,
            Action::TapHold(_) => Hit::Hold,
            Action::Nothing | Action::Transparent => Hit::Nothing,
        })
    }
}

/// A row of counters, by the numbers of an enum.
#[derive(Debug)]
struct Counters<const N: usize>([AtomicU64; N]);

impl<const N: usize> Counters<N> {
    const fn new() -> Counters<N> {
        Counters([const { AtomicU64::new(0) }; N])
    }

    fn add(&self, number: usize, count: u64) {
        if let Some(counter) = self.0.get(number) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn read(&self) -> [u64; N] {
        std::array::from_fn(|number| self.0.get(number).map_or(0, |counter| counter.load(Ordering::Relaxed)))
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    start: Instant,
    /// By `Motion`, and in that by `Path`.
    events: Counters<9>,
    hits: Counters<8>,
    /// What came out, by `Motion`.
    effects: Counters<3>,
    latency: Counters<BUCKETS>,
    longest: AtomicU64,
    /// The sum of all latencies.
    total_latency: AtomicU64,
    errors: Window,
    panics: Window,
    keymaps_loaded: AtomicU64,
    keymaps_rejected: AtomicU64,
    /// The number of the keymap in force, among those that the session was offered.
    keymap_in_force: AtomicU64,
    /// How many events of keys wait for one that is undecided.
    waiting: AtomicU64,
    interruptions: Counters<{ Interruption::COUNT }>,
    keyboards_connected: AtomicU64,
    keyboards_gone: AtomicU64,
    lost_lines: AtomicU64,
    log_file_fails: AtomicBool,
    state_fails: AtomicBool,
    files_unwatched: AtomicBool,
    /// By `Aid`.
    refused: [AtomicBool; Aid::COUNT],
    is_paused: AtomicBool,
    is_away: AtomicBool,
    phases: Phases,
    /// When the control thread last did anything. In microseconds from the start, like all moments here.
    control_at: AtomicU64,
    /// When the session began with what it is at; 0 if it is at nothing.
    busy_since: AtomicU64,
    /// When the session was called and has not answered yet; 0 if it has.
    called_at: AtomicU64,
    /// When a canary was sent that has not come through yet; 0 if it has.
    canary_at: AtomicU64,
    bell: Arc<Bell>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let zero = || AtomicU64::new(0);
        let no = || AtomicBool::new(false);
        let bell = Arc::new(Bell::default());
        Metrics {
            start: Instant::now(),
            events: Counters::new(),
            hits: Counters::new(),
            effects: Counters::new(),
            latency: Counters::new(),
            longest: zero(),
            total_latency: zero(),
            errors: Window::new(),
            panics: Window::new(),
            keymaps_loaded: zero(),
            keymaps_rejected: zero(),
            keymap_in_force: zero(),
            waiting: zero(),
            interruptions: Counters::new(),
            keyboards_connected: zero(),
            keyboards_gone: zero(),
            lost_lines: zero(),
            log_file_fails: no(),
            state_fails: no(),
            files_unwatched: no(),
            refused: [const { AtomicBool::new(false) }; Aid::COUNT],
            is_paused: no(),
            is_away: no(),
            phases: Phases::new(bell.clone()),
            control_at: zero(),
            busy_since: zero(),
            called_at: zero(),
            canary_at: zero(),
            bell,
        }
    }

    /// How long keyrx has run.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// Never 0, which means "not at all".
    fn moment(&self) -> u64 {
        micros(self.uptime()).max(1)
    }

    // --- The session -------------------------------------------------------------------------------------------

    pub fn session_begins(&self) {
        self.busy_since.store(self.moment(), Ordering::Relaxed);
        self.bell.ring();
    }

    /// What wakes the guard.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    pub fn session_is_done(&self) {
        self.busy_since.store(0, Ordering::Relaxed);
    }

    pub fn count_event(&self, motion: Motion, path: Path) {
        self.events.add(motion as usize * 3 + path as usize, 1);
    }

    pub fn count_effect(&self, motion: Motion) {
        self.effects.add(motion as usize, 1);
    }

    pub fn count_hit(&self, hit: Hit) {
        self.hits.add(hit as usize, 1);
    }

    /// From a key's event to when what came of it was on its way.
    pub fn measure(&self, micros: u64) {
        self.latency.add(bucket(micros), 1);
        self.total_latency.fetch_add(micros, Ordering::Relaxed);
        self.longest.fetch_max(micros, Ordering::Relaxed);
    }

    pub fn keyboard_connected(&self) {
        self.keyboards_connected.fetch_add(1, Ordering::Relaxed);
    }

    pub fn keyboard_gone(&self) {
        self.keyboards_gone.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set_waiting(&self, events: usize) {
        self.waiting.store(events as u64, Ordering::Relaxed);
    }

    pub fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// The keymap of this number is in force.
    pub fn set_keymap_in_force(&self, number: u64) {
        self.keymap_in_force.store(number, Ordering::Relaxed);
    }

    pub fn keymap_in_force(&self) -> u64 {
        self.keymap_in_force.load(Ordering::Relaxed)
    }

    /// Whether the system refuses something that can be done without.
    pub fn set_refused(&self, aid: Aid, is_refused: bool) {
        if let Some(refused) = self.refused.get(aid as usize) {
            refused.store(is_refused, Ordering::Relaxed);
        }
    }

    pub fn count_interruption(&self, why: Interruption) {
        self.interruptions.add(why as usize, 1);
    }

    /// Whether another desktop is in front, where keys are none of our business.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// The session has been woken and should answer, and what it sends should get to the system; calls that wait already count from the first on.
    pub fn session_is_called(&self) {
        for since in [&self.called_at, &self.canary_at] {
            let _ = since.compare_exchange(0, self.moment(), Ordering::Relaxed, Ordering::Relaxed);
        }
        self.bell.ring();
    }

    /// What it has sent since then has got to the system.
    pub fn canary_is_back(&self) {
        self.canary_at.store(0, Ordering::Relaxed);
    }

    pub fn session_answers(&self) {
        self.called_at.store(0, Ordering::Relaxed);
    }

    /// Since when the session has been at one event, if it is at one.
    pub fn busy_since(&self) -> Option<u64> {
        Some(self.busy_since.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    /// Since when the session has not answered a call, if there is one.
    pub fn called_at(&self) -> Option<u64> {
        Some(self.called_at.load(Ordering::Relaxed)).filter(|since| *since != 0)
    }

    // --- Everything else ---------------------------------------------------------------------------------------

    /// The control thread is at work.
    pub fn control_is_alive(&self) {
        self.control_at.store(self.moment(), Ordering::Relaxed);
    }

    /// What the run is at.
    pub fn phases(&self) -> &Phases {
        &self.phases
    }

    pub fn count_keymap(&self, is_usable: bool) {
        let counter = if is_usable { &self.keymaps_loaded } else { &self.keymaps_rejected };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_error(&self) {
        self.errors.count(self.uptime());
    }

    pub fn count_panic(&self) {
        self.panics.count(self.uptime());
    }

    /// Lines that are in no log.
    pub fn count_lost_lines(&self, lines: u64) {
        self.lost_lines.fetch_add(lines, Ordering::Relaxed);
    }

    pub fn set_log_file_fails(&self, fails: bool) {
        self.log_file_fails.store(fails, Ordering::Relaxed);
    }

    pub fn set_state_fails(&self, fails: bool) {
        self.state_fails.store(fails, Ordering::Relaxed);
    }

    /// The system does not tell of changes of the keymap's files.
    pub fn set_files_unwatched(&self, is_so: bool) {
        self.files_unwatched.store(is_so, Ordering::Relaxed);
    }

    /// All of it, as it is now. What is read while it changes may be a moment apart.
    pub fn snapshot(&self) -> Snapshot {
        let at = self.uptime();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let moment = |counter| match read(counter) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        };
        Snapshot {
            at,
            events: Events(self.events.read()),
            hits: self.hits.read(),
            effects: self.effects.read(),
            latency: Latency {
                counts: self.latency.read(),
                longest: read(&self.longest),
                total: read(&self.total_latency),
            },
            errors: self.errors.total(),
            errors_5m: self.errors.recent(at),
            panics: self.panics.total(),
            panics_5m: self.panics.recent(at),
            keymaps_loaded: read(&self.keymaps_loaded),
            keymaps_rejected: read(&self.keymaps_rejected),
            keymap_in_force: read(&self.keymap_in_force),
            waiting: read(&self.waiting),
            interruptions: self.interruptions.read(),
            keyboards: read(&self.keyboards_connected).saturating_sub(read(&self.keyboards_gone)),
            lost_lines: read(&self.lost_lines),
            locks_repaired: lock::repaired(),
            log_file_fails: is(&self.log_file_fails),
            state_fails: is(&self.state_fails),
            files_unwatched: is(&self.files_unwatched),
            refused: self.refused.each_ref().map(is),
            is_paused: is(&self.is_paused),
            is_away: is(&self.is_away),
            phase: self.phases.now(),
            control_at: moment(&self.control_at).unwrap_or_default(),
            busy_since: moment(&self.busy_since),
            called_at: moment(&self.called_at),
            canary_at: moment(&self.canary_at),
        }
    }
}

/// A reading. Moments are durations from the start of keyrx.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Duration,
    pub events: Events,
    /// By `Hit`.
    pub hits: [u64; 8],
    /// By `Motion`.
    pub effects: [u64; 3],
    pub latency: Latency,
    /// Since the start, and in the last five minutes.
    pub errors: u64,
    pub errors_5m: u64,
    pub panics: u64,
    pub panics_5m: u64,
    pub keymaps_loaded: u64,
    pub keymaps_rejected: u64,
    pub keymap_in_force: u64,
    pub waiting: u64,
    /// By `Interruption`.
    pub interruptions: [u64; Interruption::COUNT],
    /// How many are being read.
    pub keyboards: u64,
    pub lost_lines: u64,
    pub locks_repaired: u64,
    pub log_file_fails: bool,
    pub state_fails: bool,
    pub files_unwatched: bool,
    /// By `Aid`.
    pub refused: [bool; Aid::COUNT],
    pub is_paused: bool,
    pub is_away: bool,
    pub phase: Phase,
    pub control_at: Duration,
    pub busy_since: Option<Duration>,
    pub called_at: Option<Duration>,
    pub canary_at: Option<Duration>,
}

impl Snapshot {
    pub fn is_refused(&self, aid: Aid) -> bool {
        self.refused.get(aid as usize).is_some_and(|refused| *refused)
    }

    /// How many keys are down because of us.
    pub fn keys_held(&self) -> u64 {
        let of = |motion| self.effects.get(motion as usize).copied().unwrap_or(0);
        of(Motion::Press).saturating_sub(of(Motion::Release))
    }
}

/// How many events of keys there were.
#[derive(Clone, Debug)]
pub struct Events([u64; 9]);

impl Events {
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn count(&self, motion: Motion, path: Path) -> u64 {
        self.0.get(motion as usize * 3 + path as usize).copied().unwrap_or(0)
    }

    pub fn by_motion(&self, motion: Motion) -> u64 {
        self.0.iter().skip(motion as usize * 3).take(3).sum()
    }

    pub fn by_path(&self, path: Path) -> u64 {
        self.0.iter().skip(path as usize).step_by(3).sum()
    }
}

// --- Latency ---------------------------------------------------------------------------------------------------

/// Eight buckets for each power of two, so that a bucket's bounds are at most an eighth apart; up to 134 s.
const BUCKETS: usize = 200;

/// The bucket of a number of microseconds.
fn bucket(micros: u64) -> usize {
    let Some(power) = micros.checked_ilog2().filter(|power| *power >= 3) else { return micros as usize };
    let part = (micros >> (power - 3)) & 7;
    let bucket = u64::from(power - 2) * 8 + part;
    (bucket as usize).min(BUCKETS - 1)
}

/// The largest number of microseconds in a bucket.
fn most_in(bucket: usize) -> u64 {
    let (octave, part) = (bucket as u64 / 8, bucket as u64 % 8);
    match octave {
        0 => part,
        _ => ((part + 9) << (octave - 1)) - 1,
    }
}

/// How long events took.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: [u64; BUCKETS],
    longest: u64,
    /// In microseconds.
    total: u64,
}

impl Latency {
    /// What has been added since an earlier reading.
    pub fn since(&self, earlier: &Latency) -> Latency {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Latency { counts, longest: self.longest, total: self.total.saturating_sub(earlier.total) }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The microseconds of all together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The mean in microseconds.
    pub fn mean(&self) -> u64 {
        self.total.checked_div(self.count()).unwrap_or(0)
    }

    /// The shortest in microseconds, rounded up to the end of a bucket.
    pub fn shortest(&self) -> u64 {
        self.counts.iter().position(|count| *count > 0).map_or(0, most_in).min(self.longest)
    }

    /// How many took at most so many microseconds, for each power of two from 8 on: the bounds of buckets.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut sum = 0;
        let octaves = self.counts.chunks(8).enumerate().map(|(octave, counts)| {
            sum += counts.iter().sum::<u64>();
            (most_in(octave * 8 + 7), sum)
        });
        octaves.collect()
    }

    /// The microseconds within which this share of the events was answered, rounded up to the end of a bucket.
    pub fn within(&self, percent: u64) -> u64 {
        let total = self.count();
        let wanted = total.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0_u64;
        let reached = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= wanted
        });
        reached.map_or(0, |bucket| most_in(bucket).min(self.longest))
    }

    /// The longest of all since the start.
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

// --- The last minutes ------------------------------------------------------------------------------------------

/// How long what happens is of interest.
const RECENT: Duration = Duration::from_secs(5 * 60);

/// How many steps that is counted in.
const STEPS: u64 = 30;

/// Counts what happened, in all and in the last five minutes. Each slot holds the number of its step and a count.
#[derive(Debug)]
struct Window {
    slots: [AtomicU64; STEPS as usize],
    total: AtomicU64,
}

impl Window {
    const fn new() -> Window {
        Window { slots: [const { AtomicU64::new(0) }; STEPS as usize], total: AtomicU64::new(0) }
    }

    /// Steps are counted from 1: a slot of 0 was never used.
    fn step(at: Duration) -> u64 {
        at.as_secs() / (RECENT.as_secs() / STEPS) + 1
    }

    fn count(&self, at: Duration) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let step = Window::step(at) & u64::from(u32::MAX);
        let Some(slot) = self.slots.get((step % STEPS) as usize) else { return };
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |slot| {
            let (of_step, count) = (slot >> 32, slot & u64::from(u32::MAX));
            let count = if of_step == step { count + 1 } else { 1 };
            Some(step << 32 | count.min(u64::from(u32::MAX)))
        });
    }

    /// Since the start.
    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn recent(&self, at: Duration) -> u64 {
        let now = Window::step(at);
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        let recent = slots.filter(|slot| slot >> 32 != 0 && (slot >> 32) + STEPS > now);
        recent.map(|slot| slot & u64::from(u32::MAX)).sum()
    }
}

pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_counted_by_what_the_key_did_and_what_came_of_it() {
        let metrics = Metrics::new();
        metrics.count_event(Motion::Press, Path::Mapped);
        metrics.count_event(Motion::Press, Path::Passed);
        metrics.count_event(Motion::Release, Path::Passed);
        metrics.count_event(Motion::Repeat, Path::Dropped);
        let events = metrics.snapshot().events;
        let motions = [Motion::Press, Motion::Release, Motion::Repeat].map(|motion| events.by_motion(motion));
        let paths = [Path::Passed, Path::Mapped, Path::Dropped].map(|path| events.by_path(path));
        assert_eq!((events.total(), motions, paths), (4, [2, 1, 1], [2, 1, 1]));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_between_its_bounds(micros in 0_u64..100_000_000) {
            let bucket = bucket(micros);
            prop_assert!(micros <= most_in(bucket));
            prop_assert!(bucket == 0 || most_in(bucket - 1) < micros);
            prop_assert!(most_in(bucket) - micros <= micros / 8);
        }
    }

    #[test]
    fn the_longest_times_share_the_last_bucket() {
        assert_eq!((bucket(u64::MAX), bucket(1 << 40)), (BUCKETS - 1, BUCKETS - 1));
        assert!(most_in(BUCKETS - 1) > 130_000_000);
    }

    #[test]
    fn shares_of_the_latency_are_those_of_the_sample() {
        let metrics = Metrics::new();
        assert_eq!(metrics.snapshot().latency.within(95), 0);
        for micros in 1..=100 {
            metrics.measure(micros);
        }
        let all = metrics.snapshot().latency;
        assert_eq!((all.within(50), all.within(95), all.within(99), all.longest()), (51, 95, 100, 100));
        metrics.measure(5000);
        let new = metrics.snapshot().latency.since(&all);
        assert_eq!((new.within(50), new.within(99)), (5000, 5000));
    }

    #[test]
    fn what_happened_is_forgotten_after_five_minutes() {
        let window = Window::new();
        let minute = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(window.recent(minute(0)), 0);
        window.count(minute(0));
        window.count(minute(0));
        window.count(minute(2));
        assert_eq!(window.recent(minute(2)), 3);
        assert_eq!(window.recent(Duration::from_secs(299)), 3);
        assert_eq!(window.recent(minute(5)), 1);
        window.count(minute(5));
        assert_eq!(window.recent(minute(6)), 2);
        assert_eq!(window.recent(minute(60)), 0);
    }

    #[test]
    fn a_session_that_does_not_answer_is_known_by_its_first_call() {
        let metrics = Metrics::new();
        metrics.session_is_called();
        let first = metrics.snapshot().called_at;
        metrics.session_is_called();
        assert!(first.is_some() && metrics.snapshot().called_at == first);
        metrics.session_answers();
        assert_eq!(metrics.snapshot().called_at, None);
    }
}
