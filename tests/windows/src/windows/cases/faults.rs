//! Whatever breaks, the user has a plain keyboard and no key is stuck.

use super::Case;
use crate::windows::chaos::Fault;
use crate::windows::scene::Scene;
use crate::windows::state;
use crate::windows::time::ms;

const KEYMAP: &str = r#"map("A", "B"); map("F", "LShift");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "stopped with keys held, keyrx releases them first; then the keyboard is plain",
        run: |scene| {
            scene.keyrx(KEYMAP);
            scene.begin();
            scene.type_keys("+F 20 +A 30");
            let status = scene.stop();
            assert_eq!(status.code(), Some(0), "keyrx ended with {status}");
            scene.seen().is_in_order("+LShift +B -B -LShift");
            scene.nothing_is_down();
            scene.type_keys("-A -F 50");
            scene.check_native("+A 50 -A");
        },
    },
    Case {
        name: "stopped with an undecided tap-hold, keyrx presses nothing any more",
        run: |scene| {
            scene.keyrx(r#"map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 10000 }));"#);
            scene.begin();
            scene.type_keys("+CapsLock 50");
            assert_eq!(scene.stop().code(), Some(0));
            scene.seen().is("");
            scene.type_keys("-CapsLock");
        },
    },
    Case {
        name: "killed, keyrx leaves a working keyboard, and a new one maps",
        run: |scene| {
            scene.keyrx(KEYMAP);
            scene.check("+A 50 -A", "+B @50 -B");
            scene.kill();
            scene.check_native("+A 50 -A 20 +F 50 -F");
            scene.keyrx(KEYMAP);
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "killed with a key held, keyrx leaves a working keyboard",
        run: |scene| {
            scene.keyrx(KEYMAP);
            scene.begin();
            scene.type_keys("+A 50");
            scene.kill();
            scene.type_keys("-A 20");
            scene.check_native("+Q 50 -Q 20 +A 50 -A");
            // What it had pressed nobody has released: that is the supervisor's to do.
            state::release_all();
        },
    },
    Case {
        name: "a hook that is removed behind keyrx's back is there again within 500 ms",
        run: |scene| {
            let fault = Fault::unhook();
            start(scene, &fault);
            scene.check("+A 50 -A", "+B @50 -B");
            fault.begin();
            scene.watch(ms(30));
            scene.begin();
            scene.type_keys("+A -A 500");
            scene.seen().native("+A -A");
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "keys that are held while the hook is gone do not stay down",
        run: |scene| {
            let fault = Fault::unhook();
            start(scene, &fault);
            scene.type_keys("+F 20 +A 20");
            fault.begin();
            scene.watch(ms(30));
            scene.begin();
            scene.type_keys("-A -F 500");
            let seen = scene.seen();
            seen.native("-A -F");
            scene.nothing_is_down();
            scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
        },
    },
];

fn start(scene: &mut Scene, fault: &Fault) {
    scene.keyrx_with(KEYMAP, &[("KEYRX_INJECTED", "map"), ("KEYRX_CHAOS", fault.name)]);
}
