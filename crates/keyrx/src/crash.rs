//! What is kept of a crash: a small report of what happened where, and on Windows a dump beside it, written by another
//! process. Nothing in a report tells of keys.
//!
//! Whose thread has panicked takes care of the rest: a panic ends no keyrx.

use std::cell::Cell;
use std::fs;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use crate::paths;
use crate::state;
use crate::timestamp::Timestamp;

/// So much is told of what a panic says.
const MOST_SAID: usize = 200;

/// So many reports are kept, for so long, and with their dumps they are at most so large.
const MOST_KEPT: usize = 20;
const LONGEST_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST_BYTES: u64 = 50 << 20;

/// Of one run so many panics get a report: one that panics all the time fills no disk.
const MOST_PANICS: u64 = 5;

/// What is larger is no report.
const MOST_REPORT: u64 = 64 << 10;

/// How long a dump may take.
#[cfg(windows)]
const DUMP_LIMIT: Duration = Duration::from_secs(3);

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A thread has panicked, and gone on.
    Panic,
    /// The thread that maps keys made no progress, and keyrx has ended itself.
    Stalled,
    /// It gave no sign of life, and its supervisor has ended it.
    Hung,
    /// The system has ended it for what it did.
    Exception,
    /// It has ended without a word, and nobody knows why.
    Died,
}

impl Cause {
    pub fn name(self) -> &'static str {
        match self {
            Cause::Panic => "panic",
            Cause::Stalled => "stalled",
            Cause::Hung => "hung",
            Cause::Exception => "exception",
            Cause::Died => "died",
        }
    }
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    pub time: String,
    pub cause: Cause,
    pub version: String,
    /// Of the process that it is about; of one that has died without a word it is not known.
    pub pid: Option<u32>,
    /// How long it had been running.
    pub uptime_ms: Option<u64>,
    pub thread: Option<String>,
    /// In the source.
    pub location: Option<String>,
    pub message: Option<String>,
}

impl Crash {
    /// Of a process, of which no more is known.
    pub fn of(cause: Cause, pid: Option<u32>) -> Crash {
        Crash {
            time: Timestamp::now().to_string(),
            cause,
            version: env!("CARGO_PKG_VERSION").into(),
            pid,
            uptime_ms: None,
            thread: None,
            location: None,
            message: None,
        }
    }
}

/// A report that is kept, under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub id: String,
    /// `None`: it cannot be read.
    #[serde(flatten)]
    pub crash: Option<Crash>,
    pub dump: Option<PathBuf>,
    #[serde(skip)]
    pub path: PathBuf,
}

/// Where reports are kept.
#[derive(Clone, Debug)]
pub struct Crashes(PathBuf);

impl Crashes {
    pub fn new(directory: PathBuf) -> Crashes {
        Crashes(directory)
    }

    /// Keeps one, whole or not at all, and lets the oldest go. The name that it has from then on.
    pub fn add(&self, crash: &Crash) -> io::Result<String> {
        paths::create(&self.0)?;
        let pid = crash.pid.unwrap_or_default();
        let id = format!("{}-{pid}-{}", Timestamp::now().in_file_name(), crash.cause.name());
        let text = serde_json::to_string_pretty(crash)?;
        state::replace(&self.0.join(format!("{id}.json")), None, text.as_bytes())?;
        self.prune(SystemTime::now());
        Ok(id)
    }

    /// Where the dump of a report is to be.
    pub fn dump(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.dmp"))
    }

    /// All, the latest first.
    pub fn list(&self) -> Vec<Kept> {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut all = files.filter_map(|path| {
            let is_report = path.extension().is_some_and(|end| end == "json");
            let id = path.file_stem().filter(|_| is_report)?.to_str()?.to_owned();
            let is_small = fs::metadata(&path).is_ok_and(|about| about.len() <= MOST_REPORT);
            let text = is_small.then(|| fs::read_to_string(&path).ok()).flatten();
            let crash = text.and_then(|text| serde_json::from_str(&text).ok());
            let dump = Some(self.dump(&id)).filter(|dump| dump.is_file());
            Some(Kept { id, crash, dump, path })
        });
        let mut all = all.by_ref().collect::<Vec<_>>();
        all.sort_by(|one, other| other.id.cmp(&one.id));
        all
    }

    /// Lets go what is too old, too much, or too large.
    fn prune(&self, now: SystemTime) {
        let mut bytes = 0_u64;
        for (number, kept) in self.list().into_iter().enumerate() {
            let about = |path: &Path| fs::metadata(path).ok();
            let size = |path: &Path| about(path).map(|about| about.len()).unwrap_or_default();
            let dump = kept.dump.as_deref();
            bytes = bytes.saturating_add(size(&kept.path)).saturating_add(dump.map(size).unwrap_or_default());
            let made = about(&kept.path).and_then(|about| about.modified().ok());
            let age = made.and_then(|made| now.duration_since(made).ok()).unwrap_or_default();
            if number >= MOST_KEPT || age > LONGEST_KEPT || (bytes > MOST_BYTES && number > 0) {
                let _ = fs::remove_file(&kept.path);
                dump.map(fs::remove_file);
            }
        }
    }
}

/// What the panic hook and the guard know.
struct Watched {
    metrics: Arc<Metrics>,
    crashes: Option<Crashes>,
    panics: AtomicU64,
}

static WATCHED: OnceLock<Watched> = OnceLock::new();

thread_local! {
    /// Whether this thread is telling of a panic: one in that is not told.
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Tells of crashes from now on: in the log, and in the reports if there is a place for them.
pub fn watch(metrics: Arc<Metrics>, crashes: Option<Crashes>) {
    #[cfg(windows)]
    if let (Some(crashes), Ok(program)) = (&crashes, std::env::current_exe()) {
        let words = format!("crashes write exception {} \"{}\"", std::process::id(), crashes.0.display());
        keyrx_platform::native::exception::watch(&program, &words);
    }
    let _ = WATCHED.set(Watched { metrics, crashes, panics: AtomicU64::new(0) });
    panic::set_hook(Box::new(|info| {
        if IS_TELLING.replace(true) {
            return;
        }
        tell(info);
        IS_TELLING.set(false);
    }));
}

fn tell(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let said = info.payload_as_str().unwrap_or_default();
    let said = said.chars().take(MOST_SAID).collect::<String>();
    let current = thread::current();
    let name = current.name().unwrap_or("?");
    tracing::error!(
        event = "panic",
        thread = name,
        location,
        error = said,
        "keyrx panicked in the thread {name} at {location}: {said}"
    );
    let Some(watched) = WATCHED.get() else { return };
    watched.metrics.count_panic();
    if watched.panics.fetch_add(1, Ordering::Relaxed) < MOST_PANICS {
        keep(watched, Cause::Panic, Some(name), Some(location), Some(said));
    }
}

/// The guard is about to end keyrx, for it makes no progress. Returns when that is kept, with a dump where there is one.
pub fn stalled() {
    if let Some(watched) = WATCHED.get() {
        #[cfg_attr(not(windows), expect(clippy::let_unit_value, reason = "Windows has one to wait for"))]
        let _helper = keep(watched, Cause::Stalled, None, None, None);
        #[cfg(windows)]
        if let Some(mut helper) = _helper {
            wait(&mut helper);
        }
    }
}

/// The run before this one has ended without a word.
pub fn died_before(pid: Option<u32>) {
    if let Some(crashes) = WATCHED.get().and_then(|watched| watched.crashes.as_ref()) {
        let _ = crashes.add(&Crash::of(Cause::Died, pid));
    }
}

/// Who writes the dump meanwhile, if anybody does.
#[cfg(windows)]
type Helper = Option<std::process::Child>;
#[cfg(not(windows))]
type Helper = ();

/// Keeps a report of this process, and begins a dump. What fails here is no reason for anything else to fail.
fn keep(
    watched: &Watched,
    cause: Cause,
    thread: Option<&str>,
    location: Option<String>,
    message: Option<String>,
) -> Helper {
    let Some(crashes) = &watched.crashes else { return Helper::default() };
    let crash = Crash {
        uptime_ms: u64::try_from(watched.metrics.uptime().as_millis()).ok(),
        thread: thread.map(str::to_owned),
        location,
        message,
        ..Crash::of(cause, Some(std::process::id()))
    };
    match crashes.add(&crash) {
        #[cfg(windows)]
        Ok(id) => helper(&crashes.dump(&id), std::process::id()).ok(),
        #[cfg(not(windows))]
        Ok(_) => {}
        Err(_) => Helper::default(),
    }
}

/// Starts another keyrx that writes a dump of a process.
#[cfg(windows)]
fn helper(file: &Path, pid: u32) -> io::Result<std::process::Child> {
    use std::process::{Command, Stdio};
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["crashes", "dump", &pid.to_string()]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Waits for it, but not for ever.
#[cfg(windows)]
fn wait(helper: &mut std::process::Child) {
    let begin = std::time::Instant::now();
    while begin.elapsed() < DUMP_LIMIT && matches!(helper.try_wait(), Ok(None)) {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = helper.kill();
}

/// Leaves a report and a dump of another process, which hangs. Another one looks at it, in case that it is looked at
/// does not go well.
#[cfg(windows)]
pub fn hung(crashes: &Crashes, pid: u32) {
    let left = crashes.add(&Crash::of(Cause::Hung, Some(pid))).and_then(|id| {
        wait(&mut helper(&crashes.dump(&id), pid)?);
        Ok(id)
    });
    match left {
        Ok(id) => {
            let has_dump = crashes.dump(&id).is_file();
            tracing::warn!(
                event = "crash_kept",
                id,
                has_dump,
                "there is a report: `keyrx crashes show {id}`"
            );
        }
        Err(error) => tracing::warn!(event = "crash_not_kept", error = %error, "there is no report: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::directory;

    fn crashes(test: &str) -> Crashes {
        Crashes::new(directory(test).join("crashes"))
    }

    #[test]
    fn reports_are_kept_and_listed_the_latest_first() {
        let crashes = crashes("crash-list");
        assert_eq!(crashes.list(), []);
        let first = Crash { message: Some("so".into()), ..Crash::of(Cause::Panic, Some(7)) };
        let ids = [first.clone(), Crash::of(Cause::Died, None)].map(|crash| {
            std::thread::sleep(Duration::from_millis(2)); // the name has the time in it, to the millisecond
            crashes.add(&crash).unwrap()
        });
        fs::write(crashes.dump(&ids[0]), "MDMP").unwrap();
        let listed = crashes.list();
        let listed_ids = listed.iter().map(|kept| kept.id.clone()).collect::<Vec<_>>();
        assert_eq!(listed_ids, [ids[1].clone(), ids[0].clone()]);
        assert_eq!(listed[1].crash, Some(first));
        assert_eq!((&listed[1].dump, &listed[0].dump), (&Some(crashes.dump(&ids[0])), &None));
    }

    #[test]
    fn a_report_that_cannot_be_read_is_listed_as_that() {
        let crashes = crashes("crash-damaged");
        crashes.add(&Crash::of(Cause::Stalled, Some(1))).unwrap();
        fs::write(crashes.0.join("2020-torn.json"), "{\"time\":").unwrap();
        fs::write(crashes.0.join("2020-large.json"), vec![b' '; 1 << 20]).unwrap();
        fs::write(crashes.0.join("other.txt"), "x").unwrap();
        let listed = crashes.list();
        let readable = listed.iter().map(|kept| kept.crash.is_some()).collect::<Vec<_>>();
        assert_eq!(readable, [true, false, false]);
    }

    #[test]
    fn only_the_latest_are_kept_and_not_for_ever() {
        let crashes = crashes("crash-prune");
        paths::create(&crashes.0).unwrap();
        for number in 0..30 {
            let id = format!("2026-{number:02}");
            fs::write(crashes.0.join(format!("{id}.json")), "{}").unwrap();
            fs::write(crashes.dump(&id), vec![0; if number == 25 { 1000 } else { 1 }]).unwrap();
        }
        crashes.prune(SystemTime::now());
        let ids = crashes.list().into_iter().map(|kept| kept.id).collect::<Vec<_>>();
        assert_eq!((ids.len(), &*ids[0], &*ids[19]), (MOST_KEPT, "2026-29", "2026-10"));
        assert!(!crashes.dump("2026-09").exists(), "the dump goes with the report");
        let large = fs::File::create(crashes.dump("2026-27")).unwrap();
        large.set_len(MOST_BYTES).unwrap();
        crashes.prune(SystemTime::now());
        let ids = crashes.list().into_iter().map(|kept| kept.id).collect::<Vec<_>>();
        assert_eq!(ids, ["2026-29", "2026-28"]);
        crashes.prune(SystemTime::now() + LONGEST_KEPT + Duration::from_secs(60));
        assert_eq!(crashes.list(), []);
    }
}
