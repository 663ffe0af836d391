//! Layers: which are active, and in which order they are searched.

use crate::bounded::Bounded;
use crate::keymap::{LayerId, MAX_LAYERS};

/// Each hold and each toggle is an activation of its own; the latest is searched first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activation {
    pub layer: LayerId,
    pub is_toggle: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Layers {
    // Room for a hold by every held key and a toggle of every layer.
    active: Bounded<Activation, { crate::held::MAX_HELD + MAX_LAYERS }>,
    base: LayerId,
}

impl Layers {
    pub fn new() -> Layers {
        let filler = Activation { layer: LayerId::BASE, is_toggle: false };
        Layers { active: Bounded::new(filler), base: LayerId::BASE }
    }

    /// The activations, the earliest first.
    pub fn active(&self) -> &[Activation] {
        self.active.as_slice()
    }

    /// The layer that `layer_switch` chose.
    pub fn base(&self) -> LayerId {
        self.base
    }

    pub fn is_active(&self, layer: LayerId) -> bool {
        self.base == layer || self.active().iter().any(|activation| activation.layer == layer)
    }

    /// How many of the activations are holds.
    pub fn holds(&self) -> usize {
        self.active().iter().filter(|activation| !activation.is_toggle).count()
    }

    pub fn hold(&mut self, layer: LayerId) {
        self.active.push(Activation { layer, is_toggle: false });
    }

    pub fn let_go(&mut self, layer: LayerId) {
        self.remove_last(Activation { layer, is_toggle: false });
    }

    pub fn toggle(&mut self, layer: LayerId) {
        let toggle = Activation { layer, is_toggle: true };
        if !self.remove_last(toggle) {
            self.active.push(toggle);
        }
    }

    pub fn switch(&mut self, layer: LayerId) {
        self.base = layer;
    }

    fn remove_last(&mut self, activation: Activation) -> bool {
        let place = self.active().iter().rposition(|other| *other == activation);
        place.and_then(|place| self.active.remove(place)).is_some()
    }

    /// Gives each layer its number in another keymap; those that `number` does not know end.
    pub fn renumber(&mut self, number: impl Fn(LayerId) -> Option<LayerId>) {
        self.base = number(self.base).unwrap_or(LayerId::BASE);
        self.active.retain(|activation| match number(activation.layer) {
            Some(layer) => {
                activation.layer = layer;
                true
            }
            None => false,
        });
    }
}
