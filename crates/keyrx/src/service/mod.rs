//! keyrx as a service of Windows.

#[cfg(any(windows, test))]
mod health;
#[cfg(windows)]
mod install;
#[cfg(windows)]
mod run;
#[cfg(any(windows, test))]
mod sessions;
#[cfg(any(windows, test))]
mod states;
#[cfg(any(windows, test))]
mod steps;
#[cfg(windows)]
mod web;

#[cfg(windows)]
pub use install::exit as refused;

/// `keyrx service ...`
#[cfg(windows)]
#[derive(clap::Subcommand)]
pub enum Service {
    /// Installs the service, or brings it up to date. Needs an administrator.
    Install {
        /// Nothing may be missing, not even what an old system does not have.
        #[arg(long)]
        strict: bool,
    },
    /// Stops the service and removes it. Needs an administrator.
    Uninstall {
        /// With the machine's settings, logs and dumps.
        #[arg(long)]
        purge: bool,
    },
    /// Starts the service.
    Start,
    /// Stops the service, and with it every keyrx that it has started.
    Stop,
    /// Stops and starts it.
    Restart,
    /// Says how the service is; ends with 4 unless it runs.
    Status {
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// What the service manager runs.
    Run {
        /// In this console, until Ctrl+C.
        #[arg(long)]
        console: bool,
        /// How long a dump may take, in seconds, for tests where it takes long.
        #[arg(long, hide = true, value_name = "SECONDS", requires = "console")]
        dump_wait: Option<u64>,
    },
}

#[cfg(windows)]
impl Service {
    pub fn run(self) -> anyhow::Result<crate::cli::Exit> {
        match self {
            Service::Install { strict } => install::install(strict),
            Service::Uninstall { purge } => install::uninstall(purge),
            Service::Start => install::start(),
            Service::Stop => install::stop(),
            Service::Restart => install::restart(),
            Service::Status { json } => install::status(json),
            Service::Run { console: true, dump_wait } => {
                run::in_console(dump_wait.map(std::time::Duration::from_secs))
            }
            Service::Run { console: false, .. } => {
                eprintln!(
                    "keyrx: the service manager runs this; say `keyrx service run --console` to try it here"
                );
                Ok(crate::cli::Exit::Usage)
            }
        }
    }
}

/// If this process is what the service manager has started, it is handed over, and this is how it has ended.
#[cfg(windows)]
pub fn dispatch_if_meant() -> Option<crate::cli::Exit> {
    let mut arguments = std::env::args_os().skip(1);
    let is_meant = arguments.next().is_some_and(|word| word == "service")
        && arguments.next().is_some_and(|word| word == "run")
        && arguments.next().is_none();
    if is_meant { run::dispatch() } else { None }
}

/// As the service manager knows it.
#[cfg(windows)]
pub const NAME: &str = "keyrx";

/// The one service of a machine, among the locks.
#[cfg(windows)]
pub const INSTANCE: &str = "service";
