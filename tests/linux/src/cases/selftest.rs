//! `keyrx selftest`: it needs no keyboard, and touches none.

use super::{Case, Clocks};
use crate::daemon::User;
use crate::scene::allow;

pub const CASES: &[Case] = &[
    Case {
        name: "keyrx selftest passes, and the keyboard of the user is not touched",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.begin();
            let (code, said) = scene.run(&["selftest"], User::Root);
            assert!(said.ends_with("7 passed, 0 failed, 2 skipped\n"), "{said}");
            assert_eq!(code, Some(0), "{said}");
            let seen = scene.play(&keyboard, "+A 50 -A");
            seen.native(&keyboard, "+A @50 -A");
        },
    },
    Case {
        name: "keyrx selftest refuses where keyrx is running, be it another user's",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B");"#);
            allow("/dev/uinput", true);
            for (user, state) in [(User::Root, "other"), (User::Nobody, "another")] {
                let (code, said) = scene.run(&["selftest", "--state-dir", state], user);
                assert_eq!(code, Some(3), "{said}");
                assert!(said.contains("running already"), "{said}");
            }
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "without permission on /dev/uinput keyrx selftest says what to do and exits with 3",
        clocks: Clocks::Virtual,
        run: |scene| {
            let (code, said) = scene.run(&["selftest"], User::Nobody);
            assert_eq!(code, Some(3), "{said}");
            assert!(said.contains("/dev/uinput") && said.contains("udev"), "{said}");
        },
    },
];
