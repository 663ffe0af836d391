//! Cargo and the programs it builds, always run at the root of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    here.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where builds go: as cargo decides, by `CARGO_TARGET_DIR` or the checkout's `target`.
fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A cargo command, of the toolchain that runs us.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs cargo with its output in view; anything but success is an error.
pub fn run(arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    let status = cargo(arguments).status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}

/// Whether a cargo command such as `nextest` is installed.
pub fn has(subcommand: &str) -> bool {
    let quiet = cargo(&[subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Builds the program of a package and gives its path.
pub fn build(package: &str, profile: Profile) -> Result<PathBuf> {
    let (folder, flags): (&str, &[&str]) = match profile {
        Profile::Dev => ("debug", &[]),
        Profile::Release => ("release", &["--release"]),
    };
    run(&[&["build", "--package", package], flags].concat())?;
    let program = target().join(folder).join(package);
    if !program.is_file() {
        bail!("cargo built {package}, but {} is not there", program.display());
    }
    Ok(program)
}

/// How a program is built.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Quickly, with checks.
    Dev,
    /// As it is shipped.
    Release,
}
