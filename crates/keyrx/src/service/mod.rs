//! keyrx as a service of Windows.

#[cfg(any(windows, test))]
mod health;
#[cfg(windows)]
mod run;
#[cfg(any(windows, test))]
mod sessions;
#[cfg(any(windows, test))]
mod states;
#[cfg(windows)]
mod web;

/// `keyrx service ...`
#[cfg(windows)]
#[derive(clap::Subcommand)]
pub enum Service {
    /// What the service manager runs.
    Run {
        /// In this console, until Ctrl+C.
        #[arg(long)]
        console: bool,
    },
}

#[cfg(windows)]
impl Service {
    pub fn run(self) -> anyhow::Result<crate::cli::Exit> {
        match self {
            Service::Run { console: true } => run::in_console(),
            Service::Run { console: false } => {
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
