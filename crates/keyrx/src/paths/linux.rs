//! The directories of the XDG base directory specification; those of the system for a service and whoever else has
//! no home.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MACHINE_CONFIG: &str = "/etc/keyrx";
const MACHINE_STATE: &str = "/var/lib/keyrx";

/// The value of a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where keymaps and settings may be, the most important first.
pub fn config_dirs(variable: Variable<'_>) -> Vec<PathBuf> {
    let user = || {
        let home = || directory(variable, "HOME").map(|home| home.join(".config"));
        Some(directory(variable, "XDG_CONFIG_HOME").or_else(home)?.join("keyrx"))
    };
    // systemd tells a service of the system where its own directories are.
    let own = match directory(variable, "CONFIGURATION_DIRECTORY") {
        Some(own) => Some(own),
        None => user(),
    };
    let mut all = Vec::from_iter(own);
    all.push(MACHINE_CONFIG.into());
    all.dedup();
    all
}

/// Where keyrx keeps what it must know again.
pub fn state_dir(variable: Variable<'_>) -> PathBuf {
    let home = || directory(variable, "HOME").map(|home| home.join(".local/state"));
    let user = || Some(directory(variable, "XDG_STATE_HOME").or_else(home)?.join("keyrx"));
    directory(variable, "STATE_DIRECTORY").or_else(user).unwrap_or_else(|| MACHINE_STATE.into())
}

/// Where the service of the system keeps that.
pub fn machine_state(_: Variable<'_>) -> PathBuf {
    MACHINE_STATE.into()
}

/// Makes a directory that is nobody else's business.
pub fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a file that is to be created one that nobody else can read; for a service of the system, whose directories
/// are made for it, whoever is in its group can.
pub fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    let is_service = std::env::var_os("STATE_DIRECTORY").is_some();
    options.mode(if is_service { 0o640 } else { 0o600 })
}

fn directory(variable: Variable<'_>, name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// What tells the sessions of one user apart, where each has its own keyboards.
pub fn session() -> String {
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: &[(&str, &str)], configs: &[&str], state: &str) {
        let variable = |name: &str| {
            let found = environment.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let configs = configs.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!((config_dirs(&variable), state_dir(&variable)), (configs, state.into()));
    }

    #[test]
    fn a_user_has_directories_at_home() {
        let configs = &["/home/u/.config/keyrx", "/etc/keyrx"];
        check(&[("HOME", "/home/u")], configs, "/home/u/.local/state/keyrx");
        let elsewhere = &[("HOME", "/home/u"), ("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s")];
        check(elsewhere, &["/c/keyrx", "/etc/keyrx"], "/s/keyrx");
        let relative = &[("HOME", "/home/u"), ("XDG_CONFIG_HOME", "c"), ("XDG_STATE_HOME", "")];
        check(relative, configs, "/home/u/.local/state/keyrx");
    }

    #[test]
    fn a_service_has_those_of_the_system() {
        check(&[], &["/etc/keyrx"], "/var/lib/keyrx");
        let systemd = &[
            ("HOME", "/root"),
            ("CONFIGURATION_DIRECTORY", "/etc/keyrx"),
            ("STATE_DIRECTORY", "/var/lib/keyrx"),
        ];
        check(systemd, &["/etc/keyrx"], "/var/lib/keyrx");
    }
}
