//! The command line: what can be asked for, and how the answer becomes an exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::client::{self, Ask, AskError};
use crate::crashes::Crashes;
use crate::instance::AlreadyRunning;
use crate::paths::Directories;
use crate::profiles::ProfileError;
#[cfg(windows)]
use crate::service;
use crate::{check, demo, devices, doctor, run, selftest, simulate, supervise, test};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked for.
    Ok,
    /// The input is wrong.
    BadInput,
    /// The command line is wrong.
    Usage,
    /// Another keyrx is running, or a right is missing.
    NotPermitted,
    /// There is no keyrx to be asked, or it does not answer.
    NotRunning,
    /// The end took too long.
    TookTooLong,
    /// Something that cannot be the user's fault.
    Internal,
    /// As a program that we have run.
    As(u8),
}

impl Exit {
    /// How a command ends for which the platform does not work.
    pub fn of(error: &keyrx_platform::Error) -> Exit {
        if error.is_forbidden() { Exit::NotPermitted } else { Exit::Internal }
    }

    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::BadInput => 1,
            Exit::Usage => 2,
            Exit::NotPermitted => 3,
            Exit::NotRunning => 4,
            Exit::TookTooLong => 75,
            Exit::Internal => 70,
            Exit::As(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        exit.code().into()
    }
}

/// A keyboard remapping daemon that never silently dies, never leaves a key stuck and never takes the keyboard away.
#[derive(Parser)]
#[command(name = "keyrx", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Maps the keys of the keyboards, until it is told to stop.
    Run(run::Run),
    /// Runs a command, such as `keyrx run`, and starts it again whenever it dies or hangs.
    Supervise(supervise::Supervise),
    /// What the service runs in each session of a user.
    #[cfg(windows)]
    #[command(hide = true)]
    Agent(run::Run),
    /// keyrx as a service of Windows, for all users of the machine.
    #[cfg(windows)]
    #[command(subcommand)]
    Service(crate::service::Service),
    /// Shows keyrx at work in this terminal: no keyboard is taken, no right is needed.
    Demo,
    /// Says what is wrong with a keymap, where, and what to do about it.
    Check {
        /// The keymap.
        keymap: PathBuf,
        /// The system that it is to run on; by default this one.
        #[arg(long = "for", value_name = "SYSTEM")]
        system: Option<check::System>,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Plays the scenarios (*.keytest) under the paths, and compares what comes out.
    Test {
        /// Files, or directories to look through.
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Plays key events to a keymap and prints what comes out.
    Simulate(simulate::Simulate),
    /// Lists the keyboards, and whether keyrx reads them.
    Devices {
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Says what is in the way of keyrx on this system, and what to do about it.
    Doctor {
        #[command(flatten)]
        directories: Directories,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Says what the running keyrx is at.
    Status(Ask),
    /// Says how the running keyrx is; ends with 1 if it is unhealthy.
    Health(Ask),
    /// Prints what the running keyrx has counted and measured, as Prometheus reads it.
    Metrics(Ask),
    /// Has the running keyrx pause: keys pass.
    Pause(Ask),
    /// Has the running keyrx go on.
    Resume(Ask),
    /// Has the running keyrx read its keymap and its settings again.
    Reload(Ask),
    /// Ends the running keyrx.
    Stop(Ask),
    /// Profiles: keymaps by name.
    Profile(client::Profile),
    /// Opens the page of the running keyrx.
    Ui(client::Ui),
    /// Shows what is known of crashes, and of other internal errors.
    Crashes(Crashes),
    /// Types on a keyboard of its own and looks whether keys come through. Needs that no keyrx is running.
    Selftest {
        #[command(flatten)]
        directories: Directories,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Prints completions for a shell.
    Completions {
        /// Which.
        shell: Shell,
    },
}

/// Does what the command line asks for.
pub fn main() -> Exit {
    // First of all: the service manager waits for it.
    #[cfg(windows)]
    if let Some(exit) = service::dispatch_if_meant() {
        return exit;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where even this cannot be printed, the exit code still says it.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    let done = match cli.command {
        Command::Run(run) => run.run(),
        Command::Supervise(supervise) => supervise.run(),
        #[cfg(windows)]
        Command::Agent(run) => run.of_service().run(),
        #[cfg(windows)]
        Command::Service(service) => service.run(),
        Command::Demo => demo::demo(),
        Command::Check { keymap, system, json } => check::check(&keymap, system, json),
        Command::Test { paths, json } => test::test(&paths, json),
        Command::Simulate(simulate) => simulate.run(),
        Command::Devices { json } => devices::devices(json),
        Command::Doctor { directories, json } => doctor::doctor(&directories, json),
        Command::Status(ask) => ask.status(),
        Command::Health(ask) => ask.health(),
        Command::Metrics(ask) => ask.metrics(),
        Command::Pause(ask) => ask.set_paused(true),
        Command::Resume(ask) => ask.set_paused(false),
        Command::Reload(ask) => ask.reload(),
        Command::Stop(ask) => ask.stop(),
        Command::Profile(profile) => profile.run(),
        Command::Ui(ui) => ui.run(),
        Command::Crashes(crashes) => crashes.run(),
        Command::Selftest { directories, json } => selftest::selftest(&directories, json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "keyrx", &mut std::io::stdout());
            Ok(Exit::Ok)
        }
    };
    done.unwrap_or_else(|error| {
        // A reader that has gone away is not an error of ours.
        let broken_pipe = error.downcast_ref::<std::io::Error>();
        if broken_pipe.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return Exit::Ok;
        }
        if let Some(error) = error.downcast_ref::<AskError>() {
            client::tell(error);
            return error.exit();
        }
        #[cfg(windows)]
        if let Some(exit) = service::refused(&error) {
            eprintln!("keyrx: {error}");
            return exit;
        }
        eprintln!("keyrx: {error:#}");
        if error.is::<ProfileError>() {
            return Exit::BadInput;
        }
        if error.is::<AlreadyRunning>() {
            return Exit::NotPermitted;
        }
        error.downcast_ref().map_or(Exit::Internal, Exit::of)
    })
}
