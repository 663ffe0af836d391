//! What keymaps say, and what is said of keymaps that are wrong.
//!
//! A diagnostic is expected where the tested text says so, in a comment under the line that it is about:
//!
//! ```text
//! map("Escpe", "A");
//!     ^^^^^^^ unknown-key: did you mean "Escape"?
//! ```

use std::time::{Duration, Instant};

use keyrx_engine::Key;
use proptest::prelude::*;

use crate::{Diagnostic, FUNCTIONS, Loaded, Severity, load, load_text};

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
                let (code, words) = mark.split_once('^').unwrap().1.trim_matches('^').trim().split_once(": ").unwrap();
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
    let expected: Vec<_> = marks.iter().map(|(line, start, end, code, _)| (*line, *start, *end, code.clone())).collect();
    assert_eq!(loaded.diagnostics.iter().map(said).collect::<Vec<_>>(), expected, "{printed}");
    for ((.., words), diagnostic) in marks.iter().zip(&loaded.diagnostics) {
        assert!(diagnostic.to_string().contains(words), "\"{words}\" is not in\n{diagnostic}");
    }
    let wrong = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(loaded.keymap.is_none(), wrong);
    loaded
}

#[test]
fn a_keymap_loads() {
    check(
        r#"
        map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 180, flavor: "balanced" }));
        map("A", "Ctrl+Shift+B");
        map("RAlt", layer_hold("nav"));
        layer("nav", || {
            map("H", "Left");
            map("J", transparent());
            when(["MD_00", "LCtrl"], || { map("K", nothing()); });
        });
        tap_hold("Space", "Space", "MD_00", 150);
        tap_hold("F", "F", "LCtrl");
        hold_only("Enter", "LK_01");
        sequence("F1", ["H", "I"]);
        "#,
    );
}
