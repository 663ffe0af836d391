//! What the threads of a running keyrx share: the figures, and a view of what the control thread knows.
//!
//! The control thread alone decides what the view says; whoever else wants something asks it by an `Order`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use keyrx_config::{Diagnostic, Loaded, Severity};
use keyrx_engine::KeymapBuilder;
use keyrx_platform::lock::Guarded;
use keyrx_platform::{Figures, Interruption, Queue, native, simulated};
use tokio::sync::oneshot;

use crate::control::Cause;
use crate::health::{self, Evidence, KeymapState, Report, WebState};
use crate::lifecycle::Lifecycle;
use crate::logging::LogSwitch;
use crate::metrics::{Latency, Metrics};
use crate::paths::Paths;
use crate::profiles::Profiles;
use crate::tap::Keyboards;
use crate::timestamp::Timestamp;
use crate::web::Access;

/// Everything that is shared.
pub struct Daemon {
    pub metrics: Arc<Metrics>,
    pub paths: Paths,
    pub profiles: Profiles,
    pub desk: Desk,
    pub keyboards: Keyboards,
    pub log: LogSwitch,
    pub lifecycle: Arc<Lifecycle>,
    /// Who is let in by the web server.
    pub access: Access,
    /// Whether faults may be asked for.
    pub has_chaos: bool,
    pub view: Guarded<View>,
}

/// What is known of the keymap, and what else only one thread knows of itself.
#[derive(Clone)]
pub struct View {
    pub source: KeymapSource,
    pub state: KeymapState,
    /// What there is to say of the keymap as it was read last.
    pub diagnostics: Arc<Vec<Diagnostic>>,
    /// The keymap in force, for explanations.
    pub loaded: Option<Arc<Loaded>>,
    /// A reading of the latency from some time ago, so that the recent one is the difference.
    pub earlier: Arc<Latency>,
    /// Events of keys a second, over the last minute.
    pub rate: f64,
    /// What the process uses, as it was a few seconds ago.
    pub figures: Arc<Figures>,
    pub web: WebState,
}

impl View {
    /// Where the first mistake of the keymap is, for everybody: that is no word of what is in it.
    fn mistake(&self) -> Option<String> {
        let mut mistakes = self.diagnostics.iter().filter(|it| it.severity == Severity::Error);
        let first = mistakes.next()?;
        let file = Path::new(&first.file).file_name().unwrap_or_default().to_string_lossy();
        Some(format!("{file}:{}: {}", first.line, first.code))
    }
}

/// Where a keymap comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeymapSource {
    File(PathBuf),
    Profile { name: String, path: PathBuf },
}

impl KeymapSource {
    pub fn path(&self) -> &Path {
        match self {
            KeymapSource::File(path) | KeymapSource::Profile { path, .. } => path,
        }
    }

    /// The name of the profile, if it is one.
    pub fn profile(&self) -> Option<&str> {
        match self {
            KeymapSource::File(_) => None,
            KeymapSource::Profile { name, .. } => Some(name),
        }
    }
}

/// The platform that maps keys, for the threads beside it.
#[derive(Clone)]
pub enum Desk {
    Native(native::Waker),
    Simulated(simulated::Remote),
}

impl Desk {
    /// Has the session look at what it has been sent.
    pub fn wake(&self) {
        match self {
            Desk::Native(waker) => waker.wake(),
            Desk::Simulated(remote) => remote.wake(),
        }
    }

    /// What waits to be handed to the system, where there is a queue of it.
    pub fn output_queue(&self) -> Option<Queue> {
        match self {
            Desk::Native(waker) => waker.output_queue(),
            Desk::Simulated(_) => None,
        }
    }

    /// Makes the keyboards plain ones, without the help of the thread that maps keys.
    pub fn let_go(&self) {
        match self {
            Desk::Native(waker) => waker.let_go(),
            Desk::Simulated(remote) => remote.let_go(),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Desk::Native(_) => std::env::consts::OS,
            Desk::Simulated(_) => "simulated",
        }
    }

    /// The simulated keyboards, if that is what it has.
    pub fn simulated(&self) -> Option<&simulated::Remote> {
        match self {
            Desk::Native(_) => None,
            Desk::Simulated(remote) => Some(remote),
        }
    }

    /// Does as if the system had been asleep; for tests.
    pub fn pretend_sleep(&self) {
        match self {
            Desk::Native(waker) => waker.pretend_sleep(),
            Desk::Simulated(remote) => remote.interrupt(Interruption::Resumed),
        }
    }
}

/// What may be asked of the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    Pause(bool),
    Reload,
    Activate(String),
    Stop,
}

/// What has become of an order.
#[derive(Clone, Debug)]
pub enum Reply {
    Done,
    /// A keymap was read.
    Keymap {
        /// Its number, if it can be used: the session counts those that it is offered.
        offered: Option<u64>,
        diagnostics: Arc<Vec<Diagnostic>>,
    },
    /// It cannot be done: why.
    Refused(String),
}

/// An order, and where the answer goes.
#[derive(Debug)]
pub struct Ordered {
    pub order: Order,
    pub answer: oneshot::Sender<Reply>,
}

impl Daemon {
    pub fn view(&self) -> View {
        self.view.with(|view| view.clone())
    }

    /// For whoever knows it: the control thread, and what concerns the web server that.
    pub fn change_view<R>(&self, change: impl FnOnce(&mut View) -> R) -> R {
        self.view.with(change)
    }

    /// How keyrx is now.
    pub fn assess(&self) -> Report {
        let view = self.view();
        let metrics = self.metrics.snapshot();
        let now = metrics.at;
        let known = Evidence::new(metrics, &view.earlier, view.state);
        let recovery = self.lifecycle.recovery();
        let evidence = Evidence { mistake: view.mistake(), web: view.web, recovery, ..known };
        health::assess(now, &evidence, Timestamp::now().seconds())
    }
}

/// Sends an order; the answer comes by what is given back.
pub fn order(causes: &Sender<Cause>, order: Order) -> oneshot::Receiver<Reply> {
    let (answer, answered) = oneshot::channel();
    // The control thread is gone when keyrx ends, and then nobody answers.
    let _ = causes.send(Cause::Order(Ordered { order, answer }));
    answered
}

/// A keymap by which every key passes.
pub fn empty() -> keyrx_engine::Keymap {
    KeymapBuilder::new().build()
}
