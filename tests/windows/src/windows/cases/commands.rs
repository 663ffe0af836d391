//! Commands that need no running keyrx: whether this machine is fit, and what is in the way.

use std::fs;

use super::Case;
use crate::windows::process::Process;

pub const CASES: &[Case] = &[
    Case {
        name: "keyrx selftest passes every check, and no key of it reaches the window",
        run: |scene| {
            scene.begin();
            let (code, said) = scene.command(&["selftest"]);
            assert!(said.ends_with("9 passed, 0 failed, 0 skipped\n"), "{said}");
            assert_eq!(code, Some(0), "{said}");
            scene.seen().is("");
        },
    },
    Case {
        name: "keyrx selftest refuses where keyrx is running, which goes on",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            let (code, said) = scene.command(&["selftest", "--json"]);
            assert_eq!((code, said.as_str()), (Some(3), ""));
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "a second keyrx says that one is running, which goes on",
        run: |scene| {
            scene.keyrx(r#"map("A", "B");"#);
            let second = scene.home().join("second.rhai");
            fs::write(&second, r#"map("A", "C");"#).unwrap();
            let (code, _) = scene.command(&["run", "--config", second.to_str().unwrap()]);
            assert_eq!(code, Some(3));
            scene.check("+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "keyrx doctor names what is in the way: another remapper, a Scancode Map",
        run: |scene| {
            let (code, said) = scene.command(&["doctor", "--json"]);
            assert_eq!(code, Some(0), "{said}");
            for about in
                ["hook", "raw_input", "scancode_map", "remappers", "elevation", "ui_access", "hook_timeout"]
            {
                assert!(said.contains(&format!(r#""about": "{about}""#)), "{about} is missing in {said}");
            }
            assert!(said.contains("no other remapper is running") && said.contains("maps no keys"), "{said}");
            let _map = ScancodeMap::set();
            let program = scene.home().join("kanata.exe");
            fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
            let _kanata = Process::program(&program, &["keyboard"]);
            let (_, said) = scene.command(&["doctor"]);
            assert!(said.contains("running: kanata"), "{said}");
            assert!(said.contains("(Scancode Map): CapsLock to LCtrl"), "{said}");
        },
    },
];

/// CapsLock is LCtrl, as the registry has it; gone when dropped.
struct ScancodeMap;

const KEYBOARD_LAYOUT: &str = r"HKLM\SYSTEM\CurrentControlSet\Control\Keyboard Layout";

impl ScancodeMap {
    fn set() -> ScancodeMap {
        let map = "0000000000000000020000001D003A0000000000";
        reg(&["add", KEYBOARD_LAYOUT, "/v", "Scancode Map", "/t", "REG_BINARY", "/d", map, "/f"]);
        ScancodeMap
    }
}

impl Drop for ScancodeMap {
    fn drop(&mut self) {
        reg(&["delete", KEYBOARD_LAYOUT, "/v", "Scancode Map", "/f"]);
    }
}

fn reg(words: &[&str]) {
    let (code, said) = Process::program("reg.exe".as_ref(), words).end();
    assert_eq!(code, Some(0), "{said}");
}
