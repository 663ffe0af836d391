//! What keys become: the mapping as such.

use keyrx_engine::Key;

use super::Case;
use crate::windows::keycodes;
use crate::windows::record::Record;
use crate::windows::scene::{Scene, Seen};
use crate::windows::state;
use crate::windows::time::ms;

const TAP_HOLD: &str = r#"map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 200 }));"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a mapped key comes out as its new key, and nothing of the old one is seen",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "what keyrx has sent is not mapped again",
        run: |scene| {
            scene.keyrx(r#"map("A", "B"); map("B", "C"); map("C", "A");"#);
            scene.check("+A 20 -A 20 +B 20 -B 20 +C 20 -C", "+B @20 -B @40 +C @60 -C @80 +A @100 -A");
        },
    },
    Case {
        name: "a key that is mapped nowhere keeps its native path",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            scene.check_native("+Q 50 -Q 20 +LShift 20 +W -W -LShift 20 +Left -Left +Key#90 -Key#90");
        },
    },
    Case {
        name: "a chord presses its modifiers first and releases them last",
        run: |scene| {
            scene.keyrx(r#"map("F1", "Ctrl+Shift+T");"#);
            scene.check("+F1 50 -F1", "+LShift +LCtrl +T @50 -T -LCtrl -LShift");
        },
    },
    Case {
        name: "a layer is on while its key is held",
        run: |scene| {
            scene.keyrx(r#"map("CapsLock", layer_hold("nav")); layer("nav", || { map("H", "Left"); });"#);
            scene.begin();
            scene.type_keys("+CapsLock 50 +H 50 -H 50 -CapsLock 50 +H 50 -H");
            let seen = scene.seen();
            seen.is("@50 +Left @100 -Left @200 +H @250 -H");
            seen.sent("+Left -Left");
        },
    },
    Case {
        name: "a tap-hold that is let go in time is a tap",
        run: |scene| {
            scene.keyrx(TAP_HOLD);
            scene.check("+CapsLock 60 -CapsLock", "@60 +Escape -Escape");
        },
    },
    Case {
        name: "a tap-hold becomes a hold by time, at the term",
        run: |scene| {
            scene.keyrx(TAP_HOLD);
            scene.check("+CapsLock 450 -CapsLock", "@200 +LCtrl @450 -LCtrl");
        },
    },
    Case {
        name: "a tap-hold becomes a hold by another key, which comes after it",
        run: |scene| {
            scene.keyrx(TAP_HOLD);
            scene.begin();
            scene.type_keys("+CapsLock 30 +C 50 -C 50 -CapsLock");
            scene.seen().is("@30 +LCtrl +C @80 -C @130 -LCtrl");
        },
    },
    Case {
        name: "a key that is mapped to nothing is swallowed",
        run: |scene| {
            scene.keyrx(r#"map("A", nothing()); map("LShift", nothing());"#);
            scene.begin();
            scene.type_keys("+A +LShift 50");
            scene.nothing_is_down();
            scene.type_keys("+Q -Q ~A -A -LShift");
            let seen = scene.seen();
            seen.is_in_order("+Q -Q");
            seen.sent("");
        },
    },
    Case {
        name: "every key of the table can be mapped, and can be what another is mapped to",
        run: |scene| {
            let keys: Vec<Key> = keycodes::keys().collect();
            let next = |key: &Key| {
                let place = keys.iter().position(|other| other == key).unwrap();
                keys[(place + 1) % keys.len()]
            };
            scene.keyrx(
                &keys.iter().map(|key| format!("map(\"{key}\", \"{}\");\n", next(key))).collect::<String>(),
            );
            let seen = scene.play(&keys.iter().map(|key| format!("+{key} -{key} ")).collect::<String>());
            is_each(&seen, keys.iter().map(next));
            seen.native("");
        },
    },
    Case {
        name: "every key of the table passes as it is when it is mapped nowhere",
        run: |scene| {
            scene.keyrx("");
            let seen = scene.play(&keycodes::keys().map(|key| format!("+{key} -{key} ")).collect::<String>());
            is_each(&seen, keycodes::keys());
            seen.sent("");
        },
    },
    Case {
        name: "RShift is RShift whether it comes as an extended key, as hooks of Windows report it, or not",
        run: |scene| {
            scene.keyrx(r#"map("RShift", "B");"#);
            scene.check("+Key#54 20 -Key#54 20 +RShift 20 -RShift", "+B @20 -B @40 +B @60 -B");
        },
    },
    Case {
        name: "a key of an input method, which sends no release, is tapped and not held",
        run: |scene| {
            // CapsLock of a Japanese layout, Hangeul of a Korean one.
            scene.keyrx(r#"map("CapsLock", "B"); map("Hangeul", "LShift");"#);
            scene.begin();
            scene.type_keys("+Key#752 100 +Key#752 100 +Key#753 100 +Q -Q");
            let seen = scene.seen();
            seen.is_in_order("+B -B +B -B +LShift -LShift +Q -Q");
            seen.native("+Q -Q");
            state::release_all(); // for Wine they are down
        },
    },
    Case {
        name: "a mapping can depend on the language of the layout, from the moment the keymap asks for it",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            let keymap = r#"when("LANG_EN", || { map("A", "C"); }); when("LANG_JA", || { map("S", "X"); });"#;
            scene.reload(keymap, "keymap in force");
            let maps =
                |scene: &mut Scene| scene.play("+A 30 -A").only(|key| key == Key::C).records.len() == 2;
            scene.wait(ms(5000), "the language to be known", maps);
            scene.check_native("+S 30 -S");
        },
    },
    Case {
        name: "a repeat from the keyboard repeats the mapped key",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            scene.check("+A 250 ~A 33 ~A 33 ~A 20 -A", "+B @250 ~B @283 ~B @316 ~B @336 -B");
        },
    },
    Case {
        name: "a repeat of a key that is mapped nowhere keeps its native path",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            scene.check_native("+Q 250 ~Q 33 ~Q 20 -Q");
        },
    },
    Case {
        name: "a repeat is no new press: a modifier is not pressed again, a tap-hold not decided again",
        run: |scene| {
            scene.keyrx(r#"map("A", "LCtrl"); map("S", tap_hold("X", "LShift", #{ term: 200 }));"#);
            scene.check("+A 30 ~A 30 ~A 30 -A", "+LCtrl @90 -LCtrl");
            scene.check("+S 100 ~S 30 ~S 200 ~S 30 -S", "@200 +LShift @360 -LShift");
        },
    },
    Case {
        name: "LCtrl+Space+Escape pauses and releases everything, and again resumes",
        run: |scene| {
            scene.keyrx(
                r#"map("A", "B"); map("CapsLock", layer_toggle("nav")); layer("nav", || { map("H", "Left"); });"#,
            );
            scene.begin();
            scene.type_keys("+CapsLock -CapsLock +A 20 +LCtrl 20 +Space 20 +Escape 100");
            scene.nothing_is_down();
            scene.type_keys("-Escape 20 -Space 20 -LCtrl 20 -A 50");
            let escape = |record: &Record| {
                record.key() == Key::Escape && record.motion != keyrx_engine::Motion::Release
            };
            assert!(!scene.seen().records.iter().any(escape), "the chord's last key is swallowed");
            scene.check_native("+A 50 -A 50 +H 50 -H");
            scene.type_keys("+LCtrl 20 +Space 20 +Escape 60 -Escape 20 -Space 20 -LCtrl 50");
            scene.nothing_is_down();
            scene.begin();
            scene.type_keys("+A 50 -A 50 +H 50 -H");
            let seen = scene.seen();
            seen.is("+B @50 -B @100 +H @150 -H");
            seen.native("+H -H");
        },
    },
];

/// These keys were pressed and released one after the other, each with its own codes.
fn is_each(seen: &Seen, keys: impl Iterator<Item = Key>) {
    let keys: Vec<Key> = keys.collect();
    seen.is_in_order(&keys.iter().map(|key| format!("+{key} -{key} ")).collect::<String>());
    for (record, key) in seen.records.iter().zip(keys.iter().flat_map(|key| [key, key])) {
        let code = keycodes::code(*key);
        if !keycodes::depends_on_layout(code) {
            assert_eq!(record.vk, keycodes::vk_in_message(code), "the virtual key of {key}");
        }
    }
}
