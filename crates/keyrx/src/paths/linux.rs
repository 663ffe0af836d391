//! The directories of the XDG base directory specification.

use std::path::PathBuf;

/// Where keyrx keeps what it must know again. None for a user without a home.
pub fn state_dir() -> Option<PathBuf> {
    let directory = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || directory("HOME").map(|home| home.join(".local/state"));
    Some(directory("XDG_STATE_HOME").or_else(home)?.join("keyrx"))
}

/// What tells the sessions of one user apart, where each has its own keyboards.
pub fn session() -> String {
    String::new()
}
