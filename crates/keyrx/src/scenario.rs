//! Scenario files (`*.keytest`): keymaps, keys in, and what must come out.

use std::fmt;
use std::path::{Path, PathBuf};

use keyrx_config::Loaded;
use keyrx_engine::notation::{self, Moment, NotationError, Problem};
use keyrx_engine::{DeviceInfo, Time};

/// A scenario file, read.
pub struct Scenarios {
    pub path: PathBuf,
    pub keymaps: Vec<KeymapText>,
    pub cases: Vec<Case>,
}

/// Where the keymap of a case is written.
pub enum KeymapText {
    File(PathBuf),
    Inline { line: usize, text: String },
}

/// Keys in, and what must come out.
#[derive(Debug)]
pub struct Case {
    pub line: usize,
    pub name: String,
    /// Which of the file's keymaps.
    pub keymap: usize,
    pub input: Vec<(DeviceInfo, Moment)>,
    /// When the last input, or the last wait, is over.
    pub end: Time,
    pub expected: Vec<Moment>,
}

/// A line that is not in the notation.
#[derive(Debug)]
pub struct ScenarioError {
    pub path: PathBuf,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

impl KeymapText {
    /// Reads the keymap; `path` is that of the scenario file.
    pub fn load(&self, path: &Path) -> Loaded {
        match self {
            KeymapText::File(file) => keyrx_config::load(file),
            KeymapText::Inline { line, text } => {
                // As many empty lines as stand before it, so that places in it are places in the file.
                let text = "\n".repeat(*line) + text.as_str();
                keyrx_config::load_text(&path.display().to_string(), &text, path.parent())
            }
        }
    }
}

/// The keyboard of events before the first `device` line.
fn first_device() -> DeviceInfo {
    DeviceInfo::named("keyboard")
}

/// What continues on a line that begins with no word of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    InlineKeymap,
    In,
    Out,
}

impl Scenarios {
    /// Reads a scenario file.
    pub fn read(path: &Path) -> Result<Scenarios, Vec<ScenarioError>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![ScenarioError {
                path: path.to_owned(),
                line: 1,
                message: format!("cannot be read: {error}"),
            }]
        })?;
        Scenarios::parse(path, &text)
    }

    /// Reads the text of a scenario file. All lines that are wrong are told.
    pub fn parse(path: &Path, text: &str) -> Result<Scenarios, Vec<ScenarioError>> {
        let mut reader = Reader {
            scenarios: Scenarios { path: path.to_owned(), keymaps: Vec::new(), cases: Vec::new() },
            errors: Vec::new(),
            open: Open::Nothing,
            device: first_device(),
            out_end: Time::ZERO,
            is_in_case: false,
            has_out: false,
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(message) = reader.line(number, line) {
                reader.error(number, message);
            }
        }
        reader.end_case();
        if reader.errors.is_empty() { Ok(reader.scenarios) } else { Err(reader.errors) }
    }
}

struct Reader {
    scenarios: Scenarios,
    errors: Vec<ScenarioError>,
    open: Open,
    /// The keyboard of the events that follow.
    device: DeviceInfo,
    /// The time reached in `out`.
    out_end: Time,
    is_in_case: bool,
    has_out: bool,
}

impl Reader {
    fn error(&mut self, line: usize, message: String) {
        let path = self.scenarios.path.clone();
        self.errors.push(ScenarioError { path, line, message });
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let is_indented = line.starts_with([' ', '\t']);
        let is_empty = without_comment(line).trim().is_empty();
        if self.open == Open::InlineKeymap && (is_indented || is_empty) {
            if let Some(KeymapText::Inline { text, .. }) = self.scenarios.keymaps.last_mut() {
                // A comment of ours is none of the keymap's, but it is a line.
                text.push_str(if is_indented { line } else { "" });
                text.push('\n');
            }
            return Ok(());
        }
        let line = without_comment(line).trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "" => Ok(()),
            "keymap" if rest.is_empty() => {
                Err("`keymap` needs a file, or `keymap:` and an indented block".into())
            }
            "keymap" => {
                let beside = self.scenarios.path.parent().unwrap_or(Path::new(""));
                self.keymap(KeymapText::File(beside.join(rest)), Open::Nothing);
                Ok(())
            }
            "keymap:" if rest.is_empty() => {
                self.keymap(KeymapText::Inline { line: number, text: String::new() }, Open::InlineKeymap);
                Ok(())
            }
            "keymap:" => Err("an inline keymap begins on the next line, indented".into()),
            "case" => self.case(number, rest),
            "device" => self.device(rest),
            "in" => self.events(Open::In, rest),
            "out" => self.events(Open::Out, rest),
            _ if matches!(self.open, Open::In | Open::Out) => self.events(self.open, line),
            _ => Err(format!("`{word}` is none of `keymap`, `case`, `device`, `in`, `out`")),
        }
    }

    fn keymap(&mut self, keymap: KeymapText, open: Open) {
        self.end_case();
        self.scenarios.keymaps.push(keymap);
        self.open = open;
    }

    fn case(&mut self, line: usize, name: &str) -> Result<(), String> {
        self.end_case();
        let Some(keymap) = self.scenarios.keymaps.len().checked_sub(1) else {
            return Err("a `case` belongs to the last `keymap` before it, and there is none".into());
        };
        if name.is_empty() {
            return Err("a case needs a name: what holds".into());
        }
        let name = name.to_owned();
        let (input, expected) = (Vec::new(), Vec::new());
        self.scenarios.cases.push(Case { line, name, keymap, input, end: Time::ZERO, expected });
        (self.device, self.out_end) = (first_device(), Time::ZERO);
        (self.is_in_case, self.has_out) = (true, false);
        Ok(())
    }

    fn end_case(&mut self) {
        self.open = Open::Nothing;
        let unanswered = self.scenarios.cases.last().filter(|_| self.is_in_case && !self.has_out);
        if let Some(line) = unanswered.map(|case| case.line) {
            let message = "this case has no `out` line; where nothing comes out, write `out` alone";
            self.error(line, message.into());
        }
        self.is_in_case = false;
    }

    fn device(&mut self, name: &str) -> Result<(), String> {
        self.open = Open::Nothing;
        if !self.is_in_case {
            return Err("`device` belongs to a `case`".into());
        }
        match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
            Some(name) if !name.is_empty() => self.device = DeviceInfo::named(name),
            _ => return Err("`device` needs the keyboard's name in double quotes".into()),
        }
        Ok(())
    }

    fn events(&mut self, open: Open, text: &str) -> Result<(), String> {
        self.open = open;
        let Some(case) = self.scenarios.cases.last_mut().filter(|_| self.is_in_case) else {
            return Err("`in` and `out` belong to a `case`".into());
        };
        let start = if open == Open::In { case.end } else { self.out_end };
        // A line that cannot be read is an `out` all the same.
        self.has_out |= open == Open::Out;
        let (moments, end) = notation::parse(text, start).map_err(|error| explain(&error))?;
        if open == Open::In {
            case.input.extend(moments.into_iter().map(|moment| (self.device.clone(), moment)));
            case.end = end;
        } else {
            case.expected.extend(moments);
            self.out_end = end;
        }
        Ok(())
    }
}

/// What is wrong with a word, and what may be meant.
pub fn explain(error: &NotationError) -> String {
    let name = error.word.get(1..).filter(|_| error.problem == Problem::UnknownKey);
    match name.and_then(keyrx_config::advice_on_key) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

/// A comment begins with `#` at the start of a line or after a space.
pub fn without_comment(line: &str) -> &str {
    let comment = line.char_indices().zip(std::iter::once(' ').chain(line.chars()));
    let start =
        comment.filter(|((_, c), before)| *c == '#' && before.is_whitespace()).map(|((at, _), _)| at).next();
    start.and_then(|start| line.get(..start)).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, errors: &[&str]) {
        let found = match Scenarios::parse(Path::new("x.keytest"), text) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(found.len(), errors.len(), "{found:?}");
        for (found, error) in found.iter().zip(errors) {
            assert!(found.contains(error), "{found} does not contain {error}");
        }
    }

    #[test]
    fn lines_continue_and_times_run_on() {
        let text = "# top\nkeymap a.rhai\n\ncase rolls # so\n  device \"K2\"\n  in +A 10\n     +B\n  device \"K3\"\n  \
                    in 5 -B -A 7\n  out +A # first\n      @10 +B @15 -B\n  out -A\ncase nothing\n  in\n  out\n";
        let scenarios = Scenarios::parse(Path::new("dir/x.keytest"), text).unwrap();
        assert!(matches!(&scenarios.keymaps[0], KeymapText::File(path) if path == Path::new("dir/a.rhai")));
        let [rolls, nothing] = &scenarios.cases[..] else { panic!() };
        assert_eq!((rolls.line, rolls.name.as_str(), rolls.end), (4, "rolls", Time::from_millis(22)));
        let names = rolls.input.iter().map(|(device, _)| device.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["K2", "K2", "K3", "K3"]);
        assert_eq!(notation::print(rolls.expected.iter().copied()), "+A @10 +B @15 -B -A");
        assert!(nothing.input.is_empty() && nothing.expected.is_empty());
    }

    #[test]
    fn an_inline_keymap_keeps_its_places() {
        let text = "\nkeymap:\n    map(\"A\", \"Nope\");\ncase x\n  in +A\n  out\n";
        let scenarios = Scenarios::parse(Path::new("x.keytest"), text).unwrap();
        let loaded = scenarios.keymaps[0].load(&scenarios.path);
        assert_eq!((loaded.diagnostics[0].line, loaded.diagnostics[0].file.as_str()), (3, "x.keytest"));
    }

    #[test]
    fn what_stands_between_a_keymap_and_a_case_belongs_to_no_case() {
        let text = "keymap a\ncase x\n  in +A\n  out +A\nkeymap b\n  in +B\n  out +B\ndevice \"K2\"\n";
        check(text, &[":6: `in` and `out`", ":7: `in` and `out`", ":8: `device` belongs"]);
    }

    #[test]
    fn a_comment_in_an_inline_keymap_is_a_line_of_it() {
        let text = "keymap:\n    map(\"A\", \"B\");\n# so\n    map(\"A\", \"Nope\");\n";
        let scenarios = Scenarios::parse(Path::new("x.keytest"), text).unwrap();
        assert_eq!(scenarios.keymaps[0].load(&scenarios.path).diagnostics[0].line, 4);
    }

    #[test]
    fn an_unknown_key_comes_with_the_nearest_names() {
        check("keymap a\ncase x\n  in +Escpe\n  out\n", &["did you mean \"Escape\"?"]);
    }

    #[test]
    fn every_wrong_line_is_told() {
        check(
            "case x\n  in +A\n  out\n",
            &["x.keytest:1: a `case` belongs", ":2: `in` and `out`", ":3: `in`"],
        );
        check("keymap\nkeymap: x\nfoo\n", &[":1: `keymap` needs", ":2: an inline", ":3: `foo` is none"]);
        check(
            "keymap a\ncase\ncase x\n  in +Foo\n  device K2\n",
            &[
                ":2: a case needs a name",
                ":4: `+Foo`: there is no key",
                ":5: `device` needs",
                ":3: this case has no `out`",
            ],
        );
    }
}
