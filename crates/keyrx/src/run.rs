//! `keyrx run`: a keymap at work on the keyboards of this machine.
//!
//! Two threads: this one drives the platform and with it every key; `control` waits for signals and for changes of
//! the keymap's files, loads keymaps, and sends the session what comes of it. A keymap that cannot be used changes
//! nothing: the one before stays in force, and before the first, keys pass through.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use keyrx_config::{Loaded, Severity};
use keyrx_engine::{Keymap, KeymapBuilder};
use keyrx_platform::native::{self, Waker};
use keyrx_platform::{Injected, Options};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use crate::cli::Exit;
use crate::instance::Instance;
use crate::session::{Command, Session};
use crate::signals::{self, Signal};

/// An editor writes a file in several steps; the keymap is read when it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(50);

/// What wakes the control thread.
enum Cause {
    Signal(Signal),
    /// A file in one of the watched directories changed.
    Changed(Vec<PathBuf>),
}

pub fn run(config: &Path) -> Result<Exit> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let options = options()?;
    let config = std::path::absolute(config)?;
    let _instance = Instance::acquire()?;
    let (causes, caused) = channel();
    let signals = causes.clone();
    // The control thread is gone when keyrx ends.
    signals::watch(move |signal| drop(signals.send(Cause::Signal(signal))))?;
    let mut files = Files::watch(causes)?;

    let loaded = keyrx_config::load(&config);
    files.follow(&loaded.files);
    let keymap = accept(&config, loaded).unwrap_or_else(|| {
        tracing::warn!("keys pass through until the keymap is mended");
        KeymapBuilder::new().build()
    });

    let waker = Waker::new()?;
    let (commands, commanded) = channel();
    let control = Control { config, files, caused, commands, waker: waker.clone() };
    thread::Builder::new().name("control".into()).spawn(|| control.run())?;
    native::run(&mut Session::commanded(keymap, commanded), &waker, &options)?;
    tracing::info!("stopped, every key is released");
    Ok(Exit::Ok)
}

/// Says what there is to say about a keymap, and hands it out if it can be used.
fn accept(config: &Path, loaded: Loaded) -> Option<Keymap> {
    for diagnostic in &loaded.diagnostics {
        match diagnostic.severity {
            Severity::Error => tracing::error!("{diagnostic}"),
            Severity::Warning => tracing::warn!("{diagnostic}"),
        }
    }
    match &loaded.keymap {
        Some(_) => tracing::info!("keymap loaded: {}", config.display()),
        None => tracing::error!("keymap rejected: {}", config.display()),
    }
    loaded.keymap
}

/// What the environment says of the platform.
fn options() -> Result<Options> {
    let mut options = Options::default();
    match std::env::var("KEYRX_INJECTED").as_deref() {
        Ok("map") => options.injected = Injected::Map,
        Ok("pass") | Err(_) => options.injected = Injected::Pass,
        Ok(other) => bail!("KEYRX_INJECTED is {other:?}, which is neither `map` nor `pass`"),
    }
    if let Ok(text) = std::env::var("KEYRX_MASK_KEY") {
        let number = text.strip_prefix("0x").map(|hex| u8::from_str_radix(hex, 16).ok());
        let number = number.unwrap_or_else(|| text.parse().ok());
        options.mask_key =
            number.with_context(|| format!("KEYRX_MASK_KEY is {text:?}, which is no virtual key (0xE8)"))?;
    }
    Ok(options)
}

/// The files of a keymap, watched by their directories: so it is seen too when one is replaced or appears.
struct Files {
    watcher: RecommendedWatcher,
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Files {
    fn watch(causes: Sender<Cause>) -> Result<Files> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if let Ok(event) = event
                && !event.kind.is_access()
            {
                // The receiver is gone when keyrx ends.
                let _ = causes.send(Cause::Changed(event.paths));
            }
        });
        let watcher = watcher.context("the keymap's files cannot be watched")?;
        Ok(Files { watcher, files: Vec::new(), directories: Vec::new() })
    }

    /// Watches these files from now on.
    fn follow(&mut self, files: &[PathBuf]) {
        self.files = files.iter().filter_map(|file| std::path::absolute(file).ok()).collect();
        for directory in self.files.iter().filter_map(|file| file.parent()) {
            if !self.directories.iter().any(|known| known == directory)
                && self.watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
            {
                self.directories.push(directory.to_owned());
            }
        }
    }

    fn concern(&self, paths: &[PathBuf]) -> bool {
        // Windows names a file as it is on the disk, whatever case was asked for.
        let fold = |path: &Path| path.to_string_lossy().to_lowercase();
        paths.iter().any(|path| self.files.iter().any(|file| fold(file) == fold(path)))
    }
}

/// The control thread.
struct Control {
    config: PathBuf,
    files: Files,
    caused: Receiver<Cause>,
    commands: Sender<Command>,
    waker: Waker,
}

impl Control {
    fn run(mut self) {
        let mut is_changed = false;
        loop {
            let cause = match is_changed {
                true => self.caused.recv_timeout(QUIET),
                false => self.caused.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match cause {
                Ok(Cause::Changed(paths)) => is_changed |= self.files.concern(&paths),
                Ok(Cause::Signal(Signal::Reload)) => is_changed = true,
                Ok(Cause::Signal(Signal::Stop)) => return self.command(Command::Stop),
                Err(RecvTimeoutError::Timeout) => {
                    is_changed = false;
                    self.reload();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reload(&mut self) {
        let loaded = keyrx_config::load(&self.config);
        self.files.follow(&loaded.files);
        if let Some(keymap) = accept(&self.config, loaded) {
            self.command(Command::Keymap(keymap));
        }
    }

    fn command(&self, command: Command) {
        // The session is gone when keyrx ends.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}
