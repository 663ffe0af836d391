//! `keyrx run`: a keymap at work on the keyboards of this machine.
//!
//! This thread drives the platform and with it every key; `control` does what is no key, `web` answers clients,
//! `guard` watches both, with `compile`, `log` and `signals` at their side. They end with this function, in the
//! reverse order of their start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use keyrx_config::{Diagnostic, Loaded};
use keyrx_engine::{Keymap, Motion};
use keyrx_platform::lock::Guarded;
use keyrx_platform::native::{self, Tray, Waker};
use keyrx_platform::{idle, live, simulated};

use crate::chaos::{self, Point};
use crate::cli::Exit;
use crate::control::{self, Cause, Control, Job, Memory, Plan};
use crate::daemon::{self, Daemon, Desk, KeymapSource, View};
use crate::guard::Guard;
use crate::health::{KeymapState, WebState};
use crate::instance::{AlreadyRunning, Instance};
use crate::lifecycle::Lifecycle;
use crate::logging::Logging;
use crate::metrics::{Hit, Metrics, Path as Outcome};
use crate::paths::{self, Directories, Paths};
use crate::phase::Reason;
use crate::profiles::{self, Profiles};
use crate::recovery::Mode;
use crate::sd_notify::Notify;
use crate::session::Session;
use crate::settings::{Said, Settings};
use crate::state::{LastGood, State, Store};
use crate::tap::{self, Keyboards, Tap};
use crate::watch::Watch;
use crate::web::{Access, Web};
use crate::{crash, signals};
use keyrx_platform::threads::Threads;

/// How long keyrx goes on without the service that has started it: that is started again within seconds.
#[cfg(windows)]
const WITHOUT_SERVICE: std::time::Duration = std::time::Duration::from_secs(30);

/// So much may wait for the thread `compile`.
const MOST_JOBS: usize = 4;

#[derive(clap::Args)]
pub struct Run {
    /// The keymap. It is read again whenever it, or a file that it loads, changes.
    #[arg(long, value_name = "FILE", env = "KEYRX_CONFIG", hide_env = true, conflicts_with = "profile")]
    config: Option<PathBuf>,
    /// The profile to begin with; by default the one that was active last.
    #[arg(long, value_name = "NAME", env = "KEYRX_PROFILE", hide_env = true)]
    profile: Option<String>,
    /// Where keys come from.
    #[arg(long, value_enum, default_value = "auto", env = "KEYRX_PLATFORM", hide_env = true)]
    platform: Platform,
    /// Things may be made to go wrong, for tests.
    #[arg(long, hide = true)]
    chaos: bool,
    /// How long a dump may take, in seconds, for tests where it takes long.
    #[arg(long, hide = true, value_name = "SECONDS")]
    dump_wait: Option<u64>,
    /// Shows an icon beside the clock: how keyrx is, and a menu.
    #[arg(long, env = "KEYRX_TRAY", hide_env = true)]
    tray: bool,
    /// Whether the service has started it.
    #[arg(skip)]
    is_of_service: bool,
    #[command(flatten)]
    directories: Directories,
    #[command(flatten)]
    said: Said,
}

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Platform {
    /// The keyboards of this system.
    Auto,
    /// The keyboards of this system, which is Linux.
    Linux,
    /// The keyboards of this system, which is Windows.
    Windows,
    /// Keyboards that are typed on through the API.
    Simulated,
}

impl Platform {
    /// Whether this system has it.
    fn is_here(self) -> bool {
        match self {
            Platform::Auto | Platform::Simulated => true,
            Platform::Linux => cfg!(target_os = "linux"),
            Platform::Windows => cfg!(windows),
        }
    }
}

/// What is to be driven.
enum Drive {
    Native(Waker),
    Simulated(simulated::Stage),
}

impl Run {
    /// As the service runs it: it ends when there is no service any more.
    #[cfg(windows)]
    pub fn of_service(self) -> Run {
        Run { is_of_service: true, ..self }
    }

    pub fn run(self) -> Result<Exit> {
        if !self.platform.is_here() {
            eprintln!("keyrx: --platform {:?} is another system than this one", self.platform);
            return Ok(Exit::Usage);
        }
        let paths = Paths::of(&self.directories);
        let (settings, mistakes) = match Settings::read(&self.said, paths.settings()) {
            Ok(settings) => (settings, None),
            // Nobody would see what it says, and keys are to be mapped.
            Err(mistakes) if self.is_of_service => (self.said.settings(), Some(mistakes)),
            Err(mistakes) => {
                eprintln!("keyrx: {mistakes}");
                return Ok(Exit::BadInput);
            }
        };
        let profiles = Profiles::new(paths.configs());
        if let Some(Err(error)) = self.profile.as_ref().map(|name| profiles.find(name)) {
            eprintln!("keyrx: {error}");
            return Ok(Exit::BadInput);
        }

        // Whoever does not have the lock writes nothing, not even into the log.
        let created = paths::create(paths.state_dir()).map_err(anyhow::Error::from);
        let state_dir = match created.and_then(|()| Instance::acquire(paths.state_dir())) {
            Err(error) if error.is::<AlreadyRunning>() => return Err(error),
            state_dir => state_dir,
        };
        let metrics = Arc::new(Metrics::new());
        let log_file = state_dir.is_ok().then(|| paths.log());
        let logging =
            Logging::start(settings.log_level, settings.log_format, log_file.as_deref(), metrics.clone())?;
        crash::watch(metrics.clone(), state_dir.is_ok().then(|| paths.crashes()));
        tracing::info!(
            event = "started",
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            state_dir = %paths.state_dir().display(),
            "keyrx {}",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(mistakes) = mistakes {
            tracing::error!(event = "settings_rejected", "{mistakes}\nthe usual settings hold");
        }
        if let Err(error) = &state_dir {
            let error = error.root_cause();
            tracing::warn!(
                event = "state_dir_unusable",
                path = %paths.state_dir().display(),
                error = %error,
                "nothing is kept on the disk: {} cannot be used: {error}",
                paths.state_dir().display()
            );
        }
        let lifecycle = Arc::new(Lifecycle::begin(state_dir.is_ok().then(|| paths.lifecycle("run"))));
        let store = state_dir.is_ok().then(|| Store::new(paths.state()));
        let saved = store.as_ref().map(Store::load).unwrap_or_default();

        let (causes, caused) = channel();
        let (jobs, todo) = sync_channel::<Job>(MOST_JOBS);
        let (commands, commanded) = channel();
        let (drive, desk) = match self.platform {
            Platform::Simulated => {
                let (remote, stage) = simulated::stage();
                (Drive::Simulated(stage), Desk::Simulated(remote))
            }
            _ => {
                let waker = Waker::new()?;
                (Drive::Native(waker.clone()), Desk::Native(waker))
            }
        };

        crash::begin(&lifecycle, &desk, self.dump_wait.map(Duration::from_secs));

        // Whatever they tell, the control thread is gone when keyrx ends.
        let tell = causes.clone();
        let mut watch = Watch::new(move |event| {
            chaos::strike(Point::Watcher);
            drop(tell.send(Cause::Hint(event)));
        });
        let source = self.source(&profiles, &saved)?;
        let start = match lifecycle.mode() {
            Mode::Normal => Start::reading(&source, &saved, &metrics),
            // What keyrx dies of may be the keymap.
            Mode::Safe | Mode::Rest { .. } => Start::withheld(&source, &saved),
        };
        // They are watched by the control thread, which looks at them first of all: that may take a while, and keys are
        // not to wait for it.
        watch.note(&start.files.iter().cloned().chain(paths.settings()).collect::<Vec<_>>());
        if saved.is_paused {
            tracing::warn!(
                event = "paused",
                "mapping is paused, as it was before; LCtrl + Space + Escape resumes"
            );
        }
        let view = View {
            source,
            state: start.keymap_state,
            diagnostics: Arc::new(start.diagnostics),
            loaded: start.loaded.map(Arc::new),
            earlier: Arc::new(metrics.snapshot().latency),
            rate: 0.0,
            figures: Arc::new(native::figures()),
            web: WebState::Starting,
        };
        let has_chaos = self.chaos || desk.simulated().is_some();
        let keyboards = Keyboards::default();
        let daemon = Arc::new(Daemon {
            metrics: metrics.clone(),
            profiles,
            access: Access::new(paths.token()),
            paths,
            desk: desk.clone(),
            keyboards: keyboards.clone(),
            log: logging.switch(),
            lifecycle: lifecycle.clone(),
            has_chaos,
            view: Guarded::new(view, |_| {}),
        });

        let guard = Guard::start(metrics.clone(), desk)?;
        let mut threads = Threads::default();
        let tell = causes.clone();
        signals::watch(&mut threads, move |signal| drop(tell.send(Cause::Signal(signal))))?;
        let notify = Notify::from_environment();
        let tell = causes.clone();
        #[cfg(windows)]
        let patience = self.is_of_service.then_some(WITHOUT_SERVICE);
        #[cfg(not(windows))]
        let patience = None;
        notify.obey(&mut threads, patience, move |signal| drop(tell.send(Cause::Signal(signal))))?;
        let wake = jobs.clone();
        let wake = move || {
            let _ = wake.try_send(Box::new(|| {}));
        };
        threads.start("compile", wake, move |stop| {
            while let Ok(job) = todo.recv()
                && !stop.is_requested()
            {
                job();
            }
        })?;
        let (live, records) = tap::live();
        let instance = state_dir.ok();
        let pid_file = instance.as_ref().map(Instance::pid_file);
        let web = Web::new(daemon.clone(), causes.clone(), jobs.clone(), records, settings.port, pid_file);
        let ending = metrics.clone();
        // It has ended by then, unless keyrx cannot even start.
        let wake = move || _ = ending.phases().end(Reason::Failure);
        threads.start("web", wake, move |_| web.run())?;
        let mut control = Control {
            daemon,
            causes: caused,
            tell: causes.clone(),
            commands,
            jobs,
            watch,
            said: self.said,
            store,
            notify,
            memory: Memory::new(saved.clone(), start.state, &metrics),
            plan: Plan::new(),
            tray: None,
        };
        let mut tell = self.tray.then(|| causes.clone());
        threads.start(
            "control",
            move || drop(causes.send(Cause::Woken)),
            move |stop| {
                // Here, for a desktop may be slow to answer, and keys are not to wait.
                if let Some(tell) = tell.take() {
                    control.tray = start_tray(tell);
                }
                control.run(stop);
            },
        )?;

        let session = Session::commanded(start.keymap, commanded).paused(saved.is_paused);
        let mut tap = Tap::new(session, metrics.clone()).shown(keyboards, live);
        let wait = |limit| match &drive {
            Drive::Native(waker) => waker.wait(limit),
            Drive::Simulated(stage) => stage.wait(limit),
        };
        let run = || match (idle::run(&mut tap, wait, &|| lifecycle.rest()), &drive) {
            (idle::Ended::Stopped, _) => Ok(()),
            (idle::Ended::Rested, Drive::Native(waker)) => native::run(&mut tap, waker, &settings.platform),
            (idle::Ended::Rested, Drive::Simulated(stage)) => simulated::run(&mut tap, stage),
        };
        // What a panic unwinds lets the keyboards go.
        let (exit, why) = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => (Exit::Ok, Reason::Session),
            Ok(Err(error)) => {
                let exit = Exit::of(&error);
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(event = "platform_failed", error, "{error}");
                (exit, Reason::Failure)
            }
            Err(_) => (Exit::Internal, Reason::Panic),
        };
        if metrics.phases().end(why) {
            lifecycle.stopping(why);
        }
        drop(threads);
        metrics.phases().stopped();
        if let Some(instance) = &instance {
            instance.clean_up();
        }
        tell_end(&metrics);
        lifecycle.stopped(exit.code());
        drop(logging);
        drop(guard); // until here it has seen to it that all this comes to an end
        Ok(exit)
    }

    /// What keyrx begins with: what is asked for, or what was active last, or what was so in keyrx 1.x.
    fn source(&self, profiles: &Profiles, saved: &State) -> Result<KeymapSource> {
        if let Some(config) = &self.config {
            return Ok(KeymapSource::File(std::path::absolute(config)?));
        }
        let asked = self.profile.clone().or_else(|| saved.active_profile.clone());
        let name = asked.or_else(|| profiles.active_in_1x()).unwrap_or_else(|| profiles::USUAL.into());
        let path = std::path::absolute(profiles.place(&name))?;
        Ok(KeymapSource::Profile { name, path })
    }
}

/// Without a tray keyrx runs as well.
fn start_tray(tell: Sender<Cause>) -> Option<Tray> {
    let tray = Tray::start(move |choice| drop(tell.send(Cause::Tray(choice))));
    let say = |error: keyrx_platform::Error| {
        let error = format!("{:#}", anyhow::Error::from(error));
        tracing::warn!(event = "tray_missing", error, "{error}");
    };
    tray.map_err(say).ok()
}

/// What keyrx begins with.
struct Start {
    keymap: Keymap,
    keymap_state: KeymapState,
    state: State,
    loaded: Option<Loaded>,
    diagnostics: Vec<Diagnostic>,
    /// What is watched.
    files: Vec<PathBuf>,
}

impl Start {
    /// With the keymap as it is on the disk, or as it was when it could be used, or else with none.
    fn reading(source: &KeymapSource, saved: &State, metrics: &Metrics) -> Start {
        let mut loaded = control::load(source.path());
        let last_good = control::last_good(source.path(), &loaded).or_else(|| saved.last_good.clone());
        let (keymap, keymap_state) = begin_with(source, &mut loaded, saved, metrics);
        Start {
            keymap,
            keymap_state,
            state: State { last_good, ..saved.clone() },
            diagnostics: std::mem::take(&mut loaded.diagnostics),
            files: loaded.files.clone(),
            loaded: Some(loaded),
        }
    }

    /// With a keymap by which every key passes. What it was made of when it could be used is watched, since what is
    /// to be mended may be a file that it loads.
    fn withheld(source: &KeymapSource, saved: &State) -> Start {
        let loaded = saved.last_good(source.path()).into_iter().flat_map(LastGood::files);
        Start {
            keymap: daemon::empty(),
            keymap_state: KeymapState::Withheld,
            state: saved.clone(),
            diagnostics: Vec::new(),
            files: std::iter::once(source.path().to_owned()).chain(loaded).collect(),
            loaded: None,
        }
    }
}

/// The keymap that is in force first: the one that was read, or what it was when it could be used, or else nothing.
fn begin_with(
    source: &KeymapSource,
    loaded: &mut Loaded,
    saved: &State,
    metrics: &Metrics,
) -> (Keymap, KeymapState) {
    let is_none = source.profile().is_some_and(|name| name == profiles::USUAL) && !source.path().exists();
    if is_none && saved.active_profile.is_none() {
        loaded.diagnostics.clear();
        tracing::warn!(
            event = "no_profile",
            path = %source.path().display(),
            "there is no profile yet, and keys pass through; write {} or run `keyrx profile create NAME`",
            source.path().display()
        );
        return (daemon::empty(), KeymapState::NoProfile);
    }
    if let Some(keymap) = control::accept(source.path(), loaded, metrics) {
        return (keymap, KeymapState::Current);
    }
    match saved.last_good(source.path()).and_then(LastGood::load) {
        Some(keymap) => {
            control::tell_last_good();
            (keymap, KeymapState::LastGood)
        }
        None => {
            tracing::warn!(event = "keymap_missing", "keys pass through until the keymap is mended");
            (daemon::empty(), KeymapState::Missing)
        }
    }
}

fn tell_end(metrics: &Metrics) {
    let all = metrics.snapshot();
    let motion = |motion| all.events.by_motion(motion);
    let path = |path| all.events.by_path(path);
    let hits = Hit::ALL.iter().zip(all.hits).map(|((_, name), count)| format!("{name} {count}"));
    let uses = native::figures();
    let resources = live::counts().into_iter().filter(|(_, count)| *count > 0);
    let resources = resources.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>();
    tracing::info!(
        event = "stopped",
        uptime = all.at.as_secs(),
        presses = motion(Motion::Press),
        releases = motion(Motion::Release),
        repeats = motion(Motion::Repeat),
        passed = path(Outcome::Passed),
        mapped = path(Outcome::Mapped),
        dropped = path(Outcome::Dropped),
        keys_held = all.keys_held(),
        hits = hits.collect::<Vec<_>>().join(", "),
        latency_p50_us = all.latency.within(50),
        latency_p95_us = all.latency.within(95),
        latency_p99_us = all.latency.within(99),
        latency_max_us = all.latency.longest(),
        keymaps_loaded = all.keymaps_loaded,
        keymaps_rejected = all.keymaps_rejected,
        log_lines_lost = all.lost_lines,
        locks_repaired = all.locks_repaired,
        cpu_ms = uses.cpu.map(|cpu| cpu.as_millis() as u64),
        resident_bytes = uses.resident,
        handles = uses.handles,
        resources = resources.join(", "),
        "stopped, every key is released"
    );
}
