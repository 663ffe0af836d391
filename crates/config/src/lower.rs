//! From the words of a script to the engine's values: keys, chords, actions, conditions, times.
//!
//! A `Value` is a value in a call together with its place, so that what is wrong is said right there. The functions
//! below it read plain texts and know nothing of scripts.

use keyrx_engine::{Action, Condition, CustomId, Flavor, Hand, Key, Modifiers, TapHold, Test};
use rhai::{Dynamic, FnPtr, INT};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Made, Unknown};
use crate::script::{Call, Stop};
use crate::source::Span;
use crate::vocabulary::{Accepts, SETTINGS, did_you_mean, nearest};

/// A value that a function was called with, or a part of one.
pub struct Value<'a> {
    pub call: &'a Call<'a>,
    value: Dynamic,
    path: Vec<Step>,
}

/// How to get to a value from the call.
#[derive(Clone)]
enum Step {
    Argument(usize),
    Element(usize),
    Entry(String),
    EntryName(String),
}

impl<'a> Value<'a> {
    pub fn argument(call: &'a Call<'a>, index: usize, value: Dynamic) -> Value<'a> {
        Value { call, value, path: vec![Step::Argument(index)] }
    }

    fn part(&self, value: Dynamic, step: Step) -> Value<'a> {
        let path = self.path.iter().cloned().chain([step]).collect();
        Value { call: self.call, value, path }
    }

    /// Where the value stands; where it has no place of its own, what is around it.
    fn span(&self, draft: &Draft) -> Option<Span> {
        let source = draft.sources.get(self.call.place.file)?;
        let Some(call) = source.call(self.call.place) else { return Some(source.word(self.call.place)) };
        Some(self.path.iter().fold(call.whole, |span, step| {
            let found = match step {
                Step::Argument(index) => call.arguments.get(*index).copied(),
                Step::Element(index) => source.elements(span).get(*index).copied(),
                Step::Entry(name) => source.entry(span, name).map(|(_, value)| value),
                Step::EntryName(name) => source.entry(span, name).map(|(name, _)| name),
            };
            found.unwrap_or(span)
        }))
    }

    pub fn fail(&self, diagnostic: Diagnostic) -> Stop {
        let mut draft = self.call.draft.borrow_mut();
        if let Some(span) = self.span(&draft) {
            draft.report(span, diagnostic);
        }
        Stop::Reported
    }

    fn expected(&self, expected: &str) -> Stop {
        if self.value.is::<Unknown>() {
            return Stop::Reported;
        }
        let diagnostic =
            Diagnostic::error("wrong-type", format!("expected {expected}, found {}", described(&self.value)));
        let help = match self.value.is::<FnPtr>() || self.value.is_unit() || self.value.is::<INT>() {
            true if expected == Accepts::Action.described() => {
                "an action is a key's name in quotes, such as \"A\", or made by a function such as `with_shift(\"A\")`"
            }
            _ => "",
        };
        self.fail(diagnostic.label(self.role()).help(help))
    }

    /// Which parameter this is.
    fn role(&self) -> String {
        let function = self.call.function;
        let parameter = self.path.first().and_then(|step| match step {
            Step::Argument(index) => function.parameters.get(*index),
            _ => None,
        });
        parameter.map_or(String::new(), |parameter| format!("`{}` of `{}`", parameter.name, function.signature()))
    }

    pub fn text(&self, accepts: Accepts) -> Result<String, Stop> {
        match self.value.is_string() || self.value.is_char() {
            true => Ok(self.value.to_string()),
            false => Err(self.expected(accepts.described())),
        }
    }

    /// A physical key: what a mapping is from.
    pub fn key(&self) -> Result<Key, Stop> {
        source_key(&self.text(Accepts::Key)?).map_err(|diagnostic| self.fail(diagnostic))
    }

    pub fn action(&self) -> Result<Action, Stop> {
        if let Some(made) = self.value.clone().try_cast::<Made>() {
            return Ok(made.action);
        }
        output(&self.text(Accepts::Action)?).map_err(|diagnostic| self.fail(diagnostic))
    }

    /// A key or chord.
    pub fn chord(&self) -> Result<(Modifiers, Key), Stop> {
        match self.action()? {
            Action::Key(key) => Ok((Modifiers::NONE, key)),
            Action::Chord(modifiers, key) => Ok((modifiers, key)),
            _ => Err(self.fail(
                Diagnostic::error("wrong-action", "only a key or a chord can have modifiers")
                    .label(self.role())
                    .help("put the modifiers on the key itself, such as `tap_hold(with_shift(\"A\"), ...)`"),
            )),
        }
    }

    /// What a tap-hold does when tapped.
    pub fn tap(&self) -> Result<Action, Stop> {
        let action = self.action()?;
        let (message, help) = match action {
            Action::CustomModifier(_) => {
                ("a custom modifier lasts only while held: a tap would do nothing", "use a lock, `LK_xx`")
            }
            Action::LayerHold(_) => {
                ("`layer_hold` lasts only while held: a tap would do nothing", "use `layer_toggle`")
            }
            _ => return self.part_of_tap_hold(action),
        };
        Err(self.fail(Diagnostic::error("wrong-action", message).help(help)))
    }

    /// What a tap-hold does when held.
    pub fn hold(&self) -> Result<Action, Stop> {
        self.part_of_tap_hold(self.action()?)
    }

    fn part_of_tap_hold(&self, action: Action) -> Result<Action, Stop> {
        let message = match action {
            Action::TapHold(_) => "a tap-hold cannot be part of another",
            Action::Transparent => "`transparent()` cannot be part of a tap-hold",
            _ => return Ok(action),
        };
        let help = "give a key, a chord, a custom modifier or lock, a layer action, or `nothing()`";
        Err(self.fail(Diagnostic::error("wrong-action", message).help(help)))
    }

    pub fn keys(&self) -> Result<Vec<Key>, Stop> {
        let elements = self.elements(Accepts::Keys)?;
        // All of them are read before the first mistake counts.
        let keys: Vec<_> = elements.iter().map(Value::sequence_key).collect();
        keys.into_iter().collect()
    }

    fn sequence_key(&self) -> Result<Key, Stop> {
        match self.action()? {
            Action::Key(key) => Ok(key),
            _ => Err(self.fail(
                Diagnostic::error("wrong-action", "only plain keys can stand here")
                    .help("chords, texts and pauses will come with `play([...])`"),
            )),
        }
    }

    fn elements(&self, accepts: Accepts) -> Result<Vec<Value<'a>>, Stop> {
        let Ok(array) = self.value.clone().into_array() else { return Err(self.expected(accepts.described())) };
        if array.is_empty() {
            return Err(self.fail(Diagnostic::error("empty", "this array is empty").label(self.role())));
        }
        Ok((0..).zip(array).map(|(index, element)| self.part(element, Step::Element(index))).collect())
    }

    /// The entries of an object map; the names that are none of `known` are reported.
    fn entries(&self, known: &[&str]) -> Result<Vec<(String, Value<'a>)>, Stop> {
        let Some(map) = self.value.clone().try_cast::<rhai::Map>() else {
            return Err(self.expected(Accepts::Options.described()));
        };
        let mut entries = Vec::new();
        for (name, value) in map {
            let entry = self.part(value, Step::Entry(name.to_string()));
            if known.contains(&name.as_str()) {
                entries.push((name.to_string(), entry));
                continue;
            }
            self.part(Dynamic::UNIT, Step::EntryName(name.to_string())).fail(
                Diagnostic::error("unknown-setting", format!("there is no setting `{name}` here"))
                    .label(did_you_mean('`', nearest(&name, known.iter().copied())))
                    .help(format!("there are `{}`", known.join("`, `"))),
            );
        }
        Ok(entries)
    }

    /// Applies the settings of an object map to `tap_hold`.
    pub fn settings(&self, mut tap_hold: TapHold) -> Result<TapHold, Stop> {
        let rows: Vec<_> = SETTINGS.iter().filter(|row| row.is_of(self.call.function.name)).collect();
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        for (name, value) in self.entries(&names)? {
            match rows.iter().find(|row| row.name == name).and_then(|row| row.does) {
                // The other settings are read on; this one is left as it was.
                Some(apply) => match apply(&mut tap_hold, &value) {
                    Ok(()) | Err(Stop::Reported) => {}
                    Err(stop) => return Err(stop),
                },
                None => drop(self.part(Dynamic::UNIT, Step::EntryName(name.clone())).fail(not_yet(&name))),
            }
        }
        Ok(tap_hold)
    }

    pub fn milliseconds(&self) -> Result<u16, Stop> {
        let number = self.value.as_int().ok().or_else(|| self.value.as_float().ok().map(|ms| ms.round() as INT));
        let Some(number) = number else { return Err(self.expected(Accepts::Milliseconds.described())) };
        u16::try_from(number).map_err(|_| {
            self.fail(
                Diagnostic::error("out-of-range", format!("{number} ms is out of range"))
                    .label(self.role())
                    .help("times go from 0 to 65535 ms"),
            )
        })
    }

    pub fn boolean(&self) -> Result<bool, Stop> {
        self.value.as_bool().map_err(|_| self.expected(Accepts::Boolean.described()))
    }

    pub fn flavor(&self) -> Result<Flavor, Stop> {
        let name = self.text(Accepts::Text)?;
        FLAVORS.iter().find(|(known, _)| *known == name).map(|(_, flavor)| *flavor).ok_or_else(|| {
            let names = FLAVORS.map(|(name, _)| name);
            self.fail(
                Diagnostic::error("unknown-flavor", format!("there is no flavor \"{name}\""))
                    .label(did_you_mean('"', nearest(&name, names)))
                    .help(format!("there are \"{}\"", names.join("\", \""))),
            )
        })
    }

    /// Which hand types which keys.
    pub fn hands(&self) -> Result<(), Stop> {
        for (name, value) in self.entries(&HANDS.map(|(name, _)| name))? {
            let Some((_, hand)) = HANDS.iter().find(|(known, _)| *known == name) else { continue };
            for element in value.elements(Accepts::Keys)? {
                if let Ok(key) = element.key() {
                    self.call.draft.borrow_mut().builder.hand(key, *hand);
                }
            }
        }
        Ok(())
    }

    pub fn block(&self) -> Result<FnPtr, Stop> {
        self.value.clone().try_cast::<FnPtr>().ok_or_else(|| {
            let help = "write the mappings as a block: `|| { ... }`";
            if self.value.is_array() || self.value.is_unit() {
                return self.fail(Diagnostic::error("wrong-type", "this is not a block").help(help));
            }
            self.expected(Accepts::Block.described())
        })
    }

    /// The name of a layer. `switches_on` where this use can bring the layer into force.
    pub fn layer(&self, switches_on: bool) -> Result<String, Stop> {
        let name = self.text(Accepts::Layer)?;
        if name.trim().is_empty() {
            return Err(self.fail(Diagnostic::error("empty", "a layer needs a name")));
        }
        self.use_layer(&name, switches_on);
        Ok(name)
    }

    fn use_layer(&self, name: &str, switches_on: bool) {
        let mut draft = self.call.draft.borrow_mut();
        let first = (name.to_owned(), switches_on);
        if !draft.layer_uses.contains_key(&first)
            && let Some(span) = self.span(&draft)
        {
            draft.layer_uses.insert(first, span);
        }
    }

    /// The tests of a condition, one text or an array of them.
    pub fn tests(&self) -> Result<Vec<Test>, Stop> {
        if !self.value.is_array() {
            return Ok(vec![self.test()?]);
        }
        let elements = self.elements(Accepts::Condition)?;
        let tests: Vec<_> = elements.iter().map(Value::test).collect();
        tests.into_iter().collect()
    }

    fn test(&self) -> Result<Test, Stop> {
        let text = self.text(Accepts::Condition)?;
        let draft = self.call.draft;
        let known = word_of_condition(&text).map_err(|diagnostic| self.fail(diagnostic))?;
        let place = self.call.place;
        let numbered = match known {
            Some(ConditionWord::Test(test)) => Some(test),
            Some(ConditionWord::Language(tag)) => {
                let mut draft = draft.borrow_mut();
                let id = draft.builder.language(tag);
                draft.numbered(place, id).map(Test::Language)
            }
            None => {
                self.use_layer(&text, false);
                let mut draft = draft.borrow_mut();
                let id = draft.builder.layer(&text);
                draft.numbered(place, id).map(Test::Layer)
            }
        };
        numbered.ok_or(Stop::Reported)
    }
}

const FLAVORS: [(&str, Flavor); 4] = [
    ("tap-preferred", Flavor::TapPreferred),
    ("balanced", Flavor::Balanced),
    ("hold-preferred", Flavor::HoldPreferred),
    ("tap-unless-interrupted", Flavor::TapUnlessInterrupted),
];

const HANDS: [(&str, Hand); 3] = [("left", Hand::Left), ("right", Hand::Right), ("neither", Hand::Neither)];

/// Modifiers whose side is not named: either one in a condition, the left one as an output.
const GENERIC: [(&str, Modifiers, Key); 9] = [
    ("Shift", Modifiers::SHIFT, Key::LShift),
    ("Ctrl", Modifiers::CTRL, Key::LCtrl),
    ("Control", Modifiers::CTRL, Key::LCtrl),
    ("Alt", Modifiers::ALT, Key::LAlt),
    ("Win", Modifiers::WIN, Key::LMeta),
    ("Meta", Modifiers::WIN, Key::LMeta),
    ("Super", Modifiers::WIN, Key::LMeta),
    ("Cmd", Modifiers::WIN, Key::LMeta),
    ("Gui", Modifiers::WIN, Key::LMeta),
];

/// Characters that people try as names, and the key that types them.
const CHARACTERS: [(&str, &str); 16] = [
    (" ", "Space"),
    (";", "Semicolon"),
    (":", "Semicolon"),
    ("'", "Quote"),
    (",", "Comma"),
    (".", "Period"),
    ("/", "Slash"),
    ("\\", "Backslash"),
    ("-", "Minus"),
    ("_", "Minus"),
    ("=", "Equal"),
    ("+", "Equal"),
    ("[", "LeftBracket"),
    ("]", "RightBracket"),
    ("`", "Grave"),
    ("~", "Grave"),
];

fn generic(name: &str) -> Option<(Modifiers, Key)> {
    GENERIC.iter().find(|(known, ..)| *known == name).map(|(_, either, left)| (*either, *left))
}

pub fn not_yet(name: &str) -> Diagnostic {
    Diagnostic::error("not-supported-yet", format!("`{name}` is not supported yet"))
        .help("it comes with a later version of keyrx; leave it out until then")
}

fn described(value: &Dynamic) -> String {
    match value.type_name() {
        "string" | "char" => format!("\"{value}\""),
        "i64" | "f64" => format!("the number {value}"),
        "bool" => format!("`{value}`"),
        _ if value.is::<Made>() => "an action".into(),
        other => described_type(other),
    }
}

/// A type of the interpreter in words.
pub fn described_type(name: &str) -> String {
    let words = match name.rsplit(" | ").next().unwrap_or(name) {
        "String" | "string" | "char" => "a text",
        "i64" | "f64" => "a number",
        "bool" => "`true` or `false`",
        "array" => "an array",
        "map" => "a map",
        "Fn" => "a block",
        "()" => "nothing",
        "action" => "an action",
        other => return format!("a value of type {other}"),
    };
    words.into()
}

/// The key that a mapping is from.
fn source_key(text: &str) -> Result<Key, Diagnostic> {
    if text.starts_with("MD_") || text.starts_with("LK_") {
        let what = if text.starts_with("MD_") { "modifier" } else { "lock" };
        return Err(Diagnostic::error("not-a-key", format!("\"{text}\" is a custom {what}, not a key")).help(
            "a mapping is from a physical key; to map keys while it is on, use `when(\"".to_owned()
                + text
                + "\", || { ... })`",
        ));
    }
    if let Some((either, _)) = generic(text) {
        return Err(Diagnostic::error("which-side", format!("there are two {text} keys"))
            .label(did_you_mean('"', either.keys()))
            .help("to map both, write two mappings"));
    }
    match chord(text)? {
        (Modifiers::NONE, key) => Ok(key),
        _ => Err(Diagnostic::error("not-supported-yet", "mappings from a chord are not supported yet")
            .help("key overrides come with a later version of keyrx; map a single key until then")),
    }
}

/// What a text means as an action.
fn output(text: &str) -> Result<Action, Diagnostic> {
    if let Some(number) = text.strip_prefix("MD_") {
        return custom_id(text, number).map(Action::CustomModifier);
    }
    if let Some(number) = text.strip_prefix("LK_") {
        return custom_id(text, number).map(Action::CustomLock);
    }
    Ok(match chord(text)? {
        (Modifiers::NONE, key) => Action::Key(key),
        (modifiers, key) => Action::Chord(modifiers, key),
    })
}

/// The number of a custom modifier or lock: hexadecimal, of any length.
fn custom_id(text: &str, number: &str) -> Result<CustomId, Diagnostic> {
    let (what, prefix) = if text.starts_with("MD_") { ("modifier", "MD_") } else { ("lock", "LK_") };
    let wrong = |message: String| Diagnostic::error("custom-number", message);
    let range = format!("custom {what}s are {prefix}00 to {prefix}FE");
    if Key::from_name(number).is_some_and(|key| !key.modifier().is_empty()) || generic(number).is_some() {
        return Err(wrong(format!("\"{text}\" mixes a key with a custom {what}"))
            .label(format!("for the key itself write \"{number}\""))
            .help(range));
    }
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(wrong(format!("\"{number}\" is not a hexadecimal number")).help(range));
    }
    match u64::from_str_radix(number, 16).ok().and_then(|number| u8::try_from(number).ok()) {
        Some(number) => CustomId::new(number).ok_or_else(|| wrong(format!("{prefix}FF is reserved")).help(range)),
        None => Err(wrong(format!("\"{text}\" is too high")).help(range)),
    }
}

/// A key with the modifiers before it, joined by `+`.
fn chord(text: &str) -> Result<(Modifiers, Key), Diagnostic> {
    let (modifiers, key) = match text.rsplit_once('+') {
        Some((modifiers, key)) if !modifiers.is_empty() && !key.is_empty() => (modifiers, key),
        _ => return Ok((Modifiers::NONE, plain_key(text)?)),
    };
    let mut set = Modifiers::NONE;
    for name in modifiers.split('+').map(str::trim) {
        let modifier = plain_key(name)?.modifier();
        if modifier.is_empty() {
            let message = format!("\"{name}\" is not a modifier");
            let help = "a chord is modifiers and then one key, such as \"Ctrl+Shift+A\"";
            return Err(Diagnostic::error("not-a-modifier", message).help(help));
        }
        set = set.union(modifier);
    }
    Ok((set, plain_key(key.trim())?))
}

/// One key; of a modifier whose side is not named, the left one.
fn plain_key(name: &str) -> Result<Key, Diagnostic> {
    let bare = name.strip_prefix("VK_").unwrap_or(name);
    if let Some(key) = Key::from_name(name).or_else(|| generic(bare).map(|(_, left)| left)) {
        return Ok(key);
    }
    let unknown = Diagnostic::error("unknown-key", format!("no key is called \"{name}\""));
    if let Some((_, key)) = CHARACTERS.iter().find(|(character, _)| *character == bare) {
        return Err(unknown.label(did_you_mean('"', [key])).help("keys have names; characters are none"));
    }
    let spellings = Key::all().flat_map(|key| key.spellings().iter().copied());
    let mut near = nearest(bare, spellings.chain(GENERIC.map(|(name, ..)| name)));
    // One spelling of each key will do.
    let mut seen = Vec::new();
    near.retain(|name| {
        let key = Key::from_name(name);
        let is_new = key.is_none() || !seen.contains(&key);
        seen.push(key);
        is_new
    });
    let help = if near.is_empty() { "the manual's reference has all names of keys" } else { "" };
    Err(unknown.label(did_you_mean('"', near)).help(help))
}

enum ConditionWord<'a> {
    Test(Test),
    Language(&'a str),
}

/// What a text means in a condition; `None` if it can only be a layer.
fn word_of_condition(text: &str) -> Result<Option<ConditionWord<'_>>, Diagnostic> {
    if let Some(number) = text.strip_prefix("MD_") {
        return custom_id(text, number).map(|id| Some(ConditionWord::Test(Test::CustomModifier(id))));
    }
    if let Some(number) = text.strip_prefix("LK_") {
        return custom_id(text, number).map(|id| Some(ConditionWord::Test(Test::CustomLock(id))));
    }
    if let Some(tag) = text.strip_prefix("LANG_") {
        return match tag.is_empty() {
            true => Err(Diagnostic::error("unknown-condition", "a language is missing").help("such as \"LANG_JA\"")),
            false => Ok(Some(ConditionWord::Language(tag))),
        };
    }
    if text == "IME" {
        return Ok(Some(ConditionWord::Test(Test::InputMethod)));
    }
    let either = generic(text).map(|(either, _)| either);
    let modifier = either.or_else(|| Key::from_name(text).map(Key::modifier));
    Ok(modifier.filter(|modifier| !modifier.is_empty()).map(|set| ConditionWord::Test(Test::Modifier(set))))
}

/// Whether a condition of that name would not be about a layer.
pub fn is_word_of_condition(text: &str) -> bool {
    !matches!(word_of_condition(text), Ok(None))
}

/// The condition of a block: all of `tests`, or not all of them.
pub fn condition(tests: Vec<Test>, negated: bool) -> Condition {
    if negated { Condition::not_all(tests) } else { Condition::all(tests) }
}
