//! One keyrx for each session of a user: two would map each other's keys.
//!
//! A lock of the system's is held on a file for as long as the process lives, however it ends. Who holds it stands
//! in a second file beside it, which can be read while the first cannot.

use std::fs::{self, File, OpenOptions, TryLockError};

use anyhow::{Context, Result};

use crate::paths;

/// The lock. It ends with this, or with the process.
#[derive(Debug)]
pub struct Instance {
    _lock: Option<File>,
}

/// Another keyrx is running.
#[derive(Debug, thiserror::Error)]
#[error("keyrx is running already{}", .0.as_ref().map(|who| format!(" ({who})")).unwrap_or_default())]
pub struct AlreadyRunning(Option<String>);

impl Instance {
    /// Takes the lock. An `AlreadyRunning` among the errors says who has it.
    pub fn acquire() -> Result<Instance> {
        // Without a home there is nobody to have started another one.
        let Some(directory) = paths::state_dir() else { return Ok(Instance { _lock: None }) };
        let doing = || format!("the directory {} cannot be used", directory.display());
        fs::create_dir_all(&directory).with_context(doing)?;
        let file = |end: &str| directory.join(format!("run{}.{end}", paths::session()));
        let mut open = OpenOptions::new();
        let lock = open.write(true).create(true).truncate(false).open(file("lock")).with_context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = fs::read_to_string(file("pid")).ok();
                return Err(AlreadyRunning(who.map(|pid| format!("process {}", pid.trim()))).into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(doing),
        }
        // Only for people: that it cannot be written keeps nobody from running.
        let _ = fs::write(file("pid"), format!("{}\n", std::process::id()));
        Ok(Instance { _lock: Some(lock) })
    }
}
