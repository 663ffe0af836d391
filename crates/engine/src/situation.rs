//! The situation: everything that a look-up depends on beside the keymap, and that actions change.

use alloc::string::String;
use alloc::vec::Vec;

use crate::action::{Action, CustomId};
use crate::condition::Test;
use crate::device::DeviceInfo;
use crate::event::DeviceId;
use crate::held::{Holding, Source};
use crate::keymap::{Keymap, LayerId, Mapping};
use crate::layers::Layers;
use crate::output::{Emit, Output};

#[derive(Debug)]
pub(crate) struct Situation {
    pub layers: Layers,
    pub custom: Custom,
    pub output: Output,
    pub input_method_open: bool,
    layout: String,
    /// The keymap's languages that match the layout, a bit each.
    languages: u64,
    devices: Vec<Device>,
}

/// A keyboard, by its number.
#[derive(Debug, Default)]
struct Device {
    info: Option<DeviceInfo>,
    /// The keymap's patterns that match it, a bit each.
    matches: u64,
}

/// How a keymap sees keyboards and layout: worked out beforehand, for comparing texts is not the work of a step.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    languages: u64,
    devices: Vec<u64>,
}

/// Custom modifiers, counted by holder, and custom locks.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    pub modifiers: [u8; CustomId::COUNT],
    pub locks: [bool; CustomId::COUNT],
}

impl Custom {
    pub const NONE: Custom = Custom { modifiers: [0; CustomId::COUNT], locks: [false; CustomId::COUNT] };

    pub fn hold(&mut self, id: CustomId) {
        if let Some(holders) = self.modifiers.get_mut(usize::from(id.number())) {
            *holders = holders.saturating_add(1);
        }
    }

    fn let_go(&mut self, id: CustomId) {
        if let Some(holders) = self.modifiers.get_mut(usize::from(id.number())) {
            *holders = holders.saturating_sub(1);
        }
    }

    fn toggle(&mut self, id: CustomId) {
        if let Some(lock) = self.locks.get_mut(usize::from(id.number())) {
            *lock = !*lock;
        }
    }
}

impl Situation {
    pub fn new() -> Situation {
        Situation {
            layers: Layers::new(),
            custom: Custom::NONE,
            output: Output::new(),
            input_method_open: false,
            layout: String::new(),
            languages: 0,
            devices: Vec::new(),
        }
    }

    /// Makes a keyboard known.
    pub fn connect(&mut self, id: DeviceId, info: &DeviceInfo, keymap: &Keymap) {
        if id == DeviceId::UNKNOWN {
            return;
        }
        let place = usize::from(id.0);
        if self.devices.len() <= place {
            self.devices.resize_with(place.saturating_add(1), Device::default);
        }
        if let Some(device) = self.devices.get_mut(place) {
            *device = Device { info: Some(info.clone()), matches: keymap.match_device(info) };
        }
    }

    /// Sets the language of the keyboard layout.
    pub fn set_layout(&mut self, tag: &str, keymap: &Keymap) {
        self.layout = tag.into();
        self.languages = keymap.match_language(tag);
    }

    /// How another keymap sees this situation.
    pub fn matches(&self, keymap: &Keymap) -> Matches {
        let matches = |device: &Device| device.info.as_ref().map_or(0, |info| keymap.match_device(info));
        Matches {
            languages: keymap.match_language(&self.layout),
            devices: self.devices.iter().map(matches).collect(),
        }
    }

    /// Another keymap takes over: numbers become its own.
    pub fn take_over(&mut self, before: &Keymap, after: &Keymap, matches: &Matches) {
        self.layers.renumber(|layer| after.layer(before.layer_name(layer)));
        self.languages = matches.languages;
        for (device, matches) in self.devices.iter_mut().zip(&matches.devices) {
            device.matches = *matches;
        }
    }

    /// The mapping of a key, as things stand.
    pub fn look_up(&self, keymap: &Keymap, source: Source) -> Option<Mapping> {
        let Source { key, device } = source;
        let matches = self.devices.get(usize::from(device.0)).map_or(0, |device| device.matches);
        let first = |mappings: &[Mapping]| {
            let mut mappings = mappings.iter();
            mappings.find(|mapping| self.holds(keymap, mapping, matches)).copied()
        };
        for activation in self.layers.active().iter().rev() {
            if let Some(mapping) = first(keymap.in_layer(activation.layer, key)) {
                return Some(mapping);
            }
        }
        let base = self.layers.base();
        first(keymap.conditional(key))
            .or_else(|| if base == LayerId::BASE { None } else { first(keymap.in_layer(base, key)) })
            .or_else(|| first(keymap.in_layer(LayerId::BASE, key)))
    }

    /// Whether a mapping ends the search. A transparent one never does.
    fn holds(&self, keymap: &Keymap, mapping: &Mapping, matches: u64) -> bool {
        mapping.devices & !matches == 0
            && mapping.action != Action::Transparent
            && mapping.condition.is_none_or(|condition| {
                let mut clauses = keymap.clauses(condition).iter();
                clauses.all(|clause| clause.iter().any(|literal| self.is_so(literal.test) != literal.negated))
            })
    }

    fn is_so(&self, test: Test) -> bool {
        match test {
            Test::CustomModifier(id) => {
                self.custom.modifiers.get(usize::from(id.number())).is_some_and(|holders| *holders > 0)
            }
            Test::CustomLock(id) => self.custom.locks.get(usize::from(id.number())).is_some_and(|lock| *lock),
            Test::Layer(layer) => self.layers.is_active(layer),
            Test::Modifier(modifiers) => self.output.modifiers().intersects(modifiers),
            Test::InputMethod => self.input_method_open,
            Test::Language(id) => self.languages.checked_shr(id.index() as u32).unwrap_or(0) & 1 == 1,
        }
    }

    /// An action begins; what is returned ends it. As a tap, a key that is already down is pressed anew and left to
    /// its holder.
    pub fn begin(&mut self, keymap: &Keymap, action: Action, is_tap: bool, emit: &mut Emit<'_>) -> Holding {
        match action {
            Action::Key(key) => {
                if is_tap && self.output.press_again(key, emit) {
                    return Holding::Nothing;
                }
                self.output.press(key, emit);
                Holding::Key(key)
            }
            Action::Chord(modifiers, key) => {
                for modifier in modifiers.keys() {
                    self.output.press(modifier, emit);
                }
                if is_tap && self.output.press_again(key, emit) {
                    return Holding::Modifiers(modifiers);
                }
                self.output.press(key, emit);
                Holding::Chord(modifiers, key)
            }
            Action::CustomModifier(id) => {
                self.custom.hold(id);
                Holding::CustomModifier(id)
            }
            Action::CustomLock(id) => {
                self.custom.toggle(id);
                Holding::Nothing
            }
            Action::LayerHold(layer) => {
                self.layers.hold(layer);
                Holding::Layer(layer)
            }
            Action::LayerToggle(layer) => {
                self.layers.toggle(layer);
                Holding::Nothing
            }
            Action::LayerSwitch(layer) => {
                self.layers.switch(layer);
                Holding::Nothing
            }
            Action::Sequence(id) => {
                for key in keymap.sequence(id) {
                    if !self.output.press_again(*key, emit) {
                        self.output.press(*key, emit);
                        self.output.release(*key, emit);
                    }
                }
                Holding::Nothing
            }
            // A tap-hold is decided before it begins.
            Action::TapHold(_) | Action::Nothing | Action::Transparent => Holding::Nothing,
        }
    }

    /// An action ends: what it switched on goes off, in reverse order.
    pub fn end(&mut self, holding: Holding, emit: &mut Emit<'_>) {
        match holding {
            Holding::Nothing => {}
            Holding::Key(key) => self.output.release(key, emit),
            Holding::Chord(modifiers, key) => {
                self.output.release(key, emit);
                self.end(Holding::Modifiers(modifiers), emit);
            }
            Holding::Modifiers(modifiers) => {
                for modifier in modifiers.keys().rev() {
                    self.output.release(modifier, emit);
                }
            }
            Holding::CustomModifier(id) => self.custom.let_go(id),
            Holding::Layer(layer) => self.layers.let_go(layer),
        }
    }
}
