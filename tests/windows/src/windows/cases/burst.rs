//! Keys as fast as they can be sent.

use std::fmt::Write;
use std::time::Duration;

use super::Case;
use crate::windows::chaos::Fault;
use crate::windows::scene::Scene;
use crate::windows::time::{ms, now};

pub const CASES: &[Case] = &[
    Case {
        name: "mapped and unmapped keys alternating at full speed are not inverted",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            let seen = scene.play(&"+A -A +S -S ".repeat(250));
            seen.is_in_order(&"+B -B +S -S ".repeat(250));
        },
    },
    Case {
        name: "mapped and unmapped keys rolled at full speed are not inverted",
        run: |scene| {
            scene.keyrx(r#"map("A", "B"); map("D", "Ctrl+C");"#);
            let seen = scene.play(&"+A +S -A +D -S +F -D -F ".repeat(125));
            seen.is_in_order(&"+B +S -B +LCtrl +C -S +F -C -LCtrl -F ".repeat(125));
        },
    },
    Case {
        name: "2000 events as fast as they can be sent come out complete and in order",
        run: |scene| {
            scene.keyrx(r#"map("A", "B"); map("S", "X"); map("F", "LShift"); map("CapsLock", layer_hold("nav")); layer("nav", || { map("H", "Left"); });"#);
            let (mut typed, mut expected) = (String::new(), String::new());
            for _ in 0..100 {
                write!(typed, "+A -A +S -S +D -D +F +G -G -F +CapsLock +H -H -CapsLock +H -H +Q +W -Q -W ")
                    .unwrap();
                write!(expected, "+B -B +X -X +D -D +LShift +G -G -LShift +Left -Left +H -H +Q +W -Q -W ")
                    .unwrap();
            }
            let begin = now();
            let seen = scene.play(&typed);
            let took: Duration = now() - begin;
            seen.is_in_order(&expected);
            assert!(took < ms(30_000), "it took {} ms", took.as_millis());
        },
    },
    Case {
        name: "a full ring leaves nothing stuck and takes no key away, and mapping comes back",
        // Each press is 32 effects.
        run: |scene| stalled(scene, &"+S -S ".repeat(400)),
    },
    Case {
        name: "output that hangs for seconds leaves nothing stuck and takes no key away, and mapping comes back",
        run: |scene| {
            stalled(scene, &"+A 20 -A 20 ".repeat(75));
        },
    },
];

/// Types while nothing can be sent.
fn stalled(scene: &mut Scene, text: &str) {
    let fault = Fault::stall_output();
    let keymap = format!(
        r#"map("A", "B"); map("F", "LShift"); sequence("S", [{}]);"#,
        r#""X", "Y", "#.repeat(8).trim_end_matches(", ")
    );
    scene.keyrx_with(&keymap, &[("KEYRX_INJECTED", "map"), ("KEYRX_CHAOS", fault.name)]);
    scene.check("+A 30 -A", "+B @30 -B");
    scene.begin();
    scene.type_keys("+F 50");
    fault.begin();
    scene.begin();
    scene.type_keys(text);
    scene.type_keys("+Q -Q 50");
    let seen = scene.seen();
    seen.sent("");
    assert!(!seen.records.is_empty(), "no key has reached the window while nothing could be sent");
    fault.end();
    scene.type_keys("50 -F 500");
    scene.nothing_is_down();
    let maps = |scene: &mut Scene| {
        let seen = scene.play("+A 30 -A 100");
        !seen.records.is_empty() && seen.records.iter().all(|record| record.extra != 0)
    };
    scene.wait(ms(10_000), "keyrx to map again", maps);
    scene.check("+A 30 -A +F 30 -F", "+B @30 -B +LShift @60 -LShift");
}
