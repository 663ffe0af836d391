//! One keyrx for each session of a user: two would map each other's keys.
//!
//! A lock of the system's is held on a file for as long as the process lives, however it ends. Who holds it stands
//! in a second file beside it, which can be read while the first cannot.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths;
use crate::timestamp::Timestamp;

/// The lock. It ends with this, or with the process.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

/// Another keyrx is running.
#[derive(Debug, thiserror::Error)]
#[error("keyrx is running already{}", .0.as_ref().map(|who| format!(" ({who})")).unwrap_or_default())]
pub struct AlreadyRunning(Option<String>);

impl AlreadyRunning {
    /// It cannot be said which.
    pub fn somewhere() -> AlreadyRunning {
        AlreadyRunning(None)
    }
}

impl Instance {
    /// Takes the lock. An `AlreadyRunning` among the errors says who has it.
    pub fn acquire(directory: &Path) -> Result<Instance> {
        let doing = || format!("the directory {} cannot be used", directory.display());
        let file = |end: &str| directory.join(format!("run{}.{end}", paths::session()));
        let mut open = OpenOptions::new();
        let lock = open.write(true).create(true).truncate(false).open(file("lock")).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(AlreadyRunning(holder(&file("pid"))).into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        // Only for people: that it cannot be written keeps nobody from running.
        let started = Timestamp::now().seconds();
        let who = serde_json::json!({ "pid": std::process::id(), "started": started });
        let _ = fs::write(file("pid"), format!("{who}\n"));
        Ok(Instance { _lock: lock })
    }
}

fn holder(pid: &Path) -> Option<String> {
    let who = serde_json::from_str::<serde_json::Value>(&fs::read_to_string(pid).ok()?).ok()?;
    Some(format!("process {}, since {}", who.get("pid")?, who.get("started")?.as_str()?))
}
