//! `keyrx supervise -- keyrx run ...`: keeps a command alive, where nothing else does.
//!
//! `supervisor.rs` decides; here it is done. While this runs in order so does the command, and they end together. If
//! this is killed, the command goes on, so that no key is lost, and says that nobody watches it.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::Result;
use keyrx_platform::native::boot;
use keyrx_platform::native::process::Awaited;

use crate::cli::Exit;
use crate::lifecycle::{MODE, Record};
use crate::paths::{self, Directories, Paths};
use crate::recovery::Mode;
use crate::signals::{self, Signal};
use crate::supervisor::{Action, Event, How, Limits, Report, Supervisor};
use keyrx_platform::threads::Threads;

/// How long a keyrx that makes progress may be silent. The one that hangs is known, dumped, killed and started again
/// well within five seconds.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// How long a keyrx may need to be ready. Of other commands it is not known whether they ever say so.
const READY: Duration = Duration::from_secs(15);

/// keyrx has five seconds to stop, and sees to it itself.
const STOP: Duration = Duration::from_secs(6);

const DUMP: Duration = Duration::from_secs(1);

/// Who looks later than this has slept, and first hears what was said meanwhile.
const LATE: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Supervise {
    /// Where it is kept how often the command has died.
    #[arg(long, value_name = "DIRECTORY", env = "KEYRX_STATE_DIR", hide_env = true)]
    state_dir: Option<PathBuf>,
    /// The command and what it is given.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What wakes it.
enum Cause {
    Signal(Signal),
    Said(Event),
    /// The child has ended, and all that it said has been heard.
    Ended,
}

impl Supervise {
    pub fn run(self) -> Result<Exit> {
        let Some((program, arguments)) = self.command.split_first() else { return Ok(Exit::Usage) };
        let paths = Paths::of(&Directories::with_state(self.state_dir));
        let path = match paths::create(paths.state_dir()) {
            Ok(()) => Some(paths.lifecycle("supervise")),
            Err(error) => {
                say(format_args!(
                    "a restart will know of no death: {} cannot be used: {error}",
                    paths.state_dir().display()
                ));
                None
            }
        };
        let record = Record::open(path);
        let is_keyrx = Path::new(program).file_stem().is_some_and(|name| name == "keyrx");
        let ready = is_keyrx.then_some(READY);
        let limits = Limits { ready, heartbeat: HEARTBEAT, stop: STOP, dump: DUMP };
        let supervisor = Supervisor::new(limits, record.history());
        let wait = supervisor.deadline().unwrap_or_default().saturating_sub(boot::age());
        if !wait.is_zero() {
            say(format_args!("it has died often enough: it is started in {:.2} s", wait.as_secs_f64()));
        }

        let (causes, caused) = channel();
        let mut threads = Threads::default();
        let tell = causes.clone();
        signals::listen(&mut threads, move |signal| drop(tell.send(Cause::Signal(signal))))?;
        let wire = system::Wire::open(&mut threads, causes.clone(), &paths)?;
        let mark = wire.mark(causes);
        let (awaited, wait_for) = channel::<Option<Awaited>>();
        let wake = awaited.clone();
        threads.start(
            "child",
            move || {
                let _ = wake.send(None);
            },
            move |_| {
                while let Ok(Some(child)) = wait_for.recv() {
                    child.wait();
                    mark();
                }
            },
        )?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        wire.tie(&mut command);
        let mut shell =
            Shell { supervisor, record, wire, command, awaited, child: None, has_started: false, stops: 0 };
        Ok(shell.run(&caused))
    }
}

/// Does what the supervisor says.
struct Shell {
    supervisor: Supervisor,
    record: Record,
    wire: system::Wire,
    command: Command,
    awaited: Sender<Option<Awaited>>,
    child: Option<Child>,
    /// There was a child at least once.
    has_started: bool,
    /// How often it was asked to stop.
    stops: usize,
}

impl Shell {
    fn run(&mut self, causes: &Receiver<Cause>) -> Exit {
        let mut event = Some(Event::Timer);
        let mut is_late = false;
        loop {
            if let Some(exit) = event.take().and_then(|event| self.step(event)) {
                return exit;
            }
            let left = self.supervisor.deadline().map(|deadline| deadline.saturating_sub(boot::age()));
            let left = if is_late { Some(LATE) } else { left };
            let cause = match left {
                Some(left) => causes.recv_timeout(left),
                None => causes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let was_late = std::mem::take(&mut is_late);
            event = match cause {
                Ok(Cause::Said(event)) => Some(event),
                Ok(Cause::Ended) => self.collect().map(Event::Exited),
                Ok(Cause::Signal(Signal::Reload)) => {
                    self.child.as_ref().inspect(|child| self.wire.reload(child));
                    None
                }
                Ok(Cause::Signal(Signal::Stop)) => {
                    self.stops = self.stops.saturating_add(1);
                    Some(Event::StopRequested)
                }
                Err(RecvTimeoutError::Timeout) => {
                    let deadline = self.supervisor.deadline().unwrap_or_default();
                    is_late = !was_late && boot::age().saturating_sub(deadline) > LATE;
                    (!is_late).then_some(Event::Timer)
                }
                Err(RecvTimeoutError::Disconnected) => return Exit::Internal,
            };
        }
    }

    /// Tells the supervisor, and does what it says. How to exit, in the end.
    fn step(&mut self, event: Event) -> Option<Exit> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.supervisor.step(boot::age(), &event) {
                match action {
                    Action::Start(mode) => match self.start(mode) {
                        Ok(()) => {}
                        Err(error) => {
                            say(format_args!("{:?} cannot be started: {error}", self.command.get_program()));
                            if !self.has_started {
                                return Some(Exit::Usage);
                            }
                            events.push(Event::Exited(How::NotStarted));
                        }
                    },
                    Action::AskToStop => {
                        self.child.as_ref().inspect(|child| self.wire.ask_to_stop(child));
                    }
                    Action::Dump => {
                        self.child.as_ref().inspect(|child| self.wire.dump(child));
                    }
                    // It fails only for one that has ended.
                    Action::Kill => drop(self.child.as_mut().map(Child::kill)),
                    Action::Keep(event) => {
                        self.record.add(boot::age(), event);
                        if self.record.fails() {
                            say(format_args!(
                                "a restart will not know of this: the record cannot be written"
                            ));
                        }
                    }
                    Action::Report(report) => say(format_args!("{}", text(&report))),
                    Action::End(how) => return Some(self.exit(how)),
                }
            }
        }
        None
    }

    fn start(&mut self, mode: Mode) -> io::Result<()> {
        let mut child = self.command.env(MODE, mode.text(boot::age())).spawn()?;
        self.wire.started(&child);
        let awaited = Awaited::of(&child).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        // The thread lives as long as we do.
        let _ = self.awaited.send(Some(awaited));
        self.child = Some(child);
        self.has_started = true;
        Ok(())
    }

    /// What has become of the child, if it has ended.
    fn collect(&mut self) -> Option<How> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status.code().map_or_else(|| How::Signal(system::signal(status)), How::Code))
    }

    fn exit(&self, how: How) -> Exit {
        match how {
            _ if self.stops > 1 => Exit::As(130),
            How::Code(code) => Exit::As(u8::try_from(code).unwrap_or(u8::MAX)),
            How::Signal(system::KILLED) => Exit::As(75),
            How::Signal(_) | How::NotStarted => Exit::Ok,
        }
    }
}

/// For people, who may not listen.
fn say(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "keyrx supervise: {what}");
}

pub fn text(report: &Report) -> String {
    let seconds = |time: &Duration| format!("{:.2} s", time.as_secs_f64());
    match report {
        Report::Died { how, was_hung, lived, deaths, wait, mode } => {
            let how = match how {
                How::Code(code) => format!("ended with code {code}"),
                How::Signal(signal) => format!("was ended by signal {signal}"),
                How::NotStarted => "could not be started".into(),
            };
            let hung = if *was_hung { ", after it hung" } else { "" };
            let mode = match mode {
                Mode::Normal => "",
                Mode::Safe => ", in safe mode",
                Mode::Rest { .. } => ", to rest for ten minutes",
            };
            let (lived, wait) = (seconds(lived), seconds(wait));
            format!(
                "the command {how}{hung}; it lived for {lived}. Death {deaths} in a row: started again in {wait}{mode}"
            )
        }
        Report::Hung(silence) => format!("the command gives no sign of life for {}", seconds(silence)),
        Report::StopTooLong(limit) => format!("the command did not stop in {}: it is killed", seconds(limit)),
    }
}
