//! The files of a keymap: reading them, and finding those that are to be loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::text::{FileId, Place, Source, Span};

/// What keyrx itself brings for `load`.
const STDLIB: [(&str, &str); 2] = [
    ("shift.rhai", include_str!("../stdlib/shift.rhai")),
    ("ctrl.rhai", include_str!("../stdlib/ctrl.rhai")),
];

#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
    looked_for: BTreeSet<PathBuf>,
    /// Texts by name that take the place of all files.
    kept: Option<BTreeMap<String, String>>,
}

/// What is longer is no keymap, and the interpreter counts no more lines.
const MAX_BYTES: u64 = 1 << 20;
const MAX_LINES: usize = 65_000;

impl Sources {
    pub fn get(&self, id: FileId) -> Option<&Source> {
        self.files.get(usize::from(id.0))
    }

    pub fn get_mut(&mut self, id: FileId) -> Option<&mut Source> {
        self.files.get_mut(usize::from(id.0))
    }

    /// Whether some script has been mended by taking something out.
    pub fn took_any(&self) -> bool {
        self.files.iter().any(|source| !source.taken.is_empty())
    }

    /// Whether `words` have been taken out of some script: what they would have made is not missing.
    pub fn took(&self, words: &str) -> bool {
        self.files.iter().any(|source| source.taken.contains(words))
    }

    /// Notes a call that nothing could be made of: it is as good as taken out.
    pub fn lose(&mut self, place: Place) {
        let span = self.call(place);
        if let Some(source) = self.get_mut(place.file) {
            let call = source.slice(span).to_owned();
            if !source.taken.contains(&call) {
                source.taken.push_str(&call);
                source.taken.push('\n');
            }
        }
    }

    /// Reads from these texts and no file.
    pub fn kept(texts: &[(String, String)]) -> Sources {
        Sources { kept: Some(texts.iter().cloned().collect()), ..Sources::default() }
    }

    /// The texts that were read, by name.
    pub fn texts(&self) -> Vec<(String, String)> {
        let texts =
            |file: &Source| file.names().map(|name| (name.clone(), file.text.clone())).collect::<Vec<_>>();
        self.files.iter().flat_map(texts).collect()
    }

    pub fn looked_for(&self) -> Vec<PathBuf> {
        self.looked_for.iter().cloned().collect()
    }

    /// The name of the function that is called at a place.
    pub fn name(&self, place: Place) -> Span {
        let nowhere = Span { file: place.file, start: 0, end: 0 };
        self.get(place.file).map_or(nowhere, |source| source.word(place))
    }

    /// The call at a place, from its name to the closing parenthesis.
    pub fn call(&self, place: Place) -> Span {
        let call = self.get(place.file).and_then(|source| source.call(place));
        call.map_or_else(|| self.name(place), |call| call.whole)
    }

    /// Whether what stands at a place begins a statement.
    pub fn is_statement(&self, place: Place) -> bool {
        self.get(place.file).is_some_and(|it| matches!(it.slice(it.before(place)), "" | ";" | "{" | "}"))
    }

    /// An argument of the call at a place.
    pub fn argument(&self, place: Place, index: usize) -> Span {
        let call = self.get(place.file).and_then(|source| source.call(place));
        let argument = call.and_then(|call| call.arguments.get(index).copied());
        argument.unwrap_or_else(|| self.name(place))
    }

    /// Adds a text, or finds it again by its name. What is wrong with it is said in words, here and below.
    pub fn add(&mut self, name: &str, text: &str, dir: Option<&Path>) -> Result<FileId, String> {
        if let Some(known) = self.files.iter().find(|file| file.name == name) {
            return Ok(known.id);
        }
        if text.len() as u64 > MAX_BYTES || text.lines().count() > MAX_LINES {
            return Err(format!(
                "this is too large: a keymap may have {MAX_BYTES} bytes and {MAX_LINES} lines"
            ));
        }
        let id =
            u16::try_from(self.files.len()).map(FileId).map_err(|_| "these are too many files".to_owned())?;
        self.files.push(Source::new(id, name, text, dir.map(Path::to_owned)));
        Ok(id)
    }

    /// Reads a file, once.
    pub fn read(&mut self, path: &Path) -> Result<FileId, String> {
        self.looked_for.insert(path.to_owned());
        let name = path.display().to_string();
        // A kept text is what its name says, whatever lies there by now.
        let real = if self.kept.is_some() { None } else { fs::canonicalize(path).ok() };
        if let Some(known) = self.files.iter_mut().find(|file| file.path.is_some() && file.path == real) {
            if known.names().all(|known| *known != name) {
                known.other_names.push(name);
            }
            return Ok(known.id);
        }
        let id = self.add(&name, &self.read_text(path)?, path.parent())?;
        if let Some(source) = self.get_mut(id) {
            source.path = real;
        }
        Ok(id)
    }

    /// Finds the file that `from` loads by `name`, and reads it.
    pub fn find(&mut self, from: FileId, name: &str) -> Result<FileId, Box<Diagnostic>> {
        let wrong = |message| Diagnostic::error("file", message);
        let candidates = self.candidates(from, name);
        for path in &candidates {
            self.looked_for.insert(path.clone());
            if self.exists(path) {
                return self.read(path).map_err(wrong);
            }
        }
        let own = name.strip_prefix("stdlib/").unwrap_or(name);
        if let Some((own, text)) = STDLIB.iter().find(|(known, _)| *known == own) {
            return self.add(&format!("<keyrx>/stdlib/{own}"), text, None).map_err(wrong);
        }
        let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
        Err(wrong(format!("there is no file \"{name}\"")).help(format!("looked for {}", looked.join(", "))))
    }

    fn exists(&self, path: &Path) -> bool {
        match &self.kept {
            Some(kept) => kept.contains_key(&path.display().to_string()),
            None => path.exists(),
        }
    }

    fn read_text(&self, path: &Path) -> Result<String, String> {
        match &self.kept {
            Some(kept) => kept.get(&path.display().to_string()).cloned().ok_or("it has not been kept".into()),
            None => read_text(path),
        }
    }

    /// Where a file may lie, in the order of keyrx 1.x: beside the loading file, and in the `stdlib` directories.
    fn candidates(&self, from: FileId, name: &str) -> Vec<PathBuf> {
        let beside = self.get(from).and_then(|source| source.dir.clone());
        let local = beside.iter().flat_map(|dir| [dir.clone(), dir.join("stdlib")]);
        let user = std::env::var_os("HOME").map(|home| Path::new(&home).join(".config/keyrx/stdlib"));
        let roaming = std::env::var_os("APPDATA").map(|data| Path::new(&data).join("keyrx/stdlib"));
        let machine = cfg!(unix).then(|| PathBuf::from("/usr/share/keyrx/stdlib"));
        local.chain(user).chain(roaming).chain(machine).map(|dir| dir.join(name)).collect()
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("the file cannot be read: {error}");
    let about = fs::metadata(path).map_err(unreadable)?;
    if about.is_dir() {
        return Err("this is a directory, not a keymap file".into());
    }
    if !about.is_file() {
        return Err("this is a device, not a keymap file".into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.starts_with(b"KRX\n") {
        return Err(
            "this is a compiled keymap of keyrx 1.x: give the .rhai file that it was made from".into()
        );
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = valid.filter(|byte| **byte == b'\n').count().saturating_add(1);
        format!("line {line} is not UTF-8 text: save the file as UTF-8")
    })
}
