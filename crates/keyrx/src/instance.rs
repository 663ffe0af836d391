//! One keyrx for each session of a user: two would map each other's keys.
//!
//! A lock of the system's is held on a file for as long as the process lives, however it ends. Who holds it stands
//! in a second file beside it, which can be read while the first cannot.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::paths;
use crate::state::rename;
use crate::timestamp::Timestamp;

/// The lock. It ends with this, or with the process.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
    pid: PidFile,
}

/// The file that says who holds the lock, and where it can be reached. Only for people and commands: that it cannot
/// be written keeps nobody from running.
#[derive(Clone, Debug)]
pub struct PidFile {
    path: PathBuf,
    started: String,
}

/// A keyrx that runs.
#[derive(Clone, Debug, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub started: String,
    /// Of the program that it runs.
    #[cfg(windows)]
    pub version: Option<String>,
    /// Of its web server, if it has one.
    pub port: Option<u16>,
}

/// Another keyrx is running.
#[derive(Debug, thiserror::Error)]
#[error("keyrx is running already{}", .0.as_ref().map(|who| format!(" ({who})")).unwrap_or_default())]
pub struct AlreadyRunning(Option<Running>);

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}, since {}", self.pid, self.started)
    }
}

impl AlreadyRunning {
    /// Which process it is, if that is known.
    #[cfg(windows)]
    pub fn pid(&self) -> Option<u32> {
        self.0.as_ref().map(|running| running.pid)
    }

    /// It cannot be said which.
    pub fn somewhere() -> AlreadyRunning {
        AlreadyRunning(None)
    }
}

impl Instance {
    /// Takes the lock of this session. An `AlreadyRunning` among the errors says who has it.
    pub fn acquire(directory: &Path) -> Result<Instance> {
        Instance::acquire_as(directory, &format!("run{}", paths::session()))
    }

    /// As `acquire`, for one that is not of a session.
    pub fn acquire_as(directory: &Path, name: &str) -> Result<Instance> {
        let doing = || format!("the directory {} cannot be used", directory.display());
        let file = |end: &str| directory.join(format!("{name}.{end}"));
        let mut open = OpenOptions::new();
        let lock = open.write(true).create(true).truncate(false).open(file("lock")).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AlreadyRunning(holder(&file("pid"))).into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        let pid = PidFile { path: file("pid"), started: Timestamp::now().seconds() };
        pid.write(None);
        Ok(Instance { _lock: lock, pid })
    }

    /// The keyrx that runs with this state directory, if there is one. What a dead one has left is not believed. An
    /// error means that the directory is another user's.
    pub fn find(directory: &Path) -> io::Result<Option<Running>> {
        Instance::find_as(directory, &format!("run{}", paths::session()))
    }

    fn find_as(directory: &Path, name: &str) -> io::Result<Option<Running>> {
        let file = |end: &str| directory.join(format!("{name}.{end}"));
        let lock = match OpenOptions::new().write(true).open(file("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(_) => return Ok(None),
        };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(holder(&file("pid"))),
            Ok(()) | Err(TryLockError::Error(_)) => Ok(None),
        }
    }

    pub fn pid_file(&self) -> PidFile {
        self.pid.clone()
    }

    /// Nobody can reach us any more.
    pub fn clean_up(&self) {
        let _ = fs::remove_file(&self.pid.path);
    }
}

impl PidFile {
    /// Says at which port the web server is.
    pub fn write(&self, port: Option<u16>) {
        let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
        let who =
            serde_json::json!({ "pid": pid, "version": version, "started": self.started, "port": port });
        // Whole or not at all, for somebody may be reading it.
        let new = self.path.with_extension("pid.new");
        let _ = fs::write(&new, format!("{who}\n")).and_then(|()| rename(&new, &self.path));
    }
}

/// Who says that it holds the lock of that name. It is not looked whether that is so: who may not write the lock cannot
/// try it.
#[cfg(windows)]
pub fn said_to_run(directory: &Path, name: &str) -> Option<Running> {
    holder(&directory.join(format!("{name}.pid")))
}

fn holder(pid: &Path) -> Option<Running> {
    serde_json::from_str(&fs::read_to_string(pid).ok()?).ok()
}
