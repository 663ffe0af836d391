//! What keyrx tells whoever started it: that it is ready, that it makes progress, that it stops.
//!
//! It is the protocol of systemd (sd_notify), which `keyrx supervise` speaks as well. On Windows, where there are no
//! datagrams, the same words go through a pipe, and orders come back through it. Nobody waits for it: what cannot be
//! sent at once is not sent.

#[cfg(any(windows, test))]
pub mod frame;
#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyrx_platform::threads::Threads;

use crate::health::Report;
use crate::phase::Reason;
use crate::signals::Signal;

#[cfg(target_os = "linux")]
pub use system::Listener;
pub use system::SOCKET;
#[cfg(windows)]
pub use system::{Admitted, Heard, SUPERVISOR_PID, Server, order};

/// How long the other side waits for a sign of progress.
pub const WATCHDOG: &str = "WATCHDOG_USEC";
/// For which process `WATCHDOG` is meant.
pub const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Tells it, or nobody.
#[derive(Debug)]
pub struct Notify {
    socket: Option<system::Socket>,
    watchdog: Option<Duration>,
    /// It has been said that nobody listens any more.
    is_lost: AtomicBool,
}

impl Notify {
    /// Whoever started keyrx has left in the environment how to reach it.
    pub fn from_environment() -> Notify {
        Notify::new(|name| std::env::var_os(name))
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Notify {
        let socket = variable(SOCKET).and_then(|name| system::Socket::open(&name));
        let number = |name| variable(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
        let is_ours =
            variable(WATCHDOG_PID).is_none() || number(WATCHDOG_PID) == Some(std::process::id().into());
        let watchdog = number(WATCHDOG).filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        Notify { watchdog: watchdog.filter(|_| socket.is_some()), socket, is_lost: AtomicBool::new(false) }
    }

    /// How often progress is to be told, if anybody waits for it: twice in the time that the other side has.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// Hears what whoever started keyrx orders, from now on. On Linux those are signals. `patience`: how long keyrx
    /// goes on when nobody supervises it any more; for ever without.
    pub fn obey(
        &self,
        threads: &mut Threads,
        patience: Option<Duration>,
        tell: impl Fn(Signal) + Send + Sync + 'static,
    ) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.obey(threads, patience, tell),
            None => Ok(()),
        }
    }

    /// How keyrx is: the body of `/health`.
    pub fn health(&self, report: &Report) {
        if self.socket.is_some() && system::WANTS_HEALTH {
            let report = serde_json::to_string(report).unwrap_or_default();
            self.send(&format!("X_KEYRX_HEALTH={report}"));
        }
    }

    /// The start, or a reload, is over.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Keymap and settings are read again; `ready` follows. `now` is the moment on the monotonic clock.
    pub fn reloading(&self, now: Duration) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// It ends, for this reason.
    pub fn stopping(&self, why: Reason) {
        self.send(&format!("STOPPING=1\nSTATUS=stopping ({})", why.name()));
    }

    /// There has been progress. Never to be said for any other reason.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.send("WATCHDOG=1");
        }
    }

    /// For people.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace(['\n', '\r'], " ")));
    }

    /// There is something new to try, and what was before is to count no more. `keyrx supervise` understands it;
    /// systemd passes over what begins with `X_`.
    pub fn forgiven(&self) {
        self.send("X_KEYRX_FORGIVEN=1");
    }

    fn send(&self, text: &str) {
        let Some(socket) = &self.socket else { return };
        match socket.send(text) {
            Ok(()) => self.is_lost.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.is_lost.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event = "supervisor_unreachable",
                        error = %error,
                        "whoever supervises keyrx cannot be told how it is, and keyrx goes on: {error}"
                    );
                }
            }
        }
    }
}

/// What a supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Ready,
    Reloading,
    Stopping,
    Watchdog,
    Status(String),
    Forgiven,
    /// How it is, as `/health` says it.
    Health(String),
    /// The supervisor's own word: the process has ended, and all that it said has been heard.
    Ended,
}

impl Message {
    /// All that one datagram or frame says. What it says beside that is for others.
    fn parse(text: &str) -> Vec<Message> {
        let message = |line: &str| match line.split_once('=')? {
            ("READY", "1") => Some(Message::Ready),
            ("RELOADING", "1") => Some(Message::Reloading),
            ("STOPPING", "1") => Some(Message::Stopping),
            ("WATCHDOG", "1") => Some(Message::Watchdog),
            ("X_KEYRX_FORGIVEN", "1") => Some(Message::Forgiven),
            ("X_KEYRX_ENDED", "1") => Some(Message::Ended),
            ("X_KEYRX_HEALTH", report) => Some(Message::Health(report.into())),
            ("STATUS", text) => Some(Message::Status(text.into())),
            _ => None,
        };
        text.lines().filter_map(message).collect()
    }
}
