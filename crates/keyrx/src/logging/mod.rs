//! What keyrx says: every event once, as text for people and as a line of JSON for programs.
//!
//! Who logs puts the line into a ring in memory and goes on; a thread of its own carries lines to stderr and into the
//! log's file. So a terminal that is stopped, a slow disk or a full one hold up nobody. No line has keys in it.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::event_log::{Entry, EventLog};
use crate::log_file::{Limits, LogFile};
use crate::metrics::Metrics;
use crate::timestamp::Timestamp;
use keyrx_platform::Queue;
use keyrx_platform::lock::Guarded;
use keyrx_platform::threads::{Stop, Threads};

/// The name under which log lines of all versions are known.
const SERVICE: &str = "keyrx_daemon";

/// The ring keeps so many lines that are written, and more only while they wait for that.
const KEPT: usize = 512;
const MOST_WAITING: usize = 8192;

/// What is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[repr(u8)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn of(level: &Level) -> LogLevel {
        match *level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            _ => LogLevel::Trace,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        }
    }

    /// The priority of syslog, as the journal understands it.
    fn priority(self) -> u8 {
        match self {
            LogLevel::Error => 3,
            LogLevel::Warn => 4,
            LogLevel::Info => 6,
            LogLevel::Debug | LogLevel::Trace => 7,
        }
    }
}

/// How stderr gets its lines. The file always gets JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Logging, for as long as this lives. Then what is still to be written is written.
pub struct Logging {
    logger: Arc<Logger>,
    /// Only held: it ends the thread.
    _threads: Threads,
}

impl Logging {
    /// Begins to log, once in a process: to stderr, and to a file if there is one.
    pub fn start(
        level: LogLevel,
        format: LogFormat,
        file: Option<&Path>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Logging> {
        let (wake, woken) = sync_channel(1);
        let ring = Guarded::new(Ring::default(), Ring::repair);
        let logger =
            Arc::new(Logger { level: AtomicU8::new(level as u8), ring, wake, metrics: metrics.clone() });
        let file = file.map(|path| LogFile::new(path.to_owned(), Limits::USUAL));
        let mut writer =
            Writer { logger: logger.clone(), woken, console: Console::of_stderr(format), file, next: 0 };
        metrics.set_log_file_fails(writer.file.is_none());
        let mut threads = Threads::default();
        let waker = logger.clone();
        threads.start("log", move || waker.wake(), move |stop| writer.run(stop))?;
        tracing::subscriber::set_global_default(logger.clone())?;
        Ok(Logging { logger, _threads: threads })
    }

    /// For who may change the level.
    pub fn switch(&self) -> LogSwitch {
        LogSwitch(self.logger.clone())
    }
}

/// Says what is worth a line, and shows the last ones.
#[derive(Clone)]
pub struct LogSwitch(Arc<Logger>);

impl LogSwitch {
    /// Of a log that nobody writes into.
    #[cfg(all(test, unix))]
    pub fn of_nobody(metrics: Arc<Metrics>) -> LogSwitch {
        let ring = Guarded::new(Ring::default(), Ring::repair);
        let level = AtomicU8::new(LogLevel::Error as u8);
        LogSwitch(Arc::new(Logger { level, ring, wake: sync_channel(1).0, metrics }))
    }

    /// How many lines wait to be written.
    pub fn queue(&self) -> Queue {
        let depth = self.0.ring.with(|ring| ring.next.saturating_sub(ring.written));
        Queue { depth, capacity: MOST_WAITING as u64 }
    }

    /// The last lines from a number on, as JSON, and the number of the next one.
    pub fn lines(&self, after: u64) -> (u64, Vec<String>) {
        let (next, lines) = self.0.ring.with(|ring| (ring.next, ring.from(after)));
        (next, lines.iter().map(|line| line.json.clone()).collect())
    }

    /// Whether this is another level than before.
    pub fn set_level(&self, level: LogLevel) -> bool {
        self.0.level.swap(level as u8, Ordering::Relaxed) != level as u8
    }
}

/// Takes events from everywhere.
struct Logger {
    level: AtomicU8,
    ring: Guarded<Ring>,
    /// Holds at most one call, which is enough.
    wake: SyncSender<()>,
    metrics: Arc<Metrics>,
}

impl Logger {
    fn wake(&self) {
        let _ = self.wake.try_send(());
    }
}

impl Subscriber for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = LogLevel::of(metadata.level()) as u8;
        let wanted = self.level.load(Ordering::Relaxed);
        // What libraries find worth telling is theirs, down to what may be trouble.
        let is_ours = metadata.target().starts_with("keyrx");
        metadata.is_event() && level <= if is_ours { wanted } else { wanted.min(LogLevel::Warn as u8) }
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes() // the level may change
    }

    fn event(&self, event: &Event<'_>) {
        let line = Line::of(event, Timestamp::now());
        if line.level == LogLevel::Error {
            self.metrics.count_error();
        }
        self.ring.with(|ring| ring.push(Arc::new(line)));
        self.wake();
    }

    // Spans are not used.

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// An event, as it is written.
#[derive(Debug)]
struct Line {
    level: LogLevel,
    time: Timestamp,
    /// For people.
    text: String,
    json: String,
    /// If it is one for the Event Log, too.
    entry: Option<Entry>,
}

impl Line {
    fn of(event: &Event<'_>, time: Timestamp) -> Line {
        let mut said = Said::default();
        event.record(&mut said);
        let Said { event: name, message, mut context } = said;
        let level = LogLevel::of(event.metadata().level());
        let name = name.unwrap_or_else(|| {
            // An event of a library.
            context.insert("target".into(), event.metadata().target().into());
            "library".into()
        });
        let text = message.clone().unwrap_or_else(|| {
            let fields = context.iter().map(|(field, value)| format!(" {field}={value}"));
            format!("{name}{}", fields.collect::<String>())
        });
        if let Some(message) = message {
            context.insert("message".into(), message.into());
        }
        let entry = Entry::of(&name, &context);
        let json = json!({
            "timestamp": time.to_string(),
            "level": level.name(),
            "service": SERVICE,
            "event": name,
            "context": context,
        });
        Line { level, time, text, json: json.to_string(), entry }
    }
}

/// The fields of an event.
#[derive(Default)]
struct Said {
    event: Option<String>,
    message: Option<String>,
    context: Map<String, Value>,
}

impl Said {
    fn record(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event", Value::String(name)) => self.event = Some(name),
            ("message", Value::String(message)) => self.message = Some(message),
            (name, value) => drop(self.context.insert(name.into(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, value.into());
    }
}

/// The last lines. Each has a number, by which it is seen what has been written and what is lost.
#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    /// The number of the next line.
    next: u64,
    /// The lines before this one have been written.
    written: u64,
}

impl Ring {
    fn push(&mut self, line: Arc<Line>) {
        self.lines.push_back(line);
        self.next = self.next.saturating_add(1);
        while self.lines.len() > KEPT && (self.first() < self.written || self.lines.len() > MOST_WAITING) {
            self.lines.pop_front();
        }
    }

    /// The number of the oldest line.
    fn first(&self) -> u64 {
        self.next.saturating_sub(self.lines.len() as u64)
    }

    /// The lines from a number on.
    fn from(&self, number: u64) -> Vec<Arc<Line>> {
        let skipped = usize::try_from(number.saturating_sub(self.first())).unwrap_or(usize::MAX);
        self.lines.iter().skip(skipped).cloned().collect()
    }

    fn repair(&mut self) {
        self.next = self.next.max(self.lines.len() as u64);
    }
}

/// Carries lines away. The thread `log`.
struct Writer {
    logger: Arc<Logger>,
    woken: Receiver<()>,
    console: Console,
    file: Option<LogFile>,
    /// The first line that the file has not got.
    next: u64,
}

impl Writer {
    fn run(&mut self, stop: &Stop) {
        // Here, for at the start of the system its service may let us wait.
        let event_log = EventLog::open();
        loop {
            let retry_at = self.file.as_ref().and_then(LogFile::retry_at);
            let moments = [retry_at, event_log.next()];
            let woken = match moments.into_iter().flatten().min() {
                Some(at) => self.woken.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let ends = stop.is_requested();
            let unwritten = self.logger.ring.with(|ring| {
                let lines = ring.from(ring.written);
                ring.written = ring.next;
                lines
            });
            self.console.write(&unwritten);
            self.write_file(Instant::now());
            for entry in unwritten.iter().filter_map(|line| line.entry.clone()) {
                event_log.report(entry);
            }
            let ends = ends || woken == Err(RecvTimeoutError::Disconnected);
            event_log.catch_up(ends);
            if ends {
                return;
            }
        }
    }

    /// Writes what the file has not got: after a failure, as much of it as is still there.
    fn write_file(&mut self, now: Instant) {
        let Some(file) = self.file.as_mut().filter(|file| !file.rests(now)) else { return };
        let (first, lines) = self.logger.ring.with(|ring| (ring.first(), ring.from(self.next)));
        if lines.is_empty() {
            return;
        }
        let has_failed = file.retry_at().is_some();
        let text = lines.iter().map(|line| line.json.clone() + "\n").collect::<String>();
        match file.append(text.as_bytes(), now) {
            Ok(()) => {
                let lost = first.saturating_sub(self.next);
                self.next = self.next.saturating_add(lost).saturating_add(lines.len() as u64);
                self.logger.metrics.count_lost_lines(lost);
                if has_failed {
                    self.logger.metrics.set_log_file_fails(false);
                    tracing::info!(event = "log_file_resumed", lost, "the log is written again");
                }
            }
            Err(_) if has_failed => {}
            Err(error) => {
                self.logger.metrics.set_log_file_fails(true);
                tracing::warn!(
                    event = "log_file_failed",
                    path = %file.path().display(),
                    error = %error,
                    "the log stays in memory: {} cannot be written: {error}",
                    file.path().display()
                );
            }
        }
    }
}

/// stderr, and what it wants.
struct Console {
    format: LogFormat,
    is_journal: bool,
    has_color: bool,
}

impl Console {
    fn of_stderr(format: LogFormat) -> Console {
        let is_plain = std::env::var_os("NO_COLOR").is_some();
        let has_color = io::stderr().is_terminal() && !is_plain && system::has_colours();
        Console { format, is_journal: is_journal(), has_color }
    }

    /// Nobody can be told if this fails.
    fn write(&self, lines: &[Arc<Line>]) {
        let text = lines.iter().map(|line| self.print(line)).collect::<String>();
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    fn print(&self, Line { level, time, text, json, .. }: &Line) -> String {
        let mut printed = String::new();
        // Writing to a string does not fail.
        let _ = match (self.is_journal, self.format) {
            (true, format) => {
                // The journal makes an entry of each line, and has the time itself.
                let said = if format == LogFormat::Json { json } else { text };
                said.lines().try_for_each(|line| writeln!(printed, "<{}>{line}", level.priority()))
            }
            (false, LogFormat::Json) => writeln!(printed, "{json}"),
            (false, LogFormat::Text) => match (self.has_color, level) {
                (true, LogLevel::Error) => writeln!(printed, "{time} \x1b[31mERROR\x1b[0m {text}"),
                (true, LogLevel::Warn) => writeln!(printed, "{time} \x1b[33mWARN \x1b[0m {text}"),
                _ => writeln!(printed, "{time} {:5} {text}", level.name()),
            },
        };
        printed
    }
}

/// Whether what goes to stderr goes to the journal: systemd says by which socket it does.
fn is_journal() -> bool {
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    let Some((_device, inode)) = journal.split_once(':') else { return false };
    let stderr = std::fs::read_link("/proc/self/fd/2").unwrap_or_default();
    stderr == Path::new(&format!("socket:[{inode}]"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// Hands what is logged in `log` to a ring of its own.
    fn logged(level: LogLevel, log: impl FnOnce()) -> Vec<Arc<Line>> {
        let (wake, _woken) = sync_channel(1);
        let ring = Guarded::new(Ring::default(), Ring::repair);
        let metrics = Arc::new(Metrics::new());
        let logger = Arc::new(Logger { level: AtomicU8::new(level as u8), ring, wake, metrics });
        tracing::subscriber::with_default(logger.clone(), log);
        logger.ring.with(|ring| ring.from(0))
    }

    #[test]
    fn a_line_of_json_has_the_promised_shape() {
        let lines = logged(LogLevel::Info, || {
            tracing::error!(
                event = "platform_hook_failed",
                error = "Hook installation failed",
                admin_rights = false,
                retry_count = 3
            );
        });
        let line = serde_json::from_str::<Value>(&lines[0].json).unwrap();
        let names = line.as_object().unwrap().keys().collect::<Vec<_>>();
        assert_eq!(names, ["timestamp", "level", "service", "event", "context"]);
        let context = json!({ "error": "Hook installation failed", "admin_rights": false, "retry_count": 3 });
        assert_eq!((&line["level"], &line["service"]), (&"ERROR".into(), &"keyrx_daemon".into()));
        assert_eq!((&line["event"], &line["context"]), (&"platform_hook_failed".into(), &context));
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    }

    #[test]
    fn what_has_words_is_told_in_words_and_what_has_none_by_its_fields() {
        let lines = logged(LogLevel::Info, || {
            tracing::info!(event = "keymap_loaded", path = "a.rhai", "keymap loaded: {}", "a.rhai");
            tracing::info!(event = "counted", number = 3);
        });
        assert_eq!(
            (lines[0].text.as_str(), lines[1].text.as_str()),
            ("keymap loaded: a.rhai", "counted number=3")
        );
        assert!(lines[0].json.contains(r#""message":"keymap loaded: a.rhai""#));
    }

    #[test]
    fn the_level_and_the_source_decide_what_is_worth_a_line() {
        let log = || {
            tracing::debug!(event = "helps");
            tracing::info!(event = "news");
            tracing::info!(target: "notify", "a library's news");
            tracing::warn!(target: "notify", "a library's trouble");
        };
        let texts = |level| logged(level, log).iter().map(|line| line.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(LogLevel::Info), ["news", "a library's trouble"]);
        assert_eq!(texts(LogLevel::Debug), ["helps", "news", "a library's trouble"]);
        assert!(texts(LogLevel::Error).is_empty());
    }

    fn line(text: &str) -> Arc<Line> {
        let time = Timestamp::from(UNIX_EPOCH);
        Arc::new(Line { level: LogLevel::Warn, time, text: text.into(), json: "{}".into(), entry: None })
    }

    #[test]
    fn the_ring_drops_what_is_written_first_and_never_grows_without_end() {
        let mut ring = Ring::default();
        for number in 0..KEPT + 10 {
            ring.push(line(&number.to_string()));
        }
        assert_eq!((ring.first(), ring.lines.len()), (0, KEPT + 10), "nothing is written yet");
        ring.written = ring.next;
        ring.push(line("one more"));
        assert_eq!((ring.first(), ring.lines.len()), (11, KEPT));
        assert_eq!(
            (ring.from(0).len(), ring.from(ring.next).len(), ring.from(ring.next - 1).len()),
            (KEPT, 0, 1)
        );
        for number in 0..2 * MOST_WAITING {
            ring.push(line(&number.to_string()));
        }
        assert_eq!(ring.lines.len(), MOST_WAITING);
    }

    #[test]
    fn each_reader_of_stderr_gets_its_own_form() {
        let print = |format, is_journal, has_color| {
            Console { format, is_journal, has_color }.print(&line("first\nsecond"))
        };
        let text = print(LogFormat::Text, false, false);
        assert_eq!(text, "1970-01-01T00:00:00.000Z WARN  first\nsecond\n");
        assert_eq!(print(LogFormat::Text, true, false), "<4>first\n<4>second\n");
        assert_eq!(print(LogFormat::Json, false, true), "{}\n");
        assert!(print(LogFormat::Text, false, true).contains("\x1b[33mWARN"));
    }

    /// A disk that is full is simulated by a directory that is not there.
    #[test]
    fn lines_that_could_not_be_written_are_written_later() {
        let home = crate::testing::directory("log-resumes");
        let (wake, woken) = sync_channel(1);
        let ring = Guarded::new(Ring::default(), Ring::repair);
        let metrics = Arc::new(Metrics::new());
        let level = AtomicU8::new(LogLevel::Info as u8);
        let logger = Arc::new(Logger { level, ring, wake, metrics: metrics.clone() });
        let path = home.join("gone/log");
        let console = Console { format: LogFormat::Text, is_journal: false, has_color: false };
        let file = Some(LogFile::new(path.clone(), Limits::USUAL));
        let mut writer = Writer { logger: logger.clone(), woken, console, file, next: 0 };
        let now = Instant::now();
        tracing::subscriber::with_default(logger.clone(), || {
            tracing::info!(event = "one");
            writer.write_file(now);
            assert!(metrics.snapshot().log_file_fails);
            tracing::info!(event = "two");
            writer.write_file(now + Duration::from_secs(1));
            std::fs::create_dir(home.join("gone")).unwrap();
            writer.write_file(now + Duration::from_secs(31));
            writer.write_file(now + Duration::from_secs(31));
        });
        let written = std::fs::read_to_string(path).unwrap();
        let events = written.lines().map(|line| {
            let line = serde_json::from_str::<Value>(line).unwrap();
            line["event"].as_str().unwrap().to_owned()
        });
        assert_eq!(events.collect::<Vec<_>>(), ["one", "log_file_failed", "two", "log_file_resumed"]);
        assert!(!metrics.snapshot().log_file_fails);
    }
}
