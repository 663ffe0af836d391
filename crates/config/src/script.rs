//! Runs a keymap's script, in a sandbox.
//!
//! A script can say what the functions of `vocabulary` let it say, and nothing else: there is no file but through
//! `load`, and there are limits on everything that can grow. What is wrong with a call is put down in the draft, and
//! the script goes on. What the interpreter itself stops at, an unknown function or variable, is excused: the script
//! runs once more, with something in that place that takes everything, so that all mistakes show in one go.

use std::any::TypeId;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use keyrx_engine::{Action, Key, TapHold};
use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, LexError, NativeCallContext, ParseErrorType, Position};

use crate::Loaded;
use crate::check::check;
use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Made, Unknown};
use crate::lower::{Value, described_type, not_yet};
use crate::source::{FileId, Place, Sources, check_size};
use crate::statement::{LoadError, run_opaque};
use crate::vocabulary::{Does, FUNCTIONS, Function, Kind, did_you_mean, named, nearest};

/// Many times what the largest honest keymap needs.
const MAX_OPERATIONS: u64 = 1_000_000;
const MAX_TIME: Duration = Duration::from_millis(700);
const MAX_DEPTH: usize = 100;
const MAX_TEXT: usize = 100_000;
const MAX_ITEMS: usize = 10_000;
const MAX_LOADS: usize = 32;
const MAX_EXCUSES: usize = 50;
/// Enough for what the limits above let through, whatever thread asks for a keymap.
const STACK: usize = 256 << 20;

/// What keyrx itself brings for `load`.
const STDLIB: [(&str, &str); 2] =
    [("shift.rhai", include_str!("../stdlib/shift.rhai")), ("ctrl.rhai", include_str!("../stdlib/ctrl.rhai"))];

/// The file to begin with.
pub enum Entry<'a> {
    File(&'a Path),
    Text { name: &'a str, text: &'a str, dir: Option<&'a Path> },
}

/// Why a function could not do its work.
pub enum Stop {
    /// A mistake in its call, which has been put down. The script goes on.
    Reported,
    /// The interpreter stops.
    Script(Box<EvalAltResult>),
}

impl From<Box<EvalAltResult>> for Stop {
    fn from(error: Box<EvalAltResult>) -> Stop {
        Stop::Script(error)
    }
}

/// Reads a keymap on a thread of its own, so that neither the stack nor a fault of the interpreter is the caller's.
pub fn run(entry: Entry<'_>) -> Loaded {
    let name = match entry {
        Entry::File(path) => path.display().to_string(),
        Entry::Text { name, .. } => name.to_owned(),
    };
    let builder = std::thread::Builder::new().name("keymap".into()).stack_size(STACK);
    let outcome = std::thread::scope(|scope| {
        let thread = builder.spawn_scoped(scope, move || run_here(entry)).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "the script interpreter failed".to_owned())
    });
    outcome.unwrap_or_else(|message| {
        let mut draft = Draft::new(Sources::default());
        fail_at_start(&mut draft, &name, message);
        Loaded::from(draft)
    })
}

fn fail_at_start(draft: &mut Draft, name: &str, message: String) {
    let file = draft.sources.add(name, String::new(), None);
    draft.report_call(Place::new(file, Position::START), Diagnostic::error("file", message));
}

fn run_here(entry: Entry<'_>) -> Loaded {
    let mut sources = Sources::default();
    let (name, main) = match entry {
        Entry::File(path) => (path.display().to_string(), sources.read(path)),
        Entry::Text { name, text, dir } => {
            let added = check_size(text).map(|()| sources.add(name, text.to_owned(), dir.map(Path::to_owned)));
            (name.to_owned(), added)
        }
    };
    let main = match main {
        Ok(main) => main,
        Err(message) => {
            let mut draft = Draft::new(sources);
            fail_at_start(&mut draft, &name, message);
            return Loaded::from(draft);
        }
    };

    let deadline = Instant::now() + MAX_TIME;
    let mut excuses: Vec<Excuse> = Vec::new();
    loop {
        let draft = Rc::new(RefCell::new(Draft::new(sources)));
        let outcome = run_excused(&draft, main, &excuses, deadline);
        let mut draft = draft.replace(Draft::new(Sources::default()));
        let fault = outcome.err().and_then(|error| Fault::of(&error));
        let is_complete = fault.is_none();
        if let Some(fault) = fault {
            let excuse = Excuse { place: Place::new(draft.file(), fault.position), fault };
            let is_new = !excuses.iter().any(|known| known.excuses(&excuse));
            let is_excusable = excuse.fault.missing.is_some() && is_new && excuses.len() < MAX_EXCUSES;
            excuses.push(excuse);
            if is_excusable {
                sources = draft.sources;
                continue;
            }
        }
        for Excuse { place, fault } in excuses {
            if let Some(diagnostic) = fault.diagnostic {
                draft.report(draft.sources.name(place), diagnostic);
            }
        }
        if is_complete {
            check(&mut draft);
        }
        return Loaded::from(draft);
    }
}

/// Where the interpreter stopped, and how to let it pass.
struct Excuse {
    place: Place,
    fault: Fault,
}

impl Excuse {
    fn excuses(&self, other: &Excuse) -> bool {
        self.fault.missing.is_some() && self.fault.missing == other.fault.missing
    }
}

fn run_excused(
    draft: &Rc<RefCell<Draft>>,
    main: FileId,
    excuses: &[Excuse],
    deadline: Instant,
) -> Result<(), Box<EvalAltResult>> {
    let mut engine = sandbox(deadline);
    for function in FUNCTIONS {
        for count in 0..=function.parameters.len() {
            if function.takes(count) {
                register(&mut engine, draft, function.name, count);
            }
        }
    }
    let missing = || excuses.iter().filter_map(|excuse| excuse.fault.missing.clone());
    for missing in missing() {
        if let Missing::Function(name, count) = missing {
            register(&mut engine, draft, &name, count);
        }
    }
    let variables: Vec<String> = missing().filter_map(Missing::variable).collect();
    #[allow(deprecated, reason = "Rhai marks what may change in a later version as deprecated")]
    engine.on_var(move |name, _, context| {
        let is_excused = variables.iter().any(|variable| variable == name) && !context.scope().contains(name);
        Ok(is_excused.then(|| Dynamic::from(Unknown)))
    });
    run_file(&engine, draft, main)
}

fn sandbox(deadline: Instant) -> Engine {
    let mut engine = Engine::new();
    engine
        .set_max_operations(MAX_OPERATIONS)
        .set_max_call_levels(MAX_DEPTH)
        .set_max_expr_depths(MAX_DEPTH, MAX_DEPTH)
        .set_max_string_size(MAX_TEXT)
        .set_max_array_size(MAX_ITEMS)
        .set_max_map_size(MAX_ITEMS)
        .set_max_variables(MAX_ITEMS)
        .set_max_functions(MAX_ITEMS)
        .register_type_with_name::<Made>("action")
        .register_type_with_name::<Unknown>(UNKNOWN)
        .disable_symbol("eval")
        // What a function pointer carries along is counted by no limit.
        .disable_symbol("curry")
        .on_print(|_| {})
        .on_debug(|_, _, _| {})
        .on_progress(move |_| (Instant::now() > deadline).then_some(Dynamic::UNIT));
    // Rhai's own `replace` looks at the limits only afterwards, and its `sleep` at none.
    engine.register_fn("replace", |text: &mut ImmutableString, find: &str, by: &str| {
        let count = text.matches(find).count();
        let length = text.len().saturating_add(count.saturating_mul(by.len()));
        if length > MAX_TEXT {
            return Err(EvalAltResult::ErrorDataTooLarge("text".into(), Position::NONE).into());
        }
        *text = text.replace(find, by).into();
        Ok::<(), Box<EvalAltResult>>(())
    });
    engine.register_fn("sleep", |_: rhai::INT| no_sleep()).register_fn("sleep", |_: f64| no_sleep());
    engine
}

fn no_sleep() -> Result<(), Box<EvalAltResult>> {
    Err("a keymap cannot sleep: it runs once, before any key is pressed".into())
}

/// How the interpreter names the type `Unknown`.
const UNKNOWN: &str = "unknown value";

/// What stands for a function that does not exist.
static MISSING: Function =
    Function { name: "", parameters: &[], help: "", since: "", does: Does::Later(Kind::Action) };

/// Makes a function known to the interpreter, with so many arguments of any type.
fn register(engine: &mut Engine, draft: &Rc<RefCell<Draft>>, name: &str, count: usize) {
    let draft = Rc::clone(draft);
    let forms: Vec<&Function> = named(name).filter(|function| function.takes(count)).collect();
    engine.register_raw_fn(name, vec![TypeId::of::<Dynamic>(); count], move |context, arguments| {
        let arguments: Vec<Dynamic> = arguments.iter().map(|argument| argument.flatten_clone()).collect();
        // Where a name has two forms, it is the one that the types fit.
        let fitting = forms.iter().find(|form| form.fits(&arguments)).or(forms.first());
        let function = fitting.copied().unwrap_or(&MISSING);
        let place = Place::new(draft.borrow().file(), context.call_position());
        let call = Call { function, context: &context, arguments, draft: &draft, place };
        let answer = call.carry_out();
        if draft.borrow().is_full() {
            return Err(EvalAltResult::ErrorRuntime(Dynamic::from(Unknown), Position::NONE).into());
        }
        match answer {
            Ok(value) => Ok(value),
            Err(Stop::Reported) => Ok(Dynamic::from(Unknown)),
            Err(Stop::Script(error)) => Err(error),
        }
    });
}

/// A call of a function of the language.
pub struct Call<'a> {
    pub function: &'static Function,
    context: &'a NativeCallContext<'a>,
    arguments: Vec<Dynamic>,
    pub draft: &'a RefCell<Draft>,
    pub place: Place,
}

impl Call<'_> {
    fn carry_out(&self) -> Result<Dynamic, Stop> {
        for argument in &self.arguments {
            if let Some(made) = argument.clone().try_cast::<Made>() {
                self.draft.borrow_mut().use_made(made);
            }
        }
        match self.function.does {
            Does::Statement(say) => say(self).map(Dynamic::from),
            Does::Action(make) => {
                let action = make(self)?;
                Ok(Dynamic::from(self.draft.borrow_mut().make(self.function.name, action, self.place)))
            }
            Does::Later(_) => {
                if !self.function.name.is_empty() {
                    let mut draft = self.draft.borrow_mut();
                    let name = draft.sources.name(self.place);
                    draft.report(name, not_yet(self.function.name));
                }
                run_opaque(self)?;
                Err(Stop::Reported)
            }
        }
    }

    /// Whether an optional argument is given.
    pub fn has(&self, index: usize) -> bool {
        index < self.arguments.len()
    }

    pub fn argument(&self, index: usize) -> Value<'_> {
        Value::argument(self, index, self.arguments.get(index).cloned().unwrap_or_default())
    }

    /// The arguments that are closures.
    pub fn blocks(&self) -> impl Iterator<Item = FnPtr> {
        self.arguments.iter().filter_map(|argument| argument.clone().try_cast())
    }

    pub fn run(&self, block: &FnPtr) -> Result<(), Stop> {
        let _ = block.call_within_context::<Dynamic>(self.context, ())?;
        Ok(())
    }

    /// The defaults that hold here.
    pub fn settings(&self) -> TapHold {
        self.draft.borrow().settings
    }

    pub fn map(&self, key: Key, action: Action) -> Result<(), Stop> {
        self.draft.borrow_mut().map(key, action, self.place);
        Ok(())
    }
}

/// Runs a file in the state of the draft. A syntax error is put down, and the script goes on without the file.
fn run_file(engine: &Engine, draft: &RefCell<Draft>, file: FileId) -> Result<(), Box<EvalAltResult>> {
    let text = draft.borrow().sources.get(file).map(|source| source.text.clone()).unwrap_or_default();
    match engine.compile(text) {
        Ok(script) => {
            draft.borrow_mut().files.push(file);
            // After an error the file stays on the list: that is where the error is.
            engine.run_ast(&script)?;
            draft.borrow_mut().files.pop();
        }
        Err(error) => report_syntax(&mut draft.borrow_mut(), &error.0, Place::new(file, error.1)),
    }
    Ok(())
}

/// `load(name)`: finds the file and runs it.
pub fn load_file(call: &Call<'_>, name: &str) -> Result<(), LoadError> {
    let wrong = |diagnostic: Diagnostic| LoadError::Diagnostic(Box::new(diagnostic));
    let file = find_file(&mut call.draft.borrow_mut(), name).map_err(wrong)?;
    let running = call.draft.borrow().files.clone();
    if running.contains(&file) {
        let message = format!("\"{name}\" is loading this file already: it would go on for ever");
        return Err(wrong(Diagnostic::error("load-cycle", message)));
    }
    if running.len() >= MAX_LOADS {
        let message = format!("files are loaded by files {MAX_LOADS} deep");
        return Err(wrong(Diagnostic::error("limit", message)));
    }
    run_file(call.context.engine(), call.draft, file).map_err(|error| LoadError::Stop(Stop::Script(error)))
}

fn find_file(draft: &mut Draft, name: &str) -> Result<FileId, Diagnostic> {
    let mut looked = Vec::new();
    for path in candidates(draft, name) {
        if draft.sources.look_for(&path) {
            return draft.sources.read(&path).map_err(|message| Diagnostic::error("file", message));
        }
        looked.push(path.display().to_string());
    }
    let own = name.strip_prefix("stdlib/").unwrap_or(name);
    if let Some((own, text)) = STDLIB.iter().find(|(known, _)| *known == own) {
        return Ok(draft.sources.add(&format!("<keyrx>/stdlib/{own}"), (*text).to_owned(), None));
    }
    let help = format!("looked for {}", looked.join(", "));
    Err(Diagnostic::error("file", format!("there is no file \"{name}\"")).help(help))
}

/// Where a file may lie, in the order of keyrx 1.x: beside the loading file, and in the `stdlib` directories.
fn candidates(draft: &Draft, name: &str) -> Vec<PathBuf> {
    let beside = draft.sources.get(draft.file()).and_then(|source| source.dir.clone());
    let local = beside.iter().flat_map(|dir| [dir.clone(), dir.join("stdlib")]);
    let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config/keyrx/stdlib"));
    let roaming = std::env::var_os("APPDATA").map(|data| Path::new(&data).join("keyrx/stdlib"));
    let machine = cfg!(unix).then(|| PathBuf::from("/usr/share/keyrx/stdlib"));
    local.chain(user).chain(roaming).chain(machine).map(|dir| dir.join(name)).collect()
}

fn report_syntax(draft: &mut Draft, error: &ParseErrorType, place: Place) {
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
        ParseErrorType::Reserved(word) if word == "import" => syntax("`import` is not part of the language")
            .help("write `load(\"file.rhai\");`"),
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
struct Fault {
    position: Position,
    /// `None` where it follows from a mistake that has been put down.
    diagnostic: Option<Diagnostic>,
    missing: Option<Missing>,
}

/// What would have let it go on.
#[derive(Clone, PartialEq, Eq)]
enum Missing {
    Variable(String),
    /// With so many arguments.
    Function(String, usize),
}

impl Missing {
    fn variable(self) -> Option<String> {
        if let Missing::Variable(name) = self { Some(name) } else { None }
    }
}

impl Fault {
    /// `None` if everything has been said.
    fn of(error: &EvalAltResult) -> Option<Fault> {
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
                let types: Vec<&str> = types.trim_end_matches(')').split(", ").filter(|t| !t.is_empty()).collect();
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
            EvalAltResult::ErrorDataTooLarge(..) => (Some(limit("the script makes something too large")), None),
            EvalAltResult::ErrorRuntime(token, _) => {
                (Some(Diagnostic::error("thrown", format!("the script stops here: {token}"))), None)
            }
            other => {
                let text = other.to_string();
                let text = text.split(" (line ").next().unwrap_or("");
                (Some(Diagnostic::error("script", format!("the script stops here: {}", lower_first(text)))), None)
            }
        };
        Some(Fault { position, diagnostic, missing })
    }
}

fn unknown_variable(name: &str) -> Diagnostic {
    let unknown = Diagnostic::error("unknown-variable", format!("there is no variable `{name}`"));
    if let Some(function) = named(name).next() {
        return unknown.label(format!("did you mean `{}`?", function.signature()));
    }
    let is_word = Key::from_name(name).is_some() || name.starts_with("MD_") || name.starts_with("LK_");
    if is_word {
        return unknown.label(format!("write \"{name}\", in quotes")).help("names of keys stand in double quotes");
    }
    unknown.help("names of keys and layers stand in double quotes; variables are made with `let`")
}

fn unknown_function(name: &str, types: &[&str]) -> Diagnostic {
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
    Diagnostic::error(code, format!("there is no function `{name}`")).label(did_you_mean('`', near)).help(help)
}
