//! The way of keys to the system: a ring from the hook thread to the output thread, which sends them in order.
//!
//! The hook thread never waits for it. Where the ring is full, or has not moved for a second, what is in it is
//! *abandoned*: the output thread drops it unsent, and lifts every key that may be down because of us. So nothing is
//! held, and nothing that was typed long ago comes out late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;

use keyrx_engine::{Key, Modifiers, Motion, Time};
use rtrb::{Consumer, Producer, RingBuffer};

use super::hatch::Hatch;
use crate::Queue;

/// Acts that the ring holds. The output thread keeps up with any keyboard; a program that sends keys in bulk may be
/// faster for a while.
pub const CAPACITY: usize = 4096;

/// How long nothing may have been sent, though there is something to send.
const PATIENCE_MS: u16 = 1000;

/// Acts that are handed to the system at once.
pub const BATCH: usize = 32;

/// One thing to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A key moves.
    Key(Key, Motion),
    /// The mask key is tapped: what comes next is no lone Win or Alt.
    Mask,
    /// Nothing is sent: it shows that the way is free.
    Canary,
}

/// There is no room, or nothing moves: the acts so far are to be abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck;

/// A set of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySet([u64; WORDS]);

const WORDS: usize = Key::COUNT / 64;

impl KeySet {
    /// Adds or removes a key.
    pub fn set(&mut self, key: Key, is_in: bool) {
        if let Some(word) = self.0.get_mut(key.index() / 64) {
            let bit = 1 << (key.index() % 64);
            if is_in { *word |= bit } else { *word &= !bit }
        }
    }

    /// Whether a key is in the set.
    pub fn has(&self, key: Key) -> bool {
        self.0.get(key.index() / 64).is_some_and(|word| word >> (key.index() % 64) & 1 != 0)
    }

    /// The keys of the set.
    pub fn iter(self) -> impl Iterator<Item = Key> {
        every_key().filter(move |key| self.has(*key))
    }
}

/// Every key there can be, named and unnamed.
fn every_key() -> impl Iterator<Item = Key> {
    Key::all().chain((0..).map_while(Key::unnamed))
}

/// Whether a key, pressed and released alone, opens the Start menu or a menu bar.
pub fn opens_menu(key: Key) -> bool {
    key.modifier().intersects(Modifiers::WIN.union(Modifiers::ALT))
}

/// What both ends of the ring see.
#[derive(Debug, Default)]
pub struct Shared {
    /// How many acts have been pushed, for who watches; the hook thread has the number itself.
    pushed: AtomicU64,
    /// How many acts have been handed to the system, or dropped.
    sent: AtomicU64,
    /// Acts before this one are dropped.
    abandoned: AtomicU64,
    /// Keys that are to be lifted as soon as what is abandoned is gone.
    owed: [AtomicU64; WORDS],
    /// How often that has been asked for, and done.
    asked: AtomicU64,
    lifted: AtomicU64,
    /// Keys that are down because of us.
    held: [AtomicU64; WORDS],
    /// Keys whose release the system did not take: another desktop was in front.
    stale: [AtomicU64; WORDS],
    /// Whether RAlt is being sent: Windows then makes a fake LCtrl that goes with it.
    pub sends_alt_gr: AtomicBool,
    /// Whether a canary has come through since this was asked last.
    pub is_delivered: AtomicBool,
}

impl Shared {
    /// What waits to be sent, at about this moment.
    pub fn queue(&self) -> Queue {
        // What was sent just now may not be counted as pushed yet.
        let depth = self.pushed.load(Ordering::Relaxed).saturating_sub(self.sent.load(Ordering::Relaxed));
        Queue { depth, capacity: CAPACITY as u64 }
    }

    /// Keys that are down because of us.
    pub fn held(&self) -> KeySet {
        let mut keys = KeySet::default();
        self.held.iter().zip(&mut keys.0).for_each(|(word, bits)| *bits = word.load(Ordering::Relaxed));
        keys
    }
}

fn add(set: &[AtomicU64; WORDS], keys: KeySet) {
    for (word, bits) in set.iter().zip(keys.0) {
        word.fetch_or(bits, Ordering::Relaxed);
    }
}

fn take(set: &[AtomicU64; WORDS]) -> KeySet {
    let mut keys = KeySet::default();
    set.iter().zip(&mut keys.0).for_each(|(word, bits)| *bits = word.swap(0, Ordering::Relaxed));
    keys
}

/// Both ends of a new ring.
pub fn ring(hatch: Arc<Hatch>) -> (Outlet, Inlet) {
    let (producer, consumer) = RingBuffer::new(CAPACITY);
    let shared = Arc::new(Shared::default());
    hatch.set_output(shared.clone());
    let outlet = Outlet {
        ring: producer,
        shared: shared.clone(),
        hatch,
        thread: None,
        pushed: 0,
        moved: (0, Time::ZERO),
        last: vec![0; Key::COUNT].into(),
        down: KeySet::default(),
    };
    (outlet, Inlet { ring: consumer, shared, taken: 0 })
}

/// The end of the hook thread.
#[derive(Debug)]
pub struct Outlet {
    ring: Producer<Act>,
    shared: Arc<Shared>,
    hatch: Arc<Hatch>,
    /// The output thread, to be woken.
    thread: Option<Thread>,
    /// How many acts have been pushed.
    pushed: u64,
    /// How many had been sent when that was looked at last and had changed, and when that was.
    moved: (u64, Time),
    /// By key: one more than the number of the last act with it.
    last: Box<[u64]>,
    /// Keys that are down for the system when all is sent: because of us, or because we have let them pass.
    down: KeySet,
}

impl Outlet {
    /// Tells whom to wake.
    pub fn wakes(&mut self, thread: Thread) {
        self.thread = Some(thread);
    }

    /// What both ends see.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether all that was pushed has been handed to the system: what passes natively now comes after it.
    pub fn is_idle(&self) -> bool {
        self.shared.sent.load(Ordering::Acquire) == self.pushed
    }

    /// Puts an act behind the others.
    pub fn push(&mut self, act: Act, now: Time) -> Result<(), Stuck> {
        if self.hatch.is_open() {
            return Err(Stuck); // it was decided too late
        }
        let sent = self.shared.sent.load(Ordering::Acquire);
        if sent != self.moved.0 || sent == self.pushed {
            self.moved = (sent, now);
        } else if !now.is_within(PATIENCE_MS, self.moved.1) {
            return Err(Stuck);
        }
        self.ring.push(act).map_err(|_| Stuck)?;
        self.pushed = self.pushed.wrapping_add(1);
        self.shared.pushed.store(self.pushed, Ordering::Relaxed);
        if let Act::Key(key, motion) = act {
            self.down.set(key, motion != Motion::Release);
            if let Some(last) = self.last.get_mut(key.index()) {
                *last = self.pushed;
            }
        }
        Ok(())
    }

    /// A key of ours came to the hook: sending moves, though what was handed over with it is not through.
    pub fn moves(&mut self, now: Time) {
        self.moved.1 = now;
    }

    /// Whether a key is down for the system when all is sent.
    pub fn is_down(&self, key: Key) -> bool {
        self.down.has(key)
    }

    /// Takes note of a key that passes natively.
    pub fn passes(&mut self, key: Key, motion: Motion) {
        self.down.set(key, motion != Motion::Release);
    }

    /// Has all that was pushed sent.
    pub fn flush(&self) {
        if let Some(thread) = self.thread.as_ref().filter(|_| !self.is_idle()) {
            thread.unpark();
        }
    }

    /// Sends a canary behind all that was pushed. Where there is no room for it, none comes through, which says enough.
    pub fn send_canary(&mut self, now: Time) {
        let _ = self.push(Act::Canary, now);
        self.flush();
    }

    /// Gives up what has been pushed and not sent, and owes the release of every key that may be down: more of them
    /// than need be, but the release of a key that is up does nothing.
    pub fn abandon(&mut self) {
        let sent = self.shared.sent.load(Ordering::Acquire);
        let mut owed = self.down;
        for key in every_key() {
            if self.last.get(key.index()).is_some_and(|last| *last > sent) {
                owed.set(key, true);
            }
        }
        self.down = KeySet::default();
        self.shared.abandoned.store(self.pushed, Ordering::Release);
        self.lift(owed);
    }

    /// Has keys released, behind all that was pushed.
    pub fn lift(&self, keys: KeySet) {
        add(&self.shared.owed, keys);
        self.shared.asked.fetch_add(1, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }

    /// Whether all that was asked to be lifted has been.
    pub fn is_lifted(&self) -> bool {
        self.shared.lifted.load(Ordering::Acquire) == self.shared.asked.load(Ordering::Relaxed)
    }

    /// Hands out the keys whose release the system has not taken.
    pub fn take_stale(&self) -> KeySet {
        take(&self.shared.stale)
    }
}

/// The end of the output thread.
#[derive(Debug)]
pub struct Inlet {
    ring: Consumer<Act>,
    shared: Arc<Shared>,
    taken: u64,
}

impl Inlet {
    /// What both ends see.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Sends the next acts with `send`, which says how many of them the system has taken. False if there were none.
    pub fn turn(&mut self, send: &mut dyn FnMut(&[Act]) -> usize) -> bool {
        let mut batch = [Act::Mask; BATCH];
        let (mut count, mut has_canary) = (0, false);
        let (asked, abandoned) =
            (self.shared.asked.load(Ordering::Acquire), self.shared.abandoned.load(Ordering::Acquire));
        while let Some(place) = batch.get_mut(count)
            && let Ok(act) = self.ring.pop()
        {
            self.taken = self.taken.wrapping_add(1);
            has_canary |= act == Act::Canary;
            if self.taken > abandoned && act != Act::Canary {
                *place = act;
                count += 1;
            }
        }
        self.hand_over(batch.get(..count).unwrap_or_default(), send);
        if has_canary {
            self.shared.is_delivered.store(true, Ordering::Release);
        }
        let has_moved = self.shared.sent.swap(self.taken, Ordering::AcqRel) != self.taken;
        if self.taken >= abandoned && self.shared.lifted.load(Ordering::Relaxed) != asked {
            self.release(take(&self.shared.owed), send);
            self.shared.lifted.store(asked, Ordering::Release);
            return true;
        }
        has_moved
    }

    /// Releases every key that is down because of us.
    pub fn release_all(&mut self, send: &mut dyn FnMut(&[Act]) -> usize) {
        self.release(self.shared.held(), send);
    }

    fn release(&mut self, keys: KeySet, send: &mut dyn FnMut(&[Act]) -> usize) {
        for key in keys.iter() {
            if opens_menu(key) {
                self.hand_over(&[Act::Mask], send);
            }
            self.hand_over(&[Act::Key(key, Motion::Release)], send);
        }
    }

    fn hand_over(&mut self, acts: &[Act], send: &mut dyn FnMut(&[Act]) -> usize) {
        if acts.is_empty() {
            return;
        }
        let taken = send(acts);
        let mut held = self.shared.held();
        for (number, act) in acts.iter().enumerate() {
            let Act::Key(key, motion) = *act else { continue };
            match motion {
                Motion::Press | Motion::Repeat if number < taken => held.set(key, true),
                Motion::Press | Motion::Repeat => {}
                Motion::Release => {
                    if number >= taken && held.has(key) {
                        let mut stale = KeySet::default();
                        stale.set(key, true);
                        add(&self.shared.stale, stale);
                    }
                    held.set(key, false);
                }
            }
        }
        // Nobody else writes it.
        self.shared.held.iter().zip(held.0).for_each(|(word, bits)| word.store(bits, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(5);

    fn press(key: Key) -> Act {
        Act::Key(key, Motion::Press)
    }

    fn release(key: Key) -> Act {
        Act::Key(key, Motion::Release)
    }

    /// Sends all there is, and gives back what the system got, which takes the first `takes` of each batch.
    fn sent(inlet: &mut Inlet, takes: usize) -> Vec<Act> {
        let mut all = Vec::new();
        while inlet.turn(&mut |acts| {
            let taken = acts.len().min(takes);
            all.extend_from_slice(&acts[..taken]);
            taken
        }) {}
        all
    }

    #[test]
    fn acts_are_sent_in_the_order_of_pushing() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        let acts = (0..200).map(|number| press(Key::unnamed(number).unwrap())).collect::<Vec<_>>();
        acts.iter().for_each(|act| outlet.push(*act, NOW).unwrap());
        assert!(!outlet.is_idle());
        assert_eq!(sent(&mut inlet, usize::MAX), acts);
        assert!(outlet.is_idle());
    }

    #[test]
    fn a_canary_comes_through_behind_all_that_was_pushed_and_reaches_no_system() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        let shared = outlet.shared().clone();
        outlet.push(press(Key::A), NOW).unwrap();
        outlet.send_canary(NOW);
        assert!(!shared.is_delivered.load(Ordering::Relaxed));
        assert_eq!(sent(&mut inlet, usize::MAX), [press(Key::A)]);
        assert!(shared.is_delivered.load(Ordering::Relaxed) && outlet.is_idle());
    }

    #[test]
    fn whoever_has_the_hatch_sees_how_much_waits() {
        let hatch = Arc::<Hatch>::default();
        assert_eq!(hatch.output_queue(), None);
        let (mut outlet, mut inlet) = ring(hatch.clone());
        let depth = || hatch.output_queue().unwrap().depth;
        assert_eq!(hatch.output_queue(), Some(Queue { depth: 0, capacity: CAPACITY as u64 }));
        for _ in 0..CAPACITY {
            outlet.push(Act::Mask, NOW).unwrap();
        }
        assert_eq!((outlet.push(Act::Mask, NOW), depth()), (Err(Stuck), CAPACITY as u64));
        inlet.turn(&mut |acts| acts.len());
        assert_eq!(depth(), (CAPACITY - BATCH) as u64);
        sent(&mut inlet, usize::MAX);
        assert_eq!(depth(), 0);
    }

    #[test]
    fn a_full_ring_takes_nothing_more() {
        let (mut outlet, _inlet) = ring(Arc::default());
        for _ in 0..CAPACITY {
            outlet.push(Act::Mask, NOW).unwrap();
        }
        assert_eq!(outlet.push(Act::Mask, NOW), Err(Stuck));
    }

    #[test]
    fn a_ring_that_does_not_move_takes_nothing_more() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        outlet.push(Act::Mask, NOW).unwrap();
        outlet.push(Act::Mask, NOW.plus_millis(999)).unwrap();
        assert_eq!(outlet.push(Act::Mask, NOW.plus_millis(1000)), Err(Stuck));
        outlet.moves(NOW.plus_millis(900));
        outlet.push(Act::Mask, NOW.plus_millis(1899)).unwrap();
        assert_eq!(outlet.push(Act::Mask, NOW.plus_millis(1900)), Err(Stuck));
        sent(&mut inlet, usize::MAX);
        outlet.push(Act::Mask, NOW.plus_millis(5000)).unwrap();
        outlet.push(Act::Mask, NOW.plus_millis(5999)).unwrap();
    }

    #[test]
    fn what_is_abandoned_is_dropped_and_what_may_be_down_is_lifted() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        outlet.push(press(Key::A), NOW).unwrap();
        outlet.push(press(Key::S), NOW).unwrap();
        outlet.push(release(Key::S), NOW).unwrap();
        assert_eq!(sent(&mut inlet, usize::MAX).len(), 3);
        outlet.passes(Key::D, Motion::Press);
        outlet.push(press(Key::F), NOW).unwrap();
        outlet.push(release(Key::F), NOW).unwrap();
        outlet.abandon();
        assert!(!outlet.is_lifted());
        let lifted = sent(&mut inlet, usize::MAX);
        assert_eq!(lifted, [Key::A, Key::D, Key::F].map(release));
        assert!(outlet.is_lifted() && outlet.is_idle());
        // What comes afterwards is sent as ever.
        outlet.push(press(Key::G), NOW).unwrap();
        assert_eq!(sent(&mut inlet, usize::MAX), [press(Key::G)]);
    }

    #[test]
    fn a_lone_win_or_alt_is_lifted_behind_the_mask_key() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        outlet.push(press(Key::LMeta), NOW).unwrap();
        sent(&mut inlet, usize::MAX);
        inlet.release_all(&mut |acts| {
            assert!(matches!(acts, [Act::Mask] | [Act::Key(Key::LMeta, Motion::Release)]));
            acts.len()
        });
        assert_eq!(inlet.shared.held(), KeySet::default());
    }

    #[test]
    fn a_release_that_the_system_does_not_take_is_stale() {
        let (mut outlet, mut inlet) = ring(Arc::default());
        outlet.push(press(Key::A), NOW).unwrap();
        sent(&mut inlet, usize::MAX);
        outlet.push(release(Key::A), NOW).unwrap();
        outlet.push(release(Key::B), NOW).unwrap();
        sent(&mut inlet, 0);
        assert_eq!(outlet.take_stale().iter().collect::<Vec<_>>(), [Key::A]);
        assert_eq!(outlet.take_stale(), KeySet::default());
    }
}
