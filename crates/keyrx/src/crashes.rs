//! `keyrx crashes`: the reports of crashes, for people who want to know or to tell somebody. It needs no running keyrx.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::Exit;
use crate::crash::{Crash, Crashes, Kept};
use crate::paths::{Directories, Paths};
use crate::timestamp::Timestamp;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists what is known of crashes, the latest first.
    List {
        #[command(flatten)]
        directories: Directories,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Shows one.
    Show {
        /// As `list` names it; a beginning will do.
        id: String,
        #[command(flatten)]
        directories: Directories,
        /// As data.
        #[arg(long)]
        json: bool,
    },
    /// Puts all reports and dumps, and the log, into a directory, to be sent to whoever is to look at them.
    Export {
        /// The directory, which is made; by default one with the time in its name, here.
        #[arg(long, value_name = "DIRECTORY")]
        output: Option<PathBuf>,
        #[command(flatten)]
        directories: Directories,
    },
    /// Writes a report and a dump of a process that dies of an exception.
    #[cfg(windows)]
    #[command(hide = true)]
    Write { cause: crate::crash::Cause, pid: u32, directory: PathBuf, thread: u32, pointers: usize },
    /// Writes a dump of a process.
    #[cfg(windows)]
    #[command(hide = true)]
    Dump { pid: u32, file: PathBuf },
}

impl Command {
    pub fn run(self) -> Result<Exit> {
        match self {
            Command::List { directories, json } => {
                let all = all(&directories);
                if json {
                    println!("{}", serde_json::to_string_pretty(&all)?);
                } else if all.is_empty() {
                    println!("nothing is known of any crash");
                } else {
                    all.iter().for_each(|kept| println!("{}", line(kept)));
                }
                Ok(Exit::Ok)
            }
            Command::Show { id, directories, json } => {
                let found = all(&directories).into_iter().find(|kept| kept.id.starts_with(&id));
                let Some(kept) = found else {
                    eprintln!("keyrx: there is no crash {id:?}; `keyrx crashes list` lists them");
                    return Ok(Exit::BadInput);
                };
                if json {
                    println!("{}", serde_json::to_string_pretty(&kept)?)
                } else {
                    show(&kept)
                }
                Ok(Exit::Ok)
            }
            Command::Export { output, directories } => export(output, &directories),
            #[cfg(windows)]
            Command::Write { cause, pid, directory, thread, pointers } => {
                let crashes = Crashes::new(directory);
                let id = crashes.add(&Crash::of(cause, Some(pid)))?;
                dump(pid, Some((thread, pointers)), &crashes.dump(&id))
            }
            #[cfg(windows)]
            Command::Dump { pid, file } => dump(pid, None, &file),
        }
    }
}

#[cfg(windows)]
fn dump(pid: u32, exception: Option<(u32, usize)>, file: &Path) -> Result<Exit> {
    use keyrx_platform::native::{dump, process::Process};
    dump::let_no_window_open();
    let exception = exception.map(|(thread, pointers)| dump::Exception { thread, pointers });
    dump::dump(&Process::open(pid)?, exception, file)?;
    Ok(Exit::Ok)
}

/// Those of the user, and those of the service, as far as they may be read.
fn all(directories: &Directories) -> Vec<Kept> {
    let mut all = places(directories).into_iter().flat_map(|(place, _)| place.list()).collect::<Vec<_>>();
    all.sort_by(|one, other| other.id.cmp(&one.id));
    all
}

/// Where reports are, and the logs beside them.
fn places(directories: &Directories) -> Vec<(Crashes, PathBuf)> {
    let paths = Paths::of(directories);
    #[cfg(not(windows))]
    let places = vec![(paths.crashes(), paths.log())];
    #[cfg(windows)]
    let places = {
        let machine = Paths::machine();
        let mut places = vec![(paths.crashes(), paths.log())];
        if machine.crashes() != paths.crashes() {
            places.push((machine.crashes(), machine.state_dir().join("service.log")));
        }
        places
    };
    places.into_iter().map(|(place, log)| (Crashes::new(place), log)).collect()
}

fn line(kept: &Kept) -> String {
    match &kept.crash {
        None => format!("{}: it cannot be read", kept.id),
        Some(Crash { time, cause, thread, location, message, .. }) => {
            let place = thread.as_ref().map(|thread| format!(" in {thread}")).unwrap_or_default();
            let at = location.as_ref().map(|location| format!(" at {location}")).unwrap_or_default();
            let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            let dump = if kept.dump.is_some() { ", with a dump" } else { "" };
            format!("{}  {time}  {}{place}{at}{message}{dump}", kept.id, cause.name())
        }
    }
}

fn show(kept: &Kept) {
    println!("{}\n{}", kept.id, kept.path.display());
    let Some(crash) = &kept.crash else {
        return println!("it cannot be read");
    };
    let of = |pid: &u32| pid.to_string();
    let rows = [
        ("time", Some(crash.time.clone())),
        ("cause", Some(crash.cause.name().to_owned())),
        ("version", Some(crash.version.clone())),
        ("process", crash.pid.as_ref().map(of)),
        ("running for", crash.uptime_ms.map(|ms| format!("{}.{:03} s", ms / 1000, ms % 1000))),
        ("thread", crash.thread.clone()),
        ("place", crash.location.clone()),
        ("message", crash.message.clone()),
        ("dump", kept.dump.as_ref().map(|path| path.display().to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            println!("  {name:<12} {value}");
        }
    }
    if cfg!(target_os = "linux") && kept.dump.is_none() {
        println!("  the system may have a core of it: coredumpctl list keyrx");
    }
}

fn export(output: Option<PathBuf>, directories: &Directories) -> Result<Exit> {
    let output =
        output.unwrap_or_else(|| format!("keyrx-crashes-{}", Timestamp::now().in_file_name()).into());
    fs::create_dir(&output).with_context(|| format!("{} cannot be made", output.display()))?;
    let mut count = 0;
    let mut copy = |from: &Path| -> Result<()> {
        let Some(name) = from.file_name() else { return Ok(()) };
        fs::copy(from, output.join(name)).with_context(|| format!("{} cannot be copied", from.display()))?;
        count += 1;
        Ok(())
    };
    for (place, log) in places(directories) {
        for kept in place.list() {
            copy(&kept.path)?;
            kept.dump.as_deref().map_or(Ok(()), &mut copy)?;
        }
        if log.is_file() {
            copy(&log)?;
        }
    }
    println!("{count} files are in {}", output.display());
    println!("A dump holds what lay in the stacks of keyrx: the last keys may be among it.");
    Ok(Exit::Ok)
}
