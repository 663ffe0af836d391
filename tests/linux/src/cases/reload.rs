//! New keymaps while keys are typed.

use std::fs;

use nix::sys::signal::Signal;

use super::{Case, Clocks};
use crate::daemon::User;
use crate::time::ms;

const TO_B: &str = r#"map("A", "B");"#;
const TO_C: &str = r#"map("A", "C");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a keymap written in place is loaded",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.reload(TO_C, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
            scene.reload(TO_B, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a keymap renamed over the old one is loaded, every time",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            for (keymap, output) in [(TO_C, "+C @50 -C"), (TO_B, "+B @50 -B"), (TO_C, "+C @50 -C")] {
                scene.daemon().forget();
                let new = scene.home.join("keymap.rhai~");
                fs::write(&new, keymap).unwrap();
                fs::rename(new, scene.keymap_path()).unwrap();
                scene.wait_for("keymap loaded");
                scene.check(&keyboard, "+A 50 -A", output);
            }
        },
    },
    Case {
        name: "a keymap deleted and written anew is loaded; meanwhile the old one stays",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            fs::remove_file(scene.keymap_path()).unwrap();
            scene.watch(ms(1000));
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.reload(TO_C, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "SIGHUP loads the keymap",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.watch(ms(1000));
            scene.daemon().forget();
            scene.daemon().signal(Signal::SIGHUP);
            scene.wait_for("keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a change of a file that the keymap loads is noticed",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            let shared = scene.home.join("shared.rhai");
            fs::write(&shared, TO_B).unwrap();
            scene.keyrx(r#"load("shared.rhai");"#);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.daemon().forget();
            fs::write(&shared, TO_C).unwrap();
            scene.wait_for("keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "a key that is down at a reload comes up as what it was pressed as",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.daemon().forget();
            scene.begin();
            scene.type_on(&keyboard, "+A 50");
            scene.keymap(TO_C);
            scene.type_on(&keyboard, "200 -A");
            scene.seen().output("+B @250 -B");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "a key that stays down does not hold up a reload for ever",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.type_on(&keyboard, "+A 50");
            scene.keymap(TO_C);
            scene.watch(ms(2000));
            assert_eq!(scene.output_down(), "", "the reload releases what the old keymap holds");
            scene.check(&keyboard, "-A 50 +A 50 -A", "@50 +C @100 -C");
        },
    },
    Case {
        name: "typing goes on through ten reloads, nothing lost, nothing stuck",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.begin();
            for keymap in [TO_C, TO_B].into_iter().cycle().take(10) {
                scene.keymap(keymap);
                scene.type_on(&keyboard, &"+Q 20 +W 20 -Q 20 -W 20 ".repeat(5));
            }
            scene.seen().output(&"+Q 20 +W 20 -Q 20 -W 20 ".repeat(50));
        },
    },
    Case {
        name: "a broken keymap is rejected with its place, and the old one stays",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TO_B);
            scene.reload("map(\"A\", \"C\");\nmap(\"A\", \"Nonsense\");\n", "keymap rejected");
            scene.watch(ms(100));
            let log = scene.log();
            assert!(log.contains("keymap.rhai:2") && log.contains("Nonsense"), "it does not say why");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.reload(TO_C, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "with a keymap that is broken at the start keys pass, until it is mended",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "#);
            scene.play(&keyboard, "+A 50 -A").anywhere("+A @50 -A");
            scene.reload(TO_C, "keymap loaded");
            scene.wait_grabbed(&keyboard);
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "a reload may name other keyboards: the new are grabbed, the old pass by themselves again",
        clocks: Clocks::Virtual,
        run: |scene| {
            let first = scene.plug("Keychron K2");
            let second = scene.plug("HHKB Professional");
            scene.keymap(r#"device("Keychron*", || { map("A", "B"); });"#);
            scene.start(User::Root);
            scene.wait_for("ready");
            assert!(!scene.is_grabbed(&second));
            scene.reload(r#"device("HHKB*", || { map("A", "C"); });"#, "keymap loaded");
            scene.wait_grabbed(&second);
            scene.wait(ms(3000), "the first keyboard to be let go", |scene| !scene.is_grabbed(&first));
            scene.begin();
            scene.type_together(&[(&first, "+A 50 -A"), (&second, "@20 +A @80 -A")]);
            let seen = scene.seen();
            seen.native(&first, "+A @50 -A");
            seen.output("@20 +C @80 -C");
        },
    },
];
