//! Simulated keyboards in real time: other threads type on them, and what comes out is kept for whoever asks.
//!
//! The same loop in small that a real platform has. Who types gives a moment from now for each key; the key counts as
//! moved at just that moment.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use keyrx_engine::notation::Moment;
use keyrx_engine::{Cause, DeviceId, DeviceInfo, Effect, Key, Motion, Rule, Time};

use super::Simulated;
use crate::lock::Guarded;
use crate::{Error, Handler, Interruption};

/// So many effects are kept; who asks late misses the oldest.
const KEPT: usize = 1 << 17;

/// Another thread's way to simulated keyboards.
#[derive(Clone)]
pub struct Remote {
    calls: Sender<Call>,
    output: Arc<Guarded<Output>>,
    start: Instant,
}

/// What `run` works with.
pub struct Stage {
    calls: Receiver<Call>,
    output: Arc<Guarded<Output>>,
    start: Instant,
}

enum Call {
    Wake,
    /// On the keyboard of that name, each key at its own moment after this one.
    Type(Time, String, Vec<Moment>),
    Interrupt(Interruption),
}

/// What has come out.
#[derive(Default)]
struct Output {
    effects: VecDeque<Effect>,
    /// How many are no longer kept.
    forgotten: u64,
    held: BTreeSet<Key>,
    /// The keyboards were let go: keys pass by the handler.
    is_let_go: bool,
}

/// What came out from a place in the row of all effects on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The place of the first effect that is still to come.
    pub next: u64,
    /// How many of those that were asked for are no longer kept.
    pub missed: u64,
    /// The effects.
    pub effects: Vec<Effect>,
}

/// A way to simulated keyboards, and what runs them.
pub fn stage() -> (Remote, Stage) {
    let (call, calls) = channel();
    let output = Arc::new(Guarded::new(Output::default(), Output::repair));
    let start = Instant::now();
    (Remote { calls: call, output: output.clone(), start }, Stage { calls, output, start })
}

impl Remote {
    /// Wakes the loop, which then hands `Event::Woken` to its handler.
    pub fn wake(&self) {
        self.call(Call::Wake);
    }

    /// Types on the keyboard of a name, which is plugged in if it is not there. The moments count from now.
    pub fn play(&self, keyboard: &str, moments: Vec<Moment>) {
        let now = now(self.start);
        let is_let_go = self.output.with(|output| {
            if output.is_let_go {
                moments.iter().for_each(|moment| output.pass(moment, now));
            }
            output.is_let_go
        });
        if !is_let_go {
            self.call(Call::Type(now, keyboard.into(), moments));
        }
    }

    /// Does as if the system had told of an interruption.
    pub fn interrupt(&self, why: Interruption) {
        self.call(Call::Interrupt(why));
    }

    /// What came out from the effect of this number on.
    pub fn output(&self, after: u64) -> Printed {
        self.output.with(|output| {
            let missed = output.forgotten.saturating_sub(after);
            let skipped = usize::try_from(after.saturating_sub(output.forgotten)).unwrap_or(usize::MAX);
            Printed {
                next: output.forgotten.saturating_add(output.effects.len() as u64),
                missed,
                effects: output.effects.iter().skip(skipped).copied().collect(),
            }
        })
    }

    /// Lets the keyboards go without asking the handler: what is held comes up, and keys pass until the handler is
    /// back.
    pub fn let_go(&self) {
        let now = now(self.start);
        self.output.with(|output| output.let_go(now));
    }

    fn call(&self, call: Call) {
        // The loop is gone when its handler has stopped it.
        let _ = self.calls.send(call);
    }
}

impl Stage {
    /// Waits for a call of `wake`, or for so long. Meanwhile the keyboards are plain ones.
    pub fn wait(&self, limit: Duration) {
        let begin = Instant::now();
        while let Ok(call) = self.calls.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            match call {
                Call::Type(begin, _, moments) => {
                    self.output.with(|output| moments.iter().for_each(|moment| output.pass(moment, begin)));
                }
                Call::Wake | Call::Interrupt(_) => return,
            }
        }
    }
}

impl Output {
    fn repair(&mut self) {
        self.effects.clear();
    }

    fn push(&mut self, effect: Effect) {
        match effect.motion {
            Motion::Press => _ = self.held.insert(effect.key),
            Motion::Release => _ = self.held.remove(&effect.key),
            Motion::Repeat => {}
        }
        if self.effects.len() == KEPT {
            self.effects.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.effects.push_back(effect);
    }

    /// A key that nobody maps.
    fn pass(&mut self, moment: &Moment, time: Time) {
        let cause = Cause { key: moment.key, device: DeviceId::UNKNOWN, mapping: None, rule: Rule::Unmapped };
        self.push(Effect { time, motion: moment.motion, key: moment.key, cause });
    }

    fn let_go(&mut self, time: Time) {
        for key in std::mem::take(&mut self.held) {
            let cause = Cause { key, device: DeviceId::UNKNOWN, mapping: None, rule: Rule::ReleasedAll };
            self.push(Effect { time, motion: Motion::Release, key, cause });
        }
        self.is_let_go = true;
    }
}

/// A key that is to move.
struct Due {
    time: Time,
    device: DeviceId,
    moment: Moment,
}

/// Maps the keys of simulated keyboards as `handler` says, until it says stop. One keyboard is plugged in from the
/// start.
pub fn run(handler: &mut dyn Handler, stage: &Stage) -> Result<(), Error> {
    let mut simulated = Simulated::in_real_time(handler, stage.start);
    let mut keyboards = vec![("simulated keyboard".to_owned(), DeviceId(0))];
    simulated.connect(DeviceInfo::named("simulated keyboard"));
    let mut due: VecDeque<Due> = VecDeque::new();
    while !simulated.is_over() {
        let next = due.front().map(|due| due.time).into_iter().chain(simulated.deadline()).min();
        let call = match next {
            None => stage.calls.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next) => {
                let wait = next.micros().saturating_sub(now(stage.start).micros());
                stage.calls.recv_timeout(Duration::from_micros(wait))
            }
        };
        match call {
            Ok(Call::Wake) => {
                simulated.advance(now(stage.start));
                simulated.wake();
            }
            Ok(Call::Interrupt(why)) => simulated.interrupt(why),
            Ok(Call::Type(begin, name, moments)) => {
                let known = keyboards.iter().find(|(known, _)| *known == name).map(|(_, device)| *device);
                let device = known.unwrap_or_else(|| {
                    let device = simulated.connect(DeviceInfo::named(&name));
                    keyboards.push((name, device));
                    device
                });
                let at =
                    |moment: &Moment| Time::from_micros(begin.micros().saturating_add(moment.time.micros()));
                due.extend(moments.into_iter().map(|moment| Due { time: at(&moment), device, moment }));
                due.make_contiguous().sort_by_key(|due| due.time);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = now(stage.start);
        while let Some(Due { time, device, moment }) = due.pop_front_if(|due| due.time <= now) {
            simulated.advance(time);
            simulated.key(device, moment.key, moment.motion);
            carry_out(&mut simulated, stage);
        }
        simulated.advance(now);
        carry_out(&mut simulated, stage);
    }
    Ok(())
}

/// Hands out what the handler wants done, unless the keyboards were let go meanwhile.
fn carry_out(simulated: &mut Simulated<'_>, stage: &Stage) {
    let effects = simulated.take_effects();
    let was_let_go = stage.output.with(|output| {
        if !output.is_let_go {
            effects.iter().for_each(|effect| output.push(*effect));
        }
        std::mem::take(&mut output.is_let_go)
    });
    if was_let_go {
        // What it releases has been released.
        simulated.interrupt(Interruption::LetGo);
        simulated.take_effects();
    }
}

pub(super) fn now(start: Instant) -> Time {
    Time::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use keyrx_engine::{Effects, notation};

    use super::*;
    use crate::{Event, Next};

    /// Maps A to B, hangs at the press of H until it is told to go on, and stops when it is woken.
    struct Mapper {
        hanging: Sender<()>,
        go_on: Receiver<()>,
        interrupted: bool,
    }

    impl Handler for Mapper {
        fn wants(&self, _: &DeviceInfo) -> bool {
            true
        }

        fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
            match event {
                Event::Key(event) => {
                    if (event.key, event.motion) == (Key::H, Motion::Press) {
                        self.hanging.send(()).unwrap();
                        self.go_on.recv().unwrap();
                    }
                    let key = if event.key == Key::A { Key::B } else { event.key };
                    let cause = Cause { key, device: event.device, mapping: None, rule: Rule::Mapped };
                    effects.push(Effect { time: event.time, motion: event.motion, key, cause });
                }
                Event::Interrupted(_, Interruption::LetGo) => self.interrupted = true,
                Event::Woken(_) => return Next::Stop,
                _ => {}
            }
            Next::Wait(None)
        }
    }

    fn keys(printed: &Printed) -> String {
        let sign = |effect: &Effect| if effect.motion == Motion::Release { '-' } else { '+' };
        let words = printed.effects.iter().map(|effect| format!("{}{}", sign(effect), effect.key));
        words.collect::<Vec<_>>().join(" ")
    }

    fn typed(text: &str) -> Vec<Moment> {
        notation::parse(text, Time::ZERO).unwrap().0
    }

    #[test]
    fn what_is_typed_comes_out_and_a_handler_that_hangs_leaves_plain_keyboards() {
        let (remote, stage) = stage();
        let (hanging, hangs) = channel();
        let (go, go_on) = channel();
        let mut mapper = Mapper { hanging, go_on, interrupted: false };
        thread::scope(|scope| {
            let mapper = &mut mapper;
            scope.spawn(move || run(mapper, &stage).unwrap());
            remote.play("one", typed("+A +H"));
            hangs.recv().unwrap();
            assert_eq!(keys(&remote.output(0)), "+B");
            remote.let_go();
            remote.play("one", typed("+A -A"));
            assert_eq!(keys(&remote.output(0)), "+B -B +A -A");
            assert_eq!(keys(&remote.output(2)), "+A -A");
            go.send(()).unwrap();
            remote.play("one", typed("-H"));
            // The loop takes its keys in order: when the last has come out it is back.
            while remote.output(4).effects.is_empty() {
                remote.play("one", typed("+A -A"));
                thread::yield_now();
            }
            remote.wake();
        });
        assert!(mapper.interrupted);
    }
}
