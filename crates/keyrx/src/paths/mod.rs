//! Where keyrx keeps its files.
//!
//! Keymaps and settings are in one directory, what keyrx itself remembers (state, log, lock) in another. What the
//! command line or the environment says goes before what is the user's, and that before what is the machine's.

use std::path::{Path, PathBuf};

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

#[cfg(windows)]
pub use system::machine_dir;
pub use system::{create, private, session};

/// The directories that a command may be told to use instead of the usual ones.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Directories {
    /// Where the settings are (keyrx.toml).
    #[arg(long, value_name = "DIRECTORY", env = "KEYRX_CONFIG_DIR", hide_env = true)]
    config_dir: Option<PathBuf>,
    /// Where keyrx keeps its state and its log.
    #[arg(long, value_name = "DIRECTORY", env = "KEYRX_STATE_DIR", hide_env = true)]
    state_dir: Option<PathBuf>,
}

impl Directories {
    /// The usual ones, but for the state.
    pub fn with_state(state_dir: Option<PathBuf>) -> Directories {
        Directories { state_dir, ..Directories::default() }
    }
}

/// Where the service of the machine keeps its reports of crashes.
pub fn machine_crashes() -> PathBuf {
    system::machine_state(&|name| std::env::var_os(name)).join("crashes")
}

/// The directories of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where settings are looked for, the most important first.
    configs: Vec<PathBuf>,
    state: PathBuf,
}

impl Paths {
    pub fn of(directories: &Directories) -> Paths {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let configs = match &directories.config_dir {
            Some(path) => vec![absolute(path)],
            None => system::config_dirs(&|name| std::env::var_os(name)),
        };
        let usual = || system::state_dir(&|name| std::env::var_os(name));
        Paths { configs, state: directories.state_dir.as_ref().map_or_else(usual, absolute) }
    }

    /// Those of the service, which is nobody's.
    #[cfg(windows)]
    pub fn machine() -> Paths {
        Paths { configs: vec![system::machine_dir()], state: system::machine_dir() }
    }

    /// The directories of settings and profiles, the most important first.
    pub fn configs(&self) -> &[PathBuf] {
        &self.configs
    }

    /// The settings files there may be, the most important first.
    pub fn settings(&self) -> impl Iterator<Item = PathBuf> {
        self.configs.iter().map(|path| path.join("keyrx.toml"))
    }

    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    pub fn state(&self) -> PathBuf {
        self.state.join("state")
    }

    pub fn token(&self) -> PathBuf {
        self.state.join("token")
    }

    /// When `who` began and ended.
    pub fn lifecycle(&self, who: &str) -> PathBuf {
        self.state.join(format!("{who}{}.lifecycle", session()))
    }

    /// Reports of crashes, and dumps.
    pub fn crashes(&self) -> PathBuf {
        self.state.join("crashes")
    }

    pub fn log(&self) -> PathBuf {
        self.state.join("keyrx.log")
    }
}
