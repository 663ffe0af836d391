//! The directories of a user's programs.

use std::path::PathBuf;

use keyrx_platform::native::console;

/// Where keyrx keeps what it must know again.
pub fn state_dir() -> Option<PathBuf> {
    let local = std::env::var_os("LOCALAPPDATA").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(local?.join("keyrx"))
}

/// What tells the sessions of one user apart, where each has its own keyboards.
pub fn session() -> String {
    format!("-{}", console::session())
}
