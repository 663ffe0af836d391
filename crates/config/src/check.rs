//! What is well-formed but cannot be meant: layers that do not exist, mappings that never come to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use keyrx_engine::{Action, Condition, Key, LayerId, Literal, Test};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, MAX_DIAGNOSTICS, Mapping, Scope};
use crate::text::Place;
use crate::vocabulary::{did_you_mean, nearest};
use crate::word::custom_spelling;

/// Says what is wrong with the draft as a whole. The script has ended. What is not found in time is not said.
pub fn check(draft: &mut Draft, deadline: Instant) {
    let in_time = || Instant::now() < deadline;
    draft.close_to(0);
    undeclared_layers(draft, in_time);
    // A block that has been taken out is missing around what is left.
    if !draft.sources.took_any() {
        shadowed_mappings(draft, in_time);
        pointless_transparency(draft);
    }
    let is_right = !draft.has_errors();
    unused_actions(draft, is_right);
    // These are about what is missing, and it may be missing because of an error.
    if is_right {
        unreachable_layers(draft);
        impossible_conditions(draft, in_time);
    }
}

/// Says at each block for single keyboards what Windows can promise.
pub fn device_blocks_on_windows(draft: &mut Draft) {
    let blocks: BTreeSet<Place> = draft.mappings.iter().filter_map(|it| it.scope.device_place).collect();
    for place in blocks.into_iter().take(MAX_DIAGNOSTICS) {
        let message = "Windows does not say which keyboard a key came from: keyrx infers it";
        let help = "a key whose keyboard is not known yet, such as the first after another keyboard was used, \
            finds the mappings for any keyboard; give it one that does no harm";
        draft.report(
            draft.sources.argument(place, 0),
            Diagnostic::warning("device-on-windows", message).help(help),
        );
    }
}

fn undeclared_layers(draft: &mut Draft, in_time: impl Fn() -> bool) {
    for ((_, name, switches_on), span) in draft.layer_uses.clone() {
        if !in_time() {
            break;
        }
        let is_lost = draft.sources.took(&format!("\"{name}")) || draft.sources.took(&format!("{name}\""));
        if name == "base" || draft.layers.contains_key(&name) || is_lost {
            continue;
        }
        // In a condition, something else may have been meant.
        let others =
            if switches_on { &["base"][..] } else { &["base", "Shift", "Ctrl", "Alt", "Win", "IME"] };
        let known = draft.layers.keys().map(String::as_str).chain(others.iter().copied());
        let custom = custom_spelling(&name).filter(|_| !switches_on);
        let near: Vec<String> = match custom {
            Some(custom) => vec![custom],
            None => nearest(&name, known).into_iter().map(str::to_owned).collect(),
        };
        let help = match Key::from_name(&name) {
            Some(_) => "a key cannot be a condition: have it set a custom modifier, such as \"MD_00\", and ask for that".into(),
            None => format!("a layer is made by `layer(\"{name}\", || {{ ... }});`"),
        };
        let diagnostic = Diagnostic::error("unknown-layer", format!("there is no layer \"{name}\""));
        let diagnostic = diagnostic.label(did_you_mean('"', near)).help(help);
        draft.report(span, diagnostic);
    }
}

fn unreachable_layers(draft: &mut Draft) {
    let is_switched_on = |layer: &str| draft.layer_uses.keys().any(|(_, name, on)| *on && name == layer);
    let unreachable: Vec<(String, Place)> = draft
        .layers
        .iter()
        .filter(|(name, _)| *name != "base" && !is_switched_on(name))
        .map(|(name, place)| (name.clone(), *place))
        .collect();
    for (name, place) in unreachable {
        let diagnostic =
            Diagnostic::warning("unreachable", format!("nothing switches the layer \"{name}\" on"))
                .help(format!("map a key to it, such as `map(\"CapsLock\", layer_hold(\"{name}\"));`"));
        draft.report(draft.sources.argument(place, 0), diagnostic);
    }
}

/// With an error elsewhere, only what is a statement by itself is surely unused.
fn unused_actions(draft: &mut Draft, is_right: bool) {
    for (place, function) in draft.unused().into_iter().take(MAX_DIAGNOSTICS) {
        if !is_right && !draft.sources.is_statement(place) {
            continue;
        }
        let help = match function {
            "tap_hold" => "to map a key, name it first: `tap_hold(key, tap, hold);`".into(),
            _ => format!("an action must be given to a statement, such as `map(\"A\", {function}(...));`"),
        };
        draft.report_call(place, Diagnostic::warning("unused", "no mapping uses this action").help(help));
    }
}

fn pointless_transparency(draft: &mut Draft) {
    let pointless: Vec<Place> = draft
        .mappings
        .iter()
        .filter(|mapping| mapping.action == Action::Transparent)
        .filter(|Mapping { scope, .. }| {
            scope.layer == LayerId::BASE && !scope.is_conditional() && scope.devices.is_empty()
        })
        .map(|mapping| mapping.place)
        .take(MAX_DIAGNOSTICS)
        .collect();
    for place in pointless {
        let message = "nothing lies below the base layer: this mapping does nothing";
        draft.report_call(place, Diagnostic::warning("unreachable", message));
    }
}

/// More mappings of one key in one layer are not compared with each other.
const MAX_COMPARED: usize = 100;

fn shadowed_mappings(draft: &mut Draft, in_time: impl Fn() -> bool) {
    // By step of the look-up and key: what has been said so far.
    let mut seen: BTreeMap<(LayerId, bool, Key), Vec<&Mapping>> = BTreeMap::new();
    let mut found = Vec::new();
    for mapping in &draft.mappings {
        if found.len() >= MAX_DIAGNOSTICS || !in_time() {
            break;
        }
        let scope = &mapping.scope;
        // Conditions outside layers are a step of their own; in a layer, they come before what has none.
        let earlier = seen.entry((scope.layer, scope.is_conditional(), mapping.key)).or_default();
        let shadow = earlier.iter().find(|first| hides(&first.scope, scope));
        match shadow {
            Some(first) => {
                let is_equal = first.scope.condition == scope.condition;
                found.push((mapping.key, mapping.place, first.place, is_equal));
            }
            None if mapping.action != Action::Transparent && earlier.len() < MAX_COMPARED => {
                earlier.push(mapping)
            }
            None => {}
        }
    }
    for (key, place, first, is_equal) in found {
        let diagnostic = match is_equal {
            true => {
                let message = format!("\"{key}\" is mapped already: the first mapping holds");
                Diagnostic::warning("shadowed", message)
            }
            false => {
                let message = format!("an earlier mapping of \"{key}\" always holds where this one does");
                Diagnostic::warning("unreachable", message).help("put the more special condition first")
            }
        };
        let span = draft.sources.name(first);
        let diagnostic = diagnostic.related(&draft.sources, span, "the first is here");
        draft.report_call(place, diagnostic);
    }
}

/// Whether a mapping in scope `first` holds wherever a later one of the same key in scope `second` does.
fn hides(first: &Scope, second: &Scope) -> bool {
    first.rank == second.rank
        && first.devices.iter().all(|id| second.devices.contains(id))
        && first.condition.0.iter().all(|clause| second.condition.0.contains(clause))
}

fn impossible_conditions(draft: &mut Draft, in_time: impl Fn() -> bool) {
    let outputs = draft.custom_outputs();
    let mut found = BTreeMap::new();
    for mapping in &draft.mappings {
        let scope = &mapping.scope;
        if !in_time() {
            break;
        }
        if found.contains_key(&scope.condition_place) {
            continue;
        }
        let is_never_on = |literal: &Literal| match literal.test {
            Test::CustomModifier(id) => !literal.negated && !outputs.contains(&(false, id)),
            Test::CustomLock(id) => !literal.negated && !outputs.contains(&(true, id)),
            _ => false,
        };
        let dead = scope.condition.0.iter().find(|clause| clause.iter().all(is_never_on));
        let reason = match dead.and_then(|clause| clause.first()) {
            Some(literal) => Some(format!("no mapping sets {}", custom_name(literal.test))),
            None => {
                contradicts_itself(&scope.condition).then(|| "its parts contradict each other".to_owned())
            }
        };
        if let Some(reason) = reason {
            found.insert(scope.condition_place, reason);
        }
    }
    for (place, reason) in found {
        let message = format!("this condition never holds: {reason}");
        draft.report(draft.sources.argument(place, 0), Diagnostic::warning("unreachable", message));
    }
}

fn custom_name(test: Test) -> String {
    match test {
        Test::CustomModifier(id) => format!("MD_{:02X}", id.number()),
        Test::CustomLock(id) => format!("LK_{:02X}", id.number()),
        _ => String::new(),
    }
}

/// Whether some clause is the opposite of what other clauses demand.
fn contradicts_itself(condition: &Condition) -> bool {
    let demanded = |literal: &Literal| {
        condition.0.iter().any(|clause| matches!(clause.as_slice(), [only] if only == literal))
    };
    let opposite = |literal: &Literal| Literal { negated: !literal.negated, ..*literal };
    condition.0.iter().any(|clause| clause.iter().all(|literal| demanded(&opposite(literal))))
}
