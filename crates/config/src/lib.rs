//! What the user wrote: a keymap file, read into a `Keymap` or into diagnostics.
//!
//! A keymap is a Rhai script. `script` runs it in a sandbox; each function of the language is a row of `vocabulary`,
//! reads what it is called with (`value`, `word`), and says something to the `draft`, which builds the keymap on the
//! way. `check` then looks for what is well-formed but cannot be meant. Nothing here is kept while keys are pressed.

#![forbid(unsafe_code)]

mod check;
mod diagnostic;
mod draft;
mod fault;
mod mend;
mod script;
mod source;
mod statement;
mod text;
mod value;
mod vocabulary;
mod word;

use std::path::{Path, PathBuf};

use keyrx_engine::{Keymap, MappingId};

pub use diagnostic::{Diagnostic, Related, Severity};
pub use vocabulary::{Accepts, FUNCTIONS, Function, Kind, Parameter, SETTINGS, Setting, reference};

use draft::Draft;
use source::Sources;
use text::Place;

/// A keymap file that has been read: its keymap, if nothing is wrong with it, and what there is to say about it.
#[derive(Debug)]
pub struct Loaded {
    /// `None` if one of the diagnostics is an error.
    pub keymap: Option<Keymap>,
    /// In the order of the files and of the places in them.
    pub diagnostics: Vec<Diagnostic>,
    /// Every file that was read or looked for: when one of them changes, the result may be another.
    pub files: Vec<PathBuf>,
    /// What Windows cannot promise of this keymap, in the same order. It is well to know when it is to run there.
    pub on_windows: Vec<Diagnostic>,
    sources: Sources,
    mappings: Vec<Place>,
}

/// The statement that a mapping comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingSource {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The statement's text.
    pub text: String,
}

impl Loaded {
    /// The files that were read, by the names that diagnostics give them, with what was in them.
    pub fn texts(&self) -> Vec<(String, String)> {
        self.sources.texts()
    }

    /// Where a mapping of the keymap was made.
    pub fn mapping(&self, id: MappingId) -> Option<MappingSource> {
        let place = *self.mappings.get(id.index())?;
        let source = self.sources.get(place.file)?;
        let text = source.slice(self.sources.call(place)).to_owned();
        Some(MappingSource { file: source.name.clone(), line: place.line(), column: place.column(), text })
    }
}

/// What to say of a name that no key has, such as which keys it may be meant for.
pub fn advice_on_key(name: &str) -> Option<String> {
    word::source_key(name).err()?.label
}

/// Reads a keymap file and the files that it loads.
pub fn load(path: &Path) -> Loaded {
    script::run(script::Entry::File(path))
}

/// Reads a keymap of which all texts have been kept, see `Loaded::texts`, whatever has become of the files.
pub fn load_kept(path: &Path, texts: &[(String, String)]) -> Loaded {
    script::run(script::Entry::Kept { path, texts })
}

/// Reads a keymap from memory. `name` stands for it in diagnostics; `load` looks for files in `dir`.
pub fn load_text(name: &str, text: &str, dir: Option<&Path>) -> Loaded {
    script::run(script::Entry::Text { name, text, dir })
}

impl From<Draft> for Loaded {
    fn from(mut draft: Draft) -> Loaded {
        let diagnostics = draft.take_diagnostics();
        let wrong = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        check::device_blocks_on_windows(&mut draft);
        let on_windows = draft.take_diagnostics();
        let mappings = draft.mappings.iter().map(|mapping| mapping.place).collect();
        Loaded {
            keymap: (!wrong).then(|| draft.builder.build()),
            diagnostics,
            on_windows,
            files: draft.sources.looked_for(),
            sources: draft.sources,
            mappings,
        }
    }
}

#[cfg(test)]
mod tests;
