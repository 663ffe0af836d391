//! Words: what a text means as a key, a chord, an action or a condition.

use keyrx_engine::{Action, CustomId, Key, Modifiers, Test};

use crate::diagnostic::Diagnostic;
use crate::vocabulary::{did_you_mean, nearest};

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

/// The key that a mapping is from.
pub fn source_key(text: &str) -> Result<Key, Box<Diagnostic>> {
    if text.starts_with("MD_") || text.starts_with("LK_") {
        let what = if text.starts_with("MD_") { "modifier" } else { "lock" };
        return Err(Diagnostic::error("not-a-key", format!("\"{text}\" is a custom {what}, not a key"))
            .help(
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
pub fn output(text: &str) -> Result<Action, Box<Diagnostic>> {
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
fn custom_id(text: &str, number: &str) -> Result<CustomId, Box<Diagnostic>> {
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
        Some(number) => {
            CustomId::new(number).ok_or_else(|| wrong(format!("{prefix}FF is reserved")).help(range))
        }
        None => Err(wrong(format!("\"{text}\" is too high")).help(range)),
    }
}

/// A key with the modifiers before it, joined by `+`.
fn chord(text: &str) -> Result<(Modifiers, Key), Box<Diagnostic>> {
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
fn plain_key(name: &str) -> Result<Key, Box<Diagnostic>> {
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

pub enum ConditionWord<'a> {
    Test(Test),
    Language(&'a str),
}

/// What a text means in a condition; `None` if it can only be a layer.
pub fn word_of_condition(text: &str) -> Result<Option<ConditionWord<'_>>, Box<Diagnostic>> {
    if let Some(number) = text.strip_prefix("MD_") {
        return custom_id(text, number).map(|id| Some(ConditionWord::Test(Test::CustomModifier(id))));
    }
    if let Some(number) = text.strip_prefix("LK_") {
        return custom_id(text, number).map(|id| Some(ConditionWord::Test(Test::CustomLock(id))));
    }
    if let Some(tag) = text.strip_prefix("LANG_") {
        return match tag.is_empty() {
            true => {
                Err(Diagnostic::error("unknown-condition", "a language is missing")
                    .help("such as \"LANG_JA\""))
            }
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
