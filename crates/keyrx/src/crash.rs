//! What is done when keyrx goes wrong: it is told, counted, and kept for those who look into it.
//!
//! A panic is in the log and in a report, and whose thread it was takes care of the rest. Before keyrx ends because it
//! hangs, or is ended by Windows, another process writes a dump of it, too (`keyrx_platform::dump`). Nothing of this may
//! hold up keys: the keyboards are let go before.

use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use keyrx_platform::dump::{self, Exception, Helper, Request};
use keyrx_platform::lock::Guarded;
use keyrx_platform::native;

use crate::crashes::{self, Cause, Report};
use crate::daemon::Desk;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::timestamp::Timestamp;
use keyrx_platform::threads::Threads;

/// So much is told of what a panic says.
const MOST_SAID: usize = 200;

/// Of so many panics within so long there is a report each: of those that follow the log has a line.
const MOST_REPORTS: usize = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// How long a dump may take: of a keyrx that hangs, and of one that is lost anyway.
const UNTIL_DUMPED: Duration = Duration::from_secs(1);
const UNTIL_DUMPED_AT_LAST: Duration = Duration::from_secs(3);

/// How long the report may take to the disk.
const UNTIL_WRITTEN: Duration = Duration::from_millis(500);

static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// What is needed to make a report, wherever it goes wrong.
struct Recorder {
    metrics: Arc<Metrics>,
    /// Where reports go, if anything can be written.
    directory: Option<PathBuf>,
    run: OnceLock<Run>,
    is_writing: AtomicBool,
    limit: Guarded<Limit>,
}

/// What is known once the run has begun.
struct Run {
    /// Which one this is, and how much it may do.
    name: String,
    mode: String,
    /// How long a dump may take, where a test says it.
    dump_wait: Option<Duration>,
}

/// Tells of panics in the log from now on, and keeps reports in a directory.
pub fn watch(metrics: Arc<Metrics>, directory: Option<PathBuf>) {
    let limit = Guarded::new(Limit::default(), |_| {});
    let is_writing = AtomicBool::new(false);
    let recorder = Recorder { metrics, directory, run: OnceLock::new(), is_writing, limit };
    if RECORDER.set(recorder).is_ok() {
        panic::set_hook(Box::new(|info| {
            if let Some(recorder) = RECORDER.get() {
                recorder.metrics.count_panic();
                recorder.panicked(info);
            }
        }));
    }
}

/// The run has begun: keeps what is to be kept of the one before, and watches for exceptions. When there is one, the
/// keyboards are let go.
pub fn begin(lifecycle: &Lifecycle, desk: &Desk, dump_wait: Option<Duration>) {
    let Some(recorder) = RECORDER.get() else { return };
    let (name, mode) = (lifecycle.run(), lifecycle.mode().to_string());
    let _ = recorder.run.set(Run { name, mode, dump_wait });
    if let Some(directory) = &recorder.directory {
        if let Some(before) = lifecycle.died_before() {
            let known = crashes::Found::in_directories(std::slice::from_ref(directory)).crashes;
            let has_word = |report: &Report| report.run == before.run && report.cause != Cause::Panic;
            if !known.iter().filter_map(|crash| crash.report.as_ref()).any(has_word) {
                recorder.keep(&before);
            }
        }
        crashes::prune(directory, SystemTime::now());
        if let Ok(program) = std::env::current_exe() {
            let arguments = vec!["crashes".into(), "write".into()];
            dump::set_helper(Helper { program, arguments, directory: directory.clone() });
        }
    }
    let desk = desk.clone();
    let limit = recorder.dump_limit(UNTIL_DUMPED_AT_LAST).saturating_add(UNTIL_WRITTEN);
    let watched = native::dump::on_exception(limit, move |exception| {
        desk.let_go();
        if let Some(recorder) = RECORDER.get() {
            recorder.lost(exception);
        }
    });
    if let Err(error) = watched {
        tracing::warn!(event = "exceptions_unwatched", error = %error, "exceptions will leave no report: {error}");
    }
}

/// keyrx hangs, and is about to end: leaves a report and a dump. Returns after about a second at the latest, whatever
/// the disk is like.
pub fn stalled(error: &str, exit_code: u32) {
    let Some(recorder) = RECORDER.get() else { return };
    let limit = recorder.dump_limit(UNTIL_DUMPED);
    let (done, is_done) = channel();
    let error = error.to_owned();
    let mut threads = Threads::default();
    let work = move |_: &_| {
        recorder.stalled(&error, limit, exit_code);
        let _ = done.send(());
    };
    if threads.start("crash", || {}, work).is_ok() {
        let _ = is_done.recv_timeout(limit.saturating_add(UNTIL_WRITTEN));
    }
    // The process ends before it would be waited for.
    std::mem::forget(threads);
}

/// Another process hangs, and is about to be ended: leaves a report and a dump in a directory, by a helper, in case that
/// it does not go well. If that takes too long, the process is ended with `exit_code`.
#[cfg(windows)]
pub fn hung(directory: &std::path::Path, pid: u32, limit: Duration, exit_code: u32) {
    let report = Report {
        time: Timestamp::now().to_string(),
        cause: Cause::Hung,
        thread: String::new(),
        location: String::new(),
        message: "no sign of life".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: None,
        pid,
        run: String::new(),
        mode: String::new(),
    };
    let name = report.name();
    if let Err(error) = crashes::write(directory, &name, &report) {
        tracing::warn!(event = "crash_not_kept", error = %error, "there is no report of it: {error}");
    }
    let Ok(program) = std::env::current_exe() else { return };
    let arguments = vec!["crashes".into(), "write".into()];
    let helper = Helper { program, arguments, directory: directory.to_owned() };
    let is_there =
        helper.write(pid, &Request { name: name.clone(), exception: None, limit, exit_code }, limit);
    let dump = if is_there { "a dump" } else { "no dump" };
    tracing::warn!(event = "crash_kept", id = name, is_there, "there is a report {name}, and {dump}");
    crashes::prune(directory, SystemTime::now());
}

impl Recorder {
    fn panicked(&self, info: &PanicHookInfo<'_>) {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let said = info.payload_as_str().unwrap_or_default();
        let said = said.chars().take(MOST_SAID).collect::<String>();
        let current = thread::current();
        let name = current.name().unwrap_or("?");
        tracing::error!(
            event = "panic",
            thread = name,
            location,
            error = said,
            "keyrx panicked in the thread {name} at {location}: {said}"
        );
        // A panic while this is done must not come back here.
        if self.is_writing.swap(true, Ordering::AcqRel) {
            return;
        }
        if self.limit.with(|limit| limit.admits(self.metrics.uptime())) {
            self.keep(&self.report(Cause::Panic, name, location, said));
            self.directory.iter().for_each(|directory| crashes::prune(directory, SystemTime::now()));
        }
        self.is_writing.store(false, Ordering::Release);
    }

    fn dump_limit(&self, usual: Duration) -> Duration {
        self.run.get().and_then(|run| run.dump_wait).unwrap_or(usual)
    }

    fn stalled(&self, error: &str, limit: Duration, exit_code: u32) {
        let report = self.report(Cause::Stalled, "session", String::new(), error.to_owned());
        if let Some(name) = self.keep(&report) {
            dump::ask(&Request { name, exception: None, limit, exit_code });
        }
    }

    fn lost(&self, exception: &Exception) {
        let thread = format!("thread {}", exception.thread);
        let location = format!("{:#x}", exception.address);
        let message = format!("exception {:#010x}", exception.code);
        if let Some(name) = self.keep(&self.report(Cause::Exception, &thread, location, message)) {
            let (limit, exit_code) = (self.dump_limit(UNTIL_DUMPED_AT_LAST), exception.code);
            dump::ask(&Request { name, exception: Some(*exception), limit, exit_code });
        }
    }

    fn report(&self, cause: Cause, thread: &str, location: String, message: String) -> Report {
        let run = self.run.get().map(|run| (run.name.clone(), run.mode.clone()));
        let (run, mode) = run.unwrap_or_default();
        Report {
            time: Timestamp::now().to_string(),
            cause,
            thread: thread.to_owned(),
            location,
            message,
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: Some(self.metrics.uptime().as_secs()),
            pid: std::process::id(),
            run,
            mode,
        }
    }

    /// Writes a report: under which name.
    fn keep(&self, report: &Report) -> Option<String> {
        let name = report.name();
        crashes::write(self.directory.as_ref()?, &name, report).ok()?;
        Some(name)
    }
}

/// Lets through so many within so long.
#[derive(Debug, Default)]
struct Limit {
    since: Duration,
    count: usize,
}

impl Limit {
    fn admits(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.since) >= WITHIN {
            *self = Limit { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= MOST_REPORTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_panics_only_some_leave_a_report() {
        let mut limit = Limit::default();
        let times = (0..200).filter(|second| limit.admits(Duration::from_secs(*second)));
        assert_eq!(
            times.collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 60, 61, 62, 63, 64, 120, 121, 122, 123, 124, 180, 181, 182, 183, 184]
        );
    }
}
