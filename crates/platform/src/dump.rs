//! Dumps of our own process, for those who look for what went wrong.
//!
//! Whoever is dumped does the least: another process writes the dump. That is whoever watches this one, if it has said
//! how it is asked, or else a helper, which is this program with other arguments. Linux has its own way, by signals and
//! systemd-coredump: there nobody is asked, and there is no helper.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::lock::Guarded;
use crate::native;

/// How often it is looked whether the helper is done.
const LOOK: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name of what happened: the dump's file is called so, with the end `dmp`.
    pub name: String,
    /// What the process dies of, if it does.
    pub exception: Option<Exception>,
    /// So long it may take at most. Whoever is asked keeps to it: while the dump is written this process stands still.
    pub limit: Duration,
    /// What this process ends with, should it have to be ended for the dump took too long.
    pub exit_code: u32,
}

/// What has ended a thread, as Windows tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The number of the thread.
    pub thread: u32,
    /// Where its pointers are, in the memory of the process that it happened in.
    pub pointers: usize,
    /// What kind it is, such as 0xc0000005 for an access violation.
    pub code: u32,
    /// Of the instruction.
    pub address: usize,
}

/// Asks for a dump, and says whether it has been written.
pub type Asker = dyn Fn(&Request) -> bool + Send + Sync;

static ASKER: Guarded<Option<Arc<Asker>>> = Guarded::new(None, |_| {});
static HELPER: Guarded<Option<Helper>> = Guarded::new(None, |_| {});

/// A program that writes dumps: this one.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The executable.
    pub program: PathBuf,
    /// What comes before what is appended here: `--pid N --file FILE --limit-ms N --exit-code N`, and for an exception
    /// `--thread N --pointers N`.
    pub arguments: Vec<OsString>,
    /// Where dumps go.
    pub directory: PathBuf,
}

/// From now on this is asked first. It may be called on any thread, and while others hold locks.
pub fn set_asker(asker: Box<Asker>) {
    ASKER.with(|known| *known = Some(asker.into()));
}

/// From now on this is used when nobody else is there to be asked, or does not do it.
pub fn set_helper(helper: Helper) {
    HELPER.with(|known| *known = Some(helper));
}

/// Has a dump of this process written, and waits for it. Whether there is one.
pub fn ask(request: &Request) -> bool {
    let begin = Instant::now();
    let asker = ASKER.with(|asker| asker.clone());
    if asker.is_some_and(|asker| asker(request)) {
        return true;
    }
    let left = request.limit.saturating_sub(begin.elapsed());
    HELPER.with(|helper| helper.clone()).is_some_and(|helper| helper.write(std::process::id(), request, left))
}

impl Helper {
    /// Has a dump of a process written, and waits for it. Whether there is one.
    pub fn write(&self, pid: u32, request: &Request, limit: Duration) -> bool {
        let begin = Instant::now();
        let file = file(&self.directory, &request.name);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--pid").arg(pid.to_string()).arg("--file").arg(&file);
        command.arg("--limit-ms").arg(limit.as_millis().to_string());
        command.arg("--exit-code").arg(request.exit_code.to_string());
        if let Some(exception) = &request.exception {
            command.arg("--thread").arg(exception.thread.to_string());
            command.arg("--pointers").arg(exception.pointers.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = native::dump::start_helper(&mut command) else { return false };
        while begin.elapsed() < limit {
            match child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => thread::sleep(LOOK),
                Err(_) => return false,
            }
        }
        false // it may still come to it
    }
}

/// The file of a dump.
pub fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.dmp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_asked(name: &str) -> bool {
        ask(&Request { name: name.into(), exception: None, limit: Duration::from_secs(30), exit_code: 70 })
    }

    #[test]
    fn who_watches_is_asked_first_and_a_helper_only_where_that_does_not_do_it() {
        assert!(!is_asked("nobody is there"));
        set_asker(Box::new(|request| request.name == "a"));
        assert!(is_asked("a") && !is_asked("b"));
        let helper = |code: &str| Helper {
            program: "cmd.exe".into(),
            arguments: ["/c", "exit", code].map(OsString::from).to_vec(),
            directory: PathBuf::new(),
        };
        set_helper(helper("0"));
        assert_eq!(is_asked("b"), cfg!(windows));
        set_helper(helper("1"));
        assert!(is_asked("a") && !is_asked("b"));
    }
}
