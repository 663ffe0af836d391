//! The draft: what the script has said so far, and what there is to say about that.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use keyrx_engine::{
    Action, Condition, ConditionId, CustomId, Flavor, Key, KeymapBuilder, LayerId, PatternId, TapHold,
    TooMany,
};

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Sources;
use crate::text::{FileId, Place, Span};

/// More than any keyboard needs; a script that makes more runs wild.
const MAX_MAPPINGS: usize = 50_000;
const MAX_BLOCKS: usize = 5_000;
const MAX_DEPTH: usize = 50;
/// More tests than any condition needs, those of the blocks around it included.
pub const MAX_TESTS: usize = 64;
/// Nobody reads more errors, or more warnings.
pub const MAX_DIAGNOSTICS: usize = 100;

/// An action in the script's hands.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub action: Action,
    pub place: Place,
}

/// What a wrong expression gives: nothing more is said of it.
#[derive(Clone, Copy, Debug)]
pub struct Unknown;

/// What is done for each element of an unknown value is done once.
impl IntoIterator for Unknown {
    type Item = Unknown;
    type IntoIter = std::iter::Once<Unknown>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

/// What a block lends to the mappings in it.
#[derive(Clone, Debug)]
pub struct Scope {
    pub layer: LayerId,
    /// The keyboards must match all of these.
    pub devices: Vec<PatternId>,
    /// How special the most special of them is.
    pub rank: u8,
    /// The innermost block that asks for special keyboards.
    pub device_place: Option<Place>,
    pub condition: Condition,
    condition_id: Option<ConditionId>,
    /// The block that brought the condition.
    pub condition_place: Place,
    /// A block that cannot be understood: its mappings are checked, and forgotten.
    pub is_opaque: bool,
}

impl Scope {
    /// Outside all blocks.
    fn outermost() -> Scope {
        Scope {
            layer: LayerId::BASE,
            devices: Vec::new(),
            rank: 0,
            device_place: None,
            condition: Condition::default(),
            condition_id: None,
            condition_place: Place::default(),
            is_opaque: false,
        }
    }

    pub fn is_conditional(&self) -> bool {
        self.condition_id.is_some()
    }
}

/// What ends a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The end of its closure.
    Closure,
    /// `when_end()` and its like.
    WhenEnd,
    /// `device_end()`.
    DeviceEnd,
}

#[derive(Debug)]
struct Block {
    ends: Ends,
    scope: Rc<Scope>,
    settings_before: TapHold,
    place: Place,
}

#[derive(Debug)]
pub struct Mapping {
    pub key: Key,
    pub action: Action,
    pub scope: Rc<Scope>,
    pub place: Place,
}

#[derive(Debug)]
pub struct Draft {
    pub sources: Sources,
    pub builder: KeymapBuilder,
    /// The files that are being run, the innermost last.
    pub files: Vec<FileId>,
    pub settings: TapHold,
    outermost: Rc<Scope>,
    blocks: Vec<Block>,
    block_count: usize,
    pub mappings: Vec<Mapping>,
    pub tap_holds: Vec<TapHold>,
    /// The layers that have a block, and where the first stands.
    pub layers: BTreeMap<String, Place>,
    /// Where a call names a layer otherwise; `true` where that switches it on.
    pub layer_uses: BTreeMap<(Place, String, bool), Span>,
    made: BTreeMap<Place, &'static str>,
    used: BTreeSet<Place>,
    diagnostics: Vec<(FileId, Box<Diagnostic>)>,
    /// A limit has been reached: the script had better stop.
    pub is_full: bool,
}

impl Draft {
    pub fn new(sources: Sources) -> Draft {
        let settings = TapHold {
            tap: Action::Nothing,
            hold: Action::Nothing,
            term: 200,
            flavor: Flavor::HoldPreferred,
            quick_tap: 0,
            flow_tap: 0,
            chordal: false,
            retro_tap: false,
        };
        Draft {
            sources,
            builder: KeymapBuilder::new(),
            files: Vec::new(),
            settings,
            outermost: Rc::new(Scope::outermost()),
            blocks: Vec::new(),
            block_count: 0,
            mappings: Vec::new(),
            tap_holds: Vec::new(),
            layers: BTreeMap::new(),
            layer_uses: BTreeMap::new(),
            made: BTreeMap::new(),
            used: BTreeSet::new(),
            diagnostics: Vec::new(),
            is_full: false,
        }
    }

    /// The file that is being run.
    pub fn file(&self) -> FileId {
        self.files.last().copied().unwrap_or_default()
    }

    /// The file that `load(name)` means here.
    pub fn find_file(&mut self, name: &str) -> Result<FileId, Box<Diagnostic>> {
        self.sources.find(self.file(), name)
    }

    /// Puts a diagnostic down, once.
    pub fn report(&mut self, span: Span, mut diagnostic: Box<Diagnostic>) {
        diagnostic.set_place(&self.sources, span);
        let alike = self.diagnostics.iter().filter(|(_, said)| said.severity == diagnostic.severity);
        let is_new = !alike.clone().any(|(_, said)| *said == diagnostic);
        if is_new && alike.count() < MAX_DIAGNOSTICS {
            self.diagnostics.push((span.file, diagnostic));
        }
    }

    /// Puts a diagnostic about a whole call down.
    pub fn report_call(&mut self, place: Place, diagnostic: Box<Diagnostic>) {
        self.report(self.sources.call(place), diagnostic);
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error)
    }

    pub fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        diagnostics.sort_by_key(|(file, diagnostic)| (*file, diagnostic.line, diagnostic.column));
        diagnostics.into_iter().map(|(_, diagnostic)| *diagnostic).collect()
    }

    fn too_many(&mut self, place: Place, too_many: TooMany) {
        self.is_full = true;
        self.report_call(place, Diagnostic::error("limit", too_many.to_string()));
    }

    /// The value, or a report that there are too many of them.
    pub fn numbered<T>(&mut self, place: Place, value: Result<T, TooMany>) -> Option<T> {
        value.map_err(|too_many| self.too_many(place, too_many)).ok()
    }

    /// What the open blocks lend.
    pub fn scope(&self) -> &Rc<Scope> {
        self.blocks.last().map_or(&self.outermost, |block| &block.scope)
    }

    /// Opens a block in the block that is open.
    pub fn open(&mut self, ends: Ends, place: Place, lend: impl FnOnce(&mut Scope)) {
        let limits = [
            (self.block_count, "blocks", MAX_BLOCKS),
            (self.blocks.len(), "blocks inside each other", MAX_DEPTH),
        ];
        if let Some((_, what, limit)) = limits.into_iter().find(|(count, _, limit)| count >= limit) {
            return self.too_many(place, TooMany { what, limit });
        }
        let mut scope = Scope::clone(self.scope());
        lend(&mut scope);
        if scope.condition.0.iter().map(Vec::len).sum::<usize>() > MAX_TESTS {
            let message =
                format!("a condition has at most {MAX_TESTS} tests, with those of the blocks around it");
            self.report_call(place, Diagnostic::error("limit", message));
            scope.condition.clone_from(&self.scope().condition);
            scope.is_opaque = true;
        }
        if scope.condition != self.scope().condition {
            scope.condition_place = place;
            let id = self.builder.condition(scope.condition.clone());
            scope.condition_id = self.numbered(place, id);
        }
        self.block_count += 1;
        let settings_before = self.settings;
        self.blocks.push(Block { ends, scope: Rc::new(scope), settings_before, place });
    }

    fn close(&mut self) {
        if let Some(block) = self.blocks.pop() {
            self.settings = block.settings_before;
        }
    }

    /// How many blocks are open.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Ends a closure that began at `depth`, and what is still open in it.
    pub fn close_to(&mut self, depth: usize) {
        while self.blocks.len() > depth {
            if let Some(&Block { ends, place, .. }) = self.blocks.last() {
                self.report_open(ends, place);
            }
            self.close();
        }
    }

    /// Says that a block has not been ended. keyrx 1.x let conditions pass but not devices, and so do we.
    fn report_open(&mut self, ends: Ends, place: Place) {
        if self.sources.took("end") {
            return;
        }
        let diagnostic = match ends {
            Ends::Closure => return,
            Ends::WhenEnd => Diagnostic::warning("unclosed-block", "this block has no `when_end()`")
                .help("it holds up to the end of what is around it; write `when_end();` where it ends"),
            Ends::DeviceEnd => Diagnostic::error("unclosed-block", "this block has no `device_end()`")
                .help("write `device_end();` after the last mapping of the device"),
        };
        self.report_call(place, diagnostic);
    }

    pub fn when_end(&mut self, place: Place) {
        match self.blocks.last() {
            Some(block) if block.ends == Ends::WhenEnd => self.close(),
            _ => self.nothing_to_end(place, "no `when_start` is open here"),
        }
    }

    /// `strict` where it must be open: `device_end`, but not `device_start`.
    pub fn device_end(&mut self, place: Place, strict: bool) {
        let open = self.blocks.iter().rposition(|block| block.ends != Ends::WhenEnd);
        let device =
            open.filter(|at| self.blocks.get(*at).is_some_and(|block| block.ends == Ends::DeviceEnd));
        match device {
            Some(at) => {
                self.close_to(at.saturating_add(1));
                self.close();
            }
            None if strict => self.nothing_to_end(place, "no `device_start` is open here"),
            None => {}
        }
    }

    fn nothing_to_end(&mut self, place: Place, message: &str) {
        if ["start", "when", "device"].iter().any(|words| self.sources.took(words)) {
            return;
        }
        let mut diagnostic = Diagnostic::error("nothing-to-end", message)
            .help("leave it out, or begin the block that it is to end");
        if let Some(&Block { place: open, .. }) = self.blocks.last() {
            let span = self.sources.name(open);
            diagnostic = diagnostic.related(&self.sources, span, "the innermost open block begins here");
        }
        self.report_call(place, diagnostic);
    }

    pub fn map(&mut self, key: Key, action: Action, place: Place) {
        let scope = Rc::clone(self.scope());
        if scope.is_opaque {
            return;
        }
        if self.mappings.len() >= MAX_MAPPINGS {
            return self.too_many(place, TooMany { what: "mappings", limit: MAX_MAPPINGS });
        }
        let mapped = self.builder.map(scope.layer, key, &scope.devices, scope.condition_id, action);
        if self.numbered(place, mapped).is_some() {
            self.mappings.push(Mapping { key, action, scope, place });
        }
    }

    /// Notes that an action was made, so that one that is never used can be told.
    pub fn make(&mut self, function: &'static str, action: Action, place: Place) -> Made {
        self.made.insert(place, function);
        Made { action, place }
    }

    pub fn use_made(&mut self, made: Made) {
        self.used.insert(made.place);
    }

    /// The actions that no statement has used: where, and the function that made them.
    pub fn unused(&self) -> Vec<(Place, &'static str)> {
        let unused = self.made.iter().filter(|(place, _)| !self.used.contains(place));
        unused.map(|(place, function)| (*place, *function)).collect()
    }

    /// The custom modifiers and locks that some mapping sets: `(is_lock, id)`.
    pub fn custom_outputs(&self) -> BTreeSet<(bool, CustomId)> {
        self.outputs()
            .filter_map(|action| match action {
                Action::CustomModifier(id) => Some((false, id)),
                Action::CustomLock(id) => Some((true, id)),
                _ => None,
            })
            .collect()
    }

    /// Every action of the mappings, those in tap-holds as well.
    fn outputs(&self) -> impl Iterator<Item = Action> {
        let parts = self.tap_holds.iter().flat_map(|tap_hold| [tap_hold.tap, tap_hold.hold]);
        self.mappings.iter().map(|mapping| mapping.action).chain(parts)
    }
}
