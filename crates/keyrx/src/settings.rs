//! The settings: `keyrx.toml`, the environment and the command line.
//!
//! Each may say something or nothing about each setting, and the first that does is heard: the command line, the
//! environment (clap reads both), the user's file, the machine's.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use keyrx_platform::{Injected, Options};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::logging::{LogFormat, LogLevel};

/// What is larger is no settings file.
const MAX_BYTES: u64 = 1 << 16;

/// Where the web server is tried first if nobody says so.
const USUAL_PORT: u16 = 9867;

/// Where the service tells how it is.
const USUAL_HEALTH_PORT: u16 = 9866;

/// What one source says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Said {
    /// What is worth a line in the log.
    #[arg(long, value_name = "LEVEL", env = "KEYRX_LOG_LEVEL", hide_env = true)]
    log_level: Option<LogLevel>,
    /// How the log looks on stderr.
    #[arg(long, value_name = "FORMAT", env = "KEYRX_LOG_FORMAT", hide_env = true)]
    log_format: Option<LogFormat>,
    /// The port of the web page and the commands, on this machine only. If it is taken one of the next nine is used.
    #[arg(long, value_name = "PORT", env = "KEYRX_PORT", hide_env = true)]
    port: Option<u16>,
    /// The port at which the service tells how it is, on this machine only; 0 for none. The machine's settings alone say
    /// it.
    #[arg(skip)]
    health_port: Option<u16>,
    /// Windows: what becomes of keys that other programs send.
    #[arg(long, value_name = "WHAT", env = "KEYRX_INJECTED", hide = true)]
    injected: Option<InjectedKeys>,
    /// Windows: the virtual key that keeps a lone Win or Alt from opening a menu; 0 for none.
    #[arg(long, value_name = "KEY", env = "KEYRX_MASK_KEY", hide = true, value_parser = virtual_key)]
    mask_key: Option<u8>,
}

/// As `keyrx_platform::Injected`, in the words of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InjectedKeys {
    Pass,
    Map,
}

/// What holds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// Where the web server is tried first; 0: at any port.
    pub port: u16,
    /// Where the service tells how it is; 0: nowhere.
    #[cfg_attr(not(windows), allow(dead_code, reason = "only Windows has the service"))]
    pub health_port: u16,
    pub platform: Options,
}

/// What is wrong with a settings file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings cannot be used")?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n{mistake}"))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Mistake {
    file: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

impl Settings {
    /// Hears the command line first, then the files in their order. Files that are not there say nothing.
    pub fn read(said: &Said, files: impl Iterator<Item = PathBuf>) -> Result<Settings, Mistakes> {
        let mut said = said.clone();
        let mut mistakes = Vec::new();
        for file in files {
            let text = match read_text(&file) {
                Ok(Some(text)) => text,
                Ok(None) => continue,
                Err(what) => {
                    mistakes.push(Mistake { file, line: 1, what });
                    continue;
                }
            };
            match Said::parse(&text) {
                Ok(less_important) => said.fill_in(less_important),
                Err(found) => {
                    mistakes.extend(found.into_iter().map(|(at, what)| {
                        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
                        Mistake { file: file.clone(), line, what }
                    }));
                }
            }
        }
        if mistakes.is_empty() { Ok(said.settings()) } else { Err(Mistakes(mistakes)) }
    }
}

/// `None` if there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("the file cannot be read: {error}")),
        Ok(about) if !about.is_file() => return Err("this is not a file".into()),
        Ok(about) if about.len() > MAX_BYTES => return Err(format!("more than {MAX_BYTES} bytes")),
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| format!("the file cannot be read: {error}"))
}

/// Where in the text, and what.
type Found = (usize, String);

impl Said {
    const NAMES: [&str; 6] = ["health_port", "injected", "log_format", "log_level", "mask_key", "port"];

    /// Takes what it does not say itself from a source of less importance.
    fn fill_in(&mut self, other: Said) {
        self.log_level = self.log_level.or(other.log_level);
        self.log_format = self.log_format.or(other.log_format);
        self.port = self.port.or(other.port);
        self.health_port = self.health_port.or(other.health_port);
        self.injected = self.injected.or(other.injected);
        self.mask_key = self.mask_key.or(other.mask_key);
    }

    pub fn settings(&self) -> Settings {
        let usual = Options::default();
        let injected = match self.injected {
            None => usual.injected,
            Some(InjectedKeys::Pass) => Injected::Pass,
            Some(InjectedKeys::Map) => Injected::Map,
        };
        Settings {
            log_level: self.log_level.unwrap_or(LogLevel::Info),
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            port: self.port.unwrap_or(USUAL_PORT),
            health_port: self.health_port.unwrap_or(USUAL_HEALTH_PORT),
            platform: Options { injected, mask_key: self.mask_key.unwrap_or(usual.mask_key), ..usual },
        }
    }

    fn parse(text: &str) -> Result<Said, Vec<Found>> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            vec![(at, error.message().to_owned())]
        })?;
        let mut said = Said::default();
        let mut found = Vec::new();
        for (name, value) in table.get_ref() {
            let read = match name.get_ref().as_ref() {
                "health_port" => port(value).map(|it| said.health_port = Some(it)),
                "injected" => word(value).map(|it| said.injected = Some(it)),
                "log_format" => word(value).map(|it| said.log_format = Some(it)),
                "log_level" => word(value).map(|it| said.log_level = Some(it)),
                "mask_key" => byte(value).map(|it| said.mask_key = Some(it)),
                "port" => port(value).map(|it| said.port = Some(it)),
                unknown => Err((name.span().start, unknown_name(unknown))),
            };
            found.extend(read.err());
        }
        found.sort();
        if found.is_empty() { Ok(said) } else { Err(found) }
    }
}

fn unknown_name(name: &str) -> String {
    let near = |known: &&&str| strsim::damerau_levenshtein(name, known);
    match Said::NAMES.iter().min_by_key(near).filter(|known| near(known) <= 3) {
        Some(nearest) => format!("there is no setting `{name}`; is `{nearest}` meant?"),
        None => format!("there is no setting `{name}`; there are {}", Said::NAMES.join(", ")),
    }
}

/// One of several words.
fn word<T: ValueEnum>(value: &Spanned<DeValue<'_>>) -> Result<T, Found> {
    let known = value.get_ref().as_str().and_then(|text| T::from_str(text, false).ok());
    known.ok_or_else(|| {
        let words = T::value_variants().iter().filter_map(T::to_possible_value);
        let words = words.map(|word| format!("\"{}\"", word.get_name())).collect::<Vec<_>>();
        (value.span().start, format!("this must be {}", words.join(" or ")))
    })
}

/// A whole number, if it is one.
fn number(value: &Spanned<DeValue<'_>>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn byte(value: &Spanned<DeValue<'_>>) -> Result<u8, Found> {
    let byte = number(value).and_then(|number| u8::try_from(number).ok());
    byte.ok_or_else(|| (value.span().start, "this must be a number from 0 to 255 (0xFF)".into()))
}

fn port(value: &Spanned<DeValue<'_>>) -> Result<u16, Found> {
    let port = number(value).and_then(|number| u16::try_from(number).ok());
    port.ok_or_else(|| (value.span().start, "this must be a number from 0 to 65535".into()))
}

fn virtual_key(text: &str) -> Result<u8, &'static str> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    number.map_err(|_| "this is no virtual key, such as 0xE8")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::directory;

    fn mistakes(text: &str) -> Vec<(usize, String)> {
        Said::parse(text).err().unwrap_or_default()
    }

    #[track_caller]
    fn wrong(text: &str, at: usize, parts: &[&str]) {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, at, "{found:?}");
        for part in parts {
            assert!(found[0].1.contains(part), "{part} is missing in {found:?}");
        }
    }

    #[test]
    fn every_setting_can_be_set() {
        let text = "health_port = 2\ninjected = \"map\"\nlog_format = \"json\"\nlog_level = \"debug\"\nmask_key = 0xFF\nport = 1\n";
        let settings = Said::parse(text).unwrap().settings();
        assert_eq!((settings.log_format, settings.log_level), (LogFormat::Json, LogLevel::Debug));
        assert_eq!((settings.platform.injected, settings.platform.mask_key), (Injected::Map, 0xFF));
        assert_eq!((settings.port, settings.health_port), (1, 2));
        assert!(Said::NAMES.iter().all(|name| text.contains(name)));
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_what_would_be_right() {
        wrong("log_levle = \"info\"", 0, &["log_levle", "`log_level`"]);
        wrong("\ncolour = 1", 1, &["colour", "health_port, injected, log_format, log_level, mask_key, port"]);
        wrong("log_level = 3", 12, &["\"error\" or \"warn\" or \"info\""]);
        wrong("log_level = \"loud\"", 12, &["\"debug\""]);
        wrong("injected = true", 11, &["\"pass\" or \"map\""]);
        wrong("mask_key = 256", 11, &["255"]);
        wrong("mask_key = \"F24\"", 11, &["255"]);
        wrong("port = 65536", 7, &["65535"]);
        wrong("log_level = \"info", 17, &["expected"]);
        wrong("log_level = \"info\"\nlog_level = \"warn\"", 19, &["duplicate"]);
        assert_eq!(mistakes("a_setting_that_is_none = 1\nmask_key = -1\ninjected = 1\n").len(), 3);
    }

    #[test]
    fn the_most_important_that_says_something_is_heard() {
        let home = directory("settings");
        let (user, machine) = (home.join("user.toml"), home.join("machine.toml"));
        fs::write(&user, "log_level = \"warn\"\n").unwrap();
        fs::write(&machine, "log_level = \"error\"\nlog_format = \"json\"\nmask_key = 7").unwrap();
        let said = Said { mask_key: Some(9), ..Said::default() };
        let files = [home.join("none.toml"), user, machine];
        let settings = Settings::read(&said, files.into_iter()).unwrap();
        assert_eq!((settings.log_level, settings.log_format), (LogLevel::Warn, LogFormat::Json));
        assert_eq!(settings.platform.mask_key, 9);
    }

    #[test]
    fn all_mistakes_of_all_files_are_told_by_file_and_line() {
        let home = directory("settings-wrong");
        let [first, large, folder] = ["first.toml", "large.toml", "folder"].map(|name| home.join(name));
        fs::write(&first, "# so far so good\n\nlog_lvl = 1\nmask_key = 300\n").unwrap();
        fs::write(&large, "#".repeat(100_000)).unwrap();
        fs::create_dir(&folder).unwrap();
        let files = [first, large, folder];
        let said = Settings::read(&Said::default(), files.into_iter()).unwrap_err().to_string();
        for part in
            ["first.toml:3: there is no", "first.toml:4: ", "large.toml:1: more", "folder:1: this is not"]
        {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
    }
}
