//! The thread `control`: everything in a running keyrx that is no key.
//!
//! It takes one cause after the other, and once a second looks how keyrx is. Keymaps are read by another thread,
//! `compile`; a keymap that cannot be used changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use keyrx_config::{Loaded, Severity};
use keyrx_engine::Keymap;
use keyrx_platform::native::{Tray, Waker};
use keyrx_platform::tray::{self, Choice, Look};

use crate::health::{self, Evidence, KeymapState, Report, Status};
use crate::logging::LogSwitch;
use crate::metrics::{Latency, Metrics};
use crate::paths::Paths;
use crate::session::Command;
use crate::settings::{Said, Settings};
use crate::signals::Signal;
use crate::state::{LastGood, State, Store};
use crate::threads::Stop;
use crate::timestamp::Timestamp;
use crate::watch::{Change, Watch};

/// An editor writes a file in several steps: it is looked at so long after a hint, and again until it stays the same.
const QUIET: Duration = Duration::from_millis(50);

/// How often it is looked how keyrx is, and the state is saved if it has changed.
const LOOK: Duration = Duration::from_secs(1);

/// After so many looks the session is called, whether it still answers; and for so many looks, once or twice, a
/// latency is a recent one.
const LOOKS_TO_CALL: u64 = 10;
const LOOKS_RECENT: u64 = 30;

/// What is kept of a keymap for the day its files are broken has at most so many bytes.
const MOST_KEPT: usize = 1 << 20;

/// What wakes the thread.
pub enum Cause {
    Signal(Signal),
    /// Something happened near the files of keymap and settings.
    Hint(notify::Event),
    /// The keymap has been read.
    Read(Box<Loaded>),
    /// The user has chosen something in the tray.
    Tray(Choice),
    /// Somebody wants it to look whether it is to stop.
    Woken,
}

/// Who does things for it.
pub struct Control {
    pub causes: Receiver<Cause>,
    pub commands: Sender<Command>,
    pub waker: Waker,
    /// To the thread `compile`: the keymap is to be read.
    pub compile: SyncSender<()>,
    pub watch: Watch,
    pub log: LogSwitch,
    pub metrics: Arc<Metrics>,
    pub paths: Paths,
    pub said: Said,
    pub store: Option<Store>,
    pub keymap: KeymapInUse,
    pub memory: Memory,
    pub plan: Plan,
    /// If there is to be one.
    pub tray: Option<Tray>,
}

/// The keymap that was asked for, and what is in force.
pub struct KeymapInUse {
    pub path: PathBuf,
    pub state: KeymapState,
}

/// What is remembered from one look to the next.
pub struct Memory {
    /// What the store has.
    saved: State,
    state: State,
    is_saving_broken: bool,
    /// The status of each check that had something to say.
    health: Vec<(&'static str, Status)>,
    /// Readings of the latency, so that the recent one is the difference.
    earlier: Latency,
    latest: Latency,
}

impl Memory {
    /// `saved` is what the store has, `state` what is so.
    pub fn new(saved: State, state: State, metrics: &Metrics) -> Memory {
        let latency = metrics.snapshot().latency;
        Memory {
            saved,
            state,
            is_saving_broken: false,
            health: Vec::new(),
            earlier: latency.clone(),
            latest: latency,
        }
    }
}

/// What is to be done when.
pub struct Plan {
    /// The files are to be looked at: after a hint, which a later one does not put off, and after they were read, for
    /// they may have changed meanwhile.
    files_at: Option<Instant>,
    /// The keymap is to be read.
    is_outdated: bool,
    /// The thread `compile` is at it; one job at a time.
    is_reading: bool,
    look_at: Instant,
    looks: u64,
}

impl Plan {
    pub fn new() -> Plan {
        let now = Instant::now();
        let (files_at, look_at) = (now.checked_add(QUIET), now.checked_add(LOOK).unwrap_or(now));
        Plan { files_at, is_outdated: false, is_reading: false, look_at, looks: 0 }
    }
}

/// Whether to go on.
enum Next {
    GoOn,
    End,
}

impl Control {
    pub fn run(&mut self, stop: &Stop) {
        while !stop.is_requested() {
            let files_at = self.plan.files_at.filter(|_| !self.plan.is_reading);
            let moment = files_at.map_or(self.plan.look_at, |at| at.min(self.plan.look_at));
            let wait = moment.saturating_duration_since(Instant::now());
            let next = match self.causes.recv_timeout(wait) {
                Ok(cause) => self.take(cause),
                Err(RecvTimeoutError::Timeout) => Next::GoOn,
                Err(RecvTimeoutError::Disconnected) => Next::End,
            };
            match next {
                Next::GoOn => self.do_what_is_due(Instant::now()),
                Next::End => break,
            }
        }
        self.save();
    }

    fn take(&mut self, cause: Cause) -> Next {
        match cause {
            Cause::Woken => {}
            Cause::Hint(event) => {
                if self.watch.concerns(&event) {
                    self.plan.files_at = self.plan.files_at.or(Instant::now().checked_add(QUIET));
                }
            }
            Cause::Signal(Signal::Reload) | Cause::Tray(Choice::Reload) => self.plan.is_outdated = true,
            Cause::Tray(Choice::Pause) => self.command(Command::Pause(true)),
            Cause::Tray(Choice::Resume) => self.command(Command::Pause(false)),
            Cause::Read(loaded) => {
                self.plan.is_reading = false;
                self.plan.files_at = Instant::now().checked_add(QUIET);
                self.offer(*loaded);
            }
            Cause::Signal(Signal::Stop) | Cause::Tray(Choice::Exit) => {
                tracing::info!(event = "stopping", "stopping");
                self.command(Command::Stop);
                return Next::End;
            }
        }
        Next::GoOn
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if !self.plan.is_reading && self.plan.files_at.is_some_and(|at| at <= now) {
            let change = self.watch.check();
            self.plan.is_outdated |= change == Change::Complete;
            self.plan.files_at = (change == Change::Unfinished).then(|| now.checked_add(QUIET)).flatten();
        }
        if !self.plan.is_reading && std::mem::take(&mut self.plan.is_outdated) {
            self.read_settings();
            self.watch.before_load();
            self.plan.is_reading = self.compile.try_send(()).is_ok();
        }
        if self.plan.look_at <= now {
            self.plan.look_at = now.checked_add(LOOK).unwrap_or(now);
            self.look();
        }
    }

    // --- Keymap and settings -----------------------------------------------------------------------------------

    /// Hands the session a keymap that has been read.
    fn offer(&mut self, loaded: Loaded) {
        self.watch.follow(&files(&loaded, &self.paths));
        let last_good = last_good(&self.keymap.path, &loaded);
        match accept(&self.keymap.path, loaded, &self.metrics) {
            Some(keymap) => {
                self.keymap.state = KeymapState::Current;
                self.memory.state.last_good = last_good;
                self.command(Command::Keymap(keymap));
            }
            None if self.keymap.state == KeymapState::Current => self.keymap.state = KeymapState::LastGood,
            None => {}
        }
    }

    /// Of the settings, those of the log may change while keyrx runs.
    fn read_settings(&self) {
        match Settings::read(&self.said, self.paths.settings()) {
            Ok(settings) => {
                if self.log.set_level(settings.log_level) {
                    let level = settings.log_level.name();
                    tracing::info!(event = "log_level_changed", to = level, "the log's level is now {level}");
                }
            }
            Err(mistakes) => tracing::error!(event = "settings_rejected", "{mistakes}"),
        }
    }

    fn command(&self, command: Command) {
        // The session is gone when keyrx ends.
        let _ = self.commands.send(command);
        self.waker.wake();
    }

    // --- Once a second -----------------------------------------------------------------------------------------

    fn look(&mut self) {
        if self.plan.looks.is_multiple_of(LOOKS_TO_CALL) {
            self.metrics.session_is_called();
            self.waker.wake();
        }
        let metrics = self.metrics.snapshot();
        if self.plan.looks.is_multiple_of(LOOKS_RECENT) {
            let latency = metrics.latency.clone();
            self.memory.earlier = std::mem::replace(&mut self.memory.latest, latency);
        }
        self.plan.looks = self.plan.looks.saturating_add(1);
        self.save();
        let now = metrics.at;
        let evidence = Evidence::new(metrics, &self.memory.earlier, now, self.keymap.state);
        let report = health::assess(now, &evidence, Timestamp::now().seconds());
        if let Some(tray) = &mut self.tray {
            tray.show(&in_tray(&report, self.metrics.is_paused()));
        }
        self.tell_health(&report);
    }

    /// Says how keyrx is, when that has changed.
    fn tell_health(&mut self, report: &Report) {
        let health = report.checks.iter().map(|check| (check.name, check.status)).collect::<Vec<_>>();
        if health == self.memory.health {
            return;
        }
        self.memory.health = health;
        let reasons = reasons(report);
        let status = report.status.to_string();
        match report.status {
            Status::Healthy if reasons.is_empty() => {
                tracing::info!(event = "health_changed", status, "health: {status}");
            }
            Status::Healthy => {
                tracing::info!(event = "health_changed", status, reasons, "health: {status}: {reasons}");
            }
            Status::Degraded | Status::Unhealthy => {
                tracing::warn!(event = "health_changed", status, reasons, "health: {status}: {reasons}");
            }
        }
    }

    /// Saves the state if it has changed.
    fn save(&mut self) {
        self.memory.state.is_paused = self.metrics.is_paused();
        let Some(store) = self.store.as_ref().filter(|_| self.memory.state != self.memory.saved) else {
            return;
        };
        let saved = store.save(&self.memory.state);
        self.metrics.set_state_fails(saved.is_err());
        match saved {
            Ok(()) => self.memory.saved = self.memory.state.clone(),
            Err(error) if !self.memory.is_saving_broken => {
                tracing::warn!(
                    event = "state_not_saved",
                    error = %error,
                    "the state cannot be written, and is tried again: {error}"
                );
                self.memory.is_saving_broken = true;
                return;
            }
            Err(_) => return,
        }
        self.memory.is_saving_broken = false;
    }
}

fn reasons(report: &Report) -> String {
    report.checks.iter().map(|check| check.reason.as_str()).collect::<Vec<_>>().join("; ")
}

fn in_tray(report: &Report, is_paused: bool) -> Look {
    let state = match report.status {
        _ if is_paused => tray::State::Paused,
        Status::Healthy => tray::State::Healthy,
        Status::Degraded => tray::State::Degraded,
        Status::Unhealthy => tray::State::Unhealthy,
    };
    let reasons = reasons(report);
    let colon = if reasons.is_empty() { "" } else { ": " };
    Look { state, text: format!("keyrx: {}{colon}{reasons}", report.status) }
}

/// Says what there is to say about a keymap, and hands it out if it can be used.
pub fn accept(path: &Path, loaded: Loaded, metrics: &Metrics) -> Option<Keymap> {
    for diagnostic in &loaded.diagnostics {
        let (code, place) = (diagnostic.code, format!("{}:{}", diagnostic.file, diagnostic.line));
        match diagnostic.severity {
            Severity::Error => tracing::error!(event = "keymap_error", code, place, "{diagnostic}"),
            Severity::Warning => tracing::warn!(event = "keymap_warning", code, place, "{diagnostic}"),
        }
    }
    metrics.count_keymap(loaded.keymap.is_some());
    let path = path.display().to_string();
    match &loaded.keymap {
        Some(_) => tracing::info!(event = "keymap_loaded", path, "keymap loaded: {path}"),
        None => tracing::error!(event = "keymap_rejected", path, "keymap rejected: {path}"),
    }
    loaded.keymap
}

/// The files that are to be watched.
pub fn files(loaded: &Loaded, paths: &Paths) -> Vec<PathBuf> {
    loaded.files.iter().cloned().chain(paths.settings()).collect()
}

/// What is kept of a keymap, if it can be used and is not too large.
pub fn last_good(path: &Path, loaded: &Loaded) -> Option<LastGood> {
    loaded.keymap.as_ref()?;
    let texts = loaded.texts();
    let bytes = texts.iter().map(|(_, text)| text.len()).sum::<usize>();
    (bytes <= MOST_KEPT).then(|| LastGood { keymap: path.to_owned(), texts })
}
