//! Whatever breaks, the user has a plain keyboard and no key is stuck.

use windows_sys::Win32::UI::WindowsAndMessaging::{
    PBT_APMRESUMEAUTOMATIC, PBT_APMSUSPEND, WM_ENDSESSION, WM_POWERBROADCAST, WM_QUERYENDSESSION,
    WM_WTSSESSION_CHANGE, WTS_REMOTE_CONNECT, WTS_REMOTE_DISCONNECT, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK,
};

use super::Case;
use crate::windows::chaos::Fault;
use crate::windows::scene::Scene;
use crate::windows::time::ms;
use crate::windows::{state, system};

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
    Case {
        name: "when the system goes to sleep or the session is locked, what keyrx holds comes up; afterwards it maps",
        run: |scene| {
            scene.keyrx(KEYMAP);
            let session = |event| (WM_WTSSESSION_CHANGE, event);
            for (leave, come_back, said) in [
                (
                    (WM_POWERBROADCAST, PBT_APMSUSPEND),
                    (WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC),
                    "the system woke up",
                ),
                (session(WTS_SESSION_LOCK), session(WTS_SESSION_UNLOCK), "the desktop is back"),
                (session(WTS_REMOTE_DISCONNECT), session(WTS_REMOTE_CONNECT), "the desktop is back"),
            ] {
                scene.begin();
                scene.type_keys("+F 20 +A 50");
                system::tell_keyrx(leave);
                scene.nothing_is_down();
                scene.seen().is_in_order("+LShift +B -B -LShift");
                system::tell_keyrx(come_back);
                scene.wait_for(said);
                // Nothing is pressed again, and the releases are those of keys that never were.
                scene.begin();
                scene.type_keys("-A -F 50");
                scene.seen().native("-A -F");
                scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
                scene.watch(ms(1000)); // a hook is put in at most once a second
            }
        },
    },
    Case {
        name: "without raw input keys are mapped, and keyrx says what is missing until it has it",
        run: |scene| {
            let fault = Fault::no_raw_input();
            start(scene, &fault);
            scene.wait_for("no_device_ids");
            scene.check("+A 50 -A", "+B @50 -B");
            fault.end();
            scene.wait_for("no longer so");
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "at the end of the session keyrx agrees, releases what it holds, and ends",
        run: |scene| {
            scene.keyrx(KEYMAP);
            scene.begin();
            scene.type_keys("+F 20 +A 50");
            assert_eq!(system::tell_keyrx((WM_QUERYENDSESSION, 0)), 1, "it objects");
            scene.nothing_is_down_but("LShift B");
            system::tell_keyrx((WM_ENDSESSION, 1));
            scene.nothing_is_down();
            assert_eq!(scene.ended().code(), Some(0));
            scene.seen().is_in_order("+LShift +B -B -LShift");
            scene.type_keys("-A -F 50");
            scene.check_native("+A 50 -A");
        },
    },
];

fn start(scene: &mut Scene, fault: &Fault) {
    scene.keyrx_with(KEYMAP, &[("KEYRX_INJECTED", "map"), ("KEYRX_CHAOS", fault.name)]);
}
