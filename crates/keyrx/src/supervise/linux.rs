//! What passes between supervisor and command: signals one way, the protocol of systemd the other.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use keyrx_platform::native::process::{Tell, tell};

use super::{Cause, HEARTBEAT};
use crate::paths::Paths;
use crate::sd_notify::{Listener, Message, SOCKET, WATCHDOG, WATCHDOG_PID};
use crate::supervisor::Event;
use keyrx_platform::threads::Threads;

/// SIGKILL, which nobody sends but us.
pub const KILLED: i32 = 9;

/// How the command reaches us.
pub struct Wire(Arc<Listener>);

impl Wire {
    /// Passes on what is said, from now on.
    pub fn open(threads: &mut Threads, causes: Sender<Cause>, _: &Paths) -> io::Result<Wire> {
        let listener = Arc::new(Listener::open()?);
        let (ours, wake) = (listener.clone(), listener.clone());
        threads.start(
            "notify",
            move || drop(wake.put("")),
            move |stop| {
                while !stop.is_requested() {
                    let Ok(messages) = ours.receive() else { return };
                    for cause in messages.iter().filter_map(cause) {
                        // The shell is gone when we end.
                        let _ = causes.send(cause);
                    }
                }
            },
        )?;
        Ok(Wire(listener))
    }

    /// To be called when the command has ended: so that its end comes after all that it has said.
    pub fn mark(&self, causes: Sender<Cause>) -> impl Fn() + Send + 'static {
        let listener = self.0.clone();
        move || {
            if listener.put("X_KEYRX_ENDED=1").is_err() {
                let _ = causes.send(Cause::Ended);
            }
        }
    }

    /// Has the command know of us. In a group of its own the terminal's Ctrl+C does not reach it, only what we say.
    pub fn tie(&self, command: &mut Command) {
        command.process_group(0).env(SOCKET, self.0.path());
        command.env(WATCHDOG, HEARTBEAT.as_micros().to_string()).env_remove(WATCHDOG_PID);
    }

    /// Whoever knows the socket is heard: it lies where only this user finds it.
    #[expect(clippy::unused_self, reason = "Windows has to be told")]
    pub fn started(&self, _: &Child) {}

    // A command that has ended meanwhile cannot be told, and need not.

    pub fn ask_to_stop(&self, child: &Child) {
        let _ = tell(child, Tell::Stop);
    }

    pub fn reload(&self, child: &Child) {
        let _ = tell(child, Tell::Reload);
    }

    /// Where dumps are wanted, the system keeps one of a process that aborts (systemd-coredump).
    pub fn dump(&self, child: &Child) {
        let _ = tell(child, Tell::Dump);
    }
}

fn cause(message: &Message) -> Option<Cause> {
    match message {
        Message::Ready | Message::Watchdog => Some(Cause::Said(Event::Alive)),
        Message::Stopping => Some(Cause::Said(Event::Stopping)),
        Message::Forgiven => Some(Cause::Said(Event::Forgiven)),
        Message::Ended => Some(Cause::Ended),
        Message::Reloading | Message::Status(_) | Message::Health(_) => None,
    }
}

pub fn signal(status: ExitStatus) -> i32 {
    status.signal().unwrap_or_default()
}
