//! Runs a keymap's script, in a sandbox.
//!
//! A script can say what the functions of `vocabulary` let it say, and nothing else: there is no file but through
//! `load`, and there are limits on everything that can grow. What is wrong with a call is put down in the draft, and
//! the script goes on. What the interpreter itself stops at is excused: the script runs once more, with something that
//! takes everything in place of an unknown function or variable, and without the statement that went wrong otherwise.
//! So all mistakes show in one go.

use std::any::TypeId;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use keyrx_engine::TapHold;
use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, ImmutableString, NativeCallContext, Position};

use crate::Loaded;
use crate::check::check;
use crate::diagnostic::Diagnostic;
use crate::draft::{Draft, Made, Unknown};
use crate::fault::{Excuse, Fault, UNKNOWN};
use crate::source::Sources;
use crate::statement::run_opaque;
use crate::text::{FileId, Place};
use crate::value::{Value, not_yet};
use crate::vocabulary::{Does, FUNCTIONS, Function, Kind, named};

/// Many times what the largest honest keymap needs.
const MAX_OPERATIONS: u64 = 1_000_000;
const MAX_TIME: Duration = Duration::from_millis(700);
pub const MAX_DEPTH: usize = 100;
const MAX_TEXT: usize = 100_000;
const MAX_ITEMS: usize = 10_000;
pub const MAX_LOADS: usize = 32;
/// What is left of it for looking at the whole.
const MAX_CHECK_TIME: Duration = Duration::from_millis(150);
const MAX_EXCUSED: usize = 50;
/// More mistakes in the syntax of one file are none of the language.
const MAX_MENDED: usize = 40;
/// Enough for what the limits above let through, whatever thread asks for a keymap.
const STACK: usize = 64 << 20;

/// The file to begin with.
pub enum Entry<'a> {
    File(&'a Path),
    Text { name: &'a str, text: &'a str, dir: Option<&'a Path> },
    Kept { path: &'a Path, texts: &'a [(String, String)] },
}

/// A mistake in a call that has been put down. The script goes on.
pub struct Reported;

/// Why a function could not do its work.
pub enum Stop {
    Reported,
    /// The interpreter stops.
    Script(Box<EvalAltResult>),
}

impl From<Reported> for Stop {
    fn from(_: Reported) -> Stop {
        Stop::Reported
    }
}

impl From<Box<EvalAltResult>> for Stop {
    fn from(error: Box<EvalAltResult>) -> Stop {
        Stop::Script(error)
    }
}

/// Reads a keymap on a thread of its own, so that neither the stack nor a fault of the interpreter is the caller's.
pub fn run(entry: Entry<'_>) -> Loaded {
    let builder = std::thread::Builder::new().name("keymap".into()).stack_size(STACK);
    let outcome = std::thread::scope(|scope| {
        let thread = builder.spawn_scoped(scope, || run_here(&entry)).map_err(|error| error.to_string())?;
        thread.join().map_err(|_| "the script interpreter failed".to_owned())
    });
    outcome.unwrap_or_else(|message| cannot_begin(&entry, Sources::default(), message))
}

/// What there is to say when there is no text to point to.
fn cannot_begin(entry: &Entry<'_>, mut sources: Sources, message: String) -> Loaded {
    let name = match entry {
        Entry::File(path) | Entry::Kept { path, .. } => path.display().to_string(),
        Entry::Text { name, .. } => (*name).to_owned(),
    };
    let file = sources.add(&name, "", None).unwrap_or_default();
    let mut draft = Draft::new(sources);
    draft.report_call(Place::new(file, Position::START), Diagnostic::error("file", message));
    Loaded::from(draft)
}

fn run_here(entry: &Entry<'_>) -> Loaded {
    let mut sources = Sources::default();
    let main = match *entry {
        Entry::File(path) => sources.read(path),
        Entry::Kept { path, texts } => {
            sources = Sources::kept(texts);
            sources.read(path)
        }
        Entry::Text { name, text, dir } => sources.add(name, text, dir),
    };
    let main = match main {
        Ok(main) => main,
        Err(message) => return cannot_begin(entry, sources, message),
    };

    let deadline = Instant::now() + MAX_TIME;
    let current = Rc::new(RefCell::new(Draft::new(sources)));
    let mut engine = sandbox(deadline);
    teach(&mut engine, &current);
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let outcome = run_file(&engine, &current, main);
        let mut draft = current.replace(Draft::new(Sources::default()));
        let fault = outcome.err().filter(|_| !draft.is_full).and_then(|error| Fault::of(&draft, &error));
        let is_complete = fault.is_none() && !draft.is_full;
        if let Some(mut fault) = fault {
            let is_in_time = faults.len() < MAX_EXCUSED && Instant::now() < deadline;
            if is_in_time && excuse(&mut draft.sources, &mut faults, &mut fault) {
                faults.push(fault);
                provide(&mut engine, &current, &faults);
                current.borrow_mut().sources = draft.sources;
                continue;
            }
            // The excuses take time, too: that is not the script's mistake.
            if is_in_time || faults.is_empty() {
                faults.push(fault);
            }
        }
        for fault in faults {
            fault.report(&mut draft);
        }
        if is_complete {
            check(&mut draft, deadline + MAX_CHECK_TIME);
        }
        return Loaded::from(draft);
    }
}

/// Lets the interpreter get past a fault, if there is a way.
fn excuse(sources: &mut Sources, faults: &mut [Fault], fault: &mut Fault) -> bool {
    let (Some(source), Some(excuse)) = (sources.get_mut(fault.place.file), &fault.excuse) else {
        return false;
    };
    let Excuse::Mend(mend) = *excuse else {
        return faults.iter().all(|known| known.excuse != fault.excuse);
    };
    let file = fault.place.file;
    let of_file = |it: &&mut Fault| it.is_syntax && it.place.file == file;
    if faults.iter_mut().filter(of_file).count() < MAX_MENDED && source.mend(mend, fault.place) {
        return true;
    }
    if fault.is_syntax {
        // Nobody knows what is left of the file: the script goes on without it, and only its first mistake counts.
        source.give_up();
        faults.iter_mut().chain([fault]).filter(of_file).skip(1).for_each(Fault::hush);
        return true;
    }
    false
}

/// Makes the functions of the language known to the interpreter.
fn teach(engine: &mut Engine, draft: &Rc<RefCell<Draft>>) {
    for function in FUNCTIONS {
        for count in (0..=function.parameters.len()).filter(|count| function.takes(*count)) {
            register(engine, draft, function.name, any(count));
        }
    }
    // Rhai's own `map` of an array by a function's name is in the way of ours.
    let array_and_text = vec![TypeId::of::<rhai::Array>(), TypeId::of::<ImmutableString>()];
    register(engine, draft, "map", array_and_text);
}

/// So many arguments of any type.
fn any(count: usize) -> Vec<TypeId> {
    vec![TypeId::of::<Dynamic>(); count]
}

/// Gives the interpreter what was missing in earlier runs.
fn provide(engine: &mut Engine, draft: &Rc<RefCell<Draft>>, faults: &[Fault]) {
    if let Some(Excuse::Function(name, count)) = faults.last().and_then(|fault| fault.excuse.as_ref()) {
        register(engine, draft, name, any(*count));
    }
    let variables = faults.iter().filter_map(|fault| match &fault.excuse {
        Some(Excuse::Variable(name)) => Some(name.clone()),
        _ => None,
    });
    let variables: Vec<String> = variables.collect();
    #[allow(deprecated, reason = "Rhai marks what may change in a later version as deprecated")]
    engine.on_var(move |name, _, context| {
        let is_excused = variables.iter().any(|variable| variable == name) && !context.scope().contains(name);
        Ok(is_excused.then(|| Dynamic::from(Unknown)))
    });
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
        // What is made of an unknown value is as unknown.
        .register_indexer_get(|_: &mut Unknown, _: Dynamic| Unknown)
        .register_indexer_set(|_: &mut Unknown, _: Dynamic, _: Dynamic| ())
        .register_iterator::<Unknown>()
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

/// What stands for a function that does not exist.
static MISSING: Function =
    Function { name: "", parameters: &[], help: "", since: "", does: Does::Later(Kind::Action) };

/// Makes a function known to the interpreter, for arguments of these types; `Dynamic` is any type.
fn register(engine: &mut Engine, draft: &Rc<RefCell<Draft>>, name: &str, types: Vec<TypeId>) {
    let draft = Rc::clone(draft);
    let forms: Vec<&Function> = named(name).filter(|function| function.takes(types.len())).collect();
    engine.register_raw_fn(name, types, move |context, arguments| {
        let arguments: Vec<Dynamic> = arguments.iter().map(|argument| argument.flatten_clone()).collect();
        // Where a name has two forms, it is the one that the types fit.
        let fitting = forms.iter().find(|form| form.fits(&arguments)).or(forms.first());
        let function = fitting.copied().unwrap_or(&MISSING);
        let place = Place::new(draft.borrow().file(), context.call_position());
        let call = Call { function, context: &context, arguments, draft: &draft, place };
        let answer = call.carry_out();
        if draft.borrow().is_full {
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
                let action = make(self).map_err(Stop::from)?;
                Ok(Dynamic::from(self.draft.borrow_mut().make(self.function.name, action, self.place)))
            }
            Does::Later(_) => {
                let mut draft = self.draft.borrow_mut();
                match self.function.name {
                    "" => draft.sources.lose(self.place),
                    name => {
                        let span = draft.sources.name(self.place);
                        draft.report(span, not_yet(name));
                    }
                }
                drop(draft);
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

    /// Runs another file in this place.
    pub fn load(&self, file: FileId) -> Result<(), Stop> {
        run_file(self.context.engine(), self.draft, file)?;
        Ok(())
    }
}

/// Runs a file in the state of the draft. After an error the file stays on the list: that is where the error is.
fn run_file(engine: &Engine, draft: &RefCell<Draft>, file: FileId) -> Result<(), Box<EvalAltResult>> {
    let script = draft.borrow().sources.get(file).map(|source| source.script.clone()).unwrap_or_default();
    draft.borrow_mut().files.push(file);
    let script = engine.compile(script).map_err(|error| {
        let at = error.1;
        EvalAltResult::ErrorInModule(String::new(), error.into(), at)
    })?;
    engine.run_ast(&script)?;
    draft.borrow_mut().files.pop();
    Ok(())
}
