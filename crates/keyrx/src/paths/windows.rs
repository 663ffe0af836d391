//! The directories of a user's programs; those of all users for whoever has none.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use keyrx_platform::native::console;

/// The value of a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where keymaps and settings may be, the most important first.
pub fn config_dirs(variable: Variable<'_>) -> Vec<PathBuf> {
    let user = directory(variable, "APPDATA");
    user.into_iter().chain([machine(variable)]).map(|directory| directory.join("keyrx")).collect()
}

/// Where keyrx keeps what it must know again.
pub fn state_dir(variable: Variable<'_>) -> PathBuf {
    directory(variable, "LOCALAPPDATA").unwrap_or_else(|| machine(variable)).join("keyrx")
}

/// Where the service keeps that.
pub fn machine_state(variable: Variable<'_>) -> PathBuf {
    machine(variable).join("keyrx")
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

fn machine(variable: Variable<'_>) -> PathBuf {
    directory(variable, "PROGRAMDATA").unwrap_or_else(|| r"C:\ProgramData".into())
}

fn directory(variable: Variable<'_>, name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What tells the sessions of one user apart, where each has its own keyboards.
pub fn session() -> String {
    format!("-{}", console::session())
}
