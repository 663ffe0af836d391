//! What keyrx says when it may not do what it is for.

use super::{Case, Clocks};
use crate::daemon::User;
use crate::scene::{Scene, allow};

pub const CASES: &[Case] = &[
    Case {
        name: "without permission on /dev/uinput keyrx says what to do and exits with 3",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            allow(&keyboard.node, true);
            refused(scene, "/dev/uinput");
            assert!(!scene.is_grabbed(&keyboard));
        },
    },
    Case {
        name: "without permission on the keyboards keyrx says what to do and exits with 3",
        clocks: Clocks::Virtual,
        run: |scene| {
            let _keyboard = scene.plug("Keychron K2");
            allow("/dev/uinput", true);
            refused(scene, "/dev/input");
        },
    },
];

fn refused(scene: &mut Scene, node: &str) {
    scene.keymap(r#"map("A", "B");"#);
    let (code, text) = scene.run(&["run", "--config", "keymap.rhai"], User::Nobody);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(node), "it does not name {node}:\n{text}");
    assert!(text.contains("udev") || text.contains("group"), "it does not say what to do:\n{text}");
}
