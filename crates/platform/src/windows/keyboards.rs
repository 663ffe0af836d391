//! The keyboards as the handler knows them.

use keyrx_engine::{DeviceId, Time};

use super::correlator::Correlator;
use super::devices::Listed;
use super::gate::Gate;
use crate::Event;

/// The keyboards that are there; the place of each is its `DeviceId`.
#[derive(Debug)]
pub struct Keyboards {
    slots: Vec<Option<Slot>>,
    correlator: Correlator,
}

#[derive(Debug)]
struct Slot {
    listed: Listed,
    /// Whether the handler wants it, and was told of it.
    is_connected: bool,
}

impl Keyboards {
    pub fn new() -> Keyboards {
        Keyboards { slots: Vec::new(), correlator: Correlator::new() }
    }

    /// The one that tells which keyboard a key belongs to.
    pub fn correlator(&mut self) -> &mut Correlator {
        &mut self.correlator
    }

    /// The keyboard that raw input knows by this number.
    pub fn id(&self, raw: usize) -> Option<DeviceId> {
        let is_it = |slot: &Option<Slot>| slot.as_ref().is_some_and(|slot| slot.listed.raw == raw);
        Some(DeviceId(u16::try_from(self.slots.iter().position(is_it)?).ok()?))
    }

    /// These keyboards are there now, and no others.
    pub fn update(&mut self, listed: Vec<Listed>, gate: &mut Gate<'_>, now: Time) {
        for (number, place) in (0..).zip(&mut self.slots) {
            let Some(slot) = place.as_ref().filter(|slot| !listed.contains(&slot.listed)) else { continue };
            let was_connected = slot.is_connected;
            *place = None;
            let id = DeviceId(number);
            self.correlator.forget(id);
            if was_connected {
                gate.tell(Event::Disconnected(now, id), now);
            }
        }
        for listed in listed {
            if self.slots.iter().flatten().any(|slot| slot.listed == listed) {
                continue;
            }
            let slot = Some(Slot { listed, is_connected: false });
            match self.slots.iter_mut().find(|place| place.is_none()) {
                Some(place) => *place = slot,
                None => self.slots.push(slot),
            }
        }
        self.ask_again(gate, now);
    }

    /// The handler may want other keyboards than before.
    pub fn ask_again(&mut self, gate: &mut Gate<'_>, now: Time) {
        for (number, slot) in (0..).zip(&mut self.slots) {
            let Some(slot) = slot else { continue };
            let (id, info) = (DeviceId(number), &slot.listed.device.info);
            match (gate.handler().wants(info), slot.is_connected) {
                (true, false) => gate.tell(Event::Connected(id, info), now),
                (false, true) => gate.tell(Event::Disconnected(now, id), now),
                _ => continue,
            }
            slot.is_connected = !slot.is_connected;
        }
    }
}
