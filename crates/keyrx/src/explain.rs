//! Effects in words: which mapping, and which rule.

use keyrx_config::Loaded;
use keyrx_engine::{Cause, Effect, Rule};

/// Why an effect came about; `loaded` is the keymap it came from.
pub fn cause(effect: &Effect, loaded: &Loaded) -> String {
    let Cause { key, mapping, rule, .. } = effect.cause;
    let because = reason(rule);
    match mapping.and_then(|mapping| loaded.mapping(mapping)) {
        Some(mapping) => {
            let text = mapping.text.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{key}, line {}: {text}{because}", mapping.line)
        }
        None => format!("{key}{because}"),
    }
}

fn reason(rule: Rule) -> String {
    match rule {
        Rule::Unmapped => " is mapped nowhere and passes through".into(),
        Rule::Mapped => String::new(),
        Rule::TapReleased => ": tap, because it was released within the tapping term".into(),
        Rule::TapQuick => ": tap, because it was pressed again soon after its own tap (quick tap)".into(),
        Rule::TapFlow => ": tap, because it was pressed soon after another key (flow tap)".into(),
        Rule::TapSameHand(other) => {
            format!(": tap, because {other} of the same hand was pressed (chordal hold)")
        }
        Rule::TapUninterrupted => {
            ": tap, because no other key was pressed within the tapping term (tap-unless-interrupted)".into()
        }
        Rule::TapRetro => {
            ": tap as well, because no other key was pressed during the hold (retro tap)".into()
        }
        Rule::HoldTerm => ": hold, because it was held for the tapping term".into(),
        Rule::HoldOtherPressed(other) => format!(": hold, because {other} was pressed meanwhile"),
        Rule::HoldOtherReleased(other) => {
            format!(": hold, because {other} was pressed and released meanwhile")
        }
        Rule::HoldQueueFull => ": hold, because too many keys waited for the decision".into(),
        Rule::ReleasedAll => " is let go with all other keys".into(),
    }
}
