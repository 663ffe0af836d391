//! New keymaps while keys are typed.

use keyrx_engine::Key;

use super::Case;
use crate::windows::time::ms;

const TO_B: &str = r#"map("A", "B");"#;
const TO_C: &str = r#"map("A", "C");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a keymap that is written anew is loaded",
        run: |scene| {
            scene.keyrx(TO_B);
            scene.check("+A 50 -A", "+B @50 -B");
            scene.reload(TO_C, "keymap in force");
            scene.check("+A 50 -A", "+C @50 -C");
            scene.reload(TO_B, "keymap in force");
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "typing goes on through ten reloads, nothing lost, nothing stuck",
        run: |scene| {
            scene.keyrx(TO_B);
            scene.begin();
            for keymap in [TO_C, TO_B].into_iter().cycle().take(10) {
                scene.keymap(keymap);
                scene.type_keys(&"+Q 20 +A 20 -Q 20 -A 20 ".repeat(3));
            }
            let seen = scene.seen();
            seen.only(|key| key == Key::Q).is_in_order(&"+Q -Q ".repeat(30));
            seen.is_balanced();
            let mapped = seen.only(|key| key == Key::B || key == Key::C);
            assert_eq!(mapped.records.len(), 60, "of the mapped key");
        },
    },
    Case {
        name: "a key that is down at a reload comes up as what it was pressed as",
        run: |scene| {
            scene.keyrx(TO_B);
            scene.begin();
            scene.type_keys("+A 50");
            scene.keymap(TO_C);
            scene.type_keys("200 -A");
            scene.seen().is("+B @250 -B");
            scene.check("+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "a key that stays down does not hold up a reload for ever",
        run: |scene| {
            scene.keyrx(TO_B);
            scene.type_keys("+A 50");
            scene.keymap(TO_C);
            scene.watch(ms(2000));
            scene.nothing_is_down();
            scene.type_keys("-A 50");
            scene.check("+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "a broken keymap is rejected with its place, and the old one stays",
        run: |scene| {
            scene.keyrx(TO_B);
            scene.reload("map(\"A\", \"C\");\nmap(\"A\", \"Nonsense\");\n", "keymap rejected");
            scene.watch(ms(100));
            let log = scene.log();
            assert!(log.contains("keymap.rhai:2") && log.contains("Nonsense"), "it does not say why");
            scene.check("+A 50 -A", "+B @50 -B");
            scene.reload(TO_C, "keymap in force");
            scene.check("+A 50 -A", "+C @50 -C");
        },
    },
];
