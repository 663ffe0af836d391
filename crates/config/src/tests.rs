//! What keymaps say, and what is said of keymaps that are wrong.
//!
//! A diagnostic is expected where the tested text says so, in a comment under the line that it is about:
//!
//! ```text
//! map("Escpe", "A");
//!     ^^^^^^^ unknown-key: did you mean "Escape"?
//! ```

mod keyrx_1x;
mod limits;

use keyrx_engine::notation::{Moment, parse, print};
use keyrx_engine::{DeviceId, DeviceInfo, Effect, Engine, Input, Key, KeyEvent, Time};

use crate::{
    Diagnostic, FUNCTIONS, Function, Kind, Loaded, SETTINGS, Severity, load, load_kept, load_text, reference,
};

fn read(text: &str) -> Loaded {
    load_text("test.rhai", text, None)
}

/// Line, column, end column and code of the marks in a text, with what must be in the diagnostic.
fn marks(text: &str) -> Vec<(usize, usize, usize, String, String)> {
    let mut marks = Vec::new();
    let mut marked_line = 0;
    for (line, content) in (1..).zip(text.lines()) {
        match content.trim_start().strip_prefix("//").filter(|rest| rest.trim_start().starts_with('^')) {
            Some(mark) => {
                let carets = mark.matches('^').count();
                let column = content.chars().take_while(|c| *c != '^').count() + 1;
                let (code, words) =
                    mark.split_once('^').unwrap().1.trim_matches('^').trim().split_once(": ").unwrap();
                marks.push((marked_line, column, column + carets, code.to_owned(), words.to_owned()));
            }
            None => marked_line = line,
        }
    }
    marks
}

/// Reads `text` and compares what is said of it with its marks.
#[track_caller]
fn check(text: &str) -> Loaded {
    let loaded = read(text);
    let said = |d: &Diagnostic| {
        let end_column = if d.end_line == d.line { d.end_column } else { d.source_line.chars().count() + 1 };
        (d.line, d.column, end_column, d.code.to_owned())
    };
    let printed: String = loaded.diagnostics.iter().map(Diagnostic::to_string).collect();
    let marks = marks(text);
    let expected: Vec<_> =
        marks.iter().map(|(line, start, end, code, _)| (*line, *start, *end, code.clone())).collect();
    assert_eq!(loaded.diagnostics.iter().map(said).collect::<Vec<_>>(), expected, "{printed}");
    for ((.., words), diagnostic) in marks.iter().zip(&loaded.diagnostics) {
        assert!(diagnostic.to_string().contains(words), "\"{words}\" is not in\n{diagnostic}");
    }
    let wrong = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(loaded.keymap.is_none(), wrong);
    loaded
}

/// What the loaded keymap makes of some input, on a keyboard called "K2".
#[track_caller]
fn types(loaded: Loaded, input: &str, output: &str) {
    let mut engine = Engine::new(loaded.keymap.expect("there should be a keymap"));
    let device = DeviceId(0);
    engine.connect(device, &DeviceInfo::named("K2"));
    let mut effects: Vec<Effect> = Vec::new();
    for Moment { time, motion, key } in parse(input, Time::ZERO).unwrap().0 {
        engine.step(Input::Key(KeyEvent { time, device, key, motion }), &mut effects);
    }
    while let Some(deadline) = engine.deadline() {
        engine.step(Input::Deadline(deadline), &mut effects);
    }
    assert_eq!(print(effects.into_iter().map(Moment::from)), output);
}

#[test]
fn ten_mistakes_are_ten_diagnostics() {
    check(
        r#"
        map("Escpe", "A");
        //  ^^^^^^^ unknown-key: did you mean "Escape"?
        map("A", "MD_FF");
        //       ^^^^^^^ custom-number: MD_FF is reserved
        map("Ctrl", "B");
        //  ^^^^^^ which-side: did you mean "LCtrl" or "RCtrl"?
        map(CapsLock, "Escape");
        //  ^^^^^^^^ unknown-variable: write "CapsLock", in quotes
        mpa("A", "B");
    //  ^^^ unknown-function: did you mean `map`
        map("B");
    //  ^^^ wrong-arguments: it is `map(key, action)`
        map("C", tap_hold("C", transparent()));
        //                     ^^^^^^^^^^^^^ wrong-action: cannot be part of a tap-hold
        layer("nav", || {
            map("H", layer_hold("nva"));
            //                  ^^^^^ unknown-layer: did you mean "nav"?
        });
        map("E", 5);
        //       ^ wrong-type: expected an action, found the number 5
        combo(["A", "S"], "Escape");
    //  ^^^^^ not-supported-yet: `combo` is not supported yet
        map("G", tap_hold("G", "LAlt", #{
            trem: 200,
        //  ^^^^ unknown-setting: did you mean `term`?
            flavor: "ballanced",
        //          ^^^^^^^^^^^ unknown-flavor: did you mean "balanced"?
        }));
        "#,
    );
}

#[test]
fn mistakes_that_stop_the_script_hide_no_others() {
    check(
        r#"
        map("A", "Bb")
        //       ^^^^ unknown-key: did you mean "B"?
        //           ^ syntax: a `;` is missing here
        let wrong = [][3];
        //             ^ script: array index 3 out of bounds
        map(wrong, "B");
        #{}.y.z;
        //    ^ script: unknown property 'z'
        5/0;
    //   ^ script: division by zero
        layer("nav", || {
            map("J" "K");
            //      ^^^ syntax: `,` or `)` is missing here
            throw "up";
        //  ^^^^^ thrown: the script stops here: up
            map("L", 5);
            //       ^ wrong-type: expected an action, found the number 5
        })
    //   ^ syntax: a `;` is missing here
        map("B", layer_hold("nav"));
        when("MD_00") {
        //            ^ syntax: a block is missing here
            map("Z", "Q");
        }
        fn key(number) { [1][number] }
        //                   ^^^^^^ script: only 1 element in array
        map(key(4), "X");
        when_start(["MD_00";
        //                 ^ syntax: is missing
        when_end();
        map("C", with_mods("K", 1, true, "x", false));
        //                      ^ wrong-type: found the number 1
        //                               ^^^ wrong-type: `alt` of `with_mods
        tap_hold("S", "S");
    //  ^^^^^^^^^^^^^^^^^^ unused: name it first
        map("Y", layer_hold("nva"));
        //                  ^^^^^ unknown-layer: did you mean "nav"?
        map("unclosed, "B");
        //              ^ syntax: is a quote
        map("Z", "Zz"
    //  ^^^ unknown-key: did you mean "Z"?
    //              ^ syntax: `)` is missing at the end of the file"#,
    );
}

#[test]
fn what_follows_from_a_mistake_is_not_told() {
    for text in [
        r#"
        let l = layr("x"); map(l.name, "A"); l[3] = 5; for k in l { map(k, "A"); } if l { map("A","B"); }
        //      ^^^^ unknown-function: `layer`
        "#,
        r#"
        layer("nav, || {
        //    ^^^^^^^^^^ syntax: this text has no closing quote
            map("A", "B");
        });
        map("X", layer_hold("nav"));
        "#,
        r#"
        layr("nav", || { map("A", "B"); });
    //  ^^^^ unknown-function: `layer`
        map("X", layer_hold("nav"));
        "#,
        r#"
        whenstart("MD_00");
    //  ^^^^^^^^^ unknown-function: did you mean `when_start`?
        when_end();
        "#,
        r#"
        fn swap(a, b { map(a, b); map(b, a); }
        //           ^ syntax: missing
        swap("A", "B");
        "#,
        r#"
        map("Q", "W");
        when_start("MD_00" "MD_01");
        //                 ^^^^^^^ syntax: missing
        map("Q", "W");
        when_end();
        "#,
        r#"
        layer("a", || {
            map("A", "B");
        layer("b", || { map("C", "D"); });
        map("X", layer_hold("a")); map("Y", layer_hold("b"));
    //                                                      ^ syntax: it would close the bracket here (test.rhai:2:23)"#,
    ] {
        check(text);
    }
    // Only the first is said of a file that cannot be mended.
    let text = "map(\"A\" \"B\");\n".repeat(99);
    assert_eq!(read(&text).diagnostics.len(), 1);
}

#[test]
fn a_diagnostic_does_nothing_to_a_terminal() {
    let printed: String =
        read("map(\"\u{1b}[31m\", \"\\u001b[31m\");").diagnostics.iter().map(ToString::to_string).collect();
    assert!(printed.contains("no key is called \"␛[31m\"") && !printed.contains('\u{1b}'), "{printed}");
    assert!(printed.contains("1 | map(\"␛[31m\", "), "{printed}");
}

#[test]
fn unknown_keys_have_near_ones() {
    for (words, meant) in [
        (&["md_00", "Md_00", "MD00", "md_0"][..], "MD_0"),
        (&["lk_01", "LK01"], "\"LK_01\"?"),
        (&["vk_A", "a"], "\"A\"?"),
        (&["vk_esc", "esc"], "\"Esc\"?"),
        (&["Qq"], "\"Q\"?"),
        (&["Gx"], "\"G\" or \"X\"?"),
        (&["Windows", "WinKey", "Command"], "\"LMeta\" or \"RMeta\"?"),
        (&["Option"], "\"LAlt\" or \"RAlt\"?"),
        (&["LeftArrow", "Vk_leftarrow"], "\"Left\"?"),
        (&["RightArrow"], "\"Right\"?"),
        (&["UpArrow"], "\"Up\"?"),
        (&["DownArrow"], "\"Down\"?"),
        (&["Apostrophe"], "\"Quote\"?"),
        (&["Backtick", "Tilde"], "\"Grave\"?"),
        (&["Colon"], "\"Semicolon\"?"),
        (&["Hyphen", "Dash"], "\"Minus\"?"),
        (&["Plus"], "\"Equal\" or \"NumpadAdd\"?"),
        (&["KP_1", "kp_1"], "\"Numpad1\"?"),
        (&["KP_Enter"], "\"NumpadEnter\"?"),
        (&["PlayPause"], "\"MediaPlayPause\"?"),
    ] {
        for word in words {
            let printed = read(&format!("map(\"A\", \"{word}\");")).diagnostics.first().unwrap().to_string();
            assert!(
                printed.contains(&format!("did you mean {}", meant.replace("MD_0", "\"MD_0"))),
                "{printed}"
            );
        }
    }
    check(
        r#"
        map("Plus", "A");
        //  ^^^^^^ unknown-key: as an output, write "Shift+Equal"
        when("md_00", || {});
        //   ^^^^^^^ unknown-layer: did you mean "MD_00"?
        map("VK_Shift", "VK_Ctrl+VK_A");
        //  ^^^^^^^^^^ which-side: there are two Shift keys
        map("Control", "Control");
        //  ^^^^^^^^^ which-side: did you mean "LCtrl" or "RCtrl"?
        "#,
    );
}

#[test]
fn keys_without_a_name_cannot_be_mapped() {
    check(
        r#"
        map("Key#240", "C");
        //  ^^^^^^^^^ unnamed-key: keyrx has no name for such a key
        map("A", "Ctrl+Key#30");
        //       ^^^^^^^^^^^^^ unnamed-key: "Key#30" cannot be mapped
        set(#{ hands: #{ left: ["Key#7"], neither: 5, right: ["Jj"] } });
        //                      ^^^^^^^ unnamed-key: cannot be mapped
        //                                         ^ wrong-type: expected an array
        //                                                    ^^^^ unknown-key: did you mean "J"?
        "#,
    );
}

#[test]
fn a_diagnostic_shows_the_place() {
    let text = "layer(\"nav\", || {\n    map(\"変換\", \"Ecsape\");\n});\n";
    let printed = read(text).diagnostics.first().unwrap().to_string();
    assert_eq!(
        printed,
        "error[unknown-key]: no key is called \"Ecsape\"\n \
         --> test.rhai:2:15\n  \
           |\n\
         2 |     map(\"変換\", \"Ecsape\");\n  \
           |                 ^^^^^^^^ did you mean \"Escape\"?\n"
    );
}

#[test]
fn a_diagnostic_is_data() {
    let json = serde_json::to_value(&read("map(\"Q\", \"Ecsape\");").diagnostics).unwrap();
    let expected = serde_json::json!([{
        "severity": "error", "code": "unknown-key", "message": "no key is called \"Ecsape\"",
        "file": "test.rhai", "line": 1, "column": 10, "end_line": 1, "end_column": 18,
        "source_line": "map(\"Q\", \"Ecsape\");", "label": "did you mean \"Escape\"?", "help": null, "related": [],
    }]);
    assert_eq!(json, expected);
}

#[test]
fn every_spelling_of_every_key_can_be_mapped() {
    let names =
        Key::all().flat_map(|key| key.spellings()).flat_map(|name| [name.to_string(), format!("VK_{name}")]);
    let text: String = names.map(|name| format!("map(\"{name}\", \"{name}\");")).collect();
    let loaded = read(&text);
    assert!(
        loaded.diagnostics.iter().all(|diagnostic| diagnostic.code == "shadowed") && loaded.keymap.is_some()
    );
}

#[test]
fn texts_are_keys_and_chords() {
    types(
        check(r#"map("A", "Ctrl+Shift+Escape");"#),
        "+A -A",
        "+LShift +LCtrl +Escape -Escape -LCtrl -LShift",
    );
    types(check(r#"map("A", "RCtrl + B");"#), "+A -A", "+RCtrl +B -B -RCtrl");
    types(check(r#"map("A", "Shift");"#), "+A -A", "+LShift -LShift");
    types(check(r#"map('A', 'B');"#), "+A -A", "+B -B");
    check(
        r#"
        map("A", "Ctrl+Sift+B");
        //       ^^^^^^^^^^^^^ unknown-key: no key is called "Sift"
        map("B", "A+B");
        //       ^^^^^ not-a-modifier: "A" is not a modifier
        map("Ctrl+A", "B");
        //  ^^^^^^^^ not-supported-yet: a chord
        map(";", "B");
        //  ^^^ unknown-key: did you mean "Semicolon"?
        map("MD_00", "B");
        //  ^^^^^^^ not-a-key: a custom modifier, not a key
        "#,
    );
}

#[test]
fn with_adds_modifiers() {
    types(check(r#"map("A", with_shift("B"));"#), "+A -A", "+LShift +B -B -LShift");
    types(
        check(r#"map("A", with_ctrl(with_alt("Win+B")));"#),
        "+A -A",
        "+LCtrl +LAlt +LMeta +B -B -LMeta -LAlt -LCtrl",
    );
    types(check(r#"map("A", with_mods("B", false, true, false, false));"#), "+A -A", "+LCtrl +B -B -LCtrl");
    types(check(r#"map("A", with_win("B"));"#), "+A -A", "+LMeta +B -B -LMeta");
    check(
        r#"
        map("A", with_shift("MD_00"));
        //                  ^^^^^^^ wrong-action: only a key or a chord can have modifiers
        map("B", with_mods("B", 1, false, false, false));
        //                      ^ wrong-type: expected `true` or `false`
        map("C", with_ctrl("C", "D"));
        //       ^^^^^^^^^ wrong-arguments: to map a key, write `map("A", with_ctrl("B"));`
        "#,
    );
}

#[test]
fn tap_hold_is_a_statement_and_an_action() {
    for text in [
        r#"tap_hold("A", "B", "LCtrl");"#,
        r#"tap_hold("A", "B", "LCtrl", 200);"#,
        r#"tap_hold("A", "B", "LCtrl", 199.7);"#,
        r#"map("A", tap_hold("B", "LCtrl"));"#,
        r#"map("A", tap_hold("B", "LCtrl", #{ term: 200 }));"#,
        r#"set(#{ tapping_term: 200 }); map("A", tap_hold("B", "LCtrl", #{ flavor: "balanced" }));"#,
    ] {
        types(check(text), "+A 199 -A 1 +A 200 -A", "@199 +B -B @400 +LCtrl -LCtrl");
    }
    check(
        r#"
        tap_hold("A", "B", "LCtrl", -1);
        //                          ^^ out-of-range: -1 ms is out of range
        tap_hold("B", "MD_00", "LCtrl");
        //            ^^^^^^^ wrong-action: a tap would do nothing
        tap_hold("C", "C", tap_hold("D", "E"));
        //                 ^^^^^^^^^^^^^^^^^^ wrong-action: a tap-hold cannot be part of another
        tap_hold("D", "D", "D", "D");
        //                      ^^^ wrong-type: expected a number of milliseconds, found "D"
        hold_only("E", transparent(), 100);
        //             ^^^^^^^^^^^^^ wrong-action: cannot be part
        "#,
    );
    check(
        r#"
        tap_hold("A", "B");
    //  ^^^^^^^^^^^^^^^^^^ unused: name it first: `tap_hold(key, tap, hold);`
        "#,
    );
}

#[test]
fn settings_hold_up_to_the_end_of_their_block() {
    let text = r#"
        layer("base", || { set(#{ tapping_term: 50 }); tap_hold("A", "A", "LCtrl"); });
        tap_hold("B", "B", "LAlt");
    "#;
    types(check(text), "+A 60 -A +B 60 -B", "@50 +LCtrl @60 -LCtrl @120 +B -B");
    let text = r#"
        set(#{ chordal: true, quick_tap: 0, flow_tap: 0, retro_tap: false, hands: #{ left: ["J"], neither: ["K"] } });
        tap_hold("F", "F", "LCtrl");
    "#;
    types(check(text), "+F +J -J -F", "+F +J -J -F");
    types(check(text), "+F +K -K -F", "+LCtrl +K -K -LCtrl");
    check(
        r#"
        set(#{ hands: #{ lift: ["J"], right: ["Q", "Jay"] } });
        //               ^^^^ unknown-setting: did you mean `left`?
        //                                         ^^^^^ unknown-key: no key is called "Jay"
        set(#{ one_shot_timeout: 5 });
        //     ^^^^^^^^^^^^^^^^ not-supported-yet: not supported yet
        set(#{ chordal: "yes" });
        //              ^^^^^ wrong-type: expected `true` or `false`, found "yes"
        set("chordal");
        //  ^^^^^^^^^ wrong-type: expected settings
        "#,
    );
}

#[test]
fn sequences_are_of_plain_keys() {
    types(check(r#"sequence("A", ["B", "C"]);"#), "+A -A", "+B -B +C -C");
    types(check(r#"map("A", tap_hold(sequence(["B", "C"]), "LK_00"));"#), "+A -A", "+B -B +C -C");
    check(
        r#"
        sequence("A", ["B", "Ctrl+C", "MD_00"]);
        //                  ^^^^^^^^ wrong-action: only plain keys
        //                            ^^^^^^^ wrong-action: only plain keys
        sequence("B", []);
        //            ^^ empty: this array is empty
        sequence("C", "D");
        //            ^^^ wrong-type: expected an array of keys' names, found "D"
        "#,
    );
}

#[test]
fn layers_are_held_toggled_and_switched_to() {
    let text = r#"
        map("F1", layer_hold("one"));
        map("F2", layer_toggle("two"));
        map("F3", layer_switch("two"));
        map("F4", layer_switch("base"));
        layer("one", || { map("A", "B"); map("C", transparent()); });
        layer("two", || { map("A", "C"); map("C", nothing()); });
    "#;
    types(check(text), "+F1 +A -A -F1 +A -A", "+B -B +A -A");
    types(check(text), "+F2 -F2 +F1 +A -A +C -C -F1 +A -A", "+B -B +C -C");
    types(check(text), "+F3 -F3 +A -A +F4 -F4 +A -A", "+C -C +A -A");
    check(
        r#"
        map("A", layer_hold("base"));
        //                  ^^^^^^ wrong-action: `layer_switch("base")`
        map("B", layer_toggle("nowhere"));
        //                    ^^^^^^^^^ unknown-layer: a layer is made by `layer("nowhere", || { ... });`
        map("C", layer_hold(5));
        //                  ^ wrong-type: expected a layer's name
        layer("Shift", || { map("A", "Bx"); });
        //    ^^^^^^^ layer-name: a layer cannot be called "Shift"
        //                           ^^^^ unknown-key: no key
        "#,
    );
    check(
        r#"
        layer("lost", || { map("A", "B"); });
        //    ^^^^^^ unreachable: nothing switches the layer "lost" on
        "#,
    );
}

#[test]
fn conditions_nest() {
    let text = r#"
        map("F1", "MD_00"); map("F2", "MD_0b"); map("F3", layer_toggle("nav"));
        layer("nav", || {});
        when("MD_00", || { when_not(["MD_0B", "nav"], || { map("A", "B"); }); });
        when(["MD_00", "nav"], || { map("A", "C"); });
    "#;
    types(check(text), "+F1 +A -A -F1 +A -A", "+B -B +A -A");
    types(check(text), "+F3 -F3 +F1 +F2 +A -A -F1 -F2", "+C -C");
    types(
        check(r#"when("Shift", || { map("A", "B"); });"#),
        "+RShift +A -A -RShift",
        "+RShift +B -B -RShift",
    );
    let of_focus = |text| check(text).keymap.unwrap().is_focus_dependent();
    assert!(of_focus(r#"when(["LCtrl", "IME"], || { map("A", "B"); });"#));
    assert!(of_focus(r#"when_not("LANG_JA", || { map("A", "B"); });"#));
    assert!(!of_focus(r#"when_not("LCtrl", || { map("A", "B"); });"#));
    check(
        r#"
        when("MD_100", || { map("A", "Bx"); });
        //   ^^^^^^^^ custom-number: "MD_100" is too high
        //                           ^^^^ unknown-key: no key
        when(["MD_00", "CapsLock"], || {});
        //             ^^^^^^^^^^ unknown-layer: a key cannot be a condition
        when(["MD_00", "Shfit"], || {});
        //             ^^^^^^^ unknown-layer: did you mean "Shift"?
        when("MD_00");
    //  ^^^^ wrong-arguments: it is `when(condition, block)`
        when("MD_00", [map("A", "B")]);
        //            ^^^^^^^^^^^^^^^ wrong-type: write the mappings as a block
        when("MD_00", |x| {});
    //  ^^^^ wrong-type: a block has no parameters
        when(5, || {});
        //   ^ wrong-type: expected a condition
        when_not([], || {});
        //       ^^ empty: this array is empty
        "#,
    );
}

#[test]
fn mappings_that_never_hold_are_told() {
    check(
        r#"
        map("F1", "MD_01"); map("F2", "LK_02");
        map("A", "B");
        map("A", "C");
    //  ^^^^^^^^^^^^^ shadowed: the first is here (test.rhai:3:9)
        for key in ["A"] { map(key, "D"); }
        //                 ^^^^^^^^^^^^^ shadowed: "A" is mapped already
        device("k*", || { map("A", "D"); });
        device("*", || { map("A", "E"); });
        //               ^^^^^^^^^^^^^ shadowed: the first mapping holds
        when("MD_01", || { map("H", "Left"); });
        when(["MD_01", "LK_02"], || { map("H", "Home"); map("J", transparent()); map("J", "A"); });
        //                            ^^^^^^^^^^^^^^^^ unreachable: put the more special condition first
        when(["MD_01", "MD_03"], || { map("K", "Up"); });
        //   ^^^^^^^^^^^^^^^^^^ unreachable: no mapping sets MD_03
        when("MD_01", || { when_not("MD_01", || { map("L", "Up"); }); });
        //                          ^^^^^^^ unreachable: contradict
        when_not("LK_09", || { map("L", "Up"); });
        map("M", transparent());
    //  ^^^^^^^^^^^^^^^^^^^^^^^ unreachable: nothing lies below the base layer
        let unused = with_shift("A");
        //           ^^^^^^^^^^^^^^^ unused: no mapping uses this action
        "#,
    );
}

#[test]
fn devices_are_told_apart() {
    let text = r#"
        device("k?", || { map("A", "B"); });
        device("other", || { map("A", "C"); });
        map("A", "D");
    "#;
    types(check(text), "+A -A", "+B -B");
    assert!(!check(r#"device("*", || { map("A", "B"); });"#).keymap.unwrap().is_device_dependent());
    check(
        r#"
        device("", || {});
        //     ^^ empty: `keyrx devices` lists their names
        "#,
    );
}

#[test]
fn syntax_errors_say_what_to_do() {
    for text in [
        r#"
        map("A", "B")
        //          ^ syntax: a `;` is missing here
        map("C", "D");
        "#,
        r#"
        when("MD_00") {
        //            ^ syntax: `when("MD_00", || { ... });`
            map("A", "B");
        }"#,
        r#"
        map('Escape', "B");
        //  ^^^^^^^^ syntax: write "Escape" in double quotes
        "#,
        r#"
        map("A", with_shift("B");
        //                      ^ syntax: `,` or `)` is missing here
        "#,
        r#"
        import "other" as other;
    //  ^^^^^^ syntax: write `load("file.rhai");`
        "#,
        r#"
        let x = eval("1");
        //      ^^^^ syntax: `eval` cannot be used in a keymap
        "#,
        r#"
        layer("nav", || { map("A", "B");
        //                             ^ syntax: a block ends with `});`
        "#,
        r#"
        map("A", "B"));
        //           ^ syntax: there is one `)` too many
        "#,
        r#"
        }
    //  ^ syntax: there is one `}` too many
        "#,
        r#"
        map(“A”, "B");
        //  ^ syntax: straight double quotes: `"A"`
        "#,
        r#"
        let name = "A;
        //         ^^^ syntax: texts end where they began, in the same line
        "#,
    ] {
        check(text);
    }
}

#[test]
fn scripts_compute() {
    let text = r#"
        fn swap(a, b) { map(a, b); map(b, a); }
        swap("A", "B");
        let number = 1;
        for key in ["Q", "W"] { map(key, "F" + number); number += 1; }
        ["X", "Y"].map(|key| map(key, "Num1"));
        let modifier = with_ctrl("Z");
        map("E", modifier); map("R", modifier);
    "#;
    types(check(text), "+A -A +B -B +W -W +Y -Y", "+B -B +A -A +F2 -F2 +Num1 -Num1");
    check(
        r#"
        for key in ["Q", "Qq"] { map(key, "A"); }
        //                           ^^^ unknown-key: no key is called "Qq"
        map("W", "A" - 1);
        //           ^ unknown-function: `-` cannot be used with a text and a number
        throw "no such keyboard";
    //  ^^^^^ thrown: no such keyboard
        "#,
    );
}

#[test]
fn what_comes_later_is_said_to_and_the_rest_is_checked() {
    for function in FUNCTIONS.iter().filter(|function| !function.is_available()) {
        let Function { name, parameters, .. } = function;
        let arguments = vec!["|| { map(\"Qq\", \"A\"); }"; parameters.len()].join(", ");
        let codes: Vec<_> =
            read(&format!("{name}({arguments});")).diagnostics.iter().map(|d| d.code).collect();
        assert_eq!(codes[0], "not-supported-yet", "{name}");
        assert_eq!(codes[1..], vec!["unknown-key"; parameters.len()], "{name}");
    }
}

#[test]
fn a_mapping_knows_its_statement() {
    let text = "layer(\"base\", || {\n  map(\n    \"A\", // )\n    \"B\"); });\nsequence(\"C\", [\"D\"]);";
    let loaded = check(text);
    let mut engine = Engine::new(load_text("m", text, None).keymap.unwrap());
    let mut effects: Vec<Effect> = Vec::new();
    let (events, _) = parse("+A -A +C -C", Time::ZERO).unwrap();
    for Moment { time, motion, key } in events {
        engine.step(Input::Key(KeyEvent { time, device: DeviceId(0), key, motion }), &mut effects);
    }
    let sources: Vec<_> = effects.iter().filter_map(|effect| loaded.mapping(effect.cause.mapping?)).collect();
    let (first, last) = (sources.first().unwrap(), sources.last().unwrap());
    assert_eq!((first.file.as_str(), first.line, first.column), ("test.rhai", 2, 3));
    assert_eq!(first.text, "map(\n    \"A\", // )\n    \"B\")");
    assert_eq!((last.line, last.text.as_str()), (5, "sequence(\"C\", [\"D\"])"));
}

#[test]
fn the_reference_has_every_word() {
    let reference = reference();
    for function in FUNCTIONS {
        assert!(reference.contains(&format!("| `{}` |", function.signature())), "{}", function.name);
    }
    assert!(SETTINGS.iter().all(|setting| reference.contains(&format!("| `{}` |", setting.name))));
    assert!(Key::all().all(|key| reference.contains(&format!("| `{key}` |"))));
    assert_eq!(FUNCTIONS.iter().position(|function| function.kind() == Kind::Action), Some(20));
}

#[test]
fn a_keymap_whose_texts_were_kept_needs_no_file() {
    let home = std::env::temp_dir().join(format!("keyrx-kept-{}", std::process::id()));
    std::fs::create_dir_all(home.join("stdlib")).unwrap();
    let main = home.join("main.rhai");
    std::fs::write(home.join("none.rhai"), "").unwrap();
    let other_names = "load(\"none.rhai\"); load(\"./none.rhai\"); load(\"stdlib/../none.rhai\");";
    std::fs::write(
        &main,
        format!("{other_names} load(\"more.rhai\"); load(\"stdlib/shift.rhai\"); map(\"F1\", \"F2\");"),
    )
    .unwrap();
    std::fs::write(home.join("stdlib/more.rhai"), "map(\"F3\", \"F4\");").unwrap();
    let texts = load(&main).texts();
    std::fs::remove_dir_all(&home).unwrap();
    assert!(load(&main).keymap.is_none());
    let kept = load_kept(&main, &texts);
    assert!(kept.diagnostics.is_empty() && kept.keymap.is_some(), "{:?}", kept.diagnostics);
    assert!(load_kept(&main, &texts[..1]).keymap.is_none(), "a text is missing");
}
