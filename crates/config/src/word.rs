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

/// Characters and words that people try as names, and the keys they mean.
const TRIED: [(&str, &[&str]); 40] = [
    (" ", &["Space"]),
    (";", &["Semicolon"]),
    (":", &["Semicolon"]),
    ("'", &["Quote"]),
    (",", &["Comma"]),
    (".", &["Period"]),
    ("/", &["Slash"]),
    ("\\", &["Backslash"]),
    ("-", &["Minus"]),
    ("_", &["Minus"]),
    ("=", &["Equal"]),
    ("+", &["Equal"]),
    ("[", &["LeftBracket"]),
    ("]", &["RightBracket"]),
    ("`", &["Grave"]),
    ("~", &["Grave"]),
    ("Apostrophe", &["Quote"]),
    ("Backtick", &["Grave"]),
    ("Colon", &["Semicolon"]),
    ("Dash", &["Minus"]),
    ("Equals", &["Equal"]),
    ("Hyphen", &["Minus"]),
    ("Plus", &["Equal", "NumpadAdd"]),
    ("Tilde", &["Grave"]),
    ("Underscore", &["Minus"]),
    ("Spacebar", &["Space"]),
    ("LeftArrow", &["Left"]),
    ("RightArrow", &["Right"]),
    ("UpArrow", &["Up"]),
    ("DownArrow", &["Down"]),
    ("Command", &["LMeta", "RMeta"]),
    ("Option", &["LAlt", "RAlt"]),
    ("Windows", &["LMeta", "RMeta"]),
    ("WinKey", &["LMeta", "RMeta"]),
    ("PlayPause", &["MediaPlayPause"]),
    ("NextTrack", &["MediaNext"]),
    ("PrevTrack", &["MediaPrevious"]),
    ("KP_Plus", &["NumpadAdd"]),
    ("KP_Minus", &["NumpadSubtract"]),
    ("KP_Star", &["NumpadMultiply"]),
];

/// Those that a US keyboard types with Shift.
const SHIFTED: [&str; 8] = [":", "_", "+", "~", "Colon", "Plus", "Tilde", "Underscore"];

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
    if let Some((either, _)) = generic(bare(text)) {
        return Err(Diagnostic::error("which-side", format!("there are two {} keys", bare(text)))
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
    match Key::from_name(name).or_else(|| generic(bare(name)).map(|(_, left)| left)) {
        Some(key) if key.name().is_some() => Ok(key),
        Some(key) => Err(Diagnostic::error("unnamed-key", format!("\"{key}\" cannot be mapped")).help(
            "keyrx has no name for such a key and passes it on; its number is another on each platform",
        )),
        None => Err(unknown_key(name)),
    }
}

/// What stands before any name, or does not.
fn bare(name: &str) -> &str {
    name.strip_prefix("VK_").unwrap_or(name)
}

fn unknown_key(name: &str) -> Box<Diagnostic> {
    let unknown = Diagnostic::error("unknown-key", format!("no key is called \"{name}\""));
    if let Some(custom) = custom_spelling(name) {
        return unknown.label(did_you_mean('"', [custom]));
    }
    let prefix = name.get(..3).filter(|prefix| prefix.eq_ignore_ascii_case("VK_")).unwrap_or("");
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    if let Some((tried, keys)) = TRIED.iter().find(|(tried, _)| tried.eq_ignore_ascii_case(bare)) {
        let help = match keys.first() {
            Some(key) if SHIFTED.contains(tried) => {
                format!("a US keyboard types it with Shift: as an output, write \"Shift+{key}\"")
            }
            _ if tried.len() == 1 => "keys have names; characters are none".into(),
            _ => String::new(),
        };
        return unknown.label(did_you_mean('"', *keys)).help(help);
    }
    let folded = bare.to_ascii_lowercase();
    let numpad = folded.strip_prefix("kp_").map(|key| format!("Numpad{key}"));
    let meant = numpad.as_deref().unwrap_or(bare);
    let spellings = Key::all().flat_map(|key| key.spellings().iter().copied());
    let mut near = nearest(meant, spellings.chain(GENERIC.map(|(name, ..)| name)));
    // One spelling of each key will do.
    let mut seen = Vec::new();
    near.retain(|name| {
        let key = Key::from_name(name);
        let is_new = key.is_none() || !seen.contains(&key);
        seen.push(key);
        is_new
    });
    let help = if near.is_empty() { "the manual's reference has all names of keys" } else { "" };
    unknown.label(did_you_mean('"', near)).help(help)
}

/// The custom modifier or lock that words such as `md_0` and `LK01` mean.
pub fn custom_spelling(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let (prefix, number) =
        ["MD", "LK"].iter().find_map(|prefix| Some((prefix, upper.strip_prefix(prefix)?)))?;
    let number = number.strip_prefix('_').unwrap_or(number);
    let spelling = format!("{prefix}_{number}");
    custom_id(&spelling, number).is_ok().then_some(spelling)
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
    let either = generic(bare(text)).map(|(either, _)| either);
    let modifier = either.or_else(|| Key::from_name(text).map(Key::modifier));
    Ok(modifier.filter(|modifier| !modifier.is_empty()).map(|set| ConditionWord::Test(Test::Modifier(set))))
}

/// Whether a condition of that name would not be about a layer.
pub fn is_word_of_condition(text: &str) -> bool {
    !matches!(word_of_condition(text), Ok(None))
}
