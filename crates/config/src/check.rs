//! What is well-formed but cannot be meant: layers that do not exist, mappings that never come to be.

use std::collections::{BTreeMap, BTreeSet};

use keyrx_engine::{Action, Condition, Key, LayerId, Literal, Test};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, MAX_DIAGNOSTICS, Mapping, Scope};
use crate::text::Place;
use crate::vocabulary::{did_you_mean, nearest};

/// Says what is wrong with the draft as a whole. The script has ended.
pub fn check(draft: &mut Draft) {
    draft.close_to(0);
    undeclared_layers(draft);
    shadowed_mappings(draft);
    pointless_transparency(draft);
    // These are about what is missing, and it may be missing because of an error.
    if !draft.has_errors() {
        unused_actions(draft);
        unreachable_layers(draft);
        impossible_conditions(draft);
    }
}

/// Says at each block for single keyboards what Windows can promise.
pub fn device_blocks_on_windows(draft: &mut Draft) {
    let blocks: BTreeSet<Place> = draft.mappings.iter().filter_map(|it| it.scope.device_place).collect();
    for place in blocks {
        let message = "Windows does not say which keyboard a key came from: keyrx infers it";
        let help = "a key whose keyboard is not known yet, such as the first after another keyboard was used, \
            finds the mappings for any keyboard; give it one that does no harm";
        draft.report(
            draft.sources.argument(place, 0),
            Diagnostic::warning("device-on-windows", message).help(help),
        );
    }
}

fn undeclared_layers(draft: &mut Draft) {
    for ((_, name, switches_on), span) in draft.layer_uses.clone() {
        if name == "base" || draft.layers.contains_key(&name) {
            continue;
        }
        // In a condition, something else may have been meant.
        let others =
            if switches_on { &["base"][..] } else { &["base", "Shift", "Ctrl", "Alt", "Win", "IME"] };
        let near = nearest(&name, draft.layers.keys().map(String::as_str).chain(others.iter().copied()));
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

fn unused_actions(draft: &mut Draft) {
    for (place, function) in draft.unused().into_iter().take(MAX_DIAGNOSTICS) {
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

fn shadowed_mappings(draft: &mut Draft) {
    // By step of the look-up and key: what has been said so far.
    let mut seen: BTreeMap<(LayerId, bool, Key), Vec<&Mapping>> = BTreeMap::new();
    let mut found = Vec::new();
    for mapping in &draft.mappings {
        if found.len() >= MAX_DIAGNOSTICS {
            break;
        }
        let scope = &mapping.scope;
        // Conditions outside layers are a step of their own; in a layer, they come before what has none.
        let earlier = seen.entry((scope.layer, scope.is_conditional(), mapping.key)).or_default();
        let shadow = earlier.iter().find(|first| hides(&first.scope, scope));
        match shadow {
            Some(first) => found.push((mapping.place, first.place, first.scope.condition == scope.condition)),
            None if mapping.action != Action::Transparent && earlier.len() < MAX_COMPARED => {
                earlier.push(mapping)
            }
            None => {}
        }
    }
    for (place, first, is_equal) in found {
        let diagnostic = match is_equal {
            true => Diagnostic::warning("shadowed", "this key is mapped already: the first mapping holds"),
            false => {
                Diagnostic::warning("unreachable", "an earlier mapping always holds where this one does")
                    .help("put the more special condition first")
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

fn impossible_conditions(draft: &mut Draft) {
    let outputs = draft.custom_outputs();
    let mut found = BTreeMap::new();
    for mapping in &draft.mappings {
        let scope = &mapping.scope;
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
