//! Keys that other programs send: remote desktops, on-screen keyboards, AutoHotkey.

use super::Case;

const KEYMAP: &str = r#"map("A", "B"); map("CapsLock", tap_hold("Escape", "LCtrl"));"#;

pub const CASES: &[Case] = &[
    Case {
        name: "the keys of other programs pass as they are unless the settings say otherwise",
        run: |scene| {
            scene.keyrx_with(KEYMAP, &[]);
            scene.check_native("+A 30 -A 30 +CapsLock 20 +C -C 20 -CapsLock");
        },
    },
    Case {
        name: "injected = \"pass\": the keys of other programs pass as they are",
        run: |scene| {
            scene.keyrx_with(KEYMAP, &[("KEYRX_INJECTED", "pass")]);
            scene.check_native("+A 30 -A 30 +CapsLock 20 +C -C 20 -CapsLock");
        },
    },
    Case {
        name: "injected = \"map\": the keys of other programs are mapped",
        run: |scene| {
            scene.keyrx_with(KEYMAP, &[("KEYRX_INJECTED", "map")]);
            scene.check("+A 30 -A", "+B @30 -B");
        },
    },
    Case {
        name: "a device block holds for its keyboard, from the second key at the latest, and for no other",
        run: |scene| {
            scene.keyrx(
                r#"map("A", "C"); device("*Wine*", || { map("A", "B"); }); device("other", || { map("S", "X"); });"#,
            );
            scene.play("+Q 30 -Q");
            scene.check("+A 30 -A", "+B @30 -B");
            scene.check_native("+S 30 -S");
        },
    },
];
