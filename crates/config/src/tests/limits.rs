//! Nothing that a script does takes long, takes much, or brings the program down.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::read;
use crate::Loaded;

/// Reads `text`, which must not take longer than a second. The limit here is generous: test machines are busy.
fn read_in_time(text: &str) -> Loaded {
    let start = Instant::now();
    let loaded = read(text);
    assert!(start.elapsed() < Duration::from_secs(3), "{text:.80} took {:?}", start.elapsed());
    loaded
}

#[test]
fn scripts_that_run_wild_are_stopped() {
    for text in [
        "loop {}",
        "fn f(x) { f(x) + 1 } f(1);",
        "let s = \"a\"; loop { s += s; }",
        "let s = \"ab\"; loop { s = `${s}${s}`; }",
        "let s = \"a\"; s.pad(99999, \"a\"); s.replace(\"a\", s);",
        "let a = [1]; loop { a += a; }",
        "let a = [1]; loop { a = [a, a]; }",
        "let a = [1]; loop { a = [a]; }",
        "let m = #{}; loop { m = #{ a: m, b: m }; }",
        "let m = #{}; let i = 0; loop { m[\"k\" + i] = i; i += 1; }",
        "let a = []; a.pad(1000000000, 1);",
        "let b = blob(1000000000);",
        "let f = || 1; loop { let g = f; f = || g; }",
        "for x in 0..9223372036854775807 {}",
        "loop { map(\"A\", \"B\"); }",
        "loop { tap_hold(\"A\", \"B\", \"C\"); }",
        "loop { sequence(\"A\", [\"B\"]); }",
        "loop { when_start(\"MD_00\"); }",
        "loop { when(\"MD_00\", || {}); }",
        "let i = 0; loop { layer(\"l\" + i, || {}); i += 1; }",
        "fn f() { layer(\"x\", || { f(); }); } f();",
        "let i = 0; loop { device(\"d\" + i, || {}); i += 1; }",
    ] {
        let loaded = read_in_time(text);
        let is_stopped = loaded.diagnostics.iter().any(|diagnostic| diagnostic.code == "limit");
        assert!(is_stopped && loaded.keymap.is_none(), "{text}");
    }
    // These wear the checks out that come after the script.
    for text in [
        "let s = \"x\"; for i in 0..15 { s += s; } for i in 0..100 { layer(s + i, || {}); map(\"B\", layer_hold(s + i)); }",
        "let s = \"x\"; for i in 0..16 { s += s; } map(s, \"A\"); map(\"A\", s); throw s;",
        "let a = []; for i in 0..9000 { a.push(\"MD_0\" + i % 9); } for n in 0..20 { when(a, || { map(\"A\", \"B\"); }); }",
        "fn f(n) { when(\"MD_\" + n, || { if n == 90 { map(\"A\", \"B\"); } else { f(n + 1); } }); } f(10);",
        "let a = []; for i in 10..74 { a.push(\"MD_\" + i); }
         for n in 0..900 { when(a, || { for i in 0..26 { map(\"Num\" + i % 10, \"A\"); } }); a.push(a.shift()); }",
    ] {
        let loaded = read_in_time(text);
        assert!(loaded.diagnostics.iter().all(|d| d.to_string().len() < 4_000), "{text}");
        assert!(loaded.diagnostics.iter().any(|d| ["out-of-range", "limit", "shadowed", "unreachable"].contains(&d.code)), "{text}");
    }
    assert!(read_in_time("sleep(1000);").diagnostics.iter().any(|d| d.message.contains("cannot sleep")));
    assert!(read_in_time("Fn(\"sleep\").call(1000.0);").keymap.is_none());
}

#[test]
fn texts_that_are_large_or_deep_are_refused() {
    for (text, is_refused) in [
        (format!("let x = {}1{};", "(".repeat(9999), ")".repeat(9999)), true),
        (format!("let x = {}1{};", "[".repeat(9999), "]".repeat(9999)), true),
        (format!("{}{}", "{".repeat(9999), "}".repeat(9999)), true),
        (format!("let x = {}true;", "!".repeat(9999)), true),
        (format!("let x = 1{};", "+1".repeat(9999)), true),
        (format!("let x = \"{}\";", "a".repeat(200_000)), true),
        ("`${".repeat(9999), true),
        ("\n".repeat(70_000), true),
        (" ".repeat(2 << 20), true),
        ("/*".repeat(99_999), false),
        ("map(\"A\", \"B\");".repeat(9_999), false),
        ("map(\"A\", \"B\");\n".repeat(9_999), false),
        ("f(); ".repeat(9999), true),
        ((0..9999).map(|n| format!("f{n}();")).collect(), true),
    ] {
        assert_eq!(read_in_time(&text).keymap.is_none(), is_refused, "{text:.80}");
    }
}

#[test]
fn honest_scripts_stay_far_below_the_limits() {
    let text = "for layer in 0..100 { when_start(\"LK_0\"); for n in 0..10 { map(\"F\" + (n + 1), with_shift(\"A\")); } when_end(); }";
    assert!(read_in_time(text).keymap.is_some());
    let tests = |count| format!("when([{}], || {{}});", "\"MD_00\", ".repeat(count));
    assert!(read_in_time(&tests(64)).keymap.is_some() && read_in_time(&tests(65)).keymap.is_none());
}

/// Words of the language, so that random texts get past the parser now and then.
fn word() -> impl Strategy<Value = String> {
    let words = [
        "map",
        "tap_hold",
        "layer",
        "when_start",
        "when_end",
        "device_start",
        "device_end",
        "set",
        "sequence",
        "with_shift",
        "transparent()",
        "load",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "#{",
        "||",
        ",",
        ";",
        ":",
        ".",
        "\"",
        "'",
        "`",
        "\"A\"",
        "\"MD_00\"",
        "\"Ctrl+A\"",
        "\"nav\"",
        "\"変換\"",
        "|| {",
        "});",
        "let x = ",
        "x",
        "1",
        "-",
        "+",
        "for",
        "in",
        "fn f()",
        "//",
        "/*",
        "*/",
        "\n",
        "\\",
        "term: 5",
        "\u{feff}",
        "\r",
    ];
    prop_oneof![8 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(|c| c.to_string())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_much(words in prop::collection::vec(word(), 0..60)) {
        let loaded = read_in_time(&words.join(" "));
        for diagnostic in &loaded.diagnostics {
            prop_assert!(diagnostic.code != "file" && !diagnostic.to_string().is_empty());
        }
    }

    #[test]
    fn no_value_is_too_much(name in "[a-z_]{3,9}", values in prop::collection::vec(word(), 0..4)) {
        let names = crate::FUNCTIONS.iter().map(|function| function.name).chain([name.as_str()]);
        let text: String = names.map(|name| format!("{name}({});", values.join(", "))).collect();
        read_in_time(&text);
    }
}
