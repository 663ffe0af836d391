//! Watches the files of a keymap, whatever an editor, a symbolic link or a configuration manager does to them.
//!
//! The system's word that something happened is only a hint: what counts is whether the files read differently than
//! when they were last loaded. So that no hint is missed, every name on the way to a file is watched, in the
//! directory that holds it: the file, the directories above it, and each link with what it points to. Where the system
//! gives no such word, since others use up what it has of it, the files are to be looked at again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// So many links are followed, as the systems do.
const MAX_LINKS: usize = 40;

/// More of a file is not looked at; a keymap is smaller.
const MAX_BYTES: u64 = 2 << 20;

/// What the files are like, or why they cannot be read.
type State = BTreeMap<PathBuf, Result<u64, io::ErrorKind>>;

type Hint = Arc<dyn Fn(Event) + Send + Sync>;

pub struct Watch {
    hint: Hint,
    /// What the system tells by, unless it refuses.
    watcher: Option<RecommendedWatcher>,
    /// Why not everything that happens to the files is told.
    fault: Option<String>,
    directories: BTreeSet<PathBuf>,
    /// Every name on the way to a file, as `fold` has it.
    names: BTreeSet<String>,
    /// The files as they were when they were last loaded.
    loaded: State,
    /// The files as they were at the last `check`.
    checked: State,
}

/// What has become of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They are as they were loaded.
    None,
    /// They have just changed, and may be changing still: check again.
    Unfinished,
    /// They have changed.
    Complete,
}

impl Watch {
    /// `hint` is called, on a thread of the watcher's, whenever something happens near the files.
    pub fn new(hint: impl Fn(Event) + Send + Sync + 'static) -> Watch {
        Watch {
            hint: Arc::new(hint),
            watcher: None,
            fault: None,
            directories: BTreeSet::new(),
            names: BTreeSet::new(),
            loaded: State::new(),
            checked: State::new(),
        }
    }

    /// Whether something may happen to the files without a hint: then `check` is to be called every few seconds, which
    /// also tries again to have the system tell.
    pub fn is_blind(&self) -> bool {
        self.fault.is_some()
    }

    /// Notes how the files are; to be called before they are read.
    pub fn before_load(&mut self) {
        self.checked = state_of(self.loaded.keys());
    }

    /// Watches these files from now on: all that were read or looked for.
    pub fn follow(&mut self, files: &[PathBuf]) {
        self.note(files);
        self.look_around();
    }

    /// Notes how these files are, which are watched from the next `check` on.
    pub fn note(&mut self, files: &[PathBuf]) {
        let files: BTreeSet<PathBuf> =
            files.iter().filter_map(|file| std::path::absolute(file).ok()).collect();
        self.loaded = state_of(&files);
        // What was known before is as it was before it was read: a change since then is still to be noticed.
        for (file, state) in std::mem::take(&mut self.checked) {
            self.loaded.entry(file).and_modify(|now| *now = state);
        }
    }

    /// Whether an event is about a name on the way to a file.
    pub fn concerns(&self, event: &Event) -> bool {
        event.paths.is_empty() || event.paths.iter().any(|path| self.names.contains(&fold(path)))
    }

    /// Looks at the files, some time after a hint.
    pub fn check(&mut self) -> Change {
        // Directories may have been replaced, and links may lead elsewhere.
        self.look_around();
        let now = state_of(self.loaded.keys());
        let is_stable = now == self.checked;
        let change = match now == self.loaded {
            true => Change::None,
            false if is_stable => Change::Complete,
            false => Change::Unfinished,
        };
        self.checked = now;
        change
    }

    /// Watches the way to each file as it is now.
    fn look_around(&mut self) {
        let mut fault = None;
        if self.watcher.is_none() {
            match watcher(self.hint.clone()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        for directory in std::mem::take(&mut self.directories) {
            // It may be gone, and its watch with it.
            let _ = self.watcher.as_mut().map(|watcher| watcher.unwatch(&directory));
        }
        let mut names = BTreeSet::new();
        for file in self.loaded.keys() {
            trace(file, &mut names);
        }
        let directories = names.iter().filter_map(|name| name.parent());
        for directory in directories.map(Path::to_owned).collect::<BTreeSet<_>>() {
            let Some(watcher) = &mut self.watcher else { break };
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.directories.insert(directory),
                Err(error) if directory.is_dir() => fault = Some(error.to_string()),
                Err(_) => {}
            }
        }
        self.names = names.iter().map(|name| fold(name)).collect();
        self.note_fault(fault);
    }

    /// Says it once when the system no longer tells of everything, or does again.
    fn note_fault(&mut self, fault: Option<String>) {
        match (&self.fault, &fault) {
            (None, Some(error)) => tracing::warn!(
                event = "files_unwatched",
                error,
                "the system does not tell of changes of the keymap, which is looked at every few seconds: {error}"
            ),
            (Some(_), None) => {
                tracing::info!(event = "files_watched", "changes of the keymap are told again")
            }
            _ => {}
        }
        self.fault = fault;
    }
}

/// What calls `hint` for all that may matter.
fn watcher(hint: Hint) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        let event = match event {
            Ok(event) if event.kind.is_access() => return,
            Ok(event) => event,
            // The queue ran over, or a watch was lost: anything may have happened.
            Err(_) => Event::new(notify::EventKind::Other),
        };
        // The watcher's thread outlives a mistake of ours, which has been told by then.
        if catch_unwind(AssertUnwindSafe(|| hint(event))).is_err() {
            hint(Event::new(notify::EventKind::Other));
        }
    })
}

/// Windows names a file as it is on the disk, whatever case was asked for. Taking two names for one does no harm.
fn fold(path: &Path) -> String {
    path.to_string_lossy().to_lowercase()
}

/// Every name on the way to `path`: its directories, links and where they lead, and itself.
fn trace(path: &Path, names: &mut BTreeSet<PathBuf>) {
    let mut rest: Vec<OsString> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) => _ = here.pop(),
            Some(Component::Normal(_)) => {
                let name = here.join(&part);
                names.insert(name.clone());
                match fs::read_link(&name) {
                    Ok(target) if links < MAX_LINKS => {
                        links += 1;
                        rest.extend(target.components().rev().map(|part| part.as_os_str().to_owned()));
                    }
                    _ => here = name,
                }
            }
            // The beginning of an absolute path, or `.`.
            Some(Component::CurDir) | None => {}
            Some(_) => here.push(part),
        }
    }
}

fn state_of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> State {
    files.into_iter().map(|file| (file.clone(), content(file))).collect()
}

/// A number for what a file says.
fn content(file: &Path) -> Result<u64, io::ErrorKind> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| error.kind())?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    /// A directory with a keymap in it, watched. The watch ends before the directory goes: Windows keeps a directory
    /// as long as somebody has it open.
    struct Scene {
        watch: Watch,
        hints: Receiver<Event>,
        dir: Directory,
    }

    /// Gone when dropped.
    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    impl Scene {
        fn new(name: &str, prepare: impl FnOnce(&Path) -> Vec<PathBuf>) -> Scene {
            let dir = std::env::temp_dir().join(format!("keyrx-watch-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            // Where the directory for temporary files is a link, as on some systems.
            let dir = dir.canonicalize().unwrap();
            let files = prepare(&dir);
            let (send, hints) = channel();
            let mut watch = Watch::new(move |event| drop(send.send(event)));
            watch.follow(&files);
            Scene { watch, hints, dir: Directory(dir) }
        }

        /// Whether a change is noticed, as the control thread would notice it. What is noticed is then loaded.
        fn is_noticed(&mut self) -> bool {
            let end = Instant::now() + Duration::from_secs(2);
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                let Ok(hint) = self.hints.recv_timeout(left) else { break };
                if !self.watch.concerns(&hint) {
                    continue;
                }
                loop {
                    std::thread::sleep(Duration::from_millis(20));
                    match self.watch.check() {
                        Change::None => break,
                        Change::Unfinished => {}
                        Change::Complete => {
                            let files: Vec<PathBuf> = self.watch.loaded.keys().cloned().collect();
                            self.watch.before_load();
                            self.watch.follow(&files);
                            return true;
                        }
                    }
                }
            }
            false
        }
    }

    fn write(file: PathBuf, text: &str) -> PathBuf {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_file_written_renamed_over_or_moved_away_and_back_is_noticed() {
        let mut scene = Scene::new("plain", |dir| vec![write(dir.join("k.rhai"), "1")]);
        let dir = scene.dir.0.clone();
        write(dir.join("k.rhai"), "2");
        assert!(scene.is_noticed(), "written");
        fs::rename(write(dir.join("k2"), "3"), dir.join("k.rhai")).unwrap();
        assert!(scene.is_noticed(), "renamed over");
        fs::rename(dir.join("k.rhai"), dir.join("k.rhai~")).unwrap();
        write(dir.join("k.rhai"), "4");
        assert!(scene.is_noticed(), "moved away and written anew");
    }

    #[test]
    fn a_file_that_is_written_with_the_same_words_has_not_changed() {
        let mut scene = Scene::new("same", |dir| vec![write(dir.join("k.rhai"), "1")]);
        write(scene.dir.0.join("k.rhai"), "1");
        scene.hints.recv_timeout(Duration::from_secs(2)).unwrap();
        assert_eq!(scene.watch.check(), Change::None);
    }

    #[test]
    fn a_directory_that_is_replaced_or_appears_late_is_noticed() {
        let mut scene =
            Scene::new("moved", |dir| vec![write(dir.join("sub/k.rhai"), "1"), dir.join("late/l.rhai")]);
        let dir = scene.dir.0.clone();
        fs::rename(dir.join("sub"), dir.join("old")).unwrap();
        write(dir.join("sub/k.rhai"), "2");
        assert!(scene.is_noticed(), "replaced");
        write(dir.join("sub/k.rhai"), "3");
        assert!(scene.is_noticed(), "written in the new one");
        write(dir.join("late/l.rhai"), "1");
        assert!(scene.is_noticed(), "late");
    }

    #[test]
    fn a_change_between_reading_and_watching_is_noticed() {
        let mut scene = Scene::new("between", |dir| vec![write(dir.join("k.rhai"), "1")]);
        let file = scene.dir.0.join("k.rhai");
        scene.watch.before_load();
        write(file.clone(), "2");
        scene.watch.follow(&[file]);
        assert_ne!(scene.watch.check(), Change::None);
    }

    #[test]
    fn other_files_of_the_directory_do_not_matter() {
        let mut scene = Scene::new("busy", |dir| vec![write(dir.join("k.rhai"), "1")]);
        let dir = scene.dir.0.clone();
        for n in 0..50 {
            write(dir.join("log"), &n.to_string());
        }
        write(dir.join("k.rhai"), "2");
        assert!(scene.is_noticed());
        let hints = scene.hints.try_iter().filter(|hint| scene.watch.concerns(hint)).count();
        assert!(hints < 10, "{hints} hints");
    }

    #[test]
    fn two_ways_to_one_directory_are_both_watched() {
        let mut scene = Scene::new("dots", |dir| {
            write(dir.join("lib/a.rhai"), "1");
            vec![write(dir.join("k.rhai"), "1"), write(dir.join("lib/../b.rhai"), "1")]
        });
        let dir = scene.dir.0.clone();
        write(dir.join("k.rhai"), "2");
        assert!(scene.is_noticed(), "k");
        write(dir.join("b.rhai"), "2");
        assert!(scene.is_noticed(), "b");
    }

    /// Links to files, to directories, and swapped directories as configuration managers use them.
    #[test]
    #[cfg(unix)]
    fn links_are_followed() {
        use std::os::unix::fs::symlink;
        let swap = |dir: &Path, link: &str, target: &str| {
            symlink(target, dir.join("new")).unwrap();
            fs::rename(dir.join("new"), dir.join(link)).unwrap();
        };
        let mut scene = Scene::new("links", |dir| {
            write(dir.join("dot/k.rhai"), "1");
            symlink("../dot/k.rhai", write(dir.join("cfg/x"), "").with_file_name("k.rhai")).unwrap();
            write(dir.join("..1/m.rhai"), "1");
            swap(dir, "..data", "..1");
            symlink("..data/m.rhai", dir.join("m.rhai")).unwrap();
            vec![dir.join("cfg/k.rhai"), dir.join("m.rhai")]
        });
        let dir = scene.dir.0.clone();
        write(dir.join("dot/k.rhai"), "2");
        assert!(scene.is_noticed(), "the target of a link");
        write(dir.join("cfg/k.rhai"), "3");
        assert!(scene.is_noticed(), "through a link");
        write(dir.join("..2/m.rhai"), "2");
        swap(&dir, "..data", "..2");
        assert!(scene.is_noticed(), "a link on the way swapped");
        write(dir.join("..2/m.rhai"), "3");
        assert!(scene.is_noticed(), "in the new target");
    }
}
