//! The interpreter's errors in our words.

use keyrx_engine::Key;
use rhai::{EvalAltResult, LexError, ParseErrorType};

use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Unknown};
use crate::script::MAX_DEPTH;
use crate::text::{FileId, Place};
use crate::value::described_type;
use crate::vocabulary::{FUNCTIONS, did_you_mean, named, nearest};

/// How the interpreter names the type `Unknown`.
pub const UNKNOWN: &str = "unknown value";

/// A syntax error is the only thing that is said of its file.
pub fn report_syntax(draft: &mut Draft, error: &ParseErrorType, place: Place) {
    let Some(source) = draft.sources.get(place.file) else { return };
    let is_block = source.slice(source.word(place)) == "{" && source.slice(source.before(place)) == ")";
    let syntax = |message: &str| Diagnostic::error("syntax", message);
    let mut span = source.word(place);
    if span.start == span.end {
        span = source.before(place);
    }
    let diagnostic = match error {
        ParseErrorType::MissingToken(token, _) if token == ";" && is_block => {
            syntax("a block is missing here").help("write it as an argument: `when(\"MD_00\", || { ... });`")
        }
        ParseErrorType::MissingToken(token, _) if token == ";" => {
            span = source.before(place);
            syntax("a `;` is missing here").help("every statement ends with `;`")
        }
        ParseErrorType::MissingToken(token, purpose) if token == "," && purpose.contains("argument") => {
            syntax("`,` or `)` is missing here").help("is a quote or a parenthesis before it missing?")
        }
        ParseErrorType::MissingToken(token, purpose) => syntax(&format!("`{token}` is missing {purpose}")),
        ParseErrorType::BadInput(LexError::MalformedChar(text)) => {
            syntax("single quotes are for one character").help(format!("write \"{text}\" in double quotes"))
        }
        ParseErrorType::BadInput(LexError::ImproperSymbol(word, text)) if text.ends_with("is disabled") => {
            syntax(&format!("`{word}` cannot be used in a keymap"))
        }
        ParseErrorType::BadInput(LexError::UnterminatedString) => syntax("this text has no closing quote"),
        ParseErrorType::BadInput(LexError::StringTooLong(_)) | ParseErrorType::LiteralTooLarge(..) => {
            Diagnostic::error("limit", "this is too large")
        }
        ParseErrorType::ExprTooDeep => {
            Diagnostic::error("limit", format!("this is nested too deeply: {MAX_DEPTH} levels are the limit"))
        }
        ParseErrorType::TooManyFunctions => Diagnostic::error("limit", "the script has too many functions"),
        ParseErrorType::UnexpectedEOF => syntax("the file ends in the middle of something")
            .help("look for a `}`, `)` or `\"` that is missing"),
        ParseErrorType::Reserved(word) if word == "import" => {
            syntax("`import` is not part of the language").help("write `load(\"file.rhai\");`")
        }
        ParseErrorType::Reserved(word) => syntax(&format!("`{word}` cannot be used here")),
        other => syntax(&lower_first(&other.to_string())),
    };
    draft.report(span, diagnostic);
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

/// What the interpreter stopped at.
pub struct Fault {
    pub place: Place,
    /// `None` where it follows from a mistake that has been put down.
    pub diagnostic: Option<Box<Diagnostic>>,
    /// What would have let it go on.
    pub missing: Option<Missing>,
}

#[derive(PartialEq, Eq)]
pub enum Missing {
    Variable(String),
    /// With so many arguments.
    Function(String, usize),
}

impl Fault {
    /// What there is to say of an error in `file`; `None` if everything has been said.
    pub fn of(file: FileId, error: &EvalAltResult) -> Option<Fault> {
        let mut position = error.position();
        let mut error = error;
        while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) = error {
            error = inner;
            position = if error.position().is_none() { position } else { error.position() };
        }
        let limit = |message: &str| Diagnostic::error("limit", message);
        let (diagnostic, missing) = match error {
            EvalAltResult::ErrorRuntime(token, _) if token.is::<Unknown>() => return None,
            EvalAltResult::Exit(..) | EvalAltResult::Return(..) => return None,
            EvalAltResult::ErrorVariableNotFound(name, _) => {
                (Some(unknown_variable(name)), Some(Missing::Variable(name.clone())))
            }
            EvalAltResult::ErrorFunctionNotFound(signature, _) => {
                let (name, types) = signature.split_once(" (").unwrap_or((signature, ")"));
                let types: Vec<&str> =
                    types.trim_end_matches(')').split(", ").filter(|t| !t.is_empty()).collect();
                let follows = types.contains(&UNKNOWN);
                let missing = Missing::Function(name.to_owned(), types.len());
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
                (Some(Diagnostic::error("thrown", format!("the script stops here: {token}"))), None)
            }
            other => {
                let text = other.to_string();
                let text = text.split(" (line ").next().unwrap_or("");
                (
                    Some(Diagnostic::error(
                        "script",
                        format!("the script stops here: {}", lower_first(text)),
                    )),
                    None,
                )
            }
        };
        Some(Fault { place: Place::new(file, position), diagnostic, missing })
    }
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
