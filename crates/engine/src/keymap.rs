//! Keymaps: which mapping holds for a key.
//!
//! A keymap is built once and never changes. Its mappings lie in *sections*, one for each step of the look-up: the
//! conditional mappings outside layers, the base layer, and each named layer. In a section, a key's mappings stand in
//! the order in which they are tried, so a look-up walks a short slice and takes the first that holds.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::action::{Action, TapHold};
use crate::condition::{Condition, Literal, Test};
use crate::device::{DeviceInfo, Pattern};
use crate::key::{Hand, Key};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($number:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(crate) $number);

        impl $name {
            /// The place in the list of its kind, in order of definition.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// A layer of a keymap.
    LayerId(u16);
    /// A mapping of a keymap: the n-th call of `KeymapBuilder::map`.
    MappingId(u32);
    /// A tap-hold of a keymap.
    TapHoldId(u16);
    /// A sequence of a keymap.
    SequenceId(u16);
    /// A condition of a keymap.
    ConditionId(u16);
    /// A device pattern of a keymap.
    PatternId(u8);
    /// A language tag that a keymap asks for.
    LanguageId(u8);
}

/// So many layers can a keymap have, the base layer included.
pub(crate) const MAX_LAYERS: usize = 128;

impl LayerId {
    /// The layer of mappings outside any named layer.
    pub const BASE: LayerId = LayerId(0);
}

/// The keymap has more of something than the engine can number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// What there are too many of, in the plural.
    pub what: &'static str,
    /// How many there may be.
    pub limit: usize,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "too many {}: a keymap may have {}", self.what, self.limit)
    }
}

impl core::error::Error for TooMany {}

/// What the keys are mapped to.
#[derive(Debug)]
pub struct Keymap {
    layers: Box<[String]>,
    patterns: Box<[Pattern]>,
    languages: Box<[String]>,
    conditions: Box<[Condition]>,
    tap_holds: Box<[TapHold]>,
    sequences: Box<[Box<[Key]>]>,
    hands: Box<[Hand]>,
    /// By section and key: where the key's mappings begin and how many there are.
    sections: Box<[Section]>,
    /// In the order of look-up, grouped by section and key.
    mappings: Box<[Mapping]>,
    any_keyboard: bool,
}

type Section = Box<[(u32, u32)]>;

/// One mapping, as the look-up sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapping {
    pub id: MappingId,
    pub condition: Option<ConditionId>,
    /// The device patterns that must all match, a bit each.
    pub devices: u64,
    pub action: Action,
}

/// The step of a look-up that a section serves.
const CONDITIONAL: usize = 0;

fn section_of(layer: LayerId) -> usize {
    layer.index().saturating_add(1)
}

impl Keymap {
    /// The name of a layer; `"base"` for `LayerId::BASE`.
    pub fn layer_name(&self, layer: LayerId) -> &str {
        self.layers.get(layer.index()).map_or("", String::as_str)
    }

    /// The layer of that name.
    pub fn layer(&self, name: &str) -> Option<LayerId> {
        let index = self.layers.iter().position(|layer| layer == name)?;
        Some(LayerId(u16::try_from(index).ok()?))
    }

    /// How many layers there are, the base layer included.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// Whether a keyboard has to be read for this keymap: one of its mappings may hold there.
    pub fn wants(&self, device: &DeviceInfo) -> bool {
        self.any_keyboard || self.patterns.iter().any(|pattern| pattern.matches(device))
    }

    /// Whether some mappings hold for some keyboards only.
    pub fn is_device_dependent(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether some mappings depend on what stands in the focus: its input method or its layout.
    pub fn is_focus_dependent(&self) -> bool {
        let literals = self.conditions.iter().flat_map(|condition| condition.0.iter().flatten());
        literals.map(|literal| literal.test).any(|test| matches!(test, Test::InputMethod | Test::Language(_)))
    }

    /// The patterns that match, a bit each.
    pub(crate) fn match_device(&self, device: &DeviceInfo) -> u64 {
        bits(self.patterns.iter().map(|pattern| pattern.matches(device)))
    }

    /// The languages that match a layout's tag, a bit each: equal, or one a prefix of the other at a `-`.
    pub(crate) fn match_language(&self, tag: &str) -> u64 {
        let tag = tag.to_lowercase();
        let prefix = |short: &str, long: &str| {
            long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        bits(self.languages.iter().map(|language| prefix(language, &tag) || prefix(&tag, language)))
    }

    pub(crate) fn tap_hold(&self, id: TapHoldId) -> Option<&TapHold> {
        self.tap_holds.get(id.index())
    }

    pub(crate) fn sequence(&self, id: SequenceId) -> &[Key] {
        self.sequences.get(id.index()).map_or(&[], |keys| keys)
    }

    pub(crate) fn hand(&self, key: Key) -> Hand {
        self.hands.get(key.index()).copied().unwrap_or(Hand::Neither)
    }

    /// The clauses of a condition.
    pub(crate) fn clauses(&self, id: ConditionId) -> &[Vec<Literal>] {
        self.conditions.get(id.index()).map_or(&[], |condition| &condition.0)
    }

    /// The conditional mappings of `key` outside layers, in the order of look-up.
    pub(crate) fn conditional(&self, key: Key) -> &[Mapping] {
        self.section(CONDITIONAL, key)
    }

    /// The mappings of `key` in a layer, in the order of look-up.
    pub(crate) fn in_layer(&self, layer: LayerId, key: Key) -> &[Mapping] {
        self.section(section_of(layer), key)
    }

    fn section(&self, section: usize, key: Key) -> &[Mapping] {
        let Some(&(start, count)) = self.sections.get(section).and_then(|keys| keys.get(key.index())) else {
            return &[];
        };
        let end = (start as usize).saturating_add(count as usize);
        self.mappings.get(start as usize..end).unwrap_or(&[])
    }
}

fn bits(set: impl Iterator<Item = bool>) -> u64 {
    set.zip(0_u32..64).fold(0, |bits, (is_in, n)| bits | (u64::from(is_in) << n))
}

/// Collects what a keymap consists of, in the order of the file.
#[derive(Debug)]
pub struct KeymapBuilder {
    layers: Vec<String>,
    patterns: Vec<Pattern>,
    languages: Vec<String>,
    conditions: Vec<Condition>,
    tap_holds: Vec<TapHold>,
    sequences: Vec<Box<[Key]>>,
    hands: Box<[Hand]>,
    mappings: Vec<Draft>,
}

/// A mapping with what its place in the look-up depends on.
#[derive(Debug)]
struct Draft {
    section: usize,
    key: Key,
    rank: u8,
    mapping: Mapping,
}

impl Default for KeymapBuilder {
    fn default() -> Self {
        KeymapBuilder::new()
    }
}

/// The number for the next item of `list`.
fn next<T>(list: &[T], what: &'static str, limit: usize) -> Result<usize, TooMany> {
    if list.len() < limit { Ok(list.len()) } else { Err(TooMany { what, limit }) }
}

impl KeymapBuilder {
    /// A keymap in which every key passes through.
    pub fn new() -> KeymapBuilder {
        let mut hands = alloc::vec![Hand::Neither; Key::NAMED].into_boxed_slice();
        for (key, hand) in Key::all().zip(hands.iter_mut()) {
            *hand = key.hand();
        }
        KeymapBuilder {
            layers: Vec::from([String::from("base")]),
            patterns: Vec::new(),
            languages: Vec::new(),
            conditions: Vec::new(),
            tap_holds: Vec::new(),
            sequences: Vec::new(),
            hands,
            mappings: Vec::new(),
        }
    }

    /// The layer of that name, new if it has not been named before. `"base"` is the base layer.
    pub fn layer(&mut self, name: &str) -> Result<LayerId, TooMany> {
        let index = match self.layers.iter().position(|layer| layer == name) {
            Some(index) => index,
            None => {
                let index = next(&self.layers, "layers", MAX_LAYERS)?;
                self.layers.push(name.into());
                index
            }
        };
        Ok(LayerId(index as u16))
    }

    /// A device pattern, for `map`.
    pub fn device(&mut self, pattern: &str) -> Result<PatternId, TooMany> {
        let pattern = Pattern::new(pattern);
        let index = match self.patterns.iter().position(|known| *known == pattern) {
            Some(index) => index,
            None => {
                let index = next(&self.patterns, "different device patterns", 64)?;
                self.patterns.push(pattern);
                index
            }
        };
        Ok(PatternId(index as u8))
    }

    /// A language, for conditions: a BCP 47 tag.
    pub fn language(&mut self, tag: &str) -> Result<LanguageId, TooMany> {
        let tag = tag.to_lowercase();
        let index = match self.languages.iter().position(|known| *known == tag) {
            Some(index) => index,
            None => {
                let index = next(&self.languages, "different languages", 64)?;
                self.languages.push(tag);
                index
            }
        };
        Ok(LanguageId(index as u8))
    }

    /// A condition, for `map`.
    pub fn condition(&mut self, condition: Condition) -> Result<ConditionId, TooMany> {
        let index = match self.conditions.iter().position(|known| *known == condition) {
            Some(index) => index,
            None => {
                let index = next(&self.conditions, "different conditions", 65_536)?;
                self.conditions.push(condition);
                index
            }
        };
        Ok(ConditionId(index as u16))
    }

    /// A tap-hold as an action. Its `tap` and `hold` must be neither tap-holds nor transparent: such a one does nothing.
    pub fn tap_hold(&mut self, tap_hold: TapHold) -> Result<Action, TooMany> {
        let index = next(&self.tap_holds, "tap-holds", 65_536)?;
        self.tap_holds.push(tap_hold);
        Ok(Action::TapHold(TapHoldId(index as u16)))
    }

    /// A sequence as an action.
    pub fn sequence(&mut self, keys: &[Key]) -> Result<Action, TooMany> {
        let index = next(&self.sequences, "sequences", 65_536)?;
        self.sequences.push(keys.into());
        Ok(Action::Sequence(SequenceId(index as u16)))
    }

    /// Puts a key to another hand than it has by default, for chordal hold.
    pub fn hand(&mut self, key: Key, hand: Hand) {
        if let Some(place) = self.hands.get_mut(key.index()) {
            *place = hand;
        }
    }

    /// Maps `key` to `action`: in `layer`, for keyboards that match all of `devices`, while `condition` holds.
    /// The calls are made in the order of the file, for the earlier of two equal mappings wins.
    pub fn map(
        &mut self,
        layer: LayerId,
        key: Key,
        devices: &[PatternId],
        condition: Option<ConditionId>,
        action: Action,
    ) -> Result<MappingId, TooMany> {
        let id = MappingId(next(&self.mappings, "mappings", 1_000_000)? as u32);
        let section =
            if layer == LayerId::BASE && condition.is_some() { CONDITIONAL } else { section_of(layer) };
        // `*` is no restriction: it serves keyboards too of which nothing is known.
        let special = devices.iter().filter_map(|id| {
            let rank = self.patterns.get(id.index())?.rank();
            (rank > 0).then_some((rank, 1_u64.checked_shl(u32::from(id.0))?))
        });
        let (rank, devices) = special.fold((0, 0), |(rank, bits), (r, bit)| (r.max(rank), bits | bit));
        self.mappings.push(Draft { section, key, rank, mapping: Mapping { id, condition, devices, action } });
        Ok(id)
    }

    /// The keymap.
    pub fn build(self) -> Keymap {
        let any_keyboard = self.mappings.iter().any(|draft| draft.mapping.devices == 0);
        let mut drafts = self.mappings;
        // A layer's own conditional mappings come before its plain ones; then the more exact device block comes
        // first; then, the sort being stable, the earlier in the file.
        drafts.sort_by_key(|draft| {
            let plain = draft.mapping.condition.is_none();
            (draft.section, draft.key, plain, core::cmp::Reverse(draft.rank))
        });
        let empty: Section = alloc::vec![(0, 0); Key::NAMED].into_boxed_slice();
        let mut sections = alloc::vec![empty; section_of(LayerId(self.layers.len() as u16))];
        for (place, draft) in (0_u32..).zip(&drafts) {
            let entry = sections.get_mut(draft.section).and_then(|keys| keys.get_mut(draft.key.index()));
            if let Some((start, count)) = entry {
                if *count == 0 {
                    *start = place;
                }
                *count = count.saturating_add(1);
            }
        }
        Keymap {
            layers: self.layers.into(),
            patterns: self.patterns.into(),
            languages: self.languages.into(),
            conditions: self.conditions.into(),
            tap_holds: self.tap_holds.into(),
            sequences: self.sequences.into(),
            hands: self.hands,
            sections: sections.into(),
            mappings: drafts.iter().map(|draft| draft.mapping).collect(),
            any_keyboard,
        }
    }
}
