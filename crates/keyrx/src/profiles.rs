//! Profiles: the keymaps in a directory, by name. One of them is the active one.
//!
//! A name is never a path: it is looked at before any file is, and has no character that means anything to a file
//! system. The user's own profiles hide those of the machine, and only they are written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::state::rename;

/// How long a name may be, how large a profile, and how many there may be, as in keyrx 1.x.
const MOST_CHARS: usize = 64;
pub const MOST_BYTES: usize = 1 << 20;
const MOST_PROFILES: usize = 100;

/// The profile that is taken where none was ever chosen.
pub const USUAL: &str = "default";

/// What Windows takes for a device wherever it stands.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "com", "lpt"];

/// What a new profile says.
const BLANK: &str = "// A keymap of keyrx. `keyrx check` says what is wrong with it.\n";

/// The directories of profiles.
#[derive(Clone, Debug)]
pub struct Profiles {
    /// The most important first: the user's own.
    directories: Vec<PathBuf>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: String,
    pub path: PathBuf,
    /// Whether it is the user's, who may change it.
    pub is_own: bool,
    pub modified: Option<SystemTime>,
}

/// Why something cannot be done with a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(
        "{0:?} is no name for a profile: a name has 1 to 64 letters (A-Z), digits, `_` and `-`, and is no device of \
         Windows such as `con`"
    )]
    BadName(String),
    #[error("there is no profile {0:?}; {1}")]
    Missing(String, String),
    #[error("there is a profile {0:?} already")]
    Exists(String),
    #[error("the profile {0:?} is the machine's, and not yours to change")]
    NotOwn(String),
    #[error("the profile {0:?} is active; activate another one first")]
    Active(String),
    #[error("there are {MOST_PROFILES} profiles, and no more are possible")]
    TooMany,
    #[error("a profile has at most {MOST_BYTES} bytes")]
    TooLarge,
    #[error("{0}: {1}")]
    Io(String, #[source] io::Error),
}

impl Profiles {
    /// The profiles of these directories of settings, the most important first.
    pub fn new(configs: &[PathBuf]) -> Profiles {
        Profiles { directories: configs.iter().map(|config| config.join("profiles")).collect() }
    }

    /// All of them, by name.
    pub fn list(&self) -> Vec<Profile> {
        let mut all: Vec<Profile> = Vec::new();
        for (number, directory) in self.directories.iter().enumerate() {
            // A directory that cannot be read has no profiles for us.
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for path in entries.map(|entry| entry.path()) {
                let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
                let is_profile = path.extension().is_some_and(|end| end == "rhai") && is_name(name);
                if is_profile && path.is_file() && !all.iter().any(|known| known.name == name) {
                    let modified = fs::metadata(&path).and_then(|about| about.modified()).ok();
                    all.push(Profile { name: name.to_owned(), is_own: number == 0, modified, path });
                }
            }
        }
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The profile of a name.
    pub fn find(&self, name: &str) -> Result<Profile, ProfileError> {
        let all = check(name).map(|()| self.list())?;
        match all.iter().find(|profile| profile.name == name) {
            Some(profile) => Ok(profile.clone()),
            None => Err(ProfileError::Missing(name.to_owned(), known(&all))),
        }
    }

    /// Where a profile of this name is, or would be if there were one.
    pub fn place(&self, name: &str) -> PathBuf {
        let found = self.find(name).map(|profile| profile.path).ok();
        found.unwrap_or_else(|| self.directory().join(format!("{name}.rhai")))
    }

    /// What a profile says.
    pub fn read(&self, name: &str) -> Result<String, ProfileError> {
        let path = self.find(name)?.path;
        let about = fs::metadata(&path).map_err(io_error("cannot read", &path))?;
        if about.len() > MOST_BYTES as u64 {
            return Err(ProfileError::TooLarge);
        }
        fs::read_to_string(&path).map_err(io_error("cannot read", &path))
    }

    /// Makes a profile.
    pub fn create(&self, name: &str, source: Option<&str>) -> Result<Profile, ProfileError> {
        check(name)?;
        let all = self.list();
        // Names that differ in case only would be one file on Windows.
        if all.iter().any(|profile| profile.name.eq_ignore_ascii_case(name)) {
            return Err(ProfileError::Exists(name.to_owned()));
        }
        if all.len() >= MOST_PROFILES {
            return Err(ProfileError::TooMany);
        }
        self.put(name, source.unwrap_or(BLANK))?;
        self.find(name)
    }

    /// Replaces what a profile says. One of the machine's is left as it is, and hidden by one of the user's.
    pub fn write(&self, name: &str, source: &str) -> Result<(), ProfileError> {
        self.find(name)?;
        self.put(name, source)
    }

    /// Gives a profile another name.
    pub fn rename(&self, name: &str, to: &str) -> Result<Profile, ProfileError> {
        check(to)?;
        let profile = self.find_own(name)?;
        let is_taken = |known: &Profile| known.name.eq_ignore_ascii_case(to) && known.name != name;
        if self.list().iter().any(is_taken) {
            return Err(ProfileError::Exists(to.to_owned()));
        }
        let place = self.directory().join(format!("{to}.rhai"));
        rename(&profile.path, &place).map_err(io_error("cannot rename", &profile.path))?;
        self.find(to)
    }

    /// Removes a profile. Who asks knows that it is not the active one.
    pub fn delete(&self, name: &str) -> Result<(), ProfileError> {
        let path = self.find_own(name)?.path;
        fs::remove_file(&path).map_err(io_error("cannot remove", &path))
    }

    /// The profile that keyrx 1.x had active: its file says the name, alone or in JSON.
    pub fn active_in_1x(&self) -> Option<String> {
        let text = fs::read_to_string(self.directory().parent()?.join(".active")).ok()?;
        let json = serde_json::from_str::<serde_json::Value>(&text).ok();
        let named = json.as_ref().and_then(|json| json.get("name")?.as_str());
        let name = named.unwrap_or(text.trim());
        self.find(name).ok().map(|profile| profile.name)
    }

    /// Where the user's own profiles are.
    pub fn directory(&self) -> &Path {
        self.directories.first().map_or(Path::new("profiles"), PathBuf::as_path)
    }

    fn find_own(&self, name: &str) -> Result<Profile, ProfileError> {
        let profile = self.find(name)?;
        if profile.is_own { Ok(profile) } else { Err(ProfileError::NotOwn(name.to_owned())) }
    }

    /// Writes a profile of the user's, whole or not at all.
    fn put(&self, name: &str, source: &str) -> Result<(), ProfileError> {
        if source.len() > MOST_BYTES {
            return Err(ProfileError::TooLarge);
        }
        let path = self.directory().join(format!("{name}.rhai"));
        // What is a link stays one.
        let path = fs::canonicalize(&path).unwrap_or(path);
        let new = path.with_extension("rhai.new");
        let write = || {
            fs::create_dir_all(self.directory())?;
            let mut file = File::create(&new)?;
            file.write_all(source.as_bytes())?;
            file.sync_data()?;
            drop(file);
            rename(&new, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&new);
            io_error("cannot write", &path)(error)
        })
    }
}

fn check(name: &str) -> Result<(), ProfileError> {
    if is_name(name) { Ok(()) } else { Err(ProfileError::BadName(name.chars().take(80).collect())) }
}

fn is_name(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MOST_CHARS).contains(&name.len()) && name.bytes().all(is_fine) && !is_device(name)
}

/// Whether Windows takes it for a device: `con`, `com1`.
fn is_device(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    DEVICES.iter().any(|device| {
        let rest = name.strip_prefix(device);
        match *device {
            "com" | "lpt" => {
                rest.is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|it| it.is_ascii_digit()))
            }
            _ => rest == Some(""),
        }
    })
}

fn known(all: &[Profile]) -> String {
    match all {
        [] => "there is none at all yet".into(),
        all => format!("there are {}", all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(", ")),
    }
}

fn io_error(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> ProfileError {
    let doing = format!("{doing} {}", path.display());
    move |error| ProfileError::Io(doing, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    fn profiles(test: &str) -> (Profiles, PathBuf) {
        let home = directory(test);
        let (user, machine) = (home.join("user"), home.join("machine"));
        fs::create_dir_all(machine.join("profiles")).unwrap();
        fs::write(machine.join("profiles/office.rhai"), "// the machine's").unwrap();
        fs::write(machine.join("profiles/notes.txt"), "").unwrap();
        (Profiles::new(&[user, machine]), home)
    }

    fn names(profiles: &Profiles) -> Vec<String> {
        profiles.list().into_iter().map(|profile| profile.name).collect()
    }

    #[test]
    fn what_could_be_a_path_or_a_device_is_no_name() {
        let (profiles, _home) = profiles("profile-names");
        let long = "x".repeat(65);
        let bad = [
            "",
            ".",
            "..",
            "../office",
            "a/b",
            "a\\b",
            "a:b",
            "a b",
            "ä",
            "a.rhai",
            "con",
            "NUL",
            "Com1",
            "lpt9",
            "a\0",
            &long,
        ];
        for name in bad {
            assert!(matches!(profiles.find(name), Err(ProfileError::BadName(_))), "{name:?}");
            assert!(matches!(profiles.create(name, None), Err(ProfileError::BadName(_))), "{name:?}");
        }
        for name in ["a", "console", "com10", "A-b_9", &"x".repeat(64)] {
            assert!(matches!(profiles.find(name), Err(ProfileError::Missing(..))), "{name:?}");
        }
    }

    #[test]
    fn the_users_profiles_hide_those_of_the_machine_which_stay_as_they_are() {
        let (profiles, home) = profiles("profile-hiding");
        assert_eq!(names(&profiles), ["office"]);
        assert!(matches!(profiles.delete("office"), Err(ProfileError::NotOwn(_))));
        assert!(matches!(profiles.rename("office", "mine"), Err(ProfileError::NotOwn(_))));
        profiles.write("office", "// mine").unwrap();
        assert_eq!(profiles.read("office").unwrap(), "// mine");
        let machines = fs::read_to_string(home.join("machine/profiles/office.rhai")).unwrap();
        assert_eq!(machines, "// the machine's");
        profiles.delete("office").unwrap();
        assert_eq!(profiles.read("office").unwrap(), "// the machine's");
    }

    #[test]
    fn profiles_are_made_renamed_and_removed() {
        let (profiles, _home) = profiles("profile-life");
        profiles.create("games", Some("// g")).unwrap();
        assert!(matches!(profiles.create("Games", None), Err(ProfileError::Exists(_))));
        assert!(matches!(profiles.rename("games", "office"), Err(ProfileError::Exists(_))));
        profiles.rename("games", "play").unwrap();
        assert_eq!(
            (names(&profiles), profiles.read("play").unwrap().as_str()),
            (vec!["office".into(), "play".into()], "// g")
        );
        profiles.delete("play").unwrap();
        let error = profiles.read("play").unwrap_err().to_string();
        assert_eq!(error, "there is no profile \"play\"; there are office");
        let large = "/".repeat(MOST_BYTES + 1);
        assert!(matches!(profiles.create("large", Some(&large)), Err(ProfileError::TooLarge)));
    }

    #[test]
    fn the_profile_that_was_active_in_keyrx_1x_is_known() {
        let (profiles, home) = profiles("profile-1x");
        assert_eq!(profiles.active_in_1x(), None);
        fs::create_dir_all(home.join("user")).unwrap();
        for text in ["office\n", r#"{"name":"office","activated_at":5,"activated_by":"user"}"#] {
            fs::write(home.join("user/.active"), text).unwrap();
            assert_eq!(profiles.active_in_1x().as_deref(), Some("office"), "{text}");
        }
        fs::write(home.join("user/.active"), "../../etc/passwd").unwrap();
        assert_eq!(profiles.active_in_1x(), None);
    }
}
