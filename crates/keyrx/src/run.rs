//! `keyrx run`: a keymap at work on the keyboards of this machine.
//!
//! Two threads: this one drives the platform and with it every key; `control` waits for signals and for changes of
//! the keymap's files, loads keymaps, and sends the session what comes of it. A keymap that cannot be used changes
//! nothing: the one before stays in force, and before the first, keys pass through.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use keyrx_config::{Loaded, Severity};
use keyrx_engine::{Keymap, KeymapBuilder};
use keyrx_platform::native::{self, Waker};
use keyrx_platform::{Injected, Options};

use crate::cli::Exit;
use crate::instance::Instance;
use crate::logging::Logging;
use crate::session::{Command, Session};
use crate::signals::{self, Signal};
use crate::watch::{Change, Watch};

/// An editor writes a file in several steps: it is looked at so long after a hint, and again until it stays the same.
const QUIET: Duration = Duration::from_millis(50);

/// What wakes the control thread.
enum Cause {
    Signal(Signal),
    /// Something happened near the keymap's files.
    Hint(notify::Event),
}

pub fn run(config: &Path) -> Result<Exit> {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("keyrx: {error}");
            return Ok(Exit::Usage);
        }
    };
    let _logging = Logging::start()?;
    let config = std::path::absolute(config)?;
    let _instance = Instance::acquire()?;
    let (causes, caused) = channel();
    let signals = causes.clone();
    // The control thread is gone when keyrx ends.
    signals::watch(move |signal| drop(signals.send(Cause::Signal(signal))))?;
    let mut watch = Watch::new(move |event| drop(causes.send(Cause::Hint(event))))?;

    let loaded = keyrx_config::load(&config);
    watch.follow(&loaded.files);
    let keymap = accept(&config, loaded).unwrap_or_else(|| {
        tracing::warn!("keys pass through until the keymap is mended");
        KeymapBuilder::new().build()
    });

    let waker = Waker::new()?;
    let (commands, commanded) = channel();
    let control = Control { config, watch, caused, commands, waker: waker.clone() };
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

/// The control thread.
struct Control {
    config: PathBuf,
    watch: Watch,
    caused: Receiver<Cause>,
    commands: Sender<Command>,
    waker: Waker,
}

impl Control {
    fn run(mut self) {
        // When the files are to be looked at: after a hint, which a later one does not put off, and after they were
        // loaded, for they may have changed while that went on.
        let mut look_at = Some(Instant::now() + QUIET);
        loop {
            let cause = match look_at {
                Some(at) => self.caused.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.caused.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match cause {
                Ok(Cause::Hint(event)) if self.watch.concerns(&event) => {
                    look_at = look_at.or(Some(Instant::now() + QUIET));
                }
                Ok(Cause::Hint(_)) => {}
                Ok(Cause::Signal(Signal::Reload)) => {
                    self.reload();
                    look_at = Some(Instant::now() + QUIET);
                }
                Ok(Cause::Signal(Signal::Stop)) => return self.command(Command::Stop),
                Err(RecvTimeoutError::Timeout) => {
                    let change = self.watch.check();
                    if change == Change::Complete {
                        self.reload();
                    }
                    look_at = (change != Change::None).then(|| Instant::now() + QUIET);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reload(&mut self) {
        self.watch.before_load();
        let loaded = keyrx_config::load(&self.config);
        self.watch.follow(&loaded.files);
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
