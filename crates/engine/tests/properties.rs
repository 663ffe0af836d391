//! What holds for every keymap and every stream of events.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::type_complexity, reason = "a test")]

use std::collections::BTreeSet;

use keyrx_engine::{
    Action, Condition, CustomId, DeviceId, DeviceInfo, Effect, Engine, Flavor, Hand, Input, Key, KeyEvent,
    Keymap, KeymapBuilder, LayerId, Modifiers, Motion, TapHold, Test, Time,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A keymap as data: what it takes to build it again.
#[derive(Clone, Debug)]
struct Plan {
    mappings: Vec<(usize, Key, Option<usize>, Option<Vec<Condition>>, Piece)>,
    left: Vec<Key>,
}

/// An action as data.
#[derive(Clone, Debug)]
enum Piece {
    Plain(Action),
    LayerHold(usize),
    LayerToggle(usize),
    LayerSwitch(usize),
    Sequence(Vec<Key>),
    TapHold {
        tap: Box<Piece>,
        hold: Box<Piece>,
        flavor: Flavor,
        times: [u16; 3],
        chordal: bool,
        retro_tap: bool,
    },
}

const LAYERS: [&str; 4] = ["base", "one", "two", "three"];
const PATTERNS: [&str; 3] = ["Left*", "Left board", "*"];
const DEVICES: [&str; 3] = ["Left board", "Left", "Right"];

fn keys() -> Vec<Key> {
    use Key as K;
    vec![
        K::A,
        K::B,
        K::C,
        K::D,
        K::F,
        K::J,
        K::Space,
        K::LShift,
        K::RCtrl,
        K::Enter,
        Key::unnamed(7).unwrap(),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    select(keys())
}

fn custom() -> impl Strategy<Value = CustomId> {
    (0_u8..3).prop_map(|n| CustomId::new(n).unwrap())
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        custom().prop_map(Test::CustomModifier),
        custom().prop_map(Test::CustomLock),
        select(vec![
            Test::Modifier(Modifiers::SHIFT),
            Test::Modifier(Key::RCtrl.modifier()),
            Test::InputMethod
        ]),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    (vec(test(), 1..3), any::<bool>())
        .prop_map(|(tests, not)| if not { Condition::not_all(tests) } else { Condition::all(tests) })
}

fn simple() -> impl Strategy<Value = Piece> {
    prop_oneof![
        4 => key().prop_map(|key| Piece::Plain(Action::Key(key))),
        2 => (select(vec![Modifiers::SHIFT, Modifiers::CTRL, Key::LAlt.modifier()]), key())
            .prop_map(|(modifiers, key)| Piece::Plain(Action::Chord(modifiers, key))),
        2 => custom().prop_map(|id| Piece::Plain(Action::CustomModifier(id))),
        1 => custom().prop_map(|id| Piece::Plain(Action::CustomLock(id))),
        2 => (0_usize..4).prop_map(Piece::LayerHold),
        1 => (0_usize..4).prop_map(Piece::LayerToggle),
        1 => (0_usize..4).prop_map(Piece::LayerSwitch),
        1 => vec(key(), 0..4).prop_map(Piece::Sequence),
        1 => Just(Piece::Plain(Action::Nothing)),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let flavors =
        vec![Flavor::TapPreferred, Flavor::Balanced, Flavor::HoldPreferred, Flavor::TapUnlessInterrupted];
    let times = [select(vec![1_u16, 50, 200]), select(vec![0, 100]), select(vec![0, 150])];
    let tap_hold = (simple(), simple(), select(flavors), times, any::<bool>(), any::<bool>()).prop_map(
        |(tap, hold, flavor, times, chordal, retro_tap)| Piece::TapHold {
            tap: Box::new(tap),
            hold: Box::new(hold),
            flavor,
            times,
            chordal,
            retro_tap,
        },
    );
    prop_oneof![2 => simple(), 2 => tap_hold, 1 => Just(Piece::Plain(Action::Transparent))]
}

fn plan() -> impl Strategy<Value = Plan> {
    let mapping = (
        0_usize..4,
        key(),
        proptest::option::weighted(0.2, 0_usize..3),
        proptest::option::weighted(0.3, vec(condition(), 1..3)),
        piece(),
    );
    (vec(mapping, 0..25), vec(key(), 0..3)).prop_map(|(mappings, left)| Plan { mappings, left })
}

impl Plan {
    fn build(&self) -> Keymap {
        let mut builder = KeymapBuilder::new();
        for key in &self.left {
            builder.hand(*key, Hand::Left);
        }
        let layers = LAYERS.map(|name| builder.layer(name).unwrap());
        for (layer, key, device, conditions, piece) in &self.mappings {
            let devices = device.map(|n| builder.device(PATTERNS[n]).unwrap());
            let condition = conditions.as_ref().map(|all| {
                let all = all.iter().cloned().reduce(Condition::and).unwrap();
                builder.condition(all).unwrap()
            });
            let action = piece.build(&mut builder, &layers);
            builder.map(layers[*layer], *key, devices.as_slice(), condition, action).unwrap();
        }
        builder.build()
    }
}

impl Piece {
    fn build(&self, builder: &mut KeymapBuilder, layers: &[LayerId]) -> Action {
        match self {
            Piece::Plain(action) => *action,
            Piece::LayerHold(layer) => Action::LayerHold(layers[*layer]),
            Piece::LayerToggle(layer) => Action::LayerToggle(layers[*layer]),
            Piece::LayerSwitch(layer) => Action::LayerSwitch(layers[*layer]),
            Piece::Sequence(keys) => builder.sequence(keys).unwrap(),
            Piece::TapHold { tap, hold, flavor, times: [term, quick_tap, flow_tap], chordal, retro_tap } => {
                let (tap, hold) = (tap.build(builder, layers), hold.build(builder, layers));
                let (term, quick_tap, flow_tap) = (*term, *quick_tap, *flow_tap);
                let (flavor, chordal, retro_tap) = (*flavor, *chordal, *retro_tap);
                builder
                    .tap_hold(TapHold { tap, hold, term, flavor, quick_tap, flow_tap, chordal, retro_tap })
                    .unwrap()
            }
        }
    }
}

/// Everything that can happen to an engine.
#[derive(Clone, Debug)]
enum Op {
    Toggle(usize, Key),
    Repeat(usize, Key),
    /// A press of a key that may be down, or a release of one that may be up.
    Stray(usize, Key, Motion),
    Wait(u64),
    /// The clock jumps, ahead or back.
    Jump(i64),
    /// The caller comes late or early with a deadline.
    Deadline,
    Unplug(usize),
    ReleaseAll,
    Pause,
    Resume,
    InputMethod(bool),
    Offer(Plan),
}

fn op() -> impl Strategy<Value = Op> {
    let device = 0_usize..4;
    prop_oneof![
        30 => (device.clone(), key()).prop_map(|(device, key)| Op::Toggle(device, key)),
        4 => (device.clone(), key()).prop_map(|(device, key)| Op::Repeat(device, key)),
        2 => (device.clone(), key(), select(vec![Motion::Press, Motion::Release]))
            .prop_map(|(device, key, motion)| Op::Stray(device, key, motion)),
        12 => select(vec![0_u64, 1, 999, 1000, 30_000, 50_000, 149_999, 200_000]).prop_map(Op::Wait),
        1 => (-2_000_000_i64..90_000_000).prop_map(Op::Jump),
        3 => Just(Op::Deadline),
        1 => device.prop_map(Op::Unplug),
        1 => Just(Op::ReleaseAll),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => any::<bool>().prop_map(Op::InputMethod),
        1 => plan().prop_map(Op::Offer),
    ]
}

/// An engine under test, with what a reader of its effects knows.
struct Bench {
    engine: Engine,
    time: Time,
    deadline: Option<Time>,
    /// Physical keys that are down.
    down: BTreeSet<(DeviceId, Key)>,
    /// Output keys that are down.
    out: BTreeSet<Key>,
    effects: Vec<Effect>,
}

impl Bench {
    fn new(plan: &Plan) -> Bench {
        let mut engine = Engine::new(plan.build());
        for (number, name) in (0_u16..).zip(DEVICES) {
            engine.connect(DeviceId(number), &DeviceInfo::named(name));
        }
        let (down, out) = (BTreeSet::new(), BTreeSet::new());
        Bench { engine, time: Time::ZERO, deadline: None, down, out, effects: Vec::new() }
    }

    fn step(&mut self, input: Input) {
        let first = self.effects.len();
        self.deadline = self.engine.step(input, &mut self.effects);
        self.engine.check_invariants().unwrap();
        for effect in &self.effects[first..] {
            match effect.motion {
                Motion::Press => assert!(self.out.insert(effect.key), "pressed while down: {effect:?}"),
                // A release that we have not seen the press of is passed on.
                Motion::Release => _ = self.out.remove(&effect.key),
                Motion::Repeat => assert!(self.out.contains(&effect.key), "repeated while up: {effect:?}"),
            }
        }
        assert!(self.effects[first..].is_sorted_by_key(|effect| effect.time));
        assert!(self.deadline.is_none_or(|deadline| deadline > self.time), "a deadline in the past");
    }

    fn key(&mut self, device: DeviceId, key: Key, motion: Motion) {
        match motion {
            Motion::Press => _ = self.down.insert((device, key)),
            Motion::Release => _ = self.down.remove(&(device, key)),
            Motion::Repeat => {}
        }
        self.step(Input::Key(KeyEvent { time: self.time, device, key, motion }));
    }

    fn run(&mut self, op: &Op) {
        let device = |n: &usize| if *n < DEVICES.len() { DeviceId(*n as u16) } else { DeviceId::UNKNOWN };
        match op {
            Op::Toggle(n, key) if self.down.contains(&(device(n), *key)) => {
                self.key(device(n), *key, Motion::Release);
            }
            Op::Toggle(n, key) => self.key(device(n), *key, Motion::Press),
            Op::Repeat(n, key) => self.key(device(n), *key, Motion::Repeat),
            Op::Stray(n, key, motion) => self.key(device(n), *key, *motion),
            Op::Wait(micros) => self.time = Time::from_micros(self.time.micros() + micros),
            Op::Jump(micros) => {
                // The engine takes a clock that runs back as standing still, and so does the bench.
                let back = self.time;
                self.time = Time::from_micros(self.time.micros().saturating_add_signed(*micros));
                self.step(Input::Deadline(self.time));
                self.time = self.time.max(back);
            }
            Op::Deadline => {
                self.time = self.deadline.unwrap_or(self.time);
                self.step(Input::Deadline(self.time));
            }
            Op::Unplug(n) => {
                self.down.retain(|(other, _)| *other != device(n));
                self.step(Input::Disconnected(self.time, device(n)));
            }
            Op::ReleaseAll => {
                self.step(Input::ReleaseAll(self.time));
                assert!(self.out.is_empty() && self.engine.is_idle());
            }
            Op::Pause => {
                self.step(Input::Pause(self.time));
                assert!(self.out.is_empty() && self.engine.is_idle());
            }
            Op::Resume => self.step(Input::Resume(self.time)),
            Op::InputMethod(is_open) => self.step(Input::InputMethod(self.time, *is_open)),
            Op::Offer(plan) => {
                self.engine.offer(plan.build(), self.time);
                self.step(Input::Deadline(self.time));
            }
        }
    }

    /// Every key comes up and every timer runs out.
    fn finish(&mut self) {
        for (device, key) in self.down.clone() {
            self.key(device, key, Motion::Release);
        }
        while let Some(deadline) = self.deadline {
            self.time = self.time.max(deadline);
            self.step(Input::Deadline(self.time));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_held_when_all_keys_are_up_and_all_timers_over(plan in plan(), ops in vec(op(), 0..120)) {
        let mut bench = Bench::new(&plan);
        for op in &ops {
            bench.run(op);
        }
        bench.finish();
        prop_assert!(bench.engine.is_idle());
        prop_assert_eq!(bench.out, BTreeSet::new());
    }

    #[test]
    fn the_same_input_gives_the_same_output(plan in plan(), ops in vec(op(), 0..60)) {
        let run = || {
            let mut bench = Bench::new(&plan);
            ops.iter().for_each(|op| bench.run(op));
            bench.finish();
            bench.effects
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn an_empty_keymap_passes_everything_through(ops in vec((key(), 0_u64..100_000), 0..60)) {
        let mut bench = Bench::new(&Plan { mappings: Vec::new(), left: Vec::new() });
        let mut expected = Vec::new();
        for (key, wait) in ops {
            bench.run(&Op::Wait(wait));
            bench.run(&Op::Toggle(0, key));
            let motion = if bench.down.contains(&(DeviceId(0), key)) { Motion::Press } else { Motion::Release };
            expected.push((bench.time, motion, key));
        }
        let effects = bench.effects.iter().map(|effect| (effect.time, effect.motion, effect.key));
        prop_assert_eq!(effects.collect::<Vec<_>>(), expected);
    }
}
