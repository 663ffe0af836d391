//! What happens when keyrx hangs, when the machine sleeps, and when clocks go wrong.

use nix::sys::signal::Signal;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, clock_gettime, clock_settime};

use super::{Case, Clocks};
use crate::time::{ms, now};

const KEYMAP: &str = r#"map("A", "B"); map("S", "LShift"); map("CapsLock", tap_hold("Escape", "LCtrl"));"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a keyrx that hangs leaves a plain keyboard within 0.6 s, with nothing held, and maps again when it is back",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx_with_faults(KEYMAP);
            scene.begin();
            scene.type_on(&keyboard, "+S +A 50");
            assert_eq!(scene.output_down(), "+LShift +B");
            scene.ask("POST", "/api/chaos", r#"{"point":"session","stall_ms":1500}"#);
            scene.type_on(&keyboard, "+Q -Q");
            let begin = now();
            scene.wait(ms(5000), "the keyboard to be let go", |scene| scene.desktop.output().is_none());
            assert!(now() - begin < ms(650), "it took {:?}", now() - begin);
            assert!(!scene.is_grabbed(&keyboard), "the keyboard is still grabbed");
            scene.begin();
            scene.type_on(&keyboard, "-A 10 -S 20 +D 20 -D 20");
            scene.seen_so_far().native(&keyboard, "-A @10 -S @30 +D @50 -D");
            scene.wait_for("keyboard connected");
            scene.wait_grabbed(&keyboard);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a keyrx that hangs for good ends after 2 s, and the keyboard is plain",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx_with_faults(KEYMAP);
            scene.type_on(&keyboard, "+S +A 50");
            scene.ask("POST", "/api/chaos", r#"{"point":"session","stall_ms":600000}"#);
            scene.type_on(&keyboard, "+Q -Q");
            let begin = now();
            scene.wait(ms(10_000), "keyrx to end", |scene| scene.daemon().status().is_some());
            assert!(now() - begin < ms(4000), "it took {:?}", now() - begin);
            assert_eq!(scene.daemon().status().unwrap().code(), Some(70));
            scene.forget_daemon();
            scene.play(&keyboard, "-A 10 -S 50 +A 50 -A").native(&keyboard, "-A @10 -S @60 +A @110 -A");
        },
    },
    Case {
        name: "when the machine has slept, what was held is released and later releases do no harm",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx_with_faults(KEYMAP);
            scene.type_on(&keyboard, "+S +CapsLock 300");
            assert_eq!(scene.output_down(), "+LCtrl +LShift");
            scene.ask("POST", "/api/chaos", r#"{"point":"sleep"}"#);
            scene.wait_for("the system woke up");
            assert_eq!(scene.output_down(), "");
            scene.type_on(&keyboard, "-S 10 -CapsLock 50");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "the clock on the wall set back by a day changes nothing",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx_with_faults(KEYMAP);
            scene.type_on(&keyboard, "+CapsLock 50");
            let today = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
            clock_settime(ClockId::CLOCK_REALTIME, today - TimeSpec::seconds(86_400)).unwrap();
            scene.type_on(&keyboard, "20 -CapsLock 50");
            scene.check(&keyboard, "+CapsLock 300 +A 50 -A -CapsLock", "@200 +LCtrl @300 +B @350 -B -LCtrl");
            scene.watch(ms(3000));
            let (status, health) = scene.request("GET", "/health", "");
            assert!(status == 200 && health.contains(r#""status":"healthy""#), "{health}");
            assert_eq!(scene.end(Signal::SIGTERM).code(), Some(0));
            scene.keyrx(KEYMAP);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            clock_settime(ClockId::CLOCK_REALTIME, today).unwrap();
        },
    },
    Case {
        name: "another user reads nothing of a running keyrx and changes nothing",
        clocks: Clocks::Virtual,
        run: |scene| {
            use crate::daemon::User;
            use crate::web;

            let keyboard = scene.plug("Keychron K2");
            scene.keyrx_with_faults(KEYMAP);
            for command in ["status", "pause", "reload", "stop", "metrics", "ui"] {
                let (code, said) = scene.run(&[command], User::Nobody);
                assert_eq!(code, Some(3), "{command}: {said}");
                assert!(!said.contains("LShift"), "{said}");
            }
            let (port, _) = web::place(&scene.state()).unwrap();
            for (method, path) in [
                ("GET", "/api/status"),
                ("GET", "/api/keymap"),
                ("POST", "/api/pause"),
                ("POST", "/api/stop"),
            ] {
                assert_eq!(web::request(port, "", method, path, "").0, 401, "{path}");
            }
            assert_eq!(web::request(port, "", "GET", "/health", "").0, 200);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
];
