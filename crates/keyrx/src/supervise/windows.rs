//! What passes between supervisor and command: the words of systemd's protocol, and orders, through a pipe.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use keyrx_platform::lock::Guarded;
use keyrx_platform::threads::Threads;

use super::{Cause, DUMP, HEARTBEAT};
use crate::crash;
use crate::paths::Paths;
use crate::sd_notify::{
    Admitted, Heard, Message, SOCKET, SUPERVISOR_PID, Server, WATCHDOG, WATCHDOG_PID, order,
};
use crate::signals::Signal;
use crate::supervisor::Event;

/// Windows has no signals.
pub const KILLED: i32 = 9;

/// How the command reaches us, and we it.
pub struct Wire {
    name: String,
    /// Who is connected. All that matters is whether it is the command.
    connected: Arc<Guarded<Vec<Admitted>>>,
    /// The process of the command; 0: there has been none.
    command: Arc<AtomicU32>,
    /// Where dumps go.
    crashes: PathBuf,
}

impl Wire {
    /// Passes on what is said, from now on.
    pub fn open(threads: &mut Threads, causes: Sender<Cause>, paths: &Paths) -> io::Result<Wire> {
        let connected = Arc::new(Guarded::<Vec<Admitted>>::default());
        let ours = connected.clone();
        let command = Arc::new(AtomicU32::new(0));
        let known = command.clone();
        let hear = move |heard| match heard {
            Heard::Connected(admitted) => ours.with(|all| all.push(admitted)),
            Heard::Gone(pid) => ours.with(|all| all.retain(|it| it.process.pid != pid)),
            // Another keyrx may have found the pipe.
            Heard::Said(pid, message) => {
                if let Some(event) = event(&message).filter(|_| known.load(Ordering::Relaxed) == pid) {
                    // The shell is gone when we end.
                    let _ = causes.send(Cause::Said(event));
                }
            }
            Heard::Refused(pid, why) => {
                super::say(format_args!("the process {pid} is not listened to: {why}"));
            }
        };
        let name = format!("keyrx-supervise-{}", std::process::id());
        let server = Server::open(threads, name, hear)?;
        Ok(Wire { name: server.name, connected, command, crashes: paths.crashes() })
    }

    /// To be called when the command has ended.
    pub fn mark(&self, causes: Sender<Cause>) -> impl Fn() + Send + 'static {
        move || drop(causes.send(Cause::Ended))
    }

    /// Has the command know of us.
    pub fn tie(&self, command: &mut Command) {
        command.env(SOCKET, &self.name).env(SUPERVISOR_PID, std::process::id().to_string());
        command.env(WATCHDOG, HEARTBEAT.as_micros().to_string()).env_remove(WATCHDOG_PID);
    }

    /// This is the command from now on.
    pub fn started(&self, child: &Child) {
        self.command.store(child.id(), Ordering::Relaxed);
    }

    pub fn ask_to_stop(&self, child: &Child) {
        self.order(child, Signal::Stop);
    }

    pub fn reload(&self, child: &Child) {
        self.order(child, Signal::Reload);
    }

    /// Writes down what it is at.
    pub fn dump(&self, child: &Child) {
        crash::hung(&self.crashes, child.id(), DUMP, 1);
    }

    /// A command that is no keyrx has only heard what its console says.
    fn order(&self, child: &Child, signal: Signal) {
        let all = self.connected.with(|all| all.clone());
        if let Some(command) = all.iter().find(|it| it.process.pid == child.id()) {
            let _ = order(&command.connection, signal);
        }
    }
}

fn event(message: &Message) -> Option<Event> {
    match message {
        Message::Ready | Message::Watchdog => Some(Event::Alive),
        Message::Stopping => Some(Event::Stopping),
        Message::Forgiven => Some(Event::Forgiven),
        Message::Reloading | Message::Status(_) | Message::Health(_) | Message::Ended => None,
    }
}

pub fn signal(_: ExitStatus) -> i32 {
    0
}
