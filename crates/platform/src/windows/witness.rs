//! Whether the hook is still there: the system drops one that is slow, and says nothing.
//!
//! Raw input is the witness, for it comes another way: a key that raw input tells of, and the hook not within 250 ms,
//! means that the hook is gone. Which of the two comes first and how late does not matter: each key of the hook
//! answers for one key of raw input, or for several of the same moment, by the system's own time of the keys. A key
//! that only the hook tells of means nothing.

use keyrx_engine::Time;

use crate::Interruption;

/// How long the hook may be behind raw input.
const PATIENCE_MS: u16 = 250;

/// How long raw input may be behind the hook: other programs' hooks may take their time in between.
const BEHIND_MS: i32 = 250;

/// Keys less apart may be one: the system's times are not finer than its clock interrupt, and one key may be two to
/// raw input (Pause).
const SAME_KEY_MS: i32 = 20;

/// Keys of the hook that raw input has yet to tell of.
const UNCLAIMED: usize = 16;

/// A hook is put in at most once in this time.
const REST_MS: u16 = 1000;

/// What is known of the hook. Times that are called stamps are the system's milliseconds, which run over.
#[derive(Debug)]
pub struct Witness {
    /// The last key that the hook told of.
    hooked: Option<u32>,
    /// The keys that the hook told of and raw input has not, oldest first.
    unclaimed: Vec<u32>,
    /// The first key that only raw input has told of, and when it did.
    unseen: Option<(u32, Time)>,
    /// Why a hook is to be put in.
    wanted: Option<Interruption>,
    /// When one was put in last.
    renewed: Option<Time>,
}

impl Witness {
    /// A witness that allocates nothing from now on.
    pub fn new() -> Witness {
        let unclaimed = Vec::with_capacity(UNCLAIMED);
        Witness { hooked: None, unclaimed, unseen: None, wanted: None, renewed: None }
    }

    /// The hook told of a key.
    pub fn hook(&mut self, stamp: u32) {
        self.hooked = Some(stamp);
        if self.unseen.is_some_and(|(unseen, _)| since(unseen, stamp) <= SAME_KEY_MS) {
            self.unseen = None;
            return;
        }
        if self.unclaimed.len() == UNCLAIMED {
            self.unclaimed.remove(0);
        }
        self.unclaimed.push(stamp);
    }

    /// Raw input told of a key.
    pub fn raw(&mut self, stamp: u32, now: Time) {
        self.unclaimed.retain(|hooked| since(stamp, *hooked) <= BEHIND_MS);
        if !self.unclaimed.is_empty() {
            self.unclaimed.remove(0);
        } else if self.unseen.is_none() && self.hooked.is_none_or(|hooked| since(stamp, hooked) > SAME_KEY_MS)
        {
            self.unseen = Some((stamp, now));
        }
    }

    /// Keys go elsewhere: what raw input has told says nothing.
    pub fn look_away(&mut self) {
        self.unseen = None;
    }

    /// A new hook is wanted, whatever the witness says.
    pub fn want(&mut self, why: Interruption) {
        self.wanted.get_or_insert(why);
    }

    /// Why a hook is to be put in now, if it is. It counts as done.
    pub fn take_due(&mut self, now: Time) -> Option<Interruption> {
        if self.deadline()? > now {
            return None;
        }
        let why = self.wanted.take().unwrap_or(Interruption::HookLost);
        self.unclaimed.clear();
        (self.hooked, self.unseen, self.renewed) = (None, None, Some(now));
        Some(why)
    }

    /// The moment from which on a hook is to be put in, as things stand.
    pub fn deadline(&self) -> Option<Time> {
        let lost = self.unseen.map(|(_, since)| since.plus_millis(PATIENCE_MS));
        let due = if self.wanted.is_some() { Some(Time::ZERO) } else { lost };
        let rested = self.renewed.map_or(Time::ZERO, |renewed| renewed.plus_millis(REST_MS));
        due.map(|due| due.max(rested))
    }
}

/// How many milliseconds after `earlier` a stamp lies; below zero if it lies before.
fn since(stamp: u32, earlier: u32) -> i32 {
    stamp.wrapping_sub(earlier).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Time = Time::from_millis;

    #[test]
    fn a_key_that_both_tell_of_is_no_loss_whichever_comes_first() {
        let mut witness = Witness::new();
        witness.hook(1000);
        witness.raw(1010, AT(12));
        assert_eq!(witness.deadline(), None);
        witness.raw(2000, AT(1000));
        witness.hook(1990);
        assert_eq!(witness.deadline(), None);
    }

    #[test]
    fn raw_input_may_be_handled_late_and_bear_a_late_time() {
        let mut witness = Witness::new();
        witness.hook(1000);
        witness.hook(1100);
        witness.raw(1150, AT(9000));
        witness.raw(1300, AT(9000));
        assert_eq!(witness.deadline(), None);
    }

    #[test]
    fn a_key_of_the_hook_answers_for_one_key_or_for_several_of_the_same_moment() {
        let mut witness = Witness::new();
        witness.hook(1000);
        witness.raw(1000, AT(1));
        witness.raw(1001, AT(1));
        assert_eq!(witness.deadline(), None);
        witness.raw(1050, AT(50));
        assert_eq!(witness.deadline(), Some(AT(300)));
    }

    #[test]
    fn a_key_that_only_raw_input_tells_of_is_a_loss_after_250_ms() {
        let mut witness = Witness::new();
        witness.hook(1000);
        witness.raw(1000, AT(1));
        witness.raw(1100, AT(100));
        witness.raw(1200, AT(200));
        assert_eq!((witness.take_due(AT(349)), witness.deadline()), (None, Some(AT(350))));
        assert_eq!(witness.take_due(AT(350)), Some(Interruption::HookLost));
        assert_eq!(witness.deadline(), None);
    }

    #[test]
    fn a_key_that_only_the_hook_tells_of_means_nothing() {
        let mut witness = Witness::new();
        witness.hook(1000);
        assert_eq!(witness.deadline(), None);
    }

    #[test]
    fn before_the_first_key_of_the_hook_a_loss_is_seen_too() {
        let mut witness = Witness::new();
        witness.raw(5, AT(1));
        assert_eq!(witness.take_due(AT(251)), Some(Interruption::HookLost));
    }

    #[test]
    fn stamps_run_over() {
        let mut witness = Witness::new();
        witness.hook(u32::MAX - 5);
        witness.raw(3, AT(1));
        assert_eq!(witness.deadline(), None);
        witness.raw(300, AT(300));
        assert_eq!(witness.deadline(), Some(AT(550)));
    }

    #[test]
    fn a_hook_is_put_in_at_most_once_a_second() {
        let mut witness = Witness::new();
        witness.want(Interruption::Resumed);
        assert_eq!(witness.take_due(AT(10)), Some(Interruption::Resumed));
        witness.want(Interruption::Returned);
        witness.want(Interruption::HookSlow);
        assert_eq!((witness.take_due(AT(1009)), witness.deadline()), (None, Some(AT(1010))));
        assert_eq!(witness.take_due(AT(1010)), Some(Interruption::Returned));
    }

    #[test]
    fn on_another_desktop_nothing_is_missed() {
        let mut witness = Witness::new();
        witness.raw(5, AT(1));
        witness.look_away();
        assert_eq!(witness.deadline(), None);
    }
}
