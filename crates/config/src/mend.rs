//! Mending: how the interpreter gets past a mistake that it stops at.
//!
//! What is mended is the script, a copy of the file's text. Lines and columns stay what they are, so that the next
//! mistake is told at its place in the text; and what has been taken out is kept, to tell what follows from that.

use std::ops::Range;

use crate::text::{Place, Source, last_before, token_end, tokens};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Takes the statement at the place out.
    Statement,
    /// Takes the closing brackets at the place out.
    Closing,
    /// Puts the `;` that is missing before the place, at the end of a line.
    Semicolon,
    /// Closes at the end of the file what is open there.
    End,
}

impl Source {
    /// Mends the script; `false` if that changes nothing.
    pub fn mend(&mut self, mend: Mend, place: Place) -> bool {
        let at = self.script_offset(place);
        match mend {
            Mend::Statement => {
                // Inner statements come before those around them.
                let statement =
                    statements(&self.script).into_iter().find(|it| it.start <= at && at <= it.end);
                self.take_out(statement.unwrap_or(at..at))
            }
            Mend::Closing => {
                let rest = self.script.get(at..).unwrap_or("");
                let behind = rest.trim_start_matches([')', ']', '}', ' ']);
                self.take_out(at..self.script.len().saturating_sub(behind.len()))
            }
            Mend::Semicolon => {
                self.script.insert(last_before(&self.script, at).end, ';');
                true
            }
            Mend::End => {
                let closing: String = open_brackets(&self.script).into_iter().rev().map(|(_, c)| c).collect();
                // The last line may be a comment.
                self.script.push('\n');
                self.script.push_str(&closing);
                !closing.is_empty()
            }
        }
    }

    /// Takes everything out.
    pub fn give_up(&mut self) {
        self.take_out(0..self.script.len());
    }

    fn take_out(&mut self, range: Range<usize>) -> bool {
        let taken = self.script.get(range.clone()).unwrap_or("").to_owned();
        let blank: String = taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        let is_new = taken != blank;
        if is_new {
            self.script.replace_range(range, &blank);
            self.taken.push_str(&taken);
            self.taken.push('\n');
        }
        is_new
    }

    fn script_offset(&self, place: Place) -> usize {
        let mut lines = self.script.split_inclusive('\n');
        let before = lines.by_ref().take(place.line().saturating_sub(1));
        let start = before.fold(0_usize, |start, line| start.saturating_add(line.len()));
        let chars = lines.next().unwrap_or("").chars().take(place.column().saturating_sub(1));
        chars.fold(start, |at, c| at.saturating_add(c.len_utf8()))
    }
}

/// The brackets of a text that are open at its end: where, and what closes them.
pub fn open_brackets(text: &str) -> Vec<(usize, char)> {
    let mut open = Vec::new();
    for (at, token) in tokens(text) {
        match token {
            "(" => open.push((at, ')')),
            "[" => open.push((at, ']')),
            "{" => open.push((at, '}')),
            ")" | "]" | "}" => {
                if let Some(own) = open.iter().rposition(|(_, closing)| token.starts_with(*closing)) {
                    open.truncate(own);
                }
            }
            _ => {}
        }
    }
    open
}

/// A block that is open while `statements` reads.
#[derive(Default)]
struct Block {
    /// Where the statement begins that is being read.
    start: Option<usize>,
    /// How many object maps are open in it.
    maps: usize,
}

/// The statements of a text, without their `;`. Each comes after those in its own blocks. Only `;` and braces part
/// them, for parentheses are what mistakes leave open.
fn statements(text: &str) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut outer: Vec<Block> = Vec::new();
    let mut block = Block::default();
    let (mut last, mut last_end) = ("", 0);
    for (at, token) in tokens(text) {
        // A block ends its statement, unless something goes on behind it; and so does a text that is not closed.
        let is_over = match last {
            "}" => block.maps == 0 && !matches!(token, ")" | "]" | "}" | "," | "." | ";"),
            _ => last.starts_with('"') && (last.len() == 1 || !last.ends_with('"')),
        };
        if is_over {
            statements.extend(block.start.take().map(|start| start..last_end));
        }
        match token {
            ";" => {
                statements.extend(block.start.take().map(|start| start..at));
                block.maps = 0;
            }
            "{" if last == "#" => block.maps = block.maps.saturating_add(1),
            "{" => {
                block.start.get_or_insert(at);
                outer.push(std::mem::take(&mut block));
            }
            "}" if block.maps > 0 => block.maps = block.maps.saturating_sub(1),
            "}" if !outer.is_empty() => {
                statements.extend(block.start.take().map(|start| start..at));
                block = outer.pop().unwrap_or_default();
            }
            _ => {
                block.start.get_or_insert(at);
            }
        }
        (last, last_end) = (token, token_end(text, at));
    }
    while let Some(around) = outer.pop() {
        statements.extend(block.start.map(|start| start..text.len()));
        block = around;
    }
    statements.extend(block.start.map(|start| start..text.len()));
    statements
}
