//! The text of a file, and places in it.
//!
//! The script interpreter tells only where a call begins. Where its arguments stand is found here, in the text, and
//! only when there is something to say about them. Line ends are `\n` and there is no byte order mark: `tidy` has
//! seen to that, so that places are the interpreter's as well as the user's.

use std::ops::Range;
use std::path::PathBuf;

use rhai::Position;

/// The number of a file of this keymap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u16);

/// A character of a file, as the interpreter names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: FileId,
    line: u16,
    column: u16,
}

impl Place {
    pub fn new(file: FileId, position: Position) -> Place {
        let number = |n: Option<usize>| n.and_then(|n| u16::try_from(n).ok()).unwrap_or(1).max(1);
        Place { file, line: number(position.line()), column: number(position.position()) }
    }

    /// From 1.
    pub fn line(self) -> usize {
        usize::from(self.line)
    }

    /// From 1, in characters.
    pub fn column(self) -> usize {
        usize::from(self.column)
    }
}

/// A part of a file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub file: FileId,
    pub start: usize,
    pub end: usize,
}

/// A call of a function, as it stands in the text.
#[derive(Debug)]
pub struct CallText {
    /// From the name to the closing parenthesis.
    pub whole: Span,
    pub arguments: Vec<Span>,
}

#[derive(Debug)]
pub struct Source {
    /// What the file is called in diagnostics.
    pub name: String,
    /// What else it has been called since.
    pub other_names: Vec<String>,
    pub text: String,
    /// What the interpreter gets: the text without what it cannot get past.
    pub script: String,
    /// What has been taken out of the script.
    pub taken: String,
    /// The file itself, however it was named.
    pub path: Option<PathBuf>,
    /// Where `load` looks first.
    pub dir: Option<PathBuf>,
    pub id: FileId,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

impl Source {
    pub fn new(id: FileId, name: &str, text: &str, dir: Option<PathBuf>) -> Source {
        let text = tidy(text);
        let starts = text.match_indices('\n').map(|(end, _)| end.saturating_add(1));
        let lines = std::iter::once(0).chain(starts).collect();
        let (script, taken) = (text.clone(), String::new());
        Source {
            id,
            name: name.to_owned(),
            other_names: Vec::new(),
            text,
            script,
            taken,
            path: None,
            dir,
            lines,
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.name).chain(&self.other_names)
    }

    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or("")
    }

    /// The whole line, without its end.
    pub fn line(&self, number: usize) -> &str {
        let start = self.lines.get(number.saturating_sub(1)).copied().unwrap_or(self.text.len());
        self.text.get(start..).unwrap_or("").lines().next().unwrap_or("")
    }

    /// Line and column of a byte, both from 1.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).unwrap_or("").chars().count().saturating_add(1);
        (line, column)
    }

    pub fn offset(&self, place: Place) -> usize {
        let line = self.line(place.line());
        let start = self.lines.get(place.line().saturating_sub(1)).copied().unwrap_or(self.text.len());
        let column =
            line.char_indices().nth(place.column().saturating_sub(1)).map_or(line.len(), |(at, _)| at);
        start.saturating_add(column)
    }

    /// The word at a place, or its one character.
    pub fn word(&self, place: Place) -> Span {
        let start = self.offset(place);
        let rest = self.text.get(start..).unwrap_or("");
        let length = match rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()) {
            0 => token_end(rest, 0).min(rest.lines().next().unwrap_or("").len()),
            length => length,
        };
        self.span(start..start.saturating_add(length))
    }

    /// The end of the last thing that stands before a place.
    pub fn before(&self, place: Place) -> Span {
        let last = last_before(&self.text, self.offset(place));
        let text = self.text.get(last.clone()).unwrap_or("");
        let start = last.end.saturating_sub(text.chars().next_back().map_or(0, char::len_utf8));
        self.span(start..last.end)
    }

    /// The call that begins at a place.
    pub fn call(&self, place: Place) -> Option<CallText> {
        let name = self.word(place);
        let rest = self.text.get(name.end..)?;
        let open = name.end.saturating_add(rest.len().saturating_sub(rest.trim_start().len()));
        let (mut arguments, end) = self.pieces(open)?;
        if self.text.get(..name.start)?.trim_end().ends_with('.') {
            // `"A".map("B")`: the first argument stands before the name.
            arguments.insert(0, name);
        }
        Some(CallText { whole: self.span(name.start..end), arguments })
    }

    /// The elements of an array that stands at `span`; empty if none does.
    pub fn elements(&self, span: Span) -> Vec<Span> {
        self.pieces(span.start).map_or(Vec::new(), |(pieces, _)| pieces)
    }

    /// Name and value of an entry of an object map that stands at `span`.
    pub fn entry(&self, span: Span, key: &str) -> Option<(Span, Span)> {
        let open = span.start.saturating_add(1);
        self.pieces(open)?.0.into_iter().find_map(|piece| {
            let (name, value) = self.slice(piece).split_once(':')?;
            (name.trim().trim_matches('"') == key).then(|| {
                let value_start = piece.end.saturating_sub(value.trim_start().len());
                let name_end = piece.start.saturating_add(name.trim_end().len());
                (self.span(piece.start..name_end), self.span(value_start..piece.end))
            })
        })
    }

    /// What stands between the bracket at `open` and its match, parted by commas; and the end of that match.
    fn pieces(&self, open: usize) -> Option<(Vec<Span>, usize)> {
        if !self.text.get(open..)?.starts_with(['(', '[', '{']) {
            return None;
        }
        let mut pieces = Vec::new();
        let mut piece: Option<Range<usize>> = None;
        let (mut depth, mut at) = (0_usize, open);
        while at < self.text.len() {
            let end = token_end(&self.text, at);
            let token = self.text.get(at..end)?;
            match token {
                "(" | "[" | "{" => depth = depth.saturating_add(1),
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let is_edge = depth == 0 || at == open || (depth == 1 && token == ",");
            if is_edge {
                pieces.extend(piece.take().map(|piece| self.span(piece)));
            } else if is_meant(token) {
                piece = Some(piece.map_or(at, |piece| piece.start)..end);
            }
            at = end;
            if depth == 0 {
                return Some((pieces, at));
            }
        }
        None
    }

    pub fn span(&self, bytes: Range<usize>) -> Span {
        Span { file: self.id, start: bytes.start, end: bytes.end }
    }
}

fn tidy(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n")
}

/// What the interpreter reads: each bracket, sign and letter, and each text as a whole; where, and what.
pub fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = 0;
    let all = std::iter::from_fn(move || {
        let at = next;
        next = token_end(text, at);
        text.get(at..next).map(|token| (at, token))
    });
    all.filter(|(_, token)| is_meant(token))
}

/// The last token that begins before `limit`.
pub fn last_before(text: &str, limit: usize) -> Range<usize> {
    let last = tokens(text).take_while(|(at, _)| *at < limit).last();
    last.map_or(0..0, |(at, token)| at..at.saturating_add(token.len()))
}

/// Whether a token is neither space nor comment.
fn is_meant(token: &str) -> bool {
    !token.trim().is_empty() && !token.starts_with("//") && !token.starts_with("/*")
}

/// Where the token that begins at `at` ends: a text, a comment, or else one character.
pub fn token_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or("");
    let mut chars = rest.chars();
    let first = chars.next();
    let length = match first {
        Some('/') if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
        Some('/') if rest.starts_with("/*") => comment_length(rest),
        Some(quote @ ('"' | '`')) => text_length(rest, quote),
        Some('\'') => text_length(rest, '\''),
        Some(c) => c.len_utf8(),
        None => 1,
    };
    at.saturating_add(length)
}

fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            // What is not closed is a mistake, and no longer than its line; an apostrophe opens nothing then.
            '\n' if quote == '\'' => return 1,
            '\n' if quote == '"' => return at,
            _ if c == quote => return at.saturating_add(quote.len_utf8()),
            _ => {}
        }
    }
    if quote == '\'' { 1 } else { rest.len() }
}

/// Block comments nest.
fn comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0_usize;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let step = match here {
            _ if here.starts_with("/*") => {
                depth = depth.saturating_add(1);
                2
            }
            _ if here.starts_with("*/") => {
                depth = depth.saturating_sub(1);
                2
            }
            _ => here.chars().next().map_or(1, char::len_utf8),
        };
        at = at.saturating_add(step);
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}
