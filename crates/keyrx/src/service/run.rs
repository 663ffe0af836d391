//! `keyrx service run`: the service, which maps no key itself. It sees to it that there is a keyrx in each session of a
//! user, and tells how all that is.
//!
//! The service manager talks to a handler of ours, on a thread of its own; everything else is done by one loop, which
//! hears of controls, of sessions, of what the keyrx of each session says, and of their ends. `states.rs`, `sessions.rs`
//! and `supervisor.rs` decide; here it is done.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use keyrx_platform::lock::Guarded;
use keyrx_platform::native::boot;
use keyrx_platform::native::pipe::Connection;
use keyrx_platform::native::process::{Identity, Process};
use keyrx_platform::native::scm::{self, Control, Dispatched, PowerChange, Reporter, SessionEvent};
use keyrx_platform::native::sessions as system;

use super::health::{self, Evidence, Keyrx, Said};
use super::sessions::{self, Change, Sessions};
use super::states::{self, States};
use super::web::{Board, Web};
use super::{INSTANCE, NAME};
use crate::cli::Exit;
use crate::crash;
use crate::event_log::{Entry, EventLog};
use crate::instance::{AlreadyRunning, Instance};
use crate::lifecycle::{self, Lifecycle, MODE, Record, random};
use crate::logging::Logging;
use crate::metrics::Metrics;
use crate::paths::{self, Paths};
use crate::phase::Reason;
use crate::recovery::Mode;
use crate::sd_notify::{self, Admitted, Heard, Message, SOCKET, SUPERVISOR_PID, Server, WATCHDOG};
use crate::settings::{Said as Settled, Settings};
use crate::signals::{self, Signal};
use crate::state;
use crate::supervisor::{Action, Event, How, Limits, Report, Supervisor};
use keyrx_platform::threads::Threads;

/// How long a keyrx that makes progress may be silent.
const HEARTBEAT: Duration = Duration::from_secs(3);
const READY: Duration = Duration::from_secs(15);

/// The service has 5 s to stop, and whoever does not stop in time is ended by then.
const STOP: Duration = Duration::from_millis(4300);
const DUMP: Duration = Duration::from_secs(1);

/// How often all sessions are looked at, and one whose keyrx would not run is tried again.
const LOOK: Duration = Duration::from_secs(30);

/// Who looks later than this has slept, and first hears what was said meanwhile.
const LATE: Duration = Duration::from_millis(500);

/// How a process ends that we end: no keyrx ends so by itself.
const KILLED: u32 = 0xDEAD;

/// What wakes the loop.
enum Cause {
    Stop,
    Session(sessions::Event),
    /// The system has slept, and so has everybody.
    Resumed,
    Heard(Heard),
    /// The process of a session has ended.
    Ended(u32, u32),
    /// The dump of a session's keyrx is there, or cannot be had.
    Dumped(u32),
}

/// Hands the process to the service manager, if that has started it. `None`: it has not.
pub fn dispatch() -> Option<Exit> {
    scm::restrict_dll_search();
    match scm::dispatch(NAME, as_service) {
        Ok(Dispatched::NotAService) => None,
        Ok(Dispatched::Ended) => Some(Exit::Ok),
        Err(_) => Some(Exit::Internal),
    }
}

/// The same in a console: until Ctrl+C. `dump`: how long one may take, if not as usual.
pub fn in_console(dump: Option<Duration>) -> Result<Exit> {
    let (causes, caused) = channel();
    let line = Line::new(None);
    let mut threads = Threads::default();
    let tell = causes.clone();
    signals::watch(&mut threads, move |_| drop(tell.send(Cause::Stop)))?;
    serve(&line, causes, &caused, threads, dump.unwrap_or(DUMP))?;
    Ok(Exit::Ok)
}

/// What the service manager calls.
fn as_service() {
    let (causes, caused) = channel();
    let line = Line::new(Some(OnceLock::new()));
    let (ours, tell) = (line.clone(), causes.clone());
    let registered = scm::register(NAME, move |control| ours.heed(&control, &tell));
    let done = registered.context("the service manager does not know us").and_then(|reporter| {
        line.connect(reporter);
        let mut threads = Threads::default();
        let ours = line.clone();
        threads.start(
            "ticker",
            || {},
            move |stop| {
                while !stop.is_requested() {
                    std::thread::park_timeout(states::TICK);
                    ours.step(states::Event::Tick);
                }
            },
        )?;
        serve(&line, causes, &caused, threads, DUMP)
    });
    match done {
        Ok(()) => line.step(states::Event::Done),
        Err(error) => {
            // There may be no log yet.
            EventLog::open().report(match error.downcast_ref::<AlreadyRunning>() {
                Some(running) => Entry::LockHeld { pid: running.pid().unwrap_or_default() },
                None => Entry::Failed { reason: format!("{error:#}") },
            });
            // Who dies without a word is started again; who says that it has stopped is not, before the next start of
            // the system.
            #[expect(clippy::disallowed_methods, reason = "the only way to end without telling the manager")]
            std::process::exit(Exit::Internal.code().into());
        }
    }
}

/// The line to the service manager. In a console there is nobody at its other end.
struct Line {
    states: Guarded<States>,
    first: states::Status,
    reporter: Option<OnceLock<Reporter>>,
}

impl Line {
    fn new(reporter: Option<OnceLock<Reporter>>) -> Arc<Line> {
        let (states, first) = States::new(boot::age());
        Arc::new(Line { states: Guarded::new(states, |_| {}), first, reporter })
    }

    fn connect(&self, reporter: Reporter) {
        if let Some(place) = &self.reporter {
            let _ = place.set(reporter);
            self.states.with(|_| self.report(&self.first));
        }
    }

    /// Tells what there is to tell, in order.
    fn step(&self, event: states::Event) {
        self.states.with(|states| {
            if let Some(status) = states.step(boot::age(), event) {
                self.report(&status);
            }
        });
    }

    /// The manager has no use for an error.
    fn report(&self, status: &states::Status) {
        let Some(reporter) = self.reporter.as_ref().and_then(OnceLock::get) else { return };
        let state = match status.state {
            states::State::StartPending => scm::State::StartPending,
            states::State::Running => scm::State::Running,
            states::State::StopPending => scm::State::StopPending,
            states::State::Stopped => scm::State::Stopped,
        };
        let _ = reporter.report(&scm::Status {
            state,
            accepts: status.accepts,
            checkpoint: status.checkpoint,
            wait_hint_ms: u32::try_from(status.wait_hint.as_millis()).unwrap_or(u32::MAX),
            exit_code: status.exit_code,
        });
    }

    /// Inside the handler: it only passes on.
    fn heed(&self, control: &Control, tell: &Sender<Cause>) {
        let cause = match control {
            Control::Stop | Control::Preshutdown | Control::Shutdown => {
                // Before the handler returns: no second one comes then.
                self.step(states::Event::Stop);
                Cause::Stop
            }
            Control::Interrogate => return self.step(states::Event::Interrogate),
            Control::Session(change) => match change.kind {
                SessionEvent::Came => Cause::Session(sessions::Event::Came(change.session)),
                SessionEvent::LoggedOff => Cause::Session(sessions::Event::LoggedOff(change.session)),
                SessionEvent::Left | SessionEvent::Other(_) => return,
            },
            Control::Power(PowerChange::Resumed) => Cause::Resumed,
            Control::Power(_) | Control::Other(_) => return,
        };
        let _ = tell.send(cause);
    }
}

/// Runs until it is told to stop. An error means that it could not even begin.
fn serve(
    line: &Arc<Line>,
    causes: Sender<Cause>,
    caused: &Receiver<Cause>,
    mut threads: Threads,
    dump: Duration,
) -> Result<()> {
    let paths = Paths::machine();
    paths::create(paths.state_dir())
        .with_context(|| format!("{} cannot be used", paths.state_dir().display()))?;
    let instance = Instance::acquire_as(paths.state_dir(), INSTANCE)?;
    let settings = Settings::read(&Settled::default(), paths.settings());
    let usual = || Settled::default().settings();
    let (settings, mistakes) = match settings {
        Ok(settings) => (settings, None),
        Err(mistakes) => (usual(), Some(mistakes)),
    };
    let metrics = Arc::new(Metrics::new());
    let log = paths.state_dir().join("service.log");
    let logging = Logging::start(settings.log_level, settings.log_format, Some(&log), metrics.clone())?;
    crash::watch(metrics, Some(paths.crashes()));
    if let Some(mistakes) = mistakes {
        tracing::error!(event = "settings_rejected", "{mistakes}\nthe usual settings hold");
    }
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(event = "service_started", version, pid = std::process::id(), "keyrx service {version}");
    let lifecycle = Lifecycle::begin(Some(paths.state_dir().join("service.lifecycle")));
    line.step(states::Event::Tick);

    let tell = causes.clone();
    let place = paths.state_dir().join("service.pipe");
    let hear = move |heard| drop(tell.send(Cause::Heard(heard)));
    let server = open_pipe(&mut threads, &place, hear).context("the pipe cannot be made")?;
    line.step(states::Event::Tick);
    let board = Arc::new(Board::new());
    Web::start(&mut threads, board.clone(), settings.health_port)?;
    let mut service = Service {
        program: std::env::current_exe().context("it is not known where keyrx is")?,
        paths,
        causes,
        threads,
        pipe: server.name,
        sessions: Sessions::default(),
        keyrxes: BTreeMap::new(),
        look_at: Duration::ZERO,
        is_stopping: false,
        board,
        lifecycle: &lifecycle,
        dump,
    };
    line.step(states::Event::Ready);
    service.run(caused);
    drop(service);
    instance.clean_up();
    tracing::info!(event = "service_stopped", "the service has stopped");
    lifecycle.stopped(0);
    drop(logging);
    Ok(())
}

/// The pipe of the service before, so that those who look for it find it. If somebody else has made one of that name
/// meanwhile, it is a new one, which only those know who are started from now on.
fn open_pipe(
    threads: &mut Threads,
    place: &Path,
    hear: impl Fn(Heard) + Clone + Send + Sync + 'static,
) -> io::Result<Server> {
    let known = fs::read_to_string(place).ok();
    let is_name =
        |name: &&str| name.len() <= 64 && name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
    let known = known.as_deref().map(str::trim).filter(is_name).filter(|name| !name.is_empty());
    if let Some(server) = known.and_then(|name| Server::open(threads, name.into(), hear.clone()).ok()) {
        return Ok(server);
    }
    let name = format!("keyrx-{:016x}{:016x}", random(), random());
    // Without it a service after this one finds nobody, and starts anew.
    let _ = state::replace(place, None, name.as_bytes());
    Server::open(threads, name, hear)
}

struct Service<'a> {
    program: PathBuf,
    paths: Paths,
    causes: Sender<Cause>,
    threads: Threads,
    pipe: String,
    sessions: Sessions,
    /// By session.
    keyrxes: BTreeMap<u32, Supervised>,
    /// When all sessions are looked at.
    look_at: Duration,
    is_stopping: bool,
    board: Arc<Board>,
    lifecycle: &'a Lifecycle,
    /// How long a dump may take.
    dump: Duration,
}

/// The keyrx of a session, or its place.
struct Supervised {
    supervisor: Supervisor,
    record: Record,
    process: Option<Process>,
    connection: Option<Arc<Connection>>,
    /// What it said last of its health.
    said: Option<Box<Said>>,
    /// Since when there is nothing new.
    since: Duration,
    /// It is not to be started again, and why; and when it is tried all the same.
    ended: Option<String>,
    retry_at: Option<Duration>,
    /// Its session is over: the place goes with it.
    is_leaving: bool,
}

impl Service<'_> {
    fn run(&mut self, caused: &Receiver<Cause>) {
        let mut is_late = false;
        loop {
            if !is_late {
                self.do_what_is_due();
            }
            self.publish();
            if self.is_stopping && self.keyrxes.values().all(|keyrx| !keyrx.supervisor.has_child()) {
                return;
            }
            let deadline = self.deadline();
            let left = deadline.saturating_sub(boot::age());
            match caused.recv_timeout(if is_late { LATE } else { left }) {
                Ok(cause) => self.take(cause),
                Err(RecvTimeoutError::Timeout) => {
                    let has_slept = boot::age().saturating_sub(deadline) > LATE;
                    is_late = !std::mem::take(&mut is_late) && has_slept;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn deadline(&self) -> Duration {
        let moments = self.keyrxes.values().flat_map(|keyrx| [keyrx.supervisor.deadline(), keyrx.retry_at]);
        moments.flatten().fold(self.look_at, Duration::min)
    }

    fn take(&mut self, cause: Cause) {
        match cause {
            Cause::Stop => {
                if !std::mem::replace(&mut self.is_stopping, true) {
                    self.lifecycle.stopping(Reason::Signal);
                    self.keyrxes.values_mut().for_each(|keyrx| keyrx.retry_at = None);
                    self.all(&Event::StopRequested);
                }
            }
            Cause::Session(event) => {
                tracing::info!(event = "session_changed", change = ?event, "a session has changed: {event:?}");
                self.follow(event);
            }
            Cause::Resumed => self.all(&Event::Alive),
            Cause::Heard(heard) => self.hear(heard),
            Cause::Dumped(session) => self.step(session, Event::Dumped),
            Cause::Ended(session, pid) => {
                let keyrx = self.keyrxes.get_mut(&session);
                let Some(keyrx) = keyrx.filter(|it| it.process.as_ref().is_some_and(|it| it.id() == pid))
                else {
                    return;
                };
                let code = keyrx.process.take().and_then(|process| process.exit_code());
                keyrx.connection = None;
                let how = match code {
                    // With 1 Windows ends what is killed. It is no word of keyrx, which is given nothing here that could be wrong.
                    Some(KILLED | 1) | None => How::Signal(9),
                    Some(code) => How::Code(code.cast_signed()),
                };
                self.step(session, Event::Exited(how));
            }
        }
    }

    fn all(&mut self, event: &Event) {
        let sessions = self.keyrxes.keys().copied().collect::<Vec<_>>();
        for session in sessions {
            self.step(session, event.clone());
        }
    }

    fn do_what_is_due(&mut self) {
        let now = boot::age();
        if self.look_at <= now {
            self.look_at = now.saturating_add(LOOK);
            match system::sessions() {
                Ok(all) => self.follow(sessions::Event::Listed(all.into_iter().collect())),
                Err(error) => {
                    tracing::warn!(event = "sessions_unknown", error = %error, "the sessions cannot be listed: {error}");
                }
            }
        }
        let again = self.keyrxes.iter().filter(|(_, keyrx)| keyrx.retry_at.is_some_and(|at| at <= now));
        let again = again.map(|(session, _)| *session).collect::<Vec<_>>();
        for session in again {
            self.begin(session);
        }
        let is_due = |keyrx: &Supervised| keyrx.supervisor.deadline().is_some_and(|at| at <= boot::age());
        let due = self.keyrxes.iter().filter(|(_, keyrx)| is_due(keyrx)).map(|(session, _)| *session);
        let due = due.collect::<Vec<_>>();
        for session in due {
            self.step(session, Event::Timer);
        }
    }

    // --- Sessions ----------------------------------------------------------------------------------------------

    fn follow(&mut self, event: sessions::Event) {
        if self.is_stopping {
            return;
        }
        for change in self.sessions.step(event) {
            match change {
                Change::Begin(session) => self.begin(session),
                Change::End(session) => {
                    if let Some(keyrx) = self.keyrxes.get_mut(&session) {
                        keyrx.is_leaving = true;
                    }
                    self.step(session, Event::StopRequested);
                }
            }
        }
    }

    /// Begins to keep a keyrx in a session. One that is there from before is adopted.
    fn begin(&mut self, session: u32) {
        let path = self.paths.state_dir().join(format!("session-{session}.lifecycle"));
        let record = Record::open(Some(path));
        let limits = Limits { ready: Some(READY), heartbeat: HEARTBEAT, stop: STOP, dump: self.dump };
        let child = record.child();
        let keyrx = Supervised {
            supervisor: Supervisor::new(limits, record.history()),
            record,
            process: None,
            connection: None,
            said: None,
            since: boot::age(),
            ended: None,
            retry_at: None,
            is_leaving: false,
        };
        self.keyrxes.insert(session, keyrx);
        let alive = child.and_then(|(pid, started)| {
            let process = Process::open(pid).ok().filter(|process| process.exit_code().is_none())?;
            let identity = process.identity().ok()?;
            (identity.started == started && identity.session == session).then_some(process)
        });
        match alive {
            Some(process) => self.adopt(session, process),
            None => self.step(session, Event::Timer),
        }
    }

    fn adopt(&mut self, session: u32, process: Process) {
        let pid = process.id();
        tracing::info!(event = "adopted", session, pid, "session {session}: keyrx (process {pid}) goes on");
        match self.watch(session, process) {
            Ok(()) => self.step(session, Event::Adopted),
            Err(error) => tracing::error!(event = "not_adopted", session, error = %error, "{error}"),
        }
    }

    /// Hears of the end of a process.
    fn watch(&mut self, session: u32, process: Process) -> io::Result<()> {
        let (pid, tell, awaited) = (process.id(), self.causes.clone(), process.try_clone()?);
        self.threads.start(
            "child",
            || {},
            move |_| {
                awaited.wait();
                let _ = tell.send(Cause::Ended(session, pid));
            },
        )?;
        if let Some(keyrx) = self.keyrxes.get_mut(&session) {
            let started = process.identity().map(|identity| identity.started).unwrap_or_default();
            keyrx.record.add(boot::age(), lifecycle::Event::Child { pid, started });
            keyrx.process = Some(process);
            keyrx.since = boot::age();
            keyrx.ended = None;
            keyrx.retry_at = None;
        }
        Ok(())
    }

    // --- What they say -----------------------------------------------------------------------------------------

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Connected(admitted) => self.connect(admitted),
            Heard::Said(pid, message) => {
                let Some(session) = self.session_of(pid) else { return };
                match message {
                    Message::Ready | Message::Watchdog => self.step(session, Event::Alive),
                    Message::Stopping => self.step(session, Event::Stopping),
                    Message::Forgiven => self.step(session, Event::Forgiven),
                    Message::Health(report) => {
                        if let Some(keyrx) = self.keyrxes.get_mut(&session)
                            && let Ok(said) = serde_json::from_str(&report)
                        {
                            keyrx.said = Some(said);
                            keyrx.since = boot::age();
                        }
                    }
                    Message::Reloading | Message::Status(_) | Message::Ended => {}
                }
            }
            Heard::Gone(pid) => {
                if let Some(session) = self.session_of(pid)
                    && let Some(keyrx) = self.keyrxes.get_mut(&session)
                {
                    keyrx.connection = None;
                }
            }
            Heard::Refused(pid, why) => self.refuse(pid, &why),
        }
    }

    fn refuse(&self, pid: u32, why: &str) {
        tracing::warn!(
            event = "client_refused",
            pid,
            reason = why,
            "the process {pid} is not let into the pipe: {why}"
        );
    }

    fn session_of(&self, pid: u32) -> Option<u32> {
        let is_its = |keyrx: &Supervised| keyrx.process.as_ref().is_some_and(|process| process.id() == pid);
        self.keyrxes.iter().find(|(_, keyrx)| is_its(keyrx)).map(|(session, _)| *session)
    }

    /// Lets in whom we have started, and who has nobody else.
    fn connect(&mut self, Admitted { process, connection }: Admitted) {
        let Identity { pid, session, .. } = process;
        let Some(keyrx) = self.keyrxes.get(&session) else {
            connection.close();
            return self.refuse(pid, &format!("there is nothing to do in session {session}"));
        };
        if keyrx.process.as_ref().is_none_or(|known| known.id() != pid) {
            if keyrx.supervisor.has_child() {
                connection.close();
                return self.refuse(pid, &format!("session {session} has another keyrx"));
            }
            match Process::open(pid) {
                Ok(process) => self.adopt(session, process),
                Err(error) => {
                    connection.close();
                    return self.refuse(pid, &error.to_string());
                }
            }
        }
        if let Some(keyrx) = self.keyrxes.get_mut(&session) {
            if self.is_stopping || keyrx.is_leaving {
                let _ = sd_notify::order(&connection, Signal::Stop);
            }
            keyrx.connection = Some(connection);
        }
        self.step(session, Event::Alive);
    }

    // --- What is done ------------------------------------------------------------------------------------------

    /// Tells the supervisor of a session, and does what it says.
    fn step(&mut self, session: u32, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let Some(keyrx) = self.keyrxes.get_mut(&session) else { return };
            for action in keyrx.supervisor.step(boot::age(), &event) {
                match action {
                    Action::Start(mode) => match self.launch(session, mode) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {
                            tracing::info!(
                                event = "session_empty",
                                session,
                                "session {session}: nobody is logged on"
                            );
                            self.keyrxes.remove(&session);
                            self.sessions.step(sessions::Event::Empty(session));
                            return;
                        }
                        Err(error) => {
                            tracing::error!(event = "not_launched", session, error = %error, "session {session}: keyrx cannot be started: {error}");
                            events.push(Event::Exited(How::NotStarted));
                        }
                    },
                    action => self.act(session, action),
                }
            }
        }
        if self.keyrxes.get(&session).is_some_and(|keyrx| keyrx.is_leaving && !keyrx.supervisor.has_child()) {
            self.keyrxes.remove(&session);
        }
    }

    fn launch(&mut self, session: u32, mode: Mode) -> io::Result<()> {
        let variables = [
            (SOCKET, self.pipe.clone()),
            (SUPERVISOR_PID, std::process::id().to_string()),
            (WATCHDOG, HEARTBEAT.as_micros().to_string()),
            (MODE, mode.text(boot::age())),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let launched = system::launch(session, &self.program, &["agent".into()], &variables)?;
        let pid = launched.process.id();
        for warning in launched.warnings {
            tracing::warn!(
                event = "launched_with_less",
                session,
                missing = warning.missing,
                consequence = warning.consequence,
                "session {session}: {}: {}",
                warning.missing,
                warning.consequence
            );
        }
        tracing::info!(event = "launched", session, pid, mode = %mode, "session {session}: keyrx is started (process {pid})");
        if let Some(keyrx) = self.keyrxes.get_mut(&session) {
            keyrx.said = None;
        }
        let process = launched.process;
        let ours = process.try_clone()?;
        self.watch(session, process).inspect_err(|_| drop(ours.terminate(KILLED)))
    }

    fn act(&mut self, session: u32, action: Action) {
        let now = boot::age();
        let Some(keyrx) = self.keyrxes.get_mut(&session) else { return };
        match action {
            Action::Start(_) => {}
            Action::AskToStop => {
                if let Some(connection) = &keyrx.connection {
                    let _ = sd_notify::order(connection, Signal::Stop);
                }
            }
            Action::Dump => self.dump(session),
            // It fails only for one that has ended.
            Action::Kill => drop(keyrx.process.as_ref().map(|process| process.terminate(KILLED))),
            Action::Keep(event) => keyrx.record.add(now, event),
            Action::Report(report) => {
                let pid = keyrx.process.as_ref().map(Process::id).unwrap_or_default();
                keyrx.since = now;
                keyrx.said = None;
                tell_report(session, pid, &report);
            }
            Action::End(how) => {
                let (why, is_tried_again) = match how {
                    How::Code(code @ 2..=3) => {
                        (format!("it ended with code {code}; its log says why, and it is tried again"), true)
                    }
                    How::Code(0) => ("it was told to end".to_owned(), false),
                    how => (format!("it ended: {how:?}"), false),
                };
                tracing::warn!(
                    event = "keyrx_ended",
                    session,
                    reason = why,
                    "session {session}: keyrx is not running: {why}"
                );
                keyrx.said = None;
                keyrx.since = now;
                keyrx.ended = Some(why);
                keyrx.retry_at = (is_tried_again && !self.is_stopping).then(|| now.saturating_add(LOOK));
            }
        }
    }

    /// Writes down what a keyrx that hangs is at. It takes a while, and nobody waits for it.
    fn dump(&mut self, session: u32) {
        let keyrx = self.keyrxes.get(&session);
        let Some(pid) = keyrx.and_then(|keyrx| keyrx.process.as_ref()).map(Process::id) else { return };
        let (tell, crashes, limit) = (self.causes.clone(), self.paths.crashes(), self.dump);
        let begun = self.threads.start(
            "dump",
            || {},
            move |_| {
                crash::hung(&crashes, pid, limit, KILLED);
                let _ = tell.send(Cause::Dumped(session));
            },
        );
        if begun.is_err() {
            let _ = self.causes.send(Cause::Dumped(session));
        }
    }

    fn publish(&self) {
        let now = boot::age();
        let session = |(session, keyrx): (&u32, &Supervised)| {
            let history = keyrx.supervisor.history();
            let is = match (&keyrx.ended, &keyrx.said, keyrx.supervisor.next_start()) {
                (Some(why), ..) => Keyrx::Ended(why.clone()),
                (None, Some(said), _) => Keyrx::Says(said.clone()),
                (None, None, Some(at)) => Keyrx::Due(at),
                (None, None, None) => Keyrx::Starting,
            };
            health::Session {
                session: *session,
                keyrx: is,
                since: keyrx.since,
                mode: history.mode(now),
                recent_crashes: history.recent_deaths(now),
            }
        };
        self.board.publish(Evidence {
            sessions: self.keyrxes.iter().map(session).collect(),
            record_fails: self.keyrxes.values().any(|keyrx| keyrx.record.fails()),
            own_crashes: self.lifecycle.recovery().recent_crashes,
            is_stopping: self.is_stopping,
        });
    }
}

fn tell_report(session: u32, pid: u32, report: &Report) {
    let text = crate::supervise::text(report);
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match report {
        Report::Died { how, deaths, wait, mode, .. } => {
            let cause = match how {
                How::Code(code) => format!("it ended with code {code}"),
                How::Signal(_) => "it was ended".to_owned(),
                How::NotStarted => "it could not be started".to_owned(),
            };
            let delay_ms = millis(wait);
            tracing::warn!(
                event = "keyrx_died",
                session,
                cause,
                deaths,
                delay_ms,
                "session {session}: {text}"
            );
            let crashes = deaths;
            match mode {
                Mode::Normal => {}
                Mode::Safe => {
                    tracing::warn!(event = "safe_mode", session, crashes, "session {session}: safe mode")
                }
                Mode::Rest { .. } => {
                    tracing::error!(event = "resting", session, "session {session}: it rests")
                }
            }
        }
        Report::Hung(silence) => {
            let silence_ms = millis(silence);
            tracing::error!(event = "keyrx_hangs", session, pid, silence_ms, "session {session}: {text}");
        }
        Report::StopTooLong(_) => {
            tracing::warn!(event = "keyrx_stops_too_slowly", session, "session {session}: {text}");
        }
    }
}
