//! What keys become: the mapping as such, on one keyboard.

use std::fmt::Write;
use std::fs;

use nix::sys::signal::Signal;

use super::{Case, Clocks};
use crate::keyboard::Model;
use crate::keycodes;
use crate::time::ms;

const TAP_HOLD: &str = r#"map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 200 }));"#;
const NAVIGATION: &str = r#"
    map("CapsLock", layer_hold("nav"));
    layer("nav", || { map("H", "Left"); });
"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a mapped key comes out as its new key",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a key that is mapped nowhere passes",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.check(
                &keyboard,
                "+Q 50 -Q 10 +LShift 10 +W -W -LShift",
                "+Q @50 -Q @60 +LShift @70 +W -W -LShift",
            );
        },
    },
    Case {
        name: "a key that has no name passes",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.check(
                &keyboard,
                "+Key#440 50 -Key#440 +Key#441 -Key#441",
                "+Key#440 @50 -Key#440 +Key#441 -Key#441",
            );
        },
    },
    Case {
        name: "every key that a keyboard may have comes out as itself",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "A");"#);
            let typing: String =
                (1..248).map(keycodes::key).map(|key| format!("+{key} 1 -{key} 1 ")).collect();
            scene.check(&keyboard, &typing, &typing);
        },
    },
    Case {
        name: "a layer is on while its key is held",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(NAVIGATION);
            let output = "@50 +Left @100 -Left @200 +H @250 -H";
            scene.check(&keyboard, "+CapsLock 50 +H 50 -H 50 -CapsLock 50 +H 50 -H", output);
        },
    },
    Case {
        name: "a release follows its press when the layer has gone meanwhile",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(NAVIGATION);
            scene.check(&keyboard, "+CapsLock 50 +H 50 -CapsLock 50 -H", "@50 +Left @150 -Left");
        },
    },
    Case {
        name: "a tap-hold that is let go in time is a tap",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TAP_HOLD);
            scene.check(&keyboard, "+CapsLock 80 -CapsLock", "@80 +Escape -Escape");
        },
    },
    Case {
        name: "a tap-hold becomes a hold by time, at the term",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TAP_HOLD);
            scene.check(&keyboard, "+CapsLock 400 -CapsLock", "@200 +LCtrl @400 -LCtrl");
        },
    },
    Case {
        name: "a tap-hold becomes a hold by another key",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TAP_HOLD);
            let output = "@50 +LCtrl +C @100 -C @150 -LCtrl";
            scene.check(&keyboard, "+CapsLock 50 +C 50 -C 50 -CapsLock", output);
        },
    },
    Case {
        name: "a repeat from the keyboard repeats the mapped key",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.check(&keyboard, "+A 250 ~A 33 ~A 33 ~A 10 -A", "+B @250 ~B @283 ~B @316 ~B @326 -B");
        },
    },
    Case {
        name: "the kernel's own repeat comes out once for each, and ends with the key",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug_model(Model { repeats: true, ..Model::usb("Keychron K2") });
            let alone = scene.play(&keyboard, "+A 430 -A").text(&keyboard);
            assert!(alone.contains("~A"), "the kernel does not repeat: {alone}");
            scene.keyrx(r#"map("A", "B");"#);
            let mapped = scene.play(&keyboard, "+A 430 -A");
            mapped.output_about(&alone.replace('A', "B"), ms(20));
        },
    },
    Case {
        name: "a thousand fast events come out complete and in order",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.is_punctual = false;
            let (mut typed, mut expected) = (String::new(), String::new());
            for (key, becomes) in
                [("A", "B"), ("S", "S"), ("D", "D"), ("F", "F")].into_iter().cycle().take(500)
            {
                write!(typed, "+{key} 1 -{key} 1 ").unwrap();
                write!(expected, "+{becomes} 1 -{becomes} 1 ").unwrap();
            }
            scene.check(&keyboard, &typed, &expected);
        },
    },
    Case {
        name: "a burst of twenty keys in one instant comes out complete and in order",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            let keys = ["A", "S", "D", "F", "G", "H", "J", "K", "L", "Q"];
            let (typed, expected) =
                keys.iter().fold((String::new(), String::new()), |(typed, expected), key| {
                    let becomes = if *key == "A" { "B" } else { key };
                    (format!("{typed} +{key} -{key}"), format!("{expected} +{becomes} -{becomes}"))
                });
            scene.check(&keyboard, &typed, &expected);
        },
    },
    Case {
        name: "a release that the kernel dropped (SYN_DROPPED) leaves nothing down, at once",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B"); map("CapsLock", layer_hold("nav")); layer("nav", || { map("H", "Left"); });"#);
            scene.begin();
            scene.type_on(&keyboard, "+CapsLock +A 50");
            assert_eq!(scene.output_down(), "+B");
            scene.daemon().signal(Signal::SIGSTOP);
            scene.type_on(&keyboard, &format!("-CapsLock -A {} 10", "+S -S ".repeat(100)));
            scene.daemon().signal(Signal::SIGCONT);
            scene.watch(ms(20));
            assert_eq!(scene.output_down(), "", "after the overflow");
            scene.check(&keyboard, "+A 50 -A +H 50 -H", "+B @50 -B +H @100 -H");
        },
    },
    Case {
        name: "a key that is pressed while the kernel drops events comes up when it is let go",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            scene.daemon().signal(Signal::SIGSTOP);
            scene.type_on(&keyboard, &format!("{} +A {} 10", "+S -S ".repeat(50), "+S -S ".repeat(50)));
            scene.daemon().signal(Signal::SIGCONT);
            scene.type_on(&keyboard, "50 -A 50");
            assert_eq!(scene.output_down(), "");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "LCtrl+Space+Escape pauses and releases everything, and again resumes",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B"); map("CapsLock", layer_toggle("nav")); layer("nav", || { map("H", "Left"); });"#);
            scene.begin();
            scene.type_on(&keyboard, "+CapsLock -CapsLock +A 20 +LCtrl 20 +Space 20 +Escape 60");
            assert_eq!(scene.output_down(), "", "while the chord is still down");
            scene.type_on(&keyboard, "-Escape 20 -Space 20 -LCtrl 20 -A 50");
            scene.seen_so_far().output("+B @20 +LCtrl @40 +Space @60 -Space -LCtrl -B");
            scene.play(&keyboard, "+A 50 -A +H 50 -H").anywhere("+A @50 -A +H @100 -H");
            scene.type_on(&keyboard, "+LCtrl 20 +Space 20 +Escape 60 -Escape 20 -Space 20 -LCtrl 50");
            assert_eq!(scene.output_down(), "", "after the second chord");
            scene.check(&keyboard, "+A 50 -A +H 50 -H", "+B @50 -B +H @100 -H");
        },
    },
    Case {
        name: "an idle keyrx sleeps",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TAP_HOLD);
            scene.check(&keyboard, "+CapsLock 80 -CapsLock", "@80 +Escape -Escape");
            let before = wake_ups(scene.daemon().id());
            scene.watch(ms(60_000));
            let woken = wake_ups(scene.daemon().id()) - before;
            assert!(woken <= 120, "woken {woken} times in a minute without a key");
        },
    },
    Case {
        name: "an idle keyrx uses no processor time",
        clocks: Clocks::Real,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(TAP_HOLD);
            scene.check(&keyboard, "+CapsLock 80 -CapsLock", "@80 +Escape -Escape");
            let before = ticks(scene.daemon().id());
            scene.watch(ms(2000));
            let used = ticks(scene.daemon().id()) - before;
            assert!(used <= 5, "{used} ticks of processor time in two seconds without a key");
        },
    },
];

/// How often the threads of a process have been woken.
fn wake_ups(process: i32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let status = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let count = |status: String| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    status.map(count).sum()
}

/// The processor time of a process, in hundredths of a second.
fn ticks(process: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, numbers) = stat.rsplit_once(')').unwrap();
    numbers.split_whitespace().skip(11).take(2).map(|number| number.parse::<u64>().unwrap()).sum()
}
