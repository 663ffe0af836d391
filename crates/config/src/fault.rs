//! The interpreter's errors in our words, and what lets it go on.

use std::any::type_name;

use keyrx_engine::Key;
use rhai::{EvalAltResult, LexError, ParseErrorType};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Made, Unknown};
use crate::mend::{Mend, open_brackets};
use crate::script::MAX_DEPTH;
use crate::source::Sources;
use crate::text::{Place, Span};
use crate::value::described_type;
use crate::vocabulary::{FUNCTIONS, did_you_mean, named, nearest};

/// How the interpreter names the type `Unknown`.
pub const UNKNOWN: &str = "unknown value";

/// What the interpreter stopped at.
pub struct Fault {
    pub place: Place,
    span: Span,
    /// `None` where it follows from a mistake that has been put down.
    diagnostic: Option<Box<Diagnostic>>,
    /// What lets it go on, if anything does.
    pub excuse: Option<Excuse>,
    /// The interpreter cannot read the file.
    pub is_syntax: bool,
}

#[derive(PartialEq, Eq)]
pub enum Excuse {
    Variable(String),
    /// With so many arguments.
    Function(String, usize),
    Mend(Mend),
}

impl Fault {
    pub fn report(self, draft: &mut Draft) {
        if let Some(diagnostic) = self.diagnostic {
            draft.report(self.span, diagnostic);
        }
    }

    /// Says nothing of it.
    pub fn hush(&mut self) {
        self.diagnostic = None;
    }

    fn syntax(sources: &Sources, error: &ParseErrorType, place: Place) -> Option<Fault> {
        let source = sources.get(place.file)?;
        let here = source.slice(source.word(place));
        let is_block = here == "{" && source.slice(source.before(place)) == ")";
        let open = if here.is_empty() { open_brackets(&source.text).pop() } else { None };
        let syntax = |message: &str| Diagnostic::error("syntax", message);
        let mut span = if here.is_empty() { source.before(place) } else { source.word(place) };
        let mut mend = Mend::Statement;
        let diagnostic = match error {
            ParseErrorType::BadInput(LexError::UnterminatedString) => {
                syntax("this text has no closing quote")
                    .help("texts end where they began, in the same line: `\"A\"`")
            }
            _ if here.is_empty() && !open_brackets(&source.script).is_empty() => {
                mend = Mend::End;
                let closing = open.map_or('}', |(_, closing)| closing);
                let diagnostic = syntax(&format!("`{closing}` is missing at the end of the file"))
                    .help("a block ends with `});`, and every `(`, `[` and `{` with its own bracket");
                match open.map(|(at, _)| source.span(at..at.saturating_add(1))) {
                    Some(open) => diagnostic.related(sources, open, "it would close the bracket here"),
                    None => diagnostic,
                }
            }
            ParseErrorType::MissingToken(token, _) if token == ";" && is_block => {
                syntax("a block is missing here")
                    .help("write it as an argument: `when(\"MD_00\", || { ... });`")
            }
            _ if is_stray(error, here) => {
                mend = Mend::Closing;
                syntax(&format!("there is one `{here}` too many")).help("nothing is open that it could close")
            }
            ParseErrorType::MissingToken(token, _) if token == ";" => {
                span = source.before(place);
                if source.line_column(span.end).0 < place.line() {
                    mend = Mend::Semicolon;
                }
                syntax("a `;` is missing here").help("every statement ends with `;`")
            }
            ParseErrorType::MissingToken(token, purpose) if token == "," && purpose.contains("argument") => {
                syntax("`,` or `)` is missing here").help("is a quote or a parenthesis before it missing?")
            }
            ParseErrorType::MissingToken(token, purpose) => {
                syntax(&format!("`{token}` is missing {purpose}"))
            }
            ParseErrorType::BadInput(LexError::MalformedChar(text)) => {
                syntax("single quotes are for one character")
                    .help(format!("write \"{text}\" in double quotes"))
            }
            ParseErrorType::BadInput(LexError::UnexpectedInput(text)) if text.starts_with(CURLY_QUOTES) => {
                syntax("this quote is not straight").help("write texts in straight double quotes: `\"A\"`")
            }
            ParseErrorType::BadInput(LexError::ImproperSymbol(word, text))
                if text.ends_with("is disabled") =>
            {
                syntax(&format!("`{word}` cannot be used in a keymap"))
            }
            ParseErrorType::BadInput(LexError::StringTooLong(_)) | ParseErrorType::LiteralTooLarge(..) => {
                Diagnostic::error("limit", "this is too large")
            }
            ParseErrorType::ExprTooDeep => {
                let message = format!("this is nested too deeply: {MAX_DEPTH} levels are the limit");
                Diagnostic::error("limit", message)
            }
            ParseErrorType::TooManyFunctions => {
                Diagnostic::error("limit", "the script has too many functions")
            }
            ParseErrorType::UnexpectedEOF => syntax("the file ends in the middle of something")
                .help("look for a `}`, `)` or `\"` that is missing"),
            ParseErrorType::Reserved(word) if word == "import" => {
                syntax("`import` is not part of the language").help("write `load(\"file.rhai\");`")
            }
            ParseErrorType::Reserved(word) => syntax(&format!("`{word}` cannot be used here")),
            other => syntax(&lower_first(&other.to_string())),
        };
        // A brace that lost its partner when that was taken out.
        let braces = |brace| source.taken.matches(brace).count();
        let follows = match here {
            "}" => braces('{') > braces('}'),
            "" => braces('{') < braces('}') && open.is_none_or(|(_, closing)| closing == '}'),
            _ => false,
        };
        let diagnostic = (!follows).then_some(diagnostic);
        Some(Fault { place, span, diagnostic, excuse: Some(Excuse::Mend(mend)), is_syntax: true })
    }

    /// What there is to say of an error in the draft's file; `None` if everything has been said.
    pub fn of(draft: &Draft, error: &EvalAltResult) -> Option<Fault> {
        let mut position = error.position();
        let mut error = error;
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
            error = inner;
            position = if error.position().is_none() { position } else { error.position() };
        }
        let place = Place::new(draft.file(), position);
        let sources = &draft.sources;
        let limit = |message: &str| Diagnostic::error("limit", message);
        let stops = |text: &str| format!("the script stops here: {text}");
        // What the interpreter can get past if the statement is taken out.
        let excusable = || (!position.is_none()).then_some(Excuse::Mend(Mend::Statement));
        let (diagnostic, excuse) = match error {
            EvalAltResult::ErrorInModule(_, inner, _) => match inner.as_ref() {
                EvalAltResult::ErrorParsing(error, _) => return Fault::syntax(sources, error, place),
                _ => return None,
            },
            EvalAltResult::ErrorRuntime(token, _) if token.is::<Unknown>() => (None, excusable()),
            EvalAltResult::Exit(..) | EvalAltResult::Return(..) => return None,
            EvalAltResult::ErrorVariableNotFound(name, _) => {
                let follows = ["let", "const"].iter().any(|word| sources.took(&format!("{word} {name}")));
                ((!follows).then(|| unknown_variable(name)), Some(Excuse::Variable(name.clone())))
            }
            EvalAltResult::ErrorFunctionNotFound(signature, _) => {
                let (name, types) = signature.split_once(" (").unwrap_or((signature, ")"));
                let types: Vec<&str> =
                    types.trim_end_matches(')').split(", ").filter(|t| !t.is_empty()).collect();
                let follows = types.contains(&UNKNOWN) || sources.took(&format!("fn {name}"));
                let missing = Excuse::Function(name.to_owned(), types.len());
                ((!follows).then(|| unknown_function(name, &types)), Some(missing))
            }
            EvalAltResult::ErrorTooManyOperations(_) => {
                (Some(limit("the script does too much: it was stopped").help("does a loop never end?")), None)
            }
            EvalAltResult::ErrorTerminated(..) => {
                (Some(limit("the script runs too long: it was stopped").help("does a loop never end?")), None)
            }
            EvalAltResult::ErrorStackOverflow(_) => {
                let message = format!("functions call each other more than {MAX_DEPTH} deep");
                (Some(limit(&message).help("does a function call itself for ever?")), None)
            }
            EvalAltResult::ErrorDataTooLarge(..) => {
                (Some(limit("the script makes something too large")), None)
            }
            EvalAltResult::ErrorRuntime(token, _) => {
                (Some(Diagnostic::error("thrown", stops(&token.to_string()))), excusable())
            }
            other => {
                let text = other.to_string();
                let text = text.split(" (line ").next().unwrap_or("");
                let follows = [UNKNOWN, type_name::<Unknown>()].iter().any(|name| text.contains(name));
                let text = text.replace(type_name::<Made>(), "action");
                let diagnostic = Diagnostic::error("script", stops(&lower_first(&text)));
                ((!follows).then_some(diagnostic), excusable())
            }
        };
        Some(Fault { place, span: sources.name(place), diagnostic, excuse, is_syntax: false })
    }
}

const CURLY_QUOTES: [char; 7] = ['“', '”', '„', '‟', '‘', '’', '‚'];

/// Whether a closing bracket stands where a statement ends or begins.
fn is_stray(error: &ParseErrorType, here: &str) -> bool {
    let is_at_edge = match error {
        ParseErrorType::MissingToken(token, _) => token == ";",
        ParseErrorType::BadInput(LexError::UnexpectedInput(text)) => text == here,
        _ => false,
    };
    is_at_edge && matches!(here, ")" | "]" | "}")
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

fn unknown_variable(name: &str) -> Box<Diagnostic> {
    let unknown = Diagnostic::error("unknown-variable", format!("there is no variable `{name}`"));
    if let Some(function) = named(name).next() {
        return unknown.label(format!("did you mean `{}`?", function.signature()));
    }
    let is_word = Key::from_name(name).is_some() || name.starts_with("MD_") || name.starts_with("LK_");
    if is_word {
        return unknown
            .label(format!("write \"{name}\", in quotes"))
            .help("names of keys stand in double quotes");
    }
    unknown.help("names of keys and layers stand in double quotes; variables are made with `let`")
}

fn unknown_function(name: &str, types: &[&str]) -> Box<Diagnostic> {
    let code = "unknown-function";
    if name.starts_with("anon$") {
        return Diagnostic::error("wrong-type", "a block has no parameters").help("write `|| { ... }`");
    }
    let forms: Vec<String> = named(name).map(|function| format!("`{}`", function.signature())).collect();
    if !forms.is_empty() {
        let count = if types.len() == 1 { "1 argument".into() } else { format!("{} arguments", types.len()) };
        let help = match types.len() {
            2 if name.starts_with("with_") => format!("to map a key, write `map(\"A\", {name}(\"B\"));`"),
            _ => String::new(),
        };
        return Diagnostic::error("wrong-arguments", format!("`{name}` does not take {count}"))
            .label(format!("it is {}", forms.join(" or ")))
            .help(help);
    }
    if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
        let types: Vec<String> = types.iter().map(|name| described_type(name)).collect();
        let message = format!("`{name}` cannot be used with {}", types.join(" and "));
        return Diagnostic::error(code, message);
    }
    let near = nearest(name, FUNCTIONS.iter().map(|function| function.name));
    let help = if near.is_empty() { "the manual's reference has all functions" } else { "" };
    Diagnostic::error(code, format!("there is no function `{name}`"))
        .label(did_you_mean('`', near))
        .help(help)
}
