//! What keyrx knows again after a restart. Keys that are down and layers are not among it.
//!
//! The file is replaced as a whole, the one before is kept, and each carries a checksum. A file that is damaged is set
//! aside; whatever is wrong with the state, keyrx starts.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use keyrx_engine::Keymap;
use serde::{Deserialize, Serialize};

/// What is larger is not ours.
const MAX_BYTES: u64 = 16 << 20;

/// So many damaged files are kept to be looked into.
const MAX_DAMAGED: u32 = 3;

/// The first word of the file; then come checksum and length of the JSON on the second line.
const MAGIC: &str = "keyrx-state-1";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Mapping was paused.
    pub is_paused: bool,
    /// The profile that was chosen last.
    pub active_profile: Option<String>,
    /// The last keymap that could be used.
    pub last_good: Option<LastGood>,
}

/// A keymap as it was: its file and those that it loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    pub keymap: PathBuf,
    /// By name, as the keymap's reader names them.
    pub texts: Vec<(String, String)>,
}

impl State {
    /// What a keymap was when it could be used.
    pub fn last_good(&self, keymap: &Path) -> Option<&LastGood> {
        self.last_good.as_ref().filter(|good| good.keymap == keymap)
    }
}

impl LastGood {
    pub fn load(&self) -> Option<Keymap> {
        keyrx_config::load_kept(&self.keymap, &self.texts).keymap
    }

    /// The files that it was read from; keyrx's own have no path.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.texts.iter().map(|(name, _)| PathBuf::from(name)).filter(|path| path.is_absolute())
    }
}

/// Where the state is kept.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// A file that is not what was written.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Missing,
    Unreadable,
    Damaged,
}

impl Store {
    pub fn new(path: PathBuf) -> Store {
        Store { path }
    }

    /// The state that was saved last; if it is damaged the one before, or that of a first start.
    pub fn load(&self) -> State {
        for path in [&self.path, &self.older()] {
            match read(path) {
                Ok(state) => return state,
                Err(Fault::Missing) => {}
                Err(Fault::Unreadable) => {
                    tracing::warn!(
                        event = "state_unreadable",
                        path = %path.display(),
                        "the state cannot be read: {}",
                        path.display()
                    );
                }
                Err(Fault::Damaged) => set_aside(path, &self.path),
            }
        }
        State::default()
    }

    /// Replaces the state. After an error the old one, or the one before, is still there.
    pub fn save(&self, state: &State) -> io::Result<()> {
        let json = serde_json::to_string(state)?;
        let text = format!("{MAGIC} {:08x} {}\n{json}", crc32fast::hash(json.as_bytes()), json.len());
        replace(&self.path, Some(&self.older()), text.as_bytes())
    }

    fn older(&self) -> PathBuf {
        beside(&self.path, "1")
    }
}

/// Replaces a file as a whole, and keeps the one before if there is a place for it.
pub fn replace(path: &Path, older: Option<&Path>, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    drop(file);
    match older.map(|older| rename(path, older)) {
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    rename(&new, path)?;
    // So that the new name, too, outlives a power failure. Windows has no such thing, and fails to open it.
    if let Some(Ok(directory)) = path.parent().map(File::open) {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// Takes a damaged file out of the way. It is kept under the name of `path` with an end, if there is a free one.
pub fn set_aside(damaged: &Path, path: &Path) {
    let places = (1..=MAX_DAMAGED).map(|number| beside(path, &format!("damaged.{number}")));
    let free = places.into_iter().find(|place| !place.exists());
    let kept = free.filter(|place| rename(damaged, place).is_ok());
    if kept.is_none() {
        let _ = fs::remove_file(damaged);
    }
    tracing::warn!(
        event = "state_damaged",
        path = %damaged.display(),
        kept = kept.map(|place| place.display().to_string()),
        "damaged, and not used: {}",
        damaged.display()
    );
}

/// The same name with another end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(".");
    path.push(end);
    path.into()
}

fn read(path: &Path) -> Result<State, Fault> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Fault::Missing,
        _ => Fault::Unreadable,
    })?;
    let mut bytes = Vec::new();
    let is_directory = file.metadata().is_ok_and(|about| about.is_dir());
    if is_directory || file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).is_err() {
        return Err(Fault::Unreadable);
    }
    parse(&bytes).ok_or(Fault::Damaged)
}

fn parse(bytes: &[u8]) -> Option<State> {
    let (head, json) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let mut words = head.split(' ');
    let is_whole = words.next() == Some(MAGIC)
        && words.next() == Some(&format!("{:08x}", crc32fast::hash(json.as_bytes())))
        && words.next() == Some(&json.len().to_string());
    is_whole.then(|| serde_json::from_str(json).ok()).flatten()
}

/// As `fs::rename`. On Windows whoever looks into a file, such as a virus scanner, holds it for a moment.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut tries = if cfg!(windows) { 10 } else { 1 };
    loop {
        tries -= 1;
        match fs::rename(from, to) {
            Err(error) if tries > 0 && error.kind() != io::ErrorKind::NotFound => {
                thread::sleep(Duration::from_millis(20));
            }
            renamed => return renamed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    fn state(number: usize) -> State {
        let texts = vec![("a.rhai".to_owned(), format!("// {number}\nmap(\"A\", \"ß\");"))];
        State {
            is_paused: true,
            active_profile: Some("a".into()),
            last_good: Some(LastGood { keymap: "a.rhai".into(), texts }),
        }
    }

    fn store(test: &str) -> Store {
        Store::new(directory(test).join("state"))
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let store = store("state");
        assert_eq!(store.load(), State::default());
        for number in 1..4 {
            store.save(&state(number)).unwrap();
            assert_eq!(store.load(), state(number));
        }
        fs::remove_file(&store.path).unwrap();
        assert_eq!(store.load(), state(2), "as if there had been a power failure between two steps");
    }

    #[test]
    fn the_state_of_another_version_is_read_as_far_as_it_is_known() {
        let json = r#"{"is_paused":true,"something_new":[1,2]}"#;
        let text = format!("{MAGIC} {:08x} {}\n{json}", crc32fast::hash(json.as_bytes()), json.len());
        assert_eq!(parse(text.as_bytes()), Some(State { is_paused: true, ..State::default() }));
    }

    #[test]
    fn whatever_becomes_of_the_file_the_one_before_is_used() {
        let store = store("state-damaged");
        for damage in 0..40 {
            store.save(&state(1)).unwrap();
            store.save(&state(2)).unwrap();
            let mut bytes = fs::read(&store.path).unwrap();
            match damage {
                0 => bytes.clear(),
                1 => bytes = vec![0; 100],
                2 => bytes = vec![b'x'; 17 << 20],
                3 => bytes.extend(b"}"),
                damage if damage % 2 == 0 => bytes.truncate(bytes.len() * damage / 40),
                damage => {
                    let place = bytes.len() * damage / 40;
                    bytes[place] ^= 0x10;
                }
            }
            fs::write(&store.path, bytes).unwrap();
            assert_eq!(store.load(), state(1), "damage {damage}");
        }
        let names = fs::read_dir(store.path.parent().unwrap()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.contains("damaged")).count(), 3);
    }

    #[test]
    fn with_nothing_but_damaged_files_it_is_a_first_start() {
        let store = store("state-lost");
        fs::write(&store.path, "x").unwrap();
        fs::create_dir(store.older()).unwrap();
        assert_eq!(store.load(), State::default());
        assert!(store.path.with_extension("damaged.1").exists());
    }

    #[test]
    fn a_state_that_cannot_be_written_is_an_error_and_no_more() {
        let store = Store::new(directory("state-nowhere").join("missing/state"));
        assert!(store.save(&state(1)).is_err());
        assert_eq!(store.load(), State::default());
    }
}
