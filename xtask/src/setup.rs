//! What the chores need from the machine: Debian packages and a cache that outlives the checkout.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What came of asking for packages.
pub enum Packages {
    /// All of them are there.
    Ready,
    /// Some are missing and we may not install them: the command that does.
    Missing(String),
}

/// Makes sure that Debian packages are installed; downloads nothing when they are.
pub fn debian(packages: &[&str]) -> Result<Packages> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(Packages::Ready);
    }
    let install = [&["apt-get", "install", "--yes", "--no-install-recommends"][..], &missing].concat();
    if !is_root() {
        return Ok(Packages::Missing(format!("sudo {}", install.join(" "))));
    }
    println!("installing {}", missing.join(" "));
    apt(&["apt-get", "update", "--quiet"])?;
    apt(&install)?;
    Ok(Packages::Ready)
}

/// The version of an installed Debian package.
pub fn version(package: &str) -> Result<String> {
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${Version}", package]).output();
    let query = query.context("dpkg-query cannot be started: this chore needs Debian")?;
    ensure!(query.status.success(), "the Debian package {package} is not installed");
    Ok(String::from_utf8(query.stdout)?)
}

/// The directory for what is dear to build and belongs to no single checkout.
pub fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("KEYRX_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("keyrx")))
        .or_else(|| Some(set("HOME")?.join(".cache/keyrx")))
        .context("no place for the cache: set KEYRX_CACHE or HOME")
}

/// Whether a machine is waiting for the answer, which nobody reads between the lines.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

fn installed(package: &str) -> bool {
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
    query.is_ok_and(|query| query.status.success() && query.stdout == b"installed")
}

/// Whether we may give files to others.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

fn apt(words: &[&str]) -> Result<()> {
    let command = words.join(" ");
    let status = Command::new("env").arg("DEBIAN_FRONTEND=noninteractive").args(words).status();
    let status = status.with_context(|| format!("{command} cannot be started"))?;
    ensure!(status.success(), "{command} ended with {status}");
    Ok(())
}
