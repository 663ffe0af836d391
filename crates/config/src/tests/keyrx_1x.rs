//! Keymaps of keyrx 1.x.

use std::fs;
use std::path::PathBuf;

use super::{check, types};
use crate::{Loaded, Severity, load};

#[test]
fn block_style() {
    let text = r#"
        //! A keymap of keyrx 1.x.
        device_start("*");
            tap_hold("CapsLock", "VK_Escape", "MD_00", 200);
            hold_only("無変換", "MD_0a");
            hold_only("変換", "MD_000B", 250);
            map("ScrollLock", "LK_0");
            map("VK_Yen", "VK_Backspace");
            map("全角", with_ctrl("VK_Space"));
            map("A", with_mods("VK_B", true, false, false, true));
            sequence("F1", ["VK_H", "VK_I"]);
            when_start("MD_00");
                map("H", "VK_Left");
            when_end();
            when_not_start("LK_00");
                map("J", "VK_Down");
            when_end();
            when_start(["MD_0A", "LK_00"]);
                map("K", "VK_Up");
            when_not_end();
            when_device_start("K2");
                map("L", "VK_Right");
            when_device_end();
        device_end();
        device_start("Other");
            map("H", "VK_Home");
        device_start("Another");
            map("H", "VK_End");
        device_end();
    "#;
    types(check(text), "+CapsLock -CapsLock +Yen -Yen", "+Escape -Escape +Backspace -Backspace");
    types(check(text), "+CapsLock +H -H -CapsLock +H -H", "+Left -Left +H -H");
    types(check(text), "+J -J +ScrollLock -ScrollLock +J -J", "+Down -Down +J -J");
    types(check(text), "+ScrollLock -ScrollLock +Muhenkan +K -K -Muhenkan +L -L", "+Up -Up +Right -Right");
    types(check(text), "+A -A +F1 -F1", "+LShift +LMeta +B -B -LMeta -LShift +H -H +I -I");
}

#[test]
fn custom_numbers() {
    check(
        r#"
        map("A", "MD_FE"); map("B", "LK_00fe");
        map("C", "MD_FF");
        //       ^^^^^^^ custom-number: reserved
        map("D", "MD_100");
        //       ^^^^^^^^ custom-number: too high
        map("E", "LK_XY");
        //       ^^^^^^^ custom-number: "XY" is not a hexadecimal number
        map("F", "MD_LShift");
        //       ^^^^^^^^^^^ custom-number: for the key itself write "LShift"
        map("G", "MD_");
        //       ^^^^^ custom-number: "" is not a hexadecimal number
        map("H", "vk_A");
        //       ^^^^^^ unknown-key: did you mean "A"?
        map("I", "VK_escape");
        //       ^^^^^^^^^^^ unknown-key: did you mean "Escape"?
        "#,
    );
}

#[test]
fn blocks_that_are_not_closed() {
    check(
        r#"
        device_start("*");
    //  ^^^^^^^^^^^^^^^^^ unclosed-block: write `device_end();`
        map("A", "B");
        "#,
    );
    let text = r#"
        map("F1", "MD_00");
        device_start("*");
        when_start("MD_00");
    //  ^^^^^^^^^^^^^^^^^^^ unclosed-block: this block has no `when_end()`
        map("A", "B");
        device_end();
        map("C", "D");
    "#;
    types(check(text), "+A -A +C -C +F1 +A -A -F1", "+A -A +D -D +B -B");
    check(
        r#"
        when_end();
    //  ^^^^^^^^^^ nothing-to-end: no `when_start` is open here
        device_end();
    //  ^^^^^^^^^^^^ nothing-to-end: no `device_start` is open here
        layer("base", || { when_end(); });
        //                 ^^^^^^^^^^ nothing-to-end: the innermost open block begins here (test.rhai:6:9)
        "#,
    );
}

/// A directory of its own, gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str, files: &[(&str, &[u8])]) -> Directory {
        let path = std::env::temp_dir().join(format!("keyrx-config-{name}-{}", std::process::id()));
        for (file, content) in files {
            let file = path.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        Directory(path)
    }

    fn load(&self, file: &str) -> Loaded {
        load(&self.0.join(file))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn printed(loaded: &Loaded) -> String {
    loaded.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn files_load_files() {
    let directory = Directory::new(
        "load",
        &[
            ("main.rhai", b"load(\"a.rhai\");\nwhen_start(\"MD_00\");\nload(\"b.rhai\");\nwhen_end();\n"),
            ("a.rhai", b"hold_only(\"CapsLock\", \"MD_00\", 0);\nsequence(\"F1\", [\"H\"]);\n"),
            ("stdlib/b.rhai", b"\xef\xbb\xbfmap(\"A\", \"B\");\r\nmap(\"C\", \"Dd\");\r\n"),
        ],
    );
    let loaded = directory.load("main.rhai");
    let [wrong] = loaded.diagnostics.as_slice() else { panic!("{}", printed(&loaded)) };
    assert!(wrong.file.ends_with("b.rhai") && (wrong.line, wrong.column) == (2, 10), "{wrong}");
    let names = ["a.rhai", "b.rhai", "main.rhai", "stdlib/b.rhai"].map(|name| directory.0.join(name));
    assert_eq!(loaded.files, names);

    fs::write(directory.0.join("stdlib/b.rhai"), "map(\"A\", \"B\");").unwrap();
    types(directory.load("main.rhai"), "+CapsLock 5 +A -A -CapsLock", "@5 +B -B");
}

#[test]
fn keyrx_brings_a_stdlib() {
    let text = r#"
        device_start("*");
        map("CapsLock", "MD_00"); map("RAlt", "MD_01");
        when_start("MD_00"); load("stdlib/shift.rhai"); when_end();
        when_start("MD_01"); load("ctrl.rhai"); when_end();
        device_end();
    "#;
    types(check(text), "+CapsLock +A -A -CapsLock", "+LShift +A -A -LShift");
    types(check(text), "+RAlt +Left -Left -RAlt", "+LCtrl +Left -Left -LCtrl");
}

#[test]
fn files_that_cannot_be_loaded() {
    let directory = Directory::new(
        "wrong",
        &[
            ("cycle.rhai", b"load(\"back.rhai\");"),
            ("self/self.rhai", b"map(\"A\", \"B\"); load(\"../self/./self.rhai\");"),
            ("back.rhai", b"load(\"cycle.rhai\");"),
            ("absent.rhai", b"load(\"none.rhai\"); map(\"A\", \"Bb\");"),
            ("syntax.rhai", b"load(\"broken.rhai\"); map(\"A\", \"Bb\");"),
            ("broken.rhai", b"map(\"A\" \"B\");"),
            ("compiled.krx", b"KRX\n\x01\0\0\0"),
            ("latin.rhai", b"map(\"A\", \"B\");\nmap(\"\xe4\", \"B\");"),
            ("fault.rhai", b"\nload(\"throws.rhai\");"),
            ("throws.rhai", b"\n\n  mapp(\"A\", \"B\"); throw 1;"),
        ],
    );
    for (file, expected) in [
        ("cycle.rhai", &["back.rhai:1:6", "is loading this file already"][..]),
        ("absent.rhai", &["absent.rhai:1:6", "looked for", "stdlib", "none.rhai", "no key is called \"Bb\""]),
        ("syntax.rhai", &["broken.rhai:1:9", "no key is called \"Bb\""]),
        ("compiled.krx", &["give the .rhai file"]),
        ("latin.rhai", &["line 2 is not UTF-8"]),
        ("fault.rhai", &["throws.rhai:3:3", "there is no function `mapp`", "throws.rhai:3:19"]),
        ("nowhere.rhai", &["the file cannot be read"]),
        (".", &["this is a directory"]),
    ] {
        let loaded = directory.load(file);
        assert!(loaded.keymap.is_none() && loaded.files.contains(&directory.0.join(file)), "{file}");
        for words in expected {
            assert!(printed(&loaded).contains(words), "\"{words}\" is not in\n{}", printed(&loaded));
        }
    }
    assert!(directory.load("absent.rhai").files.contains(&directory.0.join("none.rhai")));
    assert_eq!(
        directory.load("self/self.rhai").diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(),
        ["load-cycle"]
    );
    assert!(directory.load("cycle.rhai").diagnostics.iter().all(|d| d.severity == Severity::Error));
}
