//! Diagnostics: what is wrong with a keymap, where, and what to do about it.
//!
//! A diagnostic carries the line it is about, so that it can be printed, sent or drawn without the file.

use std::fmt;

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::source::Sources;
use crate::text::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
/// Whether there is a keymap all the same.
pub enum Severity {
    /// There is none.
    Error,
    /// There is one, but it may not do what is meant.
    Warning,
}

/// One thing to say about a keymap. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What kind of mistake it is; the same in every version.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The file, as it was named.
    pub file: String,
    /// Where it begins.
    pub line: usize,
    /// Where it begins.
    pub column: usize,
    /// Where it ends.
    pub end_line: usize,
    /// One more than the last character.
    pub end_column: usize,
    /// The line where it begins.
    pub source_line: String,
    /// What is to be said at the very place.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<Related>,
}

/// Another place that a diagnostic has to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

impl Diagnostic {
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            file: String::new(),
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            source_line: String::new(),
            label: None,
            help: None,
            related: Vec::new(),
        })
    }

    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Box<Diagnostic> {
        let mut diagnostic = Diagnostic::error(code, message);
        diagnostic.severity = Severity::Warning;
        diagnostic
    }

    /// An empty label is none.
    pub(crate) fn label(mut self: Box<Self>, label: impl Into<String>) -> Box<Diagnostic> {
        self.label = Some(label.into()).filter(|label| !label.is_empty());
        self
    }

    /// An empty help is none.
    pub(crate) fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Diagnostic> {
        self.help = Some(help.into()).filter(|help| !help.is_empty());
        self
    }

    /// Points to another place, too.
    pub(crate) fn related(
        mut self: Box<Self>,
        sources: &Sources,
        span: Span,
        message: &str,
    ) -> Box<Diagnostic> {
        if let Some(source) = sources.get(span.file) {
            let (line, column) = source.line_column(span.start);
            self.related.push(Related { message: message.into(), file: source.name.clone(), line, column });
        }
        self
    }

    /// Says where it is, and makes sure that it can be shown.
    pub(crate) fn set_place(&mut self, sources: &Sources, span: Span) {
        for text in [Some(&mut self.message), self.label.as_mut(), self.help.as_mut()].into_iter().flatten() {
            *text = shown(text, MAX_TEXT);
        }
        if let Some(source) = sources.get(span.file) {
            (self.line, self.column) = source.line_column(span.start);
            (self.end_line, self.end_column) = source.line_column(span.end);
            self.source_line = source.line(self.line).to_owned();
            self.file.clone_from(&source.name);
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// As text for people: the message, the line with carets under the place, and what to do.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { severity, code, message, file, line, column, .. } = self;
        writeln!(f, "{severity}[{code}]: {message}")?;
        let gutter = " ".repeat(line.to_string().len());
        writeln!(f, "{gutter}--> {}:{line}:{column}", shown(file, usize::MAX))?;
        if !self.source_line.is_empty() {
            // Lines that are longer than a screen show what is around the place.
            let skipped = if column > &100 { column.saturating_sub(40) } else { 0 };
            let line_shown: String = self.source_line.chars().skip(skipped).take(160).collect();
            let line_shown = shown(&line_shown, usize::MAX);
            let before: String =
                line_shown.chars().take(column.saturating_sub(1).saturating_sub(skipped)).collect();
            let length = match self.end_line == *line {
                true => self.end_column.saturating_sub(*column),
                false => usize::MAX,
            };
            let marked: String = line_shown.chars().skip(before.chars().count()).take(length).collect();
            let margin: String = before.chars().map(blank).collect();
            let carets = "^".repeat(marked.trim_end().width().max(1));
            let label = self.label.as_deref().unwrap_or("");
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{line} | {line_shown}")?;
            writeln!(f, "{}", format!("{gutter} | {margin}{carets} {label}").trim_end())?;
        }
        for related in &self.related {
            let Related { message, file, line, column } = related;
            writeln!(f, "{gutter} = note: {message} ({}:{line}:{column})", shown(file, usize::MAX))?;
        }
        if let Some(help) = &self.help {
            writeln!(f, "{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// What is longer does not help.
const MAX_TEXT: usize = 500;

/// A text that does nothing to a terminal, and no longer than `limit`. A character stays one character, so that
/// columns are still right.
fn shown(text: &str, limit: usize) -> String {
    let symbol = |c: char| match u32::from(c) {
        0x09 => c,
        code @ 0..0x20 => char::from_u32(code.saturating_add(0x2400)).unwrap_or(' '),
        // Delete, the later control characters, and those that turn the direction of writing.
        0x7f..0xa0 | 0x200e..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069 => '\u{fffd}',
        _ => c,
    };
    let end = if text.chars().nth(limit).is_some() { "…" } else { "" };
    text.chars().take(limit).map(symbol).chain(end.chars()).collect()
}

/// Room as wide as `c`.
fn blank(c: char) -> String {
    if c == '\t' { "\t".into() } else { " ".repeat(c.width().unwrap_or(0)) }
}
