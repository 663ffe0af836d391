//! Reports of crashes, a small file each in `crashes/` of the state directory, and `keyrx crashes`, which shows them.
//!
//! Beside the report of a crash its dump may lie, under the same name. Only so many are kept, for so long, and so large.
//! A file that is damaged is left out, and told of.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use keyrx_platform::native;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::paths::{self, Directories, Paths};
use crate::state;
use crate::timestamp::Timestamp;

/// What is kept.
const MOST: usize = 20;
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST_BYTES: u64 = 50 << 20;

/// A report that is larger is none of ours.
const MAX_BYTES: u64 = 64 << 10;

/// How a crash came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An internal error. It costs what the thread was at, not always the process.
    Panic,
    /// Keys were held up for so long that keyrx ended.
    Stalled,
    /// It gave no sign of life, and whoever supervises it has ended it.
    Hung,
    /// Windows ended it, for what no program may do.
    Exception,
    /// It was gone without a word: killed, or ended by the system.
    Died,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Panic => "panic",
            Cause::Stalled => "stalled",
            Cause::Hung => "hung",
            Cause::Exception => "exception",
            Cause::Died => "died",
        })
    }
}

/// What is known of a crash. Never keys. What is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub time: String,
    pub cause: Cause,
    pub thread: String,
    pub location: String,
    pub message: String,
    pub version: String,
    pub uptime_s: Option<u64>,
    pub pid: u32,
    /// Which run it was, as the record of starts and ends has it.
    pub run: String,
    /// How much it was allowed to do.
    pub mode: String,
}

impl Report {
    /// A name of its own, by which reports are sorted as they came.
    pub fn name(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let time = self.time.replace(':', "").replace('.', "-");
        format!("{time}-{}-{count}", self.pid)
    }

    fn what(&self) -> String {
        let parts = [&self.thread, &self.location, &self.message];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ")
    }
}

/// Writes a report, whole or not at all.
pub fn write(directory: &Path, name: &str, report: &Report) -> io::Result<()> {
    paths::create(directory)?;
    state::replace(&directory.join(format!("{name}.json")), None, &serde_json::to_vec(report)?)
}

/// What there is of one crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    pub id: String,
    pub directory: PathBuf,
    /// None for a dump that Windows has left by itself.
    pub report: Option<Report>,
    pub dump: Option<PathBuf>,
}

impl Crash {
    fn json(&self) -> Value {
        let mut json = json!({ "id": self.id });
        let report = self.report.as_ref().and_then(|report| serde_json::to_value(report).ok());
        if let (Value::Object(json), Some(Value::Object(report))) = (&mut json, report) {
            json.extend(report);
        }
        if let Value::Object(json) = &mut json {
            json.insert("dump".into(), json!(self.dump));
        }
        json
    }
}

/// All crashes of some directories, the oldest first, and the files that are damaged.
#[derive(Debug, Default)]
pub struct Found {
    pub crashes: Vec<Crash>,
    pub damaged: Vec<PathBuf>,
}

impl Found {
    /// What cannot be read is as if it were not there: another user's, or nothing yet.
    pub fn in_directories(directories: &[PathBuf]) -> Found {
        let mut found = Found::default();
        for directory in directories {
            for (id, files) in files(directory) {
                let file = |end: &str| files.iter().find(|file| file.ends_with(end)).map(|file| &file.path);
                let report = file("json").map(|path| (path, read(path)));
                if let Some((path, None)) = &report {
                    found.damaged.push((*path).clone());
                }
                let dump = file("dmp").cloned();
                let report = report.and_then(|(_, report)| report);
                if report.is_some() || dump.is_some() {
                    found.crashes.push(Crash { id, directory: directory.clone(), report, dump });
                }
            }
        }
        let time = |crash: &Crash| crash.report.as_ref().map(|report| report.time.clone());
        found.crashes.sort_by_cached_key(|crash| (time(crash), crash.id.clone()));
        found
    }

    pub fn json(&self) -> Value {
        let crashes = self.crashes.iter().map(Crash::json).collect::<Vec<_>>();
        json!({ "crashes": crashes, "damaged": self.damaged })
    }
}

fn read(path: &Path) -> Option<Report> {
    let is_small = fs::metadata(path).is_ok_and(|about| about.len() <= MAX_BYTES);
    is_small.then(|| serde_json::from_slice(&fs::read(path).ok()?).ok()).flatten()
}

#[derive(Debug)]
struct CrashFile {
    path: PathBuf,
    changed: SystemTime,
    bytes: u64,
}

impl CrashFile {
    fn ends_with(&self, end: &str) -> bool {
        self.path.extension() == Some(OsStr::new(end))
    }
}

/// The files of a directory by what they are about: the name without its last ends.
fn files(directory: &Path) -> BTreeMap<String, Vec<CrashFile>> {
    let mut files = BTreeMap::<String, Vec<CrashFile>>::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, Ok(about)) = (entry.path(), entry.metadata()) else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let ends = [".new", ".json", ".dmp"];
        let id = ends.iter().fold(name.as_str(), |name, end| name.strip_suffix(end).unwrap_or(name));
        if !about.is_file() || id == name {
            continue; // none of ours
        }
        let changed = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        files.entry(id.to_owned()).or_default().push(CrashFile { path, changed, bytes: about.len() });
    }
    files
}

/// Removes what is too old, too much or too large: the oldest first.
pub fn prune(directory: &Path, now: SystemTime) {
    let mut crashes = files(directory).into_values().collect::<Vec<_>>();
    let changed = |files: &[CrashFile]| files.iter().map(|file| file.changed).max();
    crashes.sort_by_key(|files| std::cmp::Reverse(changed(files)));
    let mut bytes = 0_u64;
    for (count, files) in crashes.iter().enumerate() {
        bytes = files.iter().fold(bytes, |bytes, file| bytes.saturating_add(file.bytes));
        let age = changed(files).and_then(|changed| now.duration_since(changed).ok()).unwrap_or_default();
        if count >= MOST || age > LONGEST || bytes > MOST_BYTES {
            for file in files {
                let _ = fs::remove_file(&file.path);
            }
        }
    }
}

/// Where crashes of this user are, and those of the machine.
pub fn directories(paths: &Paths) -> Vec<PathBuf> {
    let mut all = vec![paths.crashes(), paths::machine_crashes()];
    all.dedup();
    all
}

/// What to do with what is known of crashes. It needs no running keyrx.
#[derive(clap::Args)]
pub struct Crashes {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    directories: Directories,
    /// As data.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Lists them, the oldest first.
    List,
    /// Shows all that is known of one.
    Show {
        /// Its name, as `list` has it.
        id: String,
    },
    /// Copies reports and dumps into a directory, for whoever is to look into them.
    Export {
        /// The directory.
        #[arg(long, value_name = "DIRECTORY", default_value = "keyrx-crashes")]
        output: PathBuf,
    },
    /// Writes a dump of another process.
    #[command(hide = true)]
    Write {
        #[arg(long)]
        pid: u32,
        #[arg(long)]
        file: PathBuf,
        /// When it takes longer, the process is ended.
        #[arg(long)]
        limit_ms: u64,
        #[arg(long)]
        exit_code: u32,
        #[arg(long, requires = "pointers")]
        thread: Option<u32>,
        #[arg(long, requires = "thread")]
        pointers: Option<usize>,
    },
}

impl Crashes {
    pub fn run(self) -> Result<Exit> {
        let found = || {
            let found = Found::in_directories(&directories(&Paths::of(&self.directories)));
            for path in &found.damaged {
                eprintln!("keyrx: damaged, and left out: {}", path.display());
            }
            found
        };
        let mut out = io::stdout().lock();
        match &self.what {
            What::List if self.json => writeln!(out, "{:#}", found().json())?,
            What::List => list(&mut out, &found().crashes)?,
            What::Show { id } => {
                let found = found();
                let Some(crash) = found.crashes.iter().find(|crash| crash.id == *id) else {
                    eprintln!("keyrx: there is no crash {id}; `keyrx crashes list` names them");
                    return Ok(Exit::BadInput);
                };
                match self.json {
                    true => writeln!(out, "{:#}", crash.json())?,
                    false => show(&mut out, crash)?,
                }
            }
            What::Export { output } => {
                let copied = export(&found().crashes, output)?;
                match self.json {
                    true => writeln!(out, "{:#}", json!({ "directory": output, "files": copied }))?,
                    false => writeln!(out, "{} files in {}", copied.len(), output.display())?,
                }
            }
            What::Write { pid, file, limit_ms, exit_code, thread, pointers } => {
                let (exception, limit) = (thread.zip(*pointers), Duration::from_millis(*limit_ms));
                let written = native::dump::write_of(*pid, exception, file, limit, *exit_code);
                written.with_context(|| format!("no dump of process {pid} can be written"))?;
            }
        }
        Ok(Exit::Ok)
    }
}

fn list(out: &mut impl Write, crashes: &[Crash]) -> io::Result<()> {
    if crashes.is_empty() {
        return writeln!(out, "no crash is known");
    }
    for Crash { id, report, dump, .. } in crashes {
        let cause = report.as_ref().map_or_else(|| "dump".into(), |report| report.cause.to_string());
        let what = report.as_ref().map_or_else(|| "left by Windows".into(), Report::what);
        let with = if dump.is_some() { " (with a dump)" } else { "" };
        writeln!(out, "{id}  {cause:<9}  {what}{with}")?;
    }
    let is_missing = |crash: &Crash| {
        crash.dump.is_none() && crash.report.as_ref().is_some_and(|report| report.cause == Cause::Died)
    };
    if cfg!(target_os = "linux") && crashes.iter().any(is_missing) {
        writeln!(out, "Dumps are with the system on Linux: `coredumpctl list keyrx` names those there are.")?;
    }
    Ok(())
}

fn show(out: &mut impl Write, crash: &Crash) -> io::Result<()> {
    let Value::Object(fields) = crash.json() else { return Ok(()) };
    for (field, value) in fields {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !matches!(value.as_str(), "" | "null") {
            writeln!(out, "{field:<9} {value}")?;
        }
    }
    Ok(())
}

fn export(crashes: &[Crash], output: &Path) -> Result<Vec<PathBuf>> {
    let is_source = |crash: &Crash| fs::canonicalize(&crash.directory).ok() == fs::canonicalize(output).ok();
    if output.exists() && crashes.iter().any(is_source) {
        bail!("the crashes are in {} already", output.display());
    }
    fs::create_dir_all(output).with_context(|| format!("{} cannot be made", output.display()))?;
    let mut copied = Vec::new();
    for crash in crashes {
        let report = crash.report.as_ref().map(|_| crash.directory.join(format!("{}.json", crash.id)));
        for from in report.iter().chain(&crash.dump) {
            let to = output.join(from.file_name().unwrap_or_default());
            fs::copy(from, &to).with_context(|| format!("{} cannot be copied", from.display()))?;
            copied.push(to);
        }
    }
    Ok(copied)
}

/// What a start says of the run before, which ended without a word.
pub fn died(run: &str, pid: u32, version: &str, mode: &str) -> Report {
    Report {
        time: Timestamp::now().to_string(),
        cause: Cause::Died,
        thread: String::new(),
        location: String::new(),
        message: "it ended without a word, as the next start found out".into(),
        version: version.into(),
        uptime_s: None,
        pid,
        run: run.into(),
        mode: mode.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn report(number: u32) -> Report {
        Report { time: format!("2026-01-01T00:00:{number:02}.000Z"), ..died("1f", number, "2", "normal") }
    }

    /// So many reports, each a day older than the one after it.
    fn reports(directory: &Path, count: u32) -> Vec<String> {
        let now = SystemTime::now();
        let write = |number| {
            let (name, age) = (format!("crash-{number:02}"), DAY * (count - number - 1));
            write(directory, &name, &report(number)).unwrap();
            let file = fs::File::options().write(true).open(directory.join(format!("{name}.json"))).unwrap();
            file.set_modified(now - age).unwrap();
            name
        };
        (0..count).map(write).collect()
    }

    fn ids(directory: &Path) -> Vec<String> {
        let found = Found::in_directories(&[directory.to_owned()]);
        found.crashes.into_iter().map(|crash| crash.id).collect()
    }

    #[test]
    fn what_is_written_is_found_and_a_torn_file_is_told_of() {
        let directory = directory("crashes-found").join("crashes");
        assert_eq!(ids(&directory), [""; 0]);
        write(&directory, "b", &report(2)).unwrap();
        write(&directory, "a", &report(1)).unwrap();
        fs::write(directory.join("a.dmp"), "MDMP").unwrap();
        fs::write(directory.join("keyrx.exe.77.dmp"), "MDMP").unwrap();
        fs::write(directory.join("c.json.new"), "{").unwrap();
        fs::write(directory.join("notes.txt"), "not ours").unwrap();
        let whole = fs::read(directory.join("b.json")).unwrap();
        for (name, bytes) in [("d", &whole[..whole.len() - 9]), ("e", b""), ("f", b"[]")] {
            fs::write(directory.join(format!("{name}.json")), bytes).unwrap();
        }
        fs::write(directory.join("g.json"), vec![b' '; 1 << 20]).unwrap();
        let found = Found::in_directories(&[directory.clone(), directory.join("missing")]);
        let damaged = ["d", "e", "f", "g"].map(|name| directory.join(format!("{name}.json")));
        assert_eq!(found.damaged, damaged);
        let crash = |id: &str, report, dump: Option<&str>| Crash {
            id: id.into(),
            directory: directory.clone(),
            report,
            dump: dump.map(|dump| directory.join(dump)),
        };
        let left = crash("keyrx.exe.77", None, Some("keyrx.exe.77.dmp"));
        let expected = [left, crash("a", Some(report(1)), Some("a.dmp")), crash("b", Some(report(2)), None)];
        assert_eq!(found.crashes, expected);
    }

    #[test]
    fn the_newest_twenty_are_kept_with_their_dumps() {
        let directory = directory("crashes-many");
        let names = reports(&directory, 23);
        for name in [&names[0], &names[22]] {
            fs::write(directory.join(format!("{name}.dmp")), "").unwrap();
        }
        let file = fs::File::options().write(true).open(directory.join(format!("{}.dmp", names[0]))).unwrap();
        file.set_modified(SystemTime::now() - 22 * DAY).unwrap();
        drop(file);
        fs::write(directory.join("notes.txt"), "not ours").unwrap();
        prune(&directory, SystemTime::now());
        assert_eq!(ids(&directory), names[3..]);
        assert!(!directory.join(format!("{}.dmp", names[0])).exists());
        assert!(directory.join("notes.txt").exists());
    }

    #[test]
    fn after_thirty_days_one_is_forgotten() {
        let directory = directory("crashes-old");
        let names = reports(&directory, 3);
        prune(&directory, SystemTime::now() + 28 * DAY + DAY / 2);
        assert_eq!(ids(&directory), names[1..]);
        prune(&directory, SystemTime::now() + 60 * DAY);
        assert_eq!(ids(&directory), [""; 0]);
    }

    #[test]
    fn dumps_take_no_more_than_fifty_mebibytes() {
        let directory = directory("crashes-large");
        let names = reports(&directory, 4);
        for (age, name) in names.iter().rev().enumerate() {
            let dump = fs::File::create(directory.join(format!("{name}.dmp"))).unwrap();
            dump.set_len(20 << 20).unwrap();
            dump.set_modified(SystemTime::now() - DAY * age as u32).unwrap();
        }
        prune(&directory, SystemTime::now());
        assert_eq!(ids(&directory), names[2..]);
    }

    #[test]
    fn names_are_in_the_order_of_the_crashes_and_good_for_files() {
        let (first, second) = (report(1), report(1));
        let (first, second) = (first.name(), second.name());
        assert!(first != second && first < report(2).name(), "{first}, {second}");
        assert!(
            first.chars().all(|character| character.is_ascii_alphanumeric() || character == '-'),
            "{first}"
        );
    }

    #[test]
    fn an_export_has_reports_and_dumps_and_never_goes_where_they_are() {
        let home = directory("crashes-export");
        let names = reports(&home.join("crashes"), 2);
        fs::write(home.join("crashes").join(format!("{}.dmp", names[0])), "MDMP").unwrap();
        let found = Found::in_directories(&[home.join("crashes")]);
        for _ in 0..2 {
            assert_eq!(export(&found.crashes, &home.join("out/of")).unwrap().len(), 3);
        }
        assert_eq!(fs::read(home.join("out/of").join(format!("{}.dmp", names[0]))).unwrap(), b"MDMP");
        assert!(export(&found.crashes, &home.join("crashes")).is_err());
        assert_eq!(ids(&home.join("crashes")), names);
    }
}
