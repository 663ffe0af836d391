//! The thread `control`: everything in a running keyrx that is no key, and no answer to a client.
//!
//! It takes one cause after the other, and once a second looks how keyrx is. Keymaps are read by another thread,
//! `compile`; a keymap that cannot be used changes nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

use keyrx_config::{Loaded, Severity};
use keyrx_engine::Keymap;
use keyrx_platform::native::{self, Tray, boot};
use keyrx_platform::tray::{self, Choice, Look};
use tokio::sync::oneshot;

use crate::chaos::{self, Point};
use crate::daemon::{Daemon, KeymapSource, Order, Ordered, Reply};
use crate::health::{Check, KeymapState, Report, Status, WebState};
use crate::metrics::{Latency, Metrics};
use crate::paths::Paths;
use crate::phase::{Phase, Reason};
use crate::recovery::Mode;
use crate::rehearsal;
use crate::sd_notify::Notify;
use crate::session::Command;
use crate::settings::{Said, Settings};
use crate::signals::Signal;
use crate::state::{LastGood, State, Store};
use crate::watch::{Change, Watch};
use crate::web;
use keyrx_platform::threads::Stop;

/// An editor writes a file in several steps: it is looked at so long after a hint, and again until it stays the same.
const QUIET: Duration = Duration::from_millis(50);

/// How often files are looked at where the system does not tell of changes.
const UNTOLD: Duration = Duration::from_secs(2);

/// How often it is looked how keyrx is, and the state is saved if it has changed.
const LOOK: Duration = Duration::from_secs(1);

/// After so many looks the session is called, whether it still answers; and for so many looks, once or twice, a
/// latency is a recent one.
const LOOKS_TO_CALL: u64 = 10;
const LOOKS_RECENT: u64 = 30;

/// After so many looks it is read what the process uses, which takes a while on Windows.
const LOOKS_OF_FIGURES: u64 = 5;

/// Of so many looks the rate of events is taken: a minute.
const LOOKS_OF_RATE: usize = 61;

/// How long clients have to go when keyrx ends; the keyboard is mapped until then.
const DRAIN: Duration = Duration::from_secs(3);

/// What is kept of a keymap for the day its files are broken has at most so many bytes.
const MOST_KEPT: usize = 1 << 20;

/// What wakes the thread.
pub enum Cause {
    Signal(Signal),
    /// Something happened near the files of keymap and settings.
    Hint(notify::Event),
    /// The keymap has been read and tried out; `None` if that panicked.
    Read(Option<Box<Loaded>>),
    Order(Ordered),
    /// The last client of the web server has gone, and it takes no more.
    Drained,
    /// The user has chosen something in the tray.
    Tray(Choice),
    /// Somebody wants it to look whether it is to stop.
    Woken,
}

/// Work for the thread `compile`.
pub type Job = Box<dyn FnOnce() + Send>;

/// Who does things for it.
pub struct Control {
    pub daemon: Arc<Daemon>,
    pub causes: Receiver<Cause>,
    /// For those who are to tell it something.
    pub tell: Sender<Cause>,
    pub commands: Sender<Command>,
    pub jobs: SyncSender<Job>,
    pub watch: Watch,
    pub said: Said,
    pub store: Option<Store>,
    pub notify: Notify,
    pub memory: Memory,
    pub plan: Plan,
    /// If there is to be one.
    pub tray: Option<Tray>,
}

/// What is remembered from one look to the next.
pub struct Memory {
    /// What the store has.
    saved: State,
    state: State,
    is_saving_broken: bool,
    /// Whoever started keyrx has been told that it is ready.
    is_ready: bool,
    /// The status of each check that had something to say.
    health: Vec<(&'static str, Status)>,
    /// The latest reading of the latency; the one before it is in the view.
    latest: Arc<Latency>,
    /// How many keymaps the session was offered.
    offered: u64,
    /// When there had been how many events of keys: a reading for each look of the last minute.
    counted: VecDeque<(Duration, u64)>,
}

impl Memory {
    /// `saved` is what the store has, `state` what is so.
    pub fn new(saved: State, state: State, metrics: &Metrics) -> Memory {
        Memory {
            saved,
            state,
            is_saving_broken: false,
            is_ready: false,
            health: Vec::new(),
            latest: Arc::new(metrics.snapshot().latency),
            offered: 0,
            counted: VecDeque::new(),
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
    /// Another keymap is to be read, and taken if it can be used.
    change: Option<KeymapSource>,
    /// Who is told what has come of it.
    waiting: Vec<oneshot::Sender<Reply>>,
    /// What the thread `compile` reads, and who waits for that; one at a time.
    reading: Option<Reading>,
    look_at: Instant,
    looks: u64,
}

struct Reading {
    source: KeymapSource,
    waiting: Vec<oneshot::Sender<Reply>>,
}

impl Plan {
    pub fn new() -> Plan {
        let now = Instant::now();
        Plan {
            files_at: now.checked_add(QUIET),
            is_outdated: false,
            change: None,
            waiting: Vec::new(),
            reading: None,
            look_at: now.checked_add(LOOK).unwrap_or(now),
            looks: 0,
        }
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
            self.daemon.metrics.control_is_alive();
            chaos::strike(Point::Control);
            let files_at = self.plan.files_at.filter(|_| self.plan.reading.is_none());
            let drained_at = match self.daemon.metrics.phases().now() {
                Phase::Draining { until, .. } => Some(until),
                Phase::Starting | Phase::Running | Phase::Ending(_) | Phase::Stopped(_) => None,
            };
            let moments = [files_at, drained_at].into_iter().flatten();
            let moment = moments.fold(self.plan.look_at, Instant::min);
            let wait = moment.saturating_duration_since(Instant::now());
            let next = match self.causes.recv_timeout(wait) {
                Ok(cause) => self.take(cause),
                Err(RecvTimeoutError::Timeout) => Next::GoOn,
                Err(RecvTimeoutError::Disconnected) => Next::End,
            };
            let now = Instant::now();
            match next {
                Next::GoOn if drained_at.is_some_and(|at| at <= now) => break,
                Next::GoOn => self.do_what_is_due(now),
                Next::End => break,
            }
        }
        self.daemon.metrics.phases().end(Reason::Failure); // unless there is a reason already
        self.command(Command::Stop);
        self.save();
    }

    fn take(&mut self, cause: Cause) -> Next {
        match cause {
            Cause::Woken => {}
            Cause::Hint(event) => {
                if self.watch.concerns(&event) {
                    let soon = Instant::now().checked_add(QUIET);
                    self.plan.files_at = self.plan.files_at.into_iter().chain(soon).min();
                }
            }
            Cause::Signal(Signal::Reload) | Cause::Tray(Choice::Reload) => self.plan.is_outdated = true,
            Cause::Tray(Choice::Pause) => self.command(Command::Pause(true)),
            Cause::Tray(Choice::Resume) => self.command(Command::Pause(false)),
            Cause::Read(loaded) => {
                self.plan.files_at = Instant::now().checked_add(QUIET);
                if let Some(reading) = self.plan.reading.take() {
                    self.has_read(reading, loaded);
                }
                if self.memory.is_ready {
                    self.notify.ready();
                }
            }
            Cause::Order(Ordered { order, answer }) => self.obey(order, answer),
            Cause::Signal(Signal::Stop) => self.begin_to_stop(Reason::Signal),
            Cause::Tray(Choice::Exit) => self.begin_to_stop(Reason::Tray),
            Cause::Tray(Choice::Open) => self.open_page(),
            Cause::Drained => return Next::End,
        }
        Next::GoOn
    }

    fn obey(&mut self, order: Order, answer: oneshot::Sender<Reply>) {
        // Whoever asked may have gone.
        let reply = |answer: oneshot::Sender<Reply>, reply| drop(answer.send(reply));
        match order {
            Order::Pause(is_wanted) => {
                self.command(Command::Pause(is_wanted));
                reply(answer, Reply::Done);
            }
            Order::Reload => {
                self.plan.is_outdated = true;
                self.plan.waiting.push(answer);
            }
            Order::Activate(name) => match self.daemon.profiles.find(&name) {
                Ok(profile) => {
                    for before in self.plan.waiting.drain(..) {
                        reply(before, Reply::Refused("another profile was chosen meanwhile".into()));
                    }
                    self.plan.change = Some(KeymapSource::Profile { name: profile.name, path: profile.path });
                    self.plan.waiting.push(answer);
                }
                Err(error) => reply(answer, Reply::Refused(error.to_string())),
            },
            Order::Stop => {
                reply(answer, Reply::Done);
                self.begin_to_stop(Reason::Command);
            }
        }
    }

    /// Opens the page in a browser, with a code that lets it in.
    fn open_page(&self) {
        let WebState::Serving(port) = self.daemon.view().web else { return };
        let Some(code) = self.daemon.access.code(Instant::now()) else { return };
        if let Err(error) = open::that_detached(web::page(port, &code)) {
            tracing::warn!(event = "page_not_opened", error = %error, "no browser can be opened: {error}");
        }
    }

    /// No new clients; those that are there are told, and have a while to go. The keyboard is still mapped.
    fn begin_to_stop(&mut self, why: Reason) {
        let now = Instant::now();
        if self.daemon.metrics.phases().drain(why, now.checked_add(DRAIN).unwrap_or(now)) {
            self.daemon.lifecycle.stopping(why);
            self.notify.stopping(why);
            chaos::strike(Point::Ending);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if self.plan.reading.is_none() && self.plan.files_at.is_some_and(|at| at <= now) {
            let change = self.watch.check();
            self.plan.is_outdated |= change == Change::Complete;
            let is_blind = self.watch.is_blind();
            self.daemon.metrics.set_files_unwatched(is_blind);
            self.plan.files_at = match change {
                Change::Unfinished => now.checked_add(QUIET),
                Change::None | Change::Complete if is_blind => now.checked_add(UNTOLD),
                Change::None | Change::Complete => None,
            };
        }
        if self.plan.reading.is_none() && (self.plan.is_outdated || self.plan.change.is_some()) {
            self.begin_to_read();
        }
        if self.plan.look_at <= now {
            let look =
                self.notify.watchdog_interval().map_or(LOOK, |interval| interval.clamp(LOOK / 10, LOOK));
            self.plan.look_at = now.checked_add(look).unwrap_or(now);
            self.look();
        }
    }

    // --- Keymap and settings -----------------------------------------------------------------------------------

    fn begin_to_read(&mut self) {
        self.read_settings();
        self.watch.before_load();
        let source = self.plan.change.clone().unwrap_or_else(|| self.daemon.view().source);
        let (tell, path) = (self.tell.clone(), source.path().to_owned());
        let job = Box::new(move || {
            // A panic has been told by then.
            let loaded = catch_unwind(AssertUnwindSafe(|| Box::new(load(&path)))).ok();
            let _ = tell.send(Cause::Read(loaded));
        });
        // Else there is too much to do: it is tried again at the next look.
        if self.jobs.try_send(job).is_ok() {
            self.plan.is_outdated = false;
            self.plan.change = None;
            let waiting = std::mem::take(&mut self.plan.waiting);
            self.plan.reading = Some(Reading { source, waiting });
            if self.memory.is_ready {
                self.notify.reloading(boot::age()); // `ready` follows when it has been read
            }
        }
    }

    /// Hands the session a keymap that has been read, if it can be used.
    fn has_read(&mut self, Reading { source, waiting }: Reading, loaded: Option<Box<Loaded>>) {
        let Some(mut loaded) = loaded else {
            let why = "keyrx failed at it, which is a mistake of keyrx; the log has more";
            waiting.into_iter().for_each(|answer| drop(answer.send(Reply::Refused(why.into()))));
            return;
        };
        let view = self.daemon.view();
        let is_change = source != view.source;
        let last_good = last_good(source.path(), &loaded);
        let keymap = accept(source.path(), &mut loaded, &self.daemon.metrics);
        let diagnostics = Arc::new(std::mem::take(&mut loaded.diagnostics));
        let offered = keymap.map(|keymap| {
            self.memory.offered = self.memory.offered.saturating_add(1);
            self.memory.state.last_good = last_good;
            if let Some(name) = source.profile() {
                self.memory.state.active_profile = Some(name.to_owned());
            }
            if self.daemon.lifecycle.forgive("the keymap has been read again") {
                self.notify.forgiven();
            }
            self.command(Command::Keymap(keymap));
            self.memory.offered
        });
        // Only now: to watch files may take a while.
        if offered.is_some() || !is_change {
            self.watch.follow(&files(&loaded, &self.daemon.paths));
        }
        let mode = self.daemon.lifecycle.mode();
        self.daemon.change_view(|view| {
            if offered.is_some() {
                view.state = KeymapState::Current;
                view.source = source;
                view.loaded = Some(Arc::new(*loaded));
                view.diagnostics = diagnostics.clone();
            } else if !is_change {
                view.diagnostics = diagnostics.clone();
                view.state = match view.state {
                    KeymapState::Current | KeymapState::LastGood => KeymapState::LastGood,
                    KeymapState::Withheld if mode != Mode::Normal => KeymapState::Withheld,
                    KeymapState::Missing | KeymapState::NoProfile | KeymapState::Withheld => {
                        KeymapState::Missing
                    }
                };
            }
        });
        for answer in waiting {
            let _ = answer.send(Reply::Keymap { offered, diagnostics: diagnostics.clone() });
        }
    }

    /// Of the settings, those of the log may change while keyrx runs.
    fn read_settings(&self) {
        match Settings::read(&self.said, self.daemon.paths.settings()) {
            Ok(settings) => {
                if self.daemon.log.set_level(settings.log_level) {
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
        self.daemon.desk.wake();
    }

    // --- Once a second -----------------------------------------------------------------------------------------

    fn look(&mut self) {
        if self.plan.looks.is_multiple_of(LOOKS_TO_CALL) {
            self.daemon.metrics.session_is_called();
            self.daemon.desk.wake();
        }
        if self.plan.looks.is_multiple_of(LOOKS_RECENT) {
            let latency = Arc::new(self.daemon.metrics.snapshot().latency);
            let earlier = std::mem::replace(&mut self.memory.latest, latency);
            self.daemon.change_view(|view| view.earlier = earlier);
        }
        self.plan.looks = self.plan.looks.saturating_add(1);
        if self.plan.looks.is_multiple_of(LOOKS_OF_FIGURES) {
            let figures = Arc::new(native::figures());
            self.daemon.change_view(|view| view.figures = figures);
        }
        self.note_rate();
        self.save();
        let report = self.daemon.assess();
        // Safe mode or the rest is over.
        self.plan.is_outdated |=
            self.daemon.view().state == KeymapState::Withheld && self.daemon.lifecycle.mode() == Mode::Normal;
        self.notify_of(&report);
        self.notify.health(&report);
        if let Some(tray) = &mut self.tray {
            tray.show(&in_tray(&report, self.daemon.metrics.is_paused()));
        }
        self.tell_health(&report);
    }

    /// Tells whoever started keyrx what it waits for.
    fn notify_of(&mut self, report: &Report) {
        let is_running = self.daemon.metrics.phases().now() == Phase::Running;
        if is_running && !std::mem::replace(&mut self.memory.is_ready, true) {
            self.notify.ready();
        }
        // Progress alone counts, never keyboards, keymap or disk.
        let is_stuck =
            |check: &Check| matches!(check.name, "session" | "engine") && check.status == Status::Unhealthy;
        if !report.checks.iter().any(is_stuck) {
            self.notify.watchdog();
        }
    }

    fn note_rate(&mut self) {
        let all = self.daemon.metrics.snapshot();
        let now = (all.at, all.events.total());
        self.memory.counted.push_back(now);
        while self.memory.counted.len() > LOOKS_OF_RATE {
            self.memory.counted.pop_front();
        }
        let (since, before) = self.memory.counted.front().copied().unwrap_or(now);
        let seconds = now.0.saturating_sub(since).as_secs_f64().max(1.0);
        let rate = now.1.saturating_sub(before) as f64 / seconds;
        self.daemon.change_view(|view| view.rate = rate);
    }

    /// Says how keyrx is, when that has changed.
    fn tell_health(&mut self, report: &Report) {
        let health = report.checks.iter().map(|check| (check.name, check.status)).collect::<Vec<_>>();
        if health == self.memory.health {
            return;
        }
        let is_slow = |all: &[(&str, Status)]| all.iter().any(|(name, _)| *name == "latency");
        if is_slow(&health) && !is_slow(&self.memory.health) {
            let latency = self.daemon.metrics.snapshot().latency;
            let (p99_us, max_us) = (latency.within(99), latency.longest());
            tracing::warn!(event = "keys_slow", p99_us, max_us, "keys are slow: {p99_us} us (99 %)");
        }
        self.memory.health = health;
        let reasons = reasons(report);
        let status = report.status.to_string();
        self.notify.status(&format!("{status}{}{reasons}", if reasons.is_empty() { "" } else { ": " }));
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
        self.memory.state.is_paused = self.daemon.metrics.is_paused();
        let Some(store) = self.store.as_ref().filter(|_| self.memory.state != self.memory.saved) else {
            return;
        };
        let saved = store.save(&self.memory.state);
        self.daemon.metrics.set_state_fails(saved.is_err());
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

/// Reads a keymap and tries it out.
pub fn load(path: &Path) -> Loaded {
    chaos::strike(Point::Compile);
    let mut loaded = keyrx_config::load(path);
    loaded.keymap = loaded.keymap.and_then(|keymap| match rehearsal::rehearse(keymap) {
        Ok(keymap) => Some(keymap),
        Err(error) => {
            // A mistake of ours, for the language can say no such thing.
            tracing::error!(event = "keymap_rehearsal_failed", error, "the keymap does not work: {error}");
            None
        }
    });
    loaded
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
pub fn accept(path: &Path, loaded: &mut Loaded, metrics: &Metrics) -> Option<Keymap> {
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
        None => {
            let mistake = loaded.diagnostics.iter().find(|it| it.severity == Severity::Error);
            let code = mistake.map(|mistake| mistake.code).unwrap_or_default();
            let place =
                mistake.map(|mistake| format!("{}:{}", mistake.file, mistake.line)).unwrap_or_default();
            tracing::error!(event = "keymap_rejected", path, code, place, "keymap rejected: {path}");
        }
    }
    loaded.keymap.take()
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
