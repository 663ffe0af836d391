//! `keyrx run`: a keymap at work on the keyboards of this machine.
//!
//! This thread drives the platform and with it every key; `control` does everything else, with `compile`, `log` and
//! `signals` at its side. They end with this function, in the reverse order of their start.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};

use anyhow::Result;
use keyrx_engine::{Keymap, KeymapBuilder, Motion};
use keyrx_platform::live;
use keyrx_platform::native::{self, Tray, Waker};

use crate::cli::Exit;
use crate::control::{self, Cause, Control, KeymapInUse, Memory, Plan};
use crate::health::KeymapState;
use crate::instance::Instance;
use crate::logging::Logging;
use crate::metrics::{Hit, Metrics, Path as Outcome};
use crate::paths::{self, Directories, Paths};
use crate::session::Session;
use crate::settings::{Said, Settings};
use crate::state::{State, Store};
use crate::tap::Tap;
use crate::threads::Threads;
use crate::watch::Watch;
use crate::{crash, signals};

#[derive(clap::Args)]
pub struct Run {
    /// The keymap. It is read again whenever it, or a file that it loads, changes.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Shows an icon beside the clock: how keyrx is, and a menu.
    #[arg(long, env = "KEYRX_TRAY", hide_env = true)]
    tray: bool,
    #[command(flatten)]
    directories: Directories,
    #[command(flatten)]
    said: Said,
}

impl Run {
    pub fn run(self) -> Result<Exit> {
        let paths = Paths::of(&self.directories);
        let settings = match Settings::read(&self.said, paths.settings()) {
            Ok(settings) => settings,
            Err(mistakes) => {
                eprintln!("keyrx: {mistakes}");
                return Ok(Exit::BadInput);
            }
        };
        let keymap_path = std::path::absolute(&self.config)?;

        // Whoever does not have the lock writes nothing, not even into the log.
        let state_dir = paths::create(paths.state_dir());
        let _instance = match &state_dir {
            Ok(()) => Some(Instance::acquire(paths.state_dir())?),
            Err(_) => None,
        };
        let metrics = Arc::new(Metrics::new());
        let log_file = state_dir.is_ok().then(|| paths.log());
        let logging =
            Logging::start(settings.log_level, settings.log_format, log_file.as_deref(), metrics.clone())?;
        crash::watch(metrics.clone());
        tracing::info!(
            event = "started",
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            state_dir = %paths.state_dir().display(),
            "keyrx {}",
            env!("CARGO_PKG_VERSION")
        );
        if let Err(error) = &state_dir {
            tracing::warn!(
                event = "state_dir_unusable",
                path = %paths.state_dir().display(),
                error = %error,
                "nothing is kept on the disk: {} cannot be used: {error}",
                paths.state_dir().display()
            );
        }
        let store = state_dir.is_ok().then(|| Store::new(paths.state()));
        let saved = store.as_ref().map(Store::load).unwrap_or_default();

        let (causes, caused) = channel();
        let (compile, jobs) = sync_channel(1);
        let (commands, commanded) = channel();
        let waker = Waker::new()?;

        // Whatever they tell, the control thread is gone when keyrx ends.
        let tell = causes.clone();
        let mut watch = Watch::new(move |event| drop(tell.send(Cause::Hint(event))))?;
        let loaded = keyrx_config::load(&keymap_path);
        watch.follow(&control::files(&loaded, &paths));
        let last_good = control::last_good(&keymap_path, &loaded).or_else(|| saved.last_good.clone());
        let state = State { last_good, ..saved.clone() };
        let (keymap, keymap_state) = match control::accept(&keymap_path, loaded, &metrics) {
            Some(keymap) => (keymap, KeymapState::Current),
            None => fall_back(&keymap_path, &saved),
        };
        if saved.is_paused {
            tracing::warn!(
                event = "paused",
                "mapping is paused, as it was before; LCtrl + Space + Escape resumes"
            );
        }

        let mut threads = Threads::default();
        let tell = causes.clone();
        signals::watch(&mut threads, move |signal| drop(tell.send(Cause::Signal(signal))))?;
        let tell = causes.clone();
        let path = keymap_path.clone();
        let wake = compile.clone();
        let wake = move || {
            let _ = wake.try_send(());
        };
        threads.start("compile", wake, move |stop| {
            while jobs.recv().is_ok() && !stop.is_requested() {
                drop(tell.send(Cause::Read(Box::new(keyrx_config::load(&path)))));
            }
        })?;
        let mut control = Control {
            causes: caused,
            commands,
            waker: waker.clone(),
            compile,
            watch,
            log: logging.switch(),
            metrics: metrics.clone(),
            said: self.said,
            paths,
            store,
            keymap: KeymapInUse { path: keymap_path, state: keymap_state },
            memory: Memory::new(saved.clone(), state, &metrics),
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

        let session = Session::commanded(keymap, commanded).paused(saved.is_paused);
        let mut tap = Tap::new(session, metrics.clone());
        let run = || native::run(&mut tap, &waker, &settings.platform);
        // What a panic unwinds lets the keyboards go.
        let exit = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => Exit::Ok,
            Ok(Err(error)) => {
                let exit = Exit::of(&error);
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::error!(event = "platform_failed", error, "{error}");
                exit
            }
            Err(_) => Exit::Internal,
        };
        tell_end(&metrics);
        Ok(exit)
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

/// What is in force when the keymap cannot be used at the start: what it was when it could, or else nothing.
fn fall_back(path: &Path, saved: &State) -> (Keymap, KeymapState) {
    let last_good = saved.last_good.as_ref().filter(|last_good| last_good.keymap == path);
    let keymap = last_good.and_then(|good| keyrx_config::load_kept(path, &good.texts).keymap);
    match keymap {
        Some(keymap) => {
            tracing::warn!(
                event = "keymap_last_good",
                "the keymap of before is used until this one is mended"
            );
            (keymap, KeymapState::LastGood)
        }
        None => {
            tracing::warn!(event = "keymap_missing", "keys pass through until the keymap is mended");
            (KeymapBuilder::new().build(), KeymapState::Missing)
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
