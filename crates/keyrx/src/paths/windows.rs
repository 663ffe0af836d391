//! The directories of a user's programs; those of all users for whoever has none.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use keyrx_platform::native::{console, folders};

/// The value of a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where keymaps and settings may be, the most important first.
pub fn config_dirs(variable: Variable<'_>) -> Vec<PathBuf> {
    let user = directory(variable, "APPDATA");
    user.map(|directory| directory.join("keyrx")).into_iter().chain([machine_dir()]).collect()
}

/// Where keyrx keeps what it must know again.
pub fn state_dir(variable: Variable<'_>) -> PathBuf {
    directory(variable, "LOCALAPPDATA").map_or_else(machine_dir, |directory| directory.join("keyrx"))
}

/// What all users have: administrators write it, everybody reads it.
pub fn machine_dir() -> PathBuf {
    folders::shared().unwrap_or_else(|| r"C:\ProgramData".into()).join("keyrx")
}

/// Where the service keeps that.
pub fn machine_state(_: Variable<'_>) -> PathBuf {
    machine_dir()
}

/// Makes a directory. It belongs to those whom its parent belongs to.
pub fn create(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Makes a file that is to be created one that nobody else can read. On Windows it has the rights of its directory,
/// which is the user's alone.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

fn directory(variable: Variable<'_>, name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What tells the sessions of one user apart, where each has its own keyboards.
pub fn session() -> String {
    format!("-{}", console::session())
}
