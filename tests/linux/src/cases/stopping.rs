//! Every way out leaves a plain keyboard and no key down.

use nix::sys::signal::Signal;

use super::{Case, Clocks};
use crate::desktop::OUTPUT;
use crate::scene::Scene;
use crate::time::ms;

const KEYMAP: &str = r#"map("A", "B"); map("S", "LShift");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "SIGTERM with keys down: they are released before keyrx's keyboard goes",
        clocks: Clocks::Both,
        run: |scene| stop_with_keys_down(scene, Signal::SIGTERM),
    },
    Case {
        name: "SIGINT with keys down: they are released before keyrx's keyboard goes",
        clocks: Clocks::Virtual,
        run: |scene| stop_with_keys_down(scene, Signal::SIGINT),
    },
    Case {
        name: "SIGTERM with an undecided tap-hold: nothing is pressed any more",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("CapsLock", tap_hold("Escape", "LCtrl"));"#);
            scene.begin();
            scene.type_on(&keyboard, "+CapsLock 50");
            assert_eq!(scene.end(Signal::SIGTERM).code(), Some(0));
            scene.seen().output("");
        },
    },
    Case {
        name: "kill -9 with keys down: the keyboard is usable at once and keyrx's has gone",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(KEYMAP);
            scene.begin();
            scene.type_on(&keyboard, "+S +A 50");
            assert_eq!(scene.output_down(), "+LShift +B");
            assert_eq!(scene.end(Signal::SIGKILL).code(), None);
            assert!(scene.desktop.output().is_none(), "keyrx's keyboard is still there");
            scene.play(&keyboard, "-A 10 -S 50 +A 50 -A").native(&keyboard, "-A @10 -S @60 +A @110 -A");
        },
    },
    Case {
        name: "after kill -9 a new keyrx maps again",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(KEYMAP);
            scene.end(Signal::SIGKILL);
            scene.keyrx(KEYMAP);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
];

fn stop_with_keys_down(scene: &mut Scene, signal: Signal) {
    let keyboard = scene.plug("Keychron K2");
    scene.keyrx(KEYMAP);
    scene.begin();
    scene.type_on(&keyboard, "+S 20 +A 30");
    assert_eq!(scene.end(signal).code(), Some(0));
    let seen = scene.seen_so_far();
    seen.output("+LShift @20 +B @50 -B -LShift");
    let output =
        scene.desktop.devices.iter().find(|device| device.name == OUTPUT).expect("keyrx had a keyboard");
    assert!(output.gone.is_some(), "keyrx's keyboard is still there");
    scene.watch(ms(20));
    scene.play(&keyboard, "-A 10 -S 50 +A 50 -A").native(&keyboard, "-A @10 -S @60 +A @110 -A");
}
