//! When keyrx hangs, and when the machine has slept.

use super::Case;
use crate::windows::time::{ms, now};

const KEYMAP: &str = r#"map("A", "B"); map("F", "LShift");"#;

pub const CASES: &[Case] = &[
    Case {
        name: "a keyrx that hangs leaves a plain keyboard with nothing held, and maps again when it is back",
        run: |scene| {
            scene.keyrx_with_faults(KEYMAP);
            scene.begin();
            scene.type_keys("+F 20 +A 50");
            scene.fault(r#"{"point":"session","stall_ms":1500}"#);
            let begin = now();
            // The key that it hangs at holds up who types it, for as long as the system waits for a hook.
            scene.type_keys("+Q -Q");
            scene.wait_for("keys are mapped again");
            assert!(scene.log().contains("the keyboards are plain ones"));
            assert!(now() - begin < ms(8000), "it took {:?}", now() - begin);
            scene.type_keys("-A -F 200");
            scene.nothing_is_down();
            scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
        },
    },
    Case {
        name: "a keyrx that hangs for good ends, and the keyboard is plain",
        run: |scene| {
            scene.keyrx_with_faults(KEYMAP);
            scene.type_keys("+F 20 +A 50");
            scene.fault(r#"{"point":"session","stall_ms":600000}"#);
            scene.type_keys("+Q -Q");
            assert_eq!(scene.ended().code(), Some(70));
            scene.type_keys("-A -F 100");
            scene.nothing_is_down();
            scene.check_native("+A 50 -A");
        },
    },
    Case {
        name: "supervised, a keyrx that hangs for good is a plain keyboard within half a second, and maps again within 5 s",
        run: |scene| {
            scene.supervised_with_faults(KEYMAP);
            scene.check("+A 50 -A", "+B @50 -B");
            scene.fault(r#"{"point":"session","stall_ms":600000}"#);
            let begin = now();
            scene.begin_to_type("+Q -Q");
            scene.wait_for("the keyboards are plain ones");
            let plain = now() - begin;
            scene.end_of_typing();
            scene.until_mapped(ms(8000));
            let mapped = now() - begin;
            println!(
                "       plain after {} ms, mapped again after {} ms",
                plain.as_millis(),
                mapped.as_millis()
            );
            assert!(plain < ms(1500), "plain after {} ms", plain.as_millis());
            assert!(mapped < ms(5000), "mapped again after {} ms", mapped.as_millis());
            scene.check("+F 50 -F", "+LShift @50 -LShift");
        },
    },
    Case {
        name: "a hook that was slow once is put in again, with nothing held, and keys are mapped",
        run: |scene| {
            scene.keyrx_with_faults(KEYMAP);
            scene.type_keys("+F 50");
            scene.fault(r#"{"point":"session","stall_ms":300}"#);
            scene.type_keys("+Q -Q");
            scene.wait_for("the hook was slow, and was put in again");
            scene.nothing_is_down();
            scene.type_keys("-F 100");
            scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
        },
    },
    Case {
        name: "a panic in the hook costs the key that it came with its mapping, and leaves nothing held",
        run: |scene| {
            scene.keyrx_with_faults(KEYMAP);
            scene.type_keys("+F 50");
            scene.fault(r#"{"point":"session"}"#);
            scene.type_keys("+A 50 -A 50");
            scene.wait_for("an internal error; the key passed through");
            scene.nothing_is_down();
            scene.type_keys("-F 100");
            scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
        },
    },
    Case {
        name: "when the machine has slept, what was held is released, and keys are mapped again",
        run: |scene| {
            scene.keyrx_with_faults(KEYMAP);
            scene.begin();
            scene.type_keys("+F 20 +A 50");
            scene.fault(r#"{"point":"sleep"}"#);
            scene.wait_for("the system woke up");
            scene.nothing_is_down();
            scene.type_keys("-A -F 100");
            scene.check("+A 50 -A 20 +F 50 -F", "+B @50 -B @70 +LShift @120 -LShift");
        },
    },
];
