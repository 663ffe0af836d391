//! What is in the way of keyrx on this system, found out without mapping a key.

use keyrx_engine::Key;

use super::hook::Hook;
use super::registry::{self, Root};
use super::window::Window;
use super::{devices, keycodes, process, pump};
use crate::{Finding, State};

/// Programs that map keys, by how the names of their files begin, in lower case.
const REMAPPERS: [(&str, &str); 6] = [
    ("powertoys.keyboardmanager", "PowerToys Keyboard Manager"),
    ("autohotkey", "AutoHotkey"),
    ("kanata", "kanata"),
    ("keymapper", "keymapper"),
    ("kmonad", "kmonad"),
    ("x-mouse", "X-Mouse Button Control"),
];

/// Windows gives a hook so long at most, whatever the registry says (since Windows 10 1709).
const LONGEST_TIMEOUT_MS: u32 = 1000;

/// Looks at all that keyrx needs, and at what may be in its way.
pub fn examine() -> Vec<Finding> {
    vec![hook(), raw_input(), scancode_map(), remappers(), elevation(), ui_access(), timeout()]
}

fn hook() -> Finding {
    pump(); // a thread without a queue of messages may have no hook
    match Hook::install() {
        Ok(_) => {
            Finding::new("hook", State::Good, "a keyboard hook can be put in", "keyrx can see and map keys")
        }
        Err(error) => Finding::new(
            "hook",
            State::Bad,
            format!("no keyboard hook can be put in: {error}"),
            "keyrx can map nothing. It must run on the desktop of a user who is logged on.",
        ),
    }
}

fn raw_input() -> Finding {
    let listed =
        Window::open().and_then(|mut window| window.listen_to_keyboards()).and_then(|()| devices::listed());
    match listed {
        Ok(listed) => Finding::new(
            "raw_input",
            State::Good,
            format!("raw input can be listened to; keyboards: {}", listed.len()),
            "keyrx notices when Windows drops its hook, and can tell keyboards apart",
        ),
        Err(error) => Finding::new(
            "raw_input",
            State::Bad,
            format!("raw input cannot be listened to: {error}"),
            "keyrx could not notice when Windows drops its hook, and does not run without that",
        ),
    }
}

fn scancode_map() -> Finding {
    let map = registry::binary(
        Root::Machine,
        "SYSTEM\\CurrentControlSet\\Control\\Keyboard Layout",
        "Scancode Map",
    );
    let pairs = parse_scancode_map(&map.unwrap_or_default());
    if pairs.is_empty() {
        let is = "the registry maps no keys (Scancode Map)";
        return Finding::new("scancode_map", State::Good, is, "keyrx sees the keys that are pressed");
    }
    let name = |code: Option<Key>| code.map_or("nothing".into(), |key| key.to_string());
    let pairs = pairs.into_iter().map(|(from, to)| format!("{} to {}", name(from), name(to)));
    Finding::new(
        "scancode_map",
        State::Notice,
        format!("the registry maps keys (Scancode Map): {}", pairs.collect::<Vec<_>>().join(", ")),
        "that comes before keyrx, which sees what it makes of the keys. SharpKeys and KeyTweak write it; \
         remove it there if keyrx is to do it.",
    )
}

/// What keys a Scancode Map maps to what: eight bytes that say nothing, how many entries there are, the last of which
/// is empty, and for each the new code and the old one.
fn parse_scancode_map(map: &[u8]) -> Vec<(Option<Key>, Option<Key>)> {
    let key = |code: [u8; 2]| {
        let [scan, prefix] = code;
        keycodes::key(scan.into(), prefix == 0xE0, 0)
    };
    let entries = map.get(12..).unwrap_or_default().as_chunks::<4>().0;
    let entries = entries.iter().take_while(|entry| **entry != [0; 4]);
    entries
        .map(|&[to, to_prefix, from, from_prefix]| (key([from, from_prefix]), key([to, to_prefix])))
        .collect()
}

fn remappers() -> Finding {
    let names = process::names();
    let is_running = |begin: &str| names.iter().any(|name| name.to_lowercase().starts_with(begin));
    let found = REMAPPERS
        .into_iter()
        .filter(|(begin, _)| is_running(begin))
        .map(|(_, name)| name)
        .collect::<Vec<_>>();
    if found.is_empty() {
        return Finding::new(
            "remappers",
            State::Good,
            "no other remapper is running",
            "keyrx is alone with the keys",
        );
    }
    Finding::new(
        "remappers",
        State::Notice,
        format!("running: {}", found.join(", ")),
        "which of the two maps a key first depends on which was started last, and what one sends the other may map \
         again: map each key in one of them only",
    )
}

fn elevation() -> Finding {
    if process::is_elevated() {
        let means = "keys are mapped in windows of elevated programs too";
        return Finding::new("elevation", State::Good, "keyrx is elevated", means);
    }
    Finding::new(
        "elevation",
        State::Notice,
        "keyrx is not elevated",
        "in windows of elevated programs (Task Manager, a terminal of the administrator) Windows shows it no keys, \
         and they are not mapped, unless it has UIAccess",
    )
}

fn ui_access() -> Finding {
    if process::has_ui_access() {
        let means = "keys are mapped in windows of elevated programs too";
        return Finding::new("ui_access", State::Good, "keyrx has UIAccess", means);
    }
    // Nothing is wrong without it: `elevation` says what is missing.
    Finding::new(
        "ui_access",
        State::Good,
        "keyrx has no UIAccess",
        "it is what the keyrx service gives its agent, so that keys are mapped in windows of elevated programs",
    )
}

fn timeout() -> Finding {
    let millis = registry::number(Root::User, "Control Panel\\Desktop", "LowLevelHooksTimeout");
    let means = "a hook that takes longer is passed over, and then dropped without a word. keyrx takes far less than \
                 a millisecond, and puts its hook in again when it is dropped.";
    let (state, is) = match millis {
        None => (State::Good, "LowLevelHooksTimeout is not set: 300 ms".to_owned()),
        Some(millis @ ..200) => {
            (State::Notice, format!("LowLevelHooksTimeout is {millis} ms, which is little"))
        }
        Some(millis @ ..=LONGEST_TIMEOUT_MS) => (State::Good, format!("LowLevelHooksTimeout is {millis} ms")),
        Some(millis) => (
            State::Good,
            format!("LowLevelHooksTimeout is {millis} ms, of which Windows grants {LONGEST_TIMEOUT_MS}"),
        ),
    };
    Finding::new("hook_timeout", state, is, means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scancode_map_says_what_is_mapped_to_what() {
        // CapsLock to LCtrl, the right Alt to nothing.
        let map =
            [[0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0], [0x1D, 0, 0x3A, 0], [0, 0, 0x38, 0xE0], [0, 0, 0, 0]];
        let pairs = parse_scancode_map(map.as_flattened());
        assert_eq!(pairs, [(Some(Key::CapsLock), Some(Key::LCtrl)), (Some(Key::RAlt), None)]);
        assert_eq!(parse_scancode_map(&[]), []);
    }

    #[test]
    fn everything_is_looked_at() {
        let about = examine().into_iter().map(|finding| finding.about).collect::<Vec<_>>();
        assert_eq!(about.first(), Some(&"hook"));
        assert_eq!(about.len(), 7);
    }
}
