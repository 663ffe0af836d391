//! The vocabulary: every function and setting of the language, one row each.
//!
//! The functions that scripts can call, what is said of a wrong call, the reference in the manual and the editor's
//! completion all come from these rows. A new word is a row here and a function in `statement`.

use std::fmt::{Display, Write as _};

use keyrx_engine::{Action, Key, TapHold};
use rhai::{Dynamic, FnPtr, INT};
use serde::Serialize;

use crate::draft::{Made, Unknown};
use crate::script::{Call, Reported, Stop};
use crate::statement;
use crate::value::Value;

/// A function of the language. Some names have two rows: a statement and an action.
#[derive(Debug, Serialize)]
pub struct Function {
    /// What it is called.
    pub name: &'static str,
    /// What it is called with; the optional ones come last.
    pub parameters: &'static [Parameter],
    /// What it does, in a line.
    pub help: &'static str,
    /// The version of keyrx that had it first.
    pub since: &'static str,
    #[serde(skip)]
    pub(crate) does: Does,
}

/// A parameter of a function.
#[derive(Debug, Serialize)]
pub struct Parameter {
    /// What it is called.
    pub name: &'static str,
    /// What may stand there.
    pub accepts: Accepts,
    /// Whether it may be left out.
    pub optional: bool,
}

/// What a function is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It says something of the keymap.
    Statement,
    /// It makes an action, for a statement to use.
    Action,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    Statement(fn(&Call<'_>) -> Result<(), Stop>),
    Action(fn(&Call<'_>) -> Result<Action, Reported>),
    /// Part of the language, but of a later version.
    Later(Kind),
}

/// What may stand as a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "`described` says what they are")]
pub enum Accepts {
    Key,
    Keys,
    Action,
    Actions,
    Condition,
    Layer,
    Device,
    File,
    Text,
    Milliseconds,
    Number,
    Boolean,
    Block,
    Options,
}

/// A setting of `set`, or an option of `tap_hold`.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// What it is called.
    pub name: &'static str,
    /// Where it stands.
    pub of: &'static [&'static str],
    /// What it does, in a line.
    pub help: &'static str,
    #[serde(skip)]
    pub(crate) does: Option<Applies>,
}

/// How a setting changes the tap-holds that follow.
pub(crate) type Applies = fn(&mut TapHold, &Value<'_>) -> Result<(), Reported>;

const fn needs(name: &'static str, accepts: Accepts) -> Parameter {
    Parameter { name, accepts, optional: false }
}

const fn may(name: &'static str, accepts: Accepts) -> Parameter {
    Parameter { name, accepts, optional: true }
}

const KEY: Parameter = needs("key", Accepts::Key);
const BLOCK: Parameter = needs("block", Accepts::Block);
const CONDITION: Parameter = needs("condition", Accepts::Condition);
const PATTERN: Parameter = needs("pattern", Accepts::Device);
const ACTION: Parameter = needs("action", Accepts::Action);
const LAYER: Parameter = needs("layer", Accepts::Layer);

macro_rules! rows {
    ($($name:literal ( $($parameter:expr),* $(,)? ) $since:literal $does:expr, $help:literal;)*) => {
        &[$(Function { name: $name, parameters: &[$($parameter),*], since: $since, does: $does, help: $help }),*]
    };
}

use Does::{Action as Makes, Later, Statement as Says};

/// Every function of the language, statements first.
pub static FUNCTIONS: &[Function] = rows! {
    "map"(KEY, ACTION) "1.0" Says(statement::map),
        "The key does the action: a key, a chord, a custom modifier `MD_xx` while held, a custom lock `LK_xx` toggled at the press, or what an action function makes.";
    "tap_hold"(KEY, needs("tap", Accepts::Action), needs("hold", Accepts::Action), may("ms", Accepts::Milliseconds)) "1.0" Says(statement::tap_hold),
        "The key does one action when tapped and another when held for the tapping term.";
    "hold_only"(KEY, needs("hold", Accepts::Action), may("ms", Accepts::Milliseconds)) "1.0" Says(statement::hold_only),
        "The key does nothing when tapped and the action when held.";
    "sequence"(KEY, needs("keys", Accepts::Keys)) "1.0" Says(statement::sequence),
        "The key taps the keys one after the other, at its press.";
    "layer"(LAYER, BLOCK) "2.0" Says(statement::layer),
        "The mappings in the block belong to the named layer; `\"base\"` is the base layer.";
    "when"(CONDITION, BLOCK) "2.0" Says(statement::when),
        "The mappings in the block hold while the condition does; of an array, all of it.";
    "when_not"(CONDITION, BLOCK) "2.0" Says(statement::when_not),
        "The mappings in the block hold while the condition does not; of an array, while not all of it does.";
    "device"(PATTERN, BLOCK) "2.0" Says(statement::device),
        "The mappings in the block hold for keyboards whose name, serial, path or `vid:pid` matches the pattern; `*` stands for any text, `?` for one character, and case does not matter.";
    "device_start"(PATTERN) "1.0" Says(statement::device_start),
        "As `device`, up to `device_end()` or the next `device_start`.";
    "device_end"() "1.0" Says(statement::device_end), "Ends `device_start`.";
    "when_start"(CONDITION) "1.0" Says(statement::when_start), "As `when`, up to `when_end()`.";
    "when_end"() "1.0" Says(statement::when_end),
        "Ends the innermost `when_start`, `when_not_start` or `when_device_start`.";
    "when_not_start"(CONDITION) "1.0" Says(statement::when_not_start), "As `when_not`, up to `when_not_end()`.";
    "when_not_end"() "1.0" Says(statement::when_end), "The same as `when_end()`.";
    "when_device_start"(PATTERN) "1.0" Says(statement::when_device_start), "As `device`, up to `when_device_end()`.";
    "when_device_end"() "1.0" Says(statement::when_end), "The same as `when_end()`.";
    "load"(needs("file", Accepts::File)) "1.0" Says(statement::load),
        "Runs another file in this place. It is looked for beside this file, in `stdlib` there, and in the `stdlib` directories of the user, of the machine and of keyrx itself.";
    "set"(needs("settings", Accepts::Options)) "2.0" Says(statement::set),
        "Defaults for what follows, up to the end of the block around it.";
    "combo"(needs("keys", Accepts::Keys), ACTION, may("options", Accepts::Options)) "2.0" Later(Kind::Statement),
        "The keys pressed together do the action.";
    "app"(needs("pattern", Accepts::Text), BLOCK) "2.0" Later(Kind::Statement),
        "The mappings in the block hold while the focused program matches the pattern.";

    "with_shift"(ACTION) "1.0" Makes(statement::with_shift), "The key or chord, with Shift.";
    "with_ctrl"(ACTION) "1.0" Makes(statement::with_ctrl), "The key or chord, with Ctrl.";
    "with_alt"(ACTION) "1.0" Makes(statement::with_alt), "The key or chord, with Alt.";
    "with_win"(ACTION) "1.0" Makes(statement::with_win), "The key or chord, with the Windows key.";
    "with_mods"(ACTION, needs("shift", Accepts::Boolean), needs("ctrl", Accepts::Boolean), needs("alt", Accepts::Boolean), needs("win", Accepts::Boolean)) "1.0" Makes(statement::with_mods),
        "The key or chord, with those modifiers that are `true`.";
    "tap_hold"(needs("tap", Accepts::Action), needs("hold", Accepts::Action), may("options", Accepts::Options)) "2.0" Makes(statement::tap_hold_action),
        "One action when tapped, another when held.";
    "layer_hold"(LAYER) "2.0" Makes(statement::layer_hold), "The layer is on while the key is held.";
    "layer_toggle"(LAYER) "2.0" Makes(statement::layer_toggle), "The layer is switched on, or off again.";
    "layer_switch"(LAYER) "2.0" Makes(statement::layer_switch),
        "The layer is the base layer from now on; `\"base\"` is the original one.";
    "sequence"(needs("keys", Accepts::Keys)) "2.0" Makes(statement::sequence_action), "Taps the keys one after the other.";
    "nothing"() "2.0" Makes(|_| Ok(Action::Nothing)), "Nothing happens, in layers below neither.";
    "transparent"() "2.0" Makes(|_| Ok(Action::Transparent)), "The key does what the layers below say.";
    "one_shot"(needs("modifier", Accepts::Key)) "2.0" Later(Kind::Action), "The modifier, for the next key only.";
    "one_shot_layer"(LAYER) "2.0" Later(Kind::Action), "The layer, for the next key only.";
    "tap_dance"(needs("actions", Accepts::Actions), may("options", Accepts::Options)) "2.0" Later(Kind::Action),
        "An action for one tap, another for two, and so on.";
    "play"(needs("steps", Accepts::Actions)) "2.0" Later(Kind::Action), "A macro: keys, chords, texts and pauses in milliseconds.";
    "text"(needs("text", Accepts::Text)) "2.0" Later(Kind::Action), "Types the text.";
    "mouse_move"(needs("dx", Accepts::Number), needs("dy", Accepts::Number)) "2.0" Later(Kind::Action), "Moves the pointer.";
    "wheel"(needs("dx", Accepts::Number), needs("dy", Accepts::Number)) "2.0" Later(Kind::Action), "Turns the wheel.";
    "caps_word"() "2.0" Later(Kind::Action), "Capital letters up to the end of the word.";
    "repeat_key"() "2.0" Later(Kind::Action), "The last key once more.";
    "run"(needs("program", Accepts::Text), may("arguments", Accepts::Actions)) "2.0" Later(Kind::Action), "Starts a program.";
    "profile"(needs("name", Accepts::Text)) "2.0" Later(Kind::Action), "Changes to another profile.";
};

/// Every setting of the language.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "tapping_term",
        of: &["set"],
        help: "Held for this time, a tap-hold is held: 200 ms unless set.",
        does: Some(|tap_hold, value| value.milliseconds().map(|it| tap_hold.term = it)),
    },
    Setting {
        name: "term",
        of: &["tap_hold"],
        help: "Its tapping term.",
        does: Some(|tap_hold, value| value.milliseconds().map(|it| tap_hold.term = it)),
    },
    Setting {
        name: "flavor",
        of: &["set", "tap_hold"],
        help: "How other keys decide before that: `\"tap-preferred\"` not at all, `\"balanced\"` hold when one is pressed and released, `\"hold-preferred\"` (unless set) hold when one is pressed, `\"tap-unless-interrupted\"` hold when one is pressed, and tap at the end of the term.",
        does: Some(|tap_hold, value| value.flavor().map(|it| tap_hold.flavor = it)),
    },
    Setting {
        name: "quick_tap",
        of: &["set", "tap_hold"],
        help: "Pressed again within this time (ms) of its own tap, it is the tap at once, and holds it. Off unless set.",
        does: Some(|tap_hold, value| value.milliseconds().map(|it| tap_hold.quick_tap = it)),
    },
    Setting {
        name: "flow_tap",
        of: &["set", "tap_hold"],
        help: "Pressed within this time (ms) of another key that typed, it is the tap at once. Off unless set.",
        does: Some(|tap_hold, value| value.milliseconds().map(|it| tap_hold.flow_tap = it)),
    },
    Setting {
        name: "chordal",
        of: &["set", "tap_hold"],
        help: "`true`: another key of the same hand decides for tap.",
        does: Some(|tap_hold, value| value.boolean().map(|it| tap_hold.chordal = it)),
    },
    Setting {
        name: "retro_tap",
        of: &["set", "tap_hold"],
        help: "`true`: a hold without another key gives the tap as well, when it ends.",
        does: Some(|tap_hold, value| value.boolean().map(|it| tap_hold.retro_tap = it)),
    },
    Setting {
        name: "hands",
        of: &["set"],
        help: "Which hand types which keys, for `chordal`, in the whole keymap: `#{ left: [...], right: [...], neither: [...] }`. Keys that are not named stay as on a standard keyboard.",
        does: Some(|_, value| value.hands()),
    },
    Setting {
        name: "one_shot_timeout",
        of: &["set"],
        help: "How long a tapped one-shot waits for the next key.",
        does: None,
    },
    Setting { name: "combo_term", of: &["set"], help: "The term of combos.", does: None },
    Setting { name: "dance_term", of: &["set"], help: "The term of tap-dances.", does: None },
];

impl Function {
    /// Statement or action.
    pub fn kind(&self) -> Kind {
        match self.does {
            Does::Statement(_) => Kind::Statement,
            Does::Action(_) => Kind::Action,
            Does::Later(kind) => kind,
        }
    }

    /// Whether this version has it.
    pub fn is_available(&self) -> bool {
        !matches!(self.does, Does::Later(_))
    }

    /// As it is called: `hold_only(key, hold [, ms])`.
    pub fn signature(&self) -> String {
        let mut signature = format!("{}(", self.name);
        let mut separator = "";
        for parameter in self.parameters {
            let _ = match parameter.optional {
                true => write!(signature, " [{separator}{}]", parameter.name),
                false => write!(signature, "{separator}{}", parameter.name),
            };
            separator = ", ";
        }
        signature + ")"
    }

    pub(crate) fn takes(&self, count: usize) -> bool {
        let needed = self.parameters.iter().filter(|parameter| !parameter.optional).count();
        (needed..=self.parameters.len()).contains(&count)
    }

    pub(crate) fn fits(&self, arguments: &[Dynamic]) -> bool {
        let mut pairs = self.parameters.iter().zip(arguments);
        self.takes(arguments.len()) && pairs.all(|(parameter, argument)| parameter.accepts.fits(argument))
    }
}

impl Setting {
    pub(crate) fn is_of(&self, function: &str) -> bool {
        self.of.contains(&function)
    }
}

impl Accepts {
    /// In words, after "expected".
    pub fn described(self) -> &'static str {
        match self {
            Accepts::Key => "a key's name",
            Accepts::Keys => "an array of keys' names",
            Accepts::Action => "an action",
            Accepts::Actions => "an array of actions",
            Accepts::Condition => "a condition or an array of conditions",
            Accepts::Layer => "a layer's name",
            Accepts::Device => "a pattern for keyboards' names",
            Accepts::File => "a file's name",
            Accepts::Text => "a text",
            Accepts::Milliseconds => "a number of milliseconds",
            Accepts::Number => "a number",
            Accepts::Boolean => "`true` or `false`",
            Accepts::Block => "a block `|| { ... }`",
            Accepts::Options => "settings `#{ name: value }`",
        }
    }

    /// Whether `value` is of a type that can stand here.
    pub(crate) fn fits(self, value: &Dynamic) -> bool {
        let is_text = value.is_string() || value.is_char();
        value.is::<Unknown>()
            || match self {
                Accepts::Key | Accepts::Layer | Accepts::Device | Accepts::File | Accepts::Text => is_text,
                Accepts::Action => is_text || value.is::<Made>(),
                Accepts::Keys | Accepts::Actions => value.is_array(),
                Accepts::Condition => is_text || value.is_array(),
                Accepts::Milliseconds | Accepts::Number => value.is::<INT>() || value.is::<f64>(),
                Accepts::Boolean => value.is_bool(),
                Accepts::Block => value.is::<FnPtr>(),
                Accepts::Options => value.is_map(),
            }
    }
}

/// The functions of that name.
pub(crate) fn named(name: &str) -> impl Iterator<Item = &'static Function> + use<'_> {
    FUNCTIONS.iter().filter(move |function| function.name == name)
}

/// No name that can be meant is longer.
const MAX_LIKENED: usize = 40;

/// Those of `candidates` that `word` may have been meant for, the nearest first.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let length = |word: &str| word.chars().take(MAX_LIKENED).count();
    if length(word) == MAX_LIKENED {
        return Vec::new();
    }
    let folded = word.to_lowercase();
    // One slip in a short word, up to three in a long one.
    let limit = length(word).div_ceil(3).clamp(1, 3);
    let distance = |candidate: &str| strsim::osa_distance(&folded, &candidate.to_lowercase());
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter(|candidate| length(word).abs_diff(length(candidate)) <= limit)
        .map(|candidate| (distance(candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < length(word).max(length(candidate)))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    // Who has only the case wrong has nothing else in mind.
    if near.first().is_some_and(|(distance, _)| *distance == 0) {
        near.retain(|(distance, _)| *distance == 0);
    }
    near.into_iter().map(|(_, candidate)| candidate).collect()
}

/// `did you mean "A", "B" or "C"?`, with the first three of the names in such marks; or nothing.
pub(crate) fn did_you_mean(mark: char, names: impl IntoIterator<Item = impl Display>) -> String {
    let names: Vec<String> = names.into_iter().take(3).map(|name| format!("{mark}{name}{mark}")).collect();
    match names.as_slice() {
        [] => String::new(),
        [name] => format!("did you mean {name}?"),
        [names @ .., last] => format!("did you mean {} or {last}?", names.join(", ")),
    }
}

/// The reference of the language as Markdown, for the manual.
pub fn reference() -> String {
    let mut page = String::new();
    let kinds = [("Statements", Kind::Statement), ("Actions", Kind::Action)];
    for (title, kind) in kinds {
        let _ = write!(page, "## {title}\n\n| function | meaning | since |\n|---|---|---|\n");
        for function in FUNCTIONS.iter().filter(|function| function.kind() == kind) {
            let later = if function.is_available() { "" } else { " *Not supported yet.*" };
            let (signature, since) = (function.signature(), function.since);
            let _ = writeln!(page, "| `{signature}` | {}{later} | {since} |", function.help);
        }
        page.push('\n');
    }
    page.push_str("## Settings\n\n| setting | of | meaning |\n|---|---|---|\n");
    for Setting { name, of, help, does } in SETTINGS {
        let later = if does.is_some() { "" } else { " *Not supported yet.*" };
        let _ = writeln!(page, "| `{name}` | `{}` | {help}{later} |", of.join("`, `"));
    }
    page.push_str("\n## Keys\n\n| key | other names |\n|---|---|\n");
    for key in Key::all() {
        if let [name, others @ ..] = key.spellings() {
            let others: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
            let _ = writeln!(page, "| `{name}` | {} |", others.join(" "));
        }
    }
    page
}
