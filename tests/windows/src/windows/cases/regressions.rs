//! What keyrx 1.x did wrong on Windows, and what must not come back.

use super::Case;

pub const CASES: &[Case] = &[
    Case {
        name: "keyrx 1.x: a key that is mapped in a layer only is no dead key while the layer is off",
        run: |scene| {
            scene.keyrx(
                r#"
                tap_hold("Space", "Space", "MD_00", 200);
                when_start("MD_00");
                    map("H", "Left");
                when_end();
                "#,
            );
            scene.check_native("+H 50 -H");
            // Nor is it lost when it is what decides for the layer.
            scene.check("+Space 30 +H 50 -H 30 -Space", "@30 +Left @80 -Left");
            scene.check_native("+H 50 -H");
        },
    },
    Case {
        name: "keyrx 1.x: a key whose layer goes first is not stuck",
        run: |scene| {
            scene.keyrx(r#"map("CapsLock", "MD_00"); when_start("MD_00"); map("H", "Left"); when_end();"#);
            scene.check("+CapsLock 30 +H 50 -CapsLock 50 -H", "@30 +Left @130 -Left");
            scene.check_native("+H 50 -H");
        },
    },
    Case {
        name: "keyrx 1.x: a layer that maps its own key is not stuck",
        run: |scene| {
            scene.keyrx(
                r#"
                map("CapsLock", "MD_00");
                when_start("MD_00");
                    map("CapsLock", "X");
                    map("H", "Left");
                when_end();
                "#,
            );
            scene.check("+CapsLock 30 +H 30 -H 30 -CapsLock", "@30 +Left @60 -Left");
            scene.check_native("+H 50 -H");
        },
    },
    Case {
        name: "keyrx 1.x: a lock that is held toggles once, however often the key repeats",
        run: |scene| {
            scene.keyrx(r#"map("A", "LK_00"); when_start("LK_00"); map("S", "X"); when_end();"#);
            for repeats in [1, 2] {
                scene.check(&format!("+A 200 {}-A", "~A 30 ".repeat(repeats)), "");
                scene.check("+S 30 -S", "+X @30 -X");
                scene.check("+A 30 -A", "");
                scene.check_native("+S 30 -S");
            }
        },
    },
];
