//! The tests themselves: what they can see without keyrx, so that what they say of keyrx can be believed.

use super::Case;
use crate::windows::hook::MARK;
use crate::windows::keycodes;
use crate::windows::process::Process;
use crate::windows::record::{Record, Source};
use crate::windows::time::ms;
use crate::windows::{state, unix};

pub const CASES: &[Case] = &[
    Case {
        name: "harness: what is typed arrives complete, in order, in time and unmarked",
        run: |scene| {
            scene.check_native("+A 50 -A 20 +LShift 30 +B -B -LShift 20 +LAlt +F10 -F10 -LAlt +LMeta -LMeta");
        },
    },
    Case {
        name: "harness: every key of the tests' table arrives as itself, by message and by raw input",
        run: |scene| {
            let text: String = keycodes::keys().map(|key| format!("+{key} -{key} ")).collect();
            let seen = scene.play(&text);
            seen.is_in_order(&text);
            for (record, key) in seen.records.iter().zip(keycodes::keys().flat_map(|key| [key, key])) {
                assert_eq!(
                    record.vk,
                    keycodes::vk_in_message(keycodes::code(key)),
                    "the virtual key of {key}"
                );
            }
            scene.seen_by(Source::Raw).is_in_order(&text);
        },
    },
    Case {
        name: "harness: a press of a key that is down arrives as a repeat",
        run: |scene| scene.check_native("+A 100 ~A 30 ~A 30 -A"),
    },
    Case {
        name: "harness: 2000 events typed at full speed arrive complete and in order",
        run: |scene| {
            let text = "+A +S -A +D -S -D +F -F +G -G ".repeat(200);
            let seen = scene.play(&text);
            seen.is_in_order(&text);
        },
    },
    Case {
        name: "harness: a key that is down is known to be down, and can be let go",
        run: |scene| {
            scene.type_keys("+A +RShift +Enter 60");
            assert_eq!(state::keys_down(), ["Enter", "A", "RShift"]);
            state::release_all();
            scene.nothing_is_down();
            assert_eq!(state::keys_down(), [""; 0]);
        },
    },
    Case {
        name: "harness: a hook is called for every key; what a program sends comes marked, the mapped key does not come",
        run: |scene| {
            let mut hook = Hook::start(&["A", "B"]);
            scene.begin();
            scene.type_keys("+A +S -A -S 50 +Key#541 +RAlt -Key#541 -RAlt 20");
            let seen = scene.seen();
            seen.is_in_order("+B +S -B -S +LCtrl +RAlt -LCtrl -RAlt");
            seen.sent("+B -B");
            scene.seen_by(Source::Raw).is_in_order("+A +B +S -A -B -S +Key#541 +RAlt -Key#541 -RAlt");
            let called: Vec<(String, usize)> = hook.end();
            let names: Vec<&str> = called.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names.join(" "), "A B S A B S Key#541 RAlt Key#541 RAlt");
            assert!(called.iter().all(|(name, extra)| (name == "B") == (*extra == MARK)), "{called:?}");
        },
    },
    Case {
        name: "harness: a hook that is killed leaves a working keyboard",
        run: |scene| {
            drop(Hook::start(&["A", "B"]));
            scene.check_native("+A 30 -A");
        },
    },
];

/// A hook that is not keyrx's.
struct Hook {
    process: Process,
    said: Vec<String>,
}

impl Hook {
    fn start(mapping: &[&str]) -> Hook {
        let mut hook = Hook { process: Process::role(&[&["hook"], mapping].concat()), said: Vec::new() };
        hook.wait_for("ready");
        hook
    }

    fn wait_for(&mut self, word: &str) {
        let begin = crate::windows::time::now();
        while self.said.last().is_none_or(|line| line != word) {
            assert!(crate::windows::time::now() - begin < ms(5000), "the hook has said no {word:?}");
            match self.process.line() {
                Some(line) => self.said.push(line),
                None => std::thread::sleep(ms(2)),
            }
        }
    }

    /// Ends it by Ctrl+C: the keys that it was called for, with their marks.
    fn end(&mut self) -> Vec<(String, usize)> {
        unix::interrupt("hook A B");
        self.wait_for("ended in order");
        let records = self.said.iter().filter_map(|line| Record::parse(line));
        records.map(|record| (record.key().to_string(), record.extra)).collect()
    }
}
