//! Cargo and the programs it builds, always run at the root of the workspace.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::setup;

/// The root of the checkout.
pub fn workspace() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    here.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where builds go: as cargo decides, by `CARGO_TARGET_DIR` or the checkout's `target`.
pub fn target() -> PathBuf {
    workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// A cargo command, of the toolchain that runs us.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs cargo with its output in view; anything but success is an error.
pub fn run(arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    let status = command(arguments).status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo {} ended with {status}", arguments.join(" "));
    Ok(())
}

/// Whether a cargo command such as `nextest` is installed.
pub fn has(subcommand: &str) -> bool {
    let quiet = command(&[subcommand, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// A program of crates.io, installed into the cache if it is not there: that takes minutes, once.
pub fn tool(name: &str) -> Result<PathBuf> {
    let root = setup::cache()?.join("tools");
    let program = root.join("bin").join(name);
    if !program.is_file() {
        run(&["install", "--locked", "--root", &root.to_string_lossy(), name])?;
    }
    Ok(program)
}

/// Runs such a program with its output in view; anything but success is an error.
pub fn run_tool(program: &Path, arguments: &[&str]) -> Result<()> {
    println!("$ {} {}", program.display(), arguments.join(" "));
    let status = Command::new(program).args(arguments).current_dir(workspace()).status();
    let status = status.with_context(|| format!("{} cannot be started", program.display()))?;
    ensure!(status.success(), "{} ended with {status}", program.display());
    Ok(())
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
