//! Values: what a function is called with, and where it stands.
//!
//! A `Value` knows its place in the call, so that what is wrong with it is said right there.

use keyrx_engine::{Action, Flavor, Hand, Key, Modifiers, TapHold, Test};
use rhai::{Dynamic, FnPtr, INT};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, MAX_TESTS, Made, Unknown};
use crate::script::{Call, Reported};
use crate::text::Span;
use crate::vocabulary::{Accepts, SETTINGS, did_you_mean, nearest};
use crate::word::{ConditionWord, output, source_key, word_of_condition};

const MAX_NAME: usize = 100;
const MAX_PATH: usize = 1_000;

/// A value that a function was called with, or a part of one.
pub struct Value<'a> {
    call: &'a Call<'a>,
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

    pub fn fail(&self, diagnostic: Box<Diagnostic>) -> Reported {
        let mut draft = self.call.draft.borrow_mut();
        if let Some(span) = self.span(&draft) {
            draft.report(span, diagnostic);
        }
        Reported
    }

    fn expected(&self, accepts: Accepts) -> Reported {
        // A function gives nothing when its last statement has been taken out.
        if self.value.is::<Unknown>() || (self.value.is_unit() && self.call.draft.borrow().sources.took_any())
        {
            return Reported;
        }
        let message = format!("expected {}, found {}", accepts.described(), described(&self.value));
        let help = match accepts {
            Accepts::Action => {
                "an action is a key's name in quotes, such as \"A\", or made by a function such as `with_shift(\"A\")`"
            }
            Accepts::Block => "write the mappings as a block: `|| { ... }`",
            _ => "",
        };
        self.fail(Diagnostic::error("wrong-type", message).label(self.role()).help(help))
    }

    /// Which parameter this is.
    fn role(&self) -> String {
        let function = self.call.function;
        let parameter = self.path.first().and_then(|step| match step {
            Step::Argument(index) => function.parameters.get(*index),
            _ => None,
        });
        parameter
            .map_or(String::new(), |parameter| format!("`{}` of `{}`", parameter.name, function.signature()))
    }

    pub fn text(&self, accepts: Accepts) -> Result<String, Reported> {
        if !self.value.is_string() && !self.value.is_char() {
            return Err(self.expected(accepts));
        }
        let text = self.value.to_string();
        let limit = if matches!(accepts, Accepts::Device | Accepts::File) { MAX_PATH } else { MAX_NAME };
        match text.chars().nth(limit) {
            None => Ok(text),
            Some(_) => {
                let message = format!("this text is too long: {limit} characters are the limit here");
                Err(self.fail(Diagnostic::error("out-of-range", message)))
            }
        }
    }

    /// A physical key: what a mapping is from.
    pub fn key(&self) -> Result<Key, Reported> {
        source_key(&self.text(Accepts::Key)?).map_err(|diagnostic| self.fail(diagnostic))
    }

    pub fn action(&self) -> Result<Action, Reported> {
        if let Some(made) = self.value.clone().try_cast::<Made>() {
            return Ok(made.action);
        }
        output(&self.text(Accepts::Action)?).map_err(|diagnostic| self.fail(diagnostic))
    }

    /// A key or chord.
    pub fn chord(&self) -> Result<(Modifiers, Key), Reported> {
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
    pub fn tap(&self) -> Result<Action, Reported> {
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
    pub fn hold(&self) -> Result<Action, Reported> {
        self.part_of_tap_hold(self.action()?)
    }

    fn part_of_tap_hold(&self, action: Action) -> Result<Action, Reported> {
        let message = match action {
            Action::TapHold(_) => "a tap-hold cannot be part of another",
            Action::Transparent => "`transparent()` cannot be part of a tap-hold",
            _ => return Ok(action),
        };
        let help = "give a key, a chord, a custom modifier or lock, a layer action, or `nothing()`";
        Err(self.fail(Diagnostic::error("wrong-action", message).help(help)))
    }

    pub fn keys(&self, limit: usize) -> Result<Vec<Key>, Reported> {
        let elements = self.elements(Accepts::Keys, limit)?;
        // All of them are read before the first mistake counts.
        let keys: Vec<_> = elements.iter().map(Value::sequence_key).collect();
        keys.into_iter().collect()
    }

    fn sequence_key(&self) -> Result<Key, Reported> {
        match self.action()? {
            Action::Key(key) => Ok(key),
            _ => Err(self.fail(
                Diagnostic::error("wrong-action", "only plain keys can stand here")
                    .help("chords, texts and pauses will come with `play([...])`"),
            )),
        }
    }

    fn elements(&self, accepts: Accepts, limit: usize) -> Result<Vec<Value<'a>>, Reported> {
        let Ok(array) = self.value.clone().into_array() else {
            return Err(self.expected(accepts));
        };
        if array.is_empty() {
            return Err(self.fail(Diagnostic::error("empty", "this array is empty").label(self.role())));
        }
        if array.len() > limit {
            let message = format!("{} elements are too many: {limit} are the limit here", array.len());
            return Err(self.fail(Diagnostic::error("out-of-range", message).label(self.role())));
        }
        Ok((0..).zip(array).map(|(index, element)| self.part(element, Step::Element(index))).collect())
    }

    /// The entries of an object map; the names that are none of `known` are reported.
    fn entries(&self, known: &[&str]) -> Result<Vec<(String, Value<'a>)>, Reported> {
        let Some(map) = self.value.clone().try_cast::<rhai::Map>() else {
            return Err(self.expected(Accepts::Options));
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
    pub fn settings(&self, mut tap_hold: TapHold) -> Result<TapHold, Reported> {
        let rows: Vec<_> = SETTINGS.iter().filter(|row| row.is_of(self.call.function.name)).collect();
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        for (name, value) in self.entries(&names)? {
            match rows.iter().find(|row| row.name == name).and_then(|row| row.does) {
                // What is wrong is left as it was, and the others are read on.
                Some(apply) => drop(apply(&mut tap_hold, &value)),
                None => drop(self.part(Dynamic::UNIT, Step::EntryName(name.clone())).fail(not_yet(&name))),
            }
        }
        Ok(tap_hold)
    }

    pub fn milliseconds(&self) -> Result<u16, Reported> {
        let number =
            self.value.as_int().ok().or_else(|| self.value.as_float().ok().map(|ms| ms.round() as INT));
        let Some(number) = number else { return Err(self.expected(Accepts::Milliseconds)) };
        u16::try_from(number).map_err(|_| {
            self.fail(
                Diagnostic::error("out-of-range", format!("{number} ms is out of range"))
                    .label(self.role())
                    .help("times go from 0 to 65535 ms"),
            )
        })
    }

    pub fn boolean(&self) -> Result<bool, Reported> {
        self.value.as_bool().map_err(|_| self.expected(Accepts::Boolean))
    }

    pub fn flavor(&self) -> Result<Flavor, Reported> {
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
    pub fn hands(&self) -> Result<(), Reported> {
        for (name, value) in self.entries(&HANDS.map(|(name, _)| name))? {
            let Some((_, hand)) = HANDS.iter().find(|(known, _)| *known == name) else { continue };
            for element in value.elements(Accepts::Keys, Key::all().count()).unwrap_or_default() {
                if let Ok(key) = element.key() {
                    self.call.draft.borrow_mut().builder.hand(key, *hand);
                }
            }
        }
        Ok(())
    }

    pub fn block(&self) -> Result<FnPtr, Reported> {
        self.value.clone().try_cast::<FnPtr>().ok_or_else(|| self.expected(Accepts::Block))
    }

    /// The name of a layer. `switches_on` where this use can bring the layer into force.
    pub fn layer(&self, switches_on: bool) -> Result<String, Reported> {
        let name = self.text(Accepts::Layer)?;
        if name.trim().is_empty() {
            return Err(self.fail(Diagnostic::error("empty", "a layer needs a name")));
        }
        self.use_layer(&name, switches_on);
        Ok(name)
    }

    fn use_layer(&self, name: &str, switches_on: bool) {
        let mut draft = self.call.draft.borrow_mut();
        let used = (self.call.place, name.to_owned(), switches_on);
        // To find the span takes time, and a loop comes here again and again.
        if !draft.layer_uses.contains_key(&used)
            && let Some(span) = self.span(&draft)
        {
            draft.layer_uses.insert(used, span);
        }
    }

    /// The tests of a condition, one text or an array of them.
    pub fn tests(&self) -> Result<Vec<Test>, Reported> {
        if !self.value.is_array() {
            return Ok(vec![self.test()?]);
        }
        let elements = self.elements(Accepts::Condition, MAX_TESTS)?;
        let tests: Vec<_> = elements.iter().map(Value::test).collect();
        let mut different = Vec::new();
        for test in tests {
            let test = test?;
            if !different.contains(&test) {
                different.push(test);
            }
        }
        Ok(different)
    }

    fn test(&self) -> Result<Test, Reported> {
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
        numbered.ok_or(Reported)
    }
}

const FLAVORS: [(&str, Flavor); 4] = [
    ("tap-preferred", Flavor::TapPreferred),
    ("balanced", Flavor::Balanced),
    ("hold-preferred", Flavor::HoldPreferred),
    ("tap-unless-interrupted", Flavor::TapUnlessInterrupted),
];

const HANDS: [(&str, Hand); 3] = [("left", Hand::Left), ("right", Hand::Right), ("neither", Hand::Neither)];

pub fn not_yet(name: &str) -> Box<Diagnostic> {
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
