//! Keyboards that come, go, differ and share: which are mapped, and what becomes of keys that are down.

use input_linux::sys::{EV_REL, LED_CAPSL, LED_NUML};
use nix::sys::signal::Signal;

use super::{Case, Clocks};
use crate::daemon::User;
use crate::keyboard::Model;
use crate::scene::{Scene, allow};
use crate::time::{ms, now};

pub const CASES: &[Case] = &[
    Case {
        name: "two keyboards are told apart by their names",
        clocks: Clocks::Both,
        run: |scene| {
            let left = scene.plug("Keychron K2");
            let right = scene.plug("HHKB Professional");
            scene.keyrx(
                r#"
                device("keychron*", || { map("A", "B"); });
                device("HHKB*", || { map("A", "C"); });
            "#,
            );
            scene.begin();
            scene.type_together(&[(&left, "+A 50 -A"), (&right, "@20 +A @80 -A")]);
            scene.seen().output("+B @20 +C @50 -B @80 -C");
        },
    },
    Case {
        name: "two keyboards are told apart by vendor and product",
        clocks: Clocks::Virtual,
        run: |scene| {
            let left = scene.plug("Keyboard");
            let right = scene.plug_model(Model { vendor: 0x04fe, product: 0x0021, ..Model::usb("Keyboard") });
            scene.keyrx(r#"device("04fe:0021", || { map("A", "C"); }); map("A", "B");"#);
            scene.begin();
            scene.type_together(&[(&left, "+A 50 -A"), (&right, "@20 +A @80 -A")]);
            scene.seen().output("+B @20 +C @50 -B @80 -C");
        },
    },
    Case {
        name: "the same key on two keyboards gives one press and one release",
        clocks: Clocks::Virtual,
        run: |scene| {
            let left = scene.plug("Keychron K2");
            let right = scene.plug("HHKB Professional");
            scene.keyrx(r#"map("B", "C");"#);
            scene.begin();
            scene.type_together(&[(&left, "+A 100 -A"), (&right, "@50 +A @150 -A")]);
            scene.seen().output("+A @150 -A");
        },
    },
    Case {
        name: "a keyboard pulled out with a key and a layer held leaves nothing down, and is mapped when it returns",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B"); map("CapsLock", layer_hold("nav")); layer("nav", || { map("H", "Left"); });"#);
            scene.begin();
            scene.type_on(&keyboard, "+CapsLock 50 +H 20 +A 30");
            drop(keyboard);
            scene.watch(ms(100));
            assert_eq!(scene.output_down(), "", "after the keyboard has gone");
            let keyboard = scene.plug("Keychron K2");
            scene.wait_grabbed(&keyboard);
            scene.check(&keyboard, "+H 50 -H +A 50 -A", "+H @50 -H +B @100 -B");
        },
    },
    Case {
        name: "a keyboard whose last records are lost with it leaves nothing down",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B"); map("S", "LShift");"#);
            scene.type_on(&keyboard, "+S 20 +A 30");
            // Of a device that has gone, the kernel gives out no record any more, nor the releases it has added.
            scene.daemon().signal(Signal::SIGSTOP);
            drop(keyboard);
            scene.watch(ms(20));
            scene.daemon().signal(Signal::SIGCONT);
            scene.watch(ms(20));
            assert_eq!(scene.output_down(), "");
        },
    },
    Case {
        name: "a keyboard pulled out does not let go what another one holds",
        clocks: Clocks::Virtual,
        run: |scene| {
            let left = scene.plug("Keychron K2");
            let right = scene.plug("HHKB Professional");
            scene.keyrx(r#"map("A", "B");"#);
            scene.begin();
            scene.type_together(&[(&left, "+A"), (&right, "@20 +A @50")]);
            drop(left);
            scene.type_on(&right, "50 -A");
            scene.seen().output("+B @100 -B");
        },
    },
    Case {
        name: "a keyboard pulled out with an undecided tap-hold leaves nothing down",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("CapsLock", tap_hold("Escape", "LCtrl"));"#);
            scene.type_on(&keyboard, "+CapsLock 50");
            drop(keyboard);
            scene.watch(ms(1000));
            assert_eq!(scene.output_down(), "");
        },
    },
    Case {
        name: "a keyboard that appears later is mapped",
        clocks: Clocks::Both,
        run: |scene| {
            let first = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            let second = scene.plug("HHKB Professional");
            scene.wait_grabbed(&second);
            scene.begin();
            scene.type_together(&[(&first, "+Q 50 -Q"), (&second, "@20 +A @80 -A")]);
            scene.seen().output("+Q @20 +B @50 -Q @80 -B");
        },
    },
    Case {
        name: "without any keyboard keyrx stays and waits for one",
        clocks: Clocks::Virtual,
        run: |scene| {
            scene.keymap(r#"map("A", "B");"#);
            scene.start(User::Root);
            scene.watch(ms(3000));
            let keyboard = scene.plug("Keychron K2");
            scene.wait_grabbed(&keyboard);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a node whose permissions come late is mapped from then on",
        clocks: Clocks::Virtual,
        run: |scene| {
            allow("/dev/uinput", true);
            let first = scene.plug("Keychron K2");
            allow(&first.node, true);
            scene.keymap(r#"map("A", "B");"#);
            scene.start(User::Nobody);
            scene.wait_for("ready");
            let second = scene.plug("HHKB Professional");
            scene.watch(ms(700));
            assert!(!scene.is_grabbed(&second), "nobody may have opened it yet");
            allow(&second.node, true);
            scene.wait_grabbed(&second);
            scene.check(&second, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a keyboard that no device block names passes by itself, not grabbed",
        clocks: Clocks::Virtual,
        run: |scene| {
            let mapped = scene.plug("Keychron K2");
            let other = scene.plug("HHKB Professional");
            scene.keyrx(r#"device("Keychron*", || { map("A", "B"); });"#);
            scene.begin();
            scene.type_together(&[(&mapped, "+A 50 -A"), (&other, "@20 +A @80 -A")]);
            let seen = scene.seen();
            seen.output("+B @50 -B");
            seen.native(&mapped, "");
            seen.native(&other, "@20 +A @80 -A");
        },
    },
    Case {
        name: "virtual keyboards are left alone, keyrx's own among them",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            let synthetic = scene.plug_model(Model::virtual_one("ydotoold virtual device"));
            scene.keyrx(r#"map("A", "B"); map("B", "C");"#);
            scene.begin();
            scene.type_together(&[(&keyboard, "+A 50 -A"), (&synthetic, "@20 +A @80 -A")]);
            let seen = scene.seen();
            seen.output("+B @50 -B");
            seen.native(&synthetic, "@20 +A @80 -A");
        },
    },
    Case {
        name: "of a keyboard that is a mouse too the keys are mapped and the pointer still moves",
        clocks: Clocks::Virtual,
        run: |scene| {
            let combined = scene.plug_model(Model { pointer: true, ..Model::usb("Logitech Receiver") });
            scene.keyrx(r#"map("A", "B");"#);
            scene.begin();
            scene.type_on(&combined, "+A 50 -A");
            combined.motion(5, -3);
            let seen = scene.seen();
            seen.output("+B @50 -B");
            seen.native(&combined, "");
            assert_eq!(motion(scene), [(0, 5), (1, -3)]);
        },
    },
    Case {
        name: "the media keys of a keyboard, a device of their own, are mapped",
        clocks: Clocks::Virtual,
        run: |scene| {
            let media = scene.plug_model(Model { media: true, ..Model::usb("Keychron K2 Consumer Control") });
            scene.keyrx(r#"device("Keychron K2*", || { map("Mute", "F13"); });"#);
            scene.check(
                &media,
                "+Mute 50 -Mute +VolumeUp 50 -VolumeUp",
                "+F13 @50 -F13 +VolumeUp @100 -VolumeUp",
            );
        },
    },
    Case {
        name: "lights that the desktop switches shine on the real keyboards",
        clocks: Clocks::Virtual,
        run: |scene| {
            let first = scene.plug("Keychron K2");
            let second = scene.plug("HHKB Professional");
            scene.keyrx(r#"map("A", "B");"#);
            scene.watch(ms(20));
            first.lights();
            second.lights();
            let (caps, num) = (u16::try_from(LED_CAPSL).unwrap(), u16::try_from(LED_NUML).unwrap());
            for (light, on) in [(caps, true), (num, true), (caps, false)] {
                scene.desktop.output().expect("keyrx has a keyboard").light(i32::from(light), on);
                scene.watch(ms(20));
                assert_eq!(first.lights(), [(light, on)]);
                assert_eq!(second.lights(), [(light, on)]);
            }
        },
    },
    Case {
        name: "a keyboard that appears later shows the lights that are on",
        clocks: Clocks::Virtual,
        run: |scene| {
            let _first = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.desktop.output().expect("keyrx has a keyboard").light(LED_CAPSL, true);
            scene.watch(ms(20));
            let second = scene.plug("HHKB Professional");
            scene.wait_grabbed(&second);
            scene.watch(ms(20));
            assert_eq!(second.lights(), [(u16::try_from(LED_CAPSL).unwrap(), true)]);
        },
    },
    Case {
        name: "a key held at the start is waited for",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keymap(r#"map("A", "B");"#);
            scene.begin();
            scene.type_on(&keyboard, "+A");
            scene.start(User::Root);
            scene.type_on(&keyboard, "800 -A");
            scene.wait_for("ready");
            scene.seen().anywhere("+A @800 -A");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a key held at the start for longer than two seconds is let go for the desktop",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keymap(r#"map("A", "B");"#);
            scene.begin();
            scene.type_on(&keyboard, "+A");
            let begin = now();
            scene.start(User::Root);
            scene.wait_for("ready");
            assert!(now() - begin < ms(2500), "it took {} ms to be ready", (now() - begin).as_millis());
            scene.seen().anywhere_about("+A @2000 -A", ms(500));
            scene.type_on(&keyboard, "-A 50");
            assert_eq!(scene.output_down(), "");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "keyrx devices --json lists the keyboards",
        clocks: Clocks::Virtual,
        run: |scene| {
            let _first = scene.plug("Keychron K2");
            let _second = scene.plug("HHKB Professional");
            let (code, text) = scene.run(&["devices", "--json"], User::Root);
            assert_eq!(code, Some(0), "{text}");
            assert!(text.contains("Keychron K2") && text.contains("HHKB Professional"), "{text}");
        },
    },
];

/// The pointer's movements that the desktop has seen.
fn motion(scene: &Scene) -> Vec<(u16, i32)> {
    let records = scene.desktop.devices.iter().flat_map(|device| &device.record);
    records.filter(|record| record.kind == EV_REL).map(|record| (record.code, record.value)).collect()
}
