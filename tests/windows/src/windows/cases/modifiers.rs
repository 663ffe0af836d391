//! Modifiers as Windows has them: AltGr, which is two keys, and Win and Alt, which open a menu when nothing follows.

use keyrx_engine::{Key, Motion};

use super::Case;
use crate::windows::record::Record;
use crate::windows::scene::Seen;

/// AltGr as the keyboard driver of a layout with AltGr sends it: a fake LCtrl (scan code 0x21D) and RAlt.
const ALTGR_DOWN: &str = "+Key#541 +RAlt";
const ALTGR_UP: &str = "-Key#541 -RAlt";

pub const CASES: &[Case] = &[
    Case {
        name: "AltGr that is mapped nowhere keeps its native path, with its LCtrl",
        run: |scene| {
            scene.keyrx(r#"map("LCtrl", "Escape");"#);
            let seen = scene.play(&format!("{ALTGR_DOWN} 30 +Q -Q 30 {ALTGR_UP}"));
            seen.is("+LCtrl +RAlt @30 +Q -Q @60 -LCtrl -RAlt");
            seen.sent("");
            scene.check("+LCtrl 30 -LCtrl", "+Escape @30 -Escape");
        },
    },
    Case {
        name: "AltGr that is mapped is one key: its LCtrl goes with it, in repeats as well",
        run: |scene| {
            scene.keyrx(r#"map("RAlt", "B");"#);
            scene.check(
                &format!("{ALTGR_DOWN} 100 ~Key#541 ~RAlt 30 ~Key#541 ~RAlt 30 {ALTGR_UP}"),
                "+B @100 ~B @130 ~B @160 -B",
            );
        },
    },
    Case {
        name: "AltGr can hold a layer, and no modifier is seen",
        run: |scene| {
            scene
                .keyrx(r#"map("AltGr", layer_hold("symbols")); layer("symbols", || { map("H", "Left"); });"#);
            scene.check(&format!("{ALTGR_DOWN} 30 +H 30 -H 30 {ALTGR_UP}"), "@30 +Left @60 -Left");
        },
    },
    Case {
        name: "LCtrl held when AltGr is pressed stays down",
        run: |scene| {
            scene.keyrx(r#"map("RAlt", "B");"#);
            let seen = scene.play(&format!("+LCtrl 20 {ALTGR_DOWN} 20 {ALTGR_UP} 20 +C -C 20 -LCtrl"));
            seen.is("+LCtrl @20 +B @40 -B @60 +C -C @80 -LCtrl");
        },
    },
    Case {
        name: "a lone Win opens what it opens: nothing is added",
        run: |scene| {
            scene.keyrx(r#"when("Win", || { map("H", nothing()); });"#);
            scene.check_native("+LMeta 50 -LMeta");
        },
    },
    Case {
        name: "Win that only served as a layer is masked: something is pressed before it comes up",
        run: |scene| {
            scene.keyrx(r#"when("Win", || { map("H", nothing()); });"#);
            is_masked(&scene.play("+LMeta 30 +H 30 -H 30 -LMeta"), Key::LMeta);
            // And with a Win that keyrx sends.
            scene.reload(
                r#"map("CapsLock", tap_hold("Escape", "LMeta")); when("Win", || { map("H", nothing()); });"#,
                "keymap in force",
            );
            is_masked(&scene.play("+CapsLock 30 +H 30 -H 30 -CapsLock"), Key::LMeta);
        },
    },
    Case {
        name: "Alt that only served as a layer is masked",
        run: |scene| {
            scene.keyrx(r#"when("LAlt", || { map("H", nothing()); });"#);
            is_masked(&scene.play("+LAlt 30 +H 30 -H 30 -LAlt"), Key::LAlt);
        },
    },
    Case {
        name: "Win with a key that reached the system needs no mask",
        run: |scene| {
            scene.keyrx(r#"when("Win", || { map("H", "Left"); });"#);
            let seen = scene.play("+LMeta 30 +H 30 -H 30 -LMeta");
            seen.is("+LMeta @30 +Left @60 -Left @90 -LMeta");
        },
    },
    Case {
        name: "the settings say which key masks, and whether any does",
        run: |scene| {
            let keymap = r#"when("Win", || { map("H", nothing()); });"#;
            for (setting, mask) in [("0xFC", &[0xFC, 0xFC][..]), ("0", &[])] {
                scene.keyrx_with(keymap, &[("KEYRX_INJECTED", "map"), ("KEYRX_MASK_KEY", setting)]);
                let seen = scene.play("+LMeta 30 +H 30 -H 30 -LMeta");
                let others = seen.records.iter().map(|record| record.vk).filter(|vk| *vk != 0x5B);
                assert_eq!(others.collect::<Vec<u16>>(), mask, "with the setting {setting}");
                scene.stop();
            }
        },
    },
];

/// The modifier went down and came up, and meanwhile a key that is not on the keyboard was pressed and released.
#[track_caller]
fn is_masked(seen: &Seen, modifier: Key) {
    let keys = || seen.records.iter();
    let text = keys().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let of_modifier =
        |motion| keys().filter(move |record| record.key() == modifier && record.motion == motion).count();
    assert_eq!(
        (of_modifier(Motion::Press), of_modifier(Motion::Release)),
        (1, 1),
        "{modifier} went down once\n{text}"
    );
    let place =
        |motion| keys().position(|record| record.key() == modifier && record.motion == motion).unwrap();
    let between = place(Motion::Press)..place(Motion::Release);
    let meanwhile: Vec<&Record> = keys().skip(between.start + 1).take(between.len() - 1).collect();
    let is_mask = |record: &&&Record| record.extra != 0 && record.key() != Key::H;
    let pressed = meanwhile.iter().filter(is_mask).filter(|record| record.motion == Motion::Press).count();
    assert!(pressed > 0, "nothing masks {modifier}\n{text}");
    assert_eq!(meanwhile.len(), 2 * pressed, "the mask is pressed and released\n{text}");
    seen.is_balanced();
}
