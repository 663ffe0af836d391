//! The guest's kernel: Linux as a process (User-Mode Linux), built once from Debian's source.
//!
//! A kernel belongs to a version of Debian's package and to a text of `tests/linux/kernel.config`; both are in the
//! name of its directory in the cache. The directory appears by a rename, finished, or not at all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{cargo, setup};

const SOURCE: &str = "linux-source-6.1";

/// What the build needs.
pub const PACKAGES: &[&str] =
    &[SOURCE, "bc", "bison", "flex", "gcc", "libc6-dev", "make", "perl", "tar", "xz-utils"];

/// The kernel to boot, built now if it is not in the cache.
pub fn get() -> Result<PathBuf> {
    let fragment = fs::read_to_string(cargo::workspace().join("tests/linux/kernel.config"))?;
    let cache = setup::cache()?;
    let name = format!("kernel-{}-{:016x}", setup::version(SOURCE)?, hash(&fragment));
    let finished = cache.join(&name);
    let kernel = finished.join("linux");
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("kernel.lock"))?;
    lock.lock()?; // for one builder at a time; the system opens it again when we die
    if !kernel.is_file() {
        let building = cache.join("kernel.building");
        if building.exists() {
            fs::remove_dir_all(&building)?; // what an interrupted build has left
        }
        fs::create_dir(&building)?;
        build(&building, &fragment)?;
        fs::remove_dir_all(building.join(SOURCE))?;
        fs::rename(&building, &finished)?;
    }
    Ok(kernel)
}

/// Builds `linux` in a directory, with `build.log` beside it.
fn build(directory: &Path, fragment: &str) -> Result<()> {
    let begin = Instant::now();
    let log = directory.join("build.log");
    println!("building the guest's kernel, once; this takes some minutes (log: {})", log.display());
    let source = directory.join(SOURCE);
    let archive = format!("/usr/src/{SOURCE}.tar.xz");
    logged(&log, directory, &["tar", "--extract", "--file", &archive])?;
    logged(&log, &source, &["make", "ARCH=um", "tinyconfig"])?;
    let config = source.join(".config");
    fs::write(&config, fs::read_to_string(&config)? + fragment)?;
    logged(&log, &source, &["make", "ARCH=um", "olddefconfig"])?;
    let settled = fs::read_to_string(&config)?;
    for line in fragment.lines().filter(|line| line.starts_with("CONFIG_")) {
        ensure!(
            settled.lines().any(|taken| taken == line),
            "the kernel's configuration does not take {line}"
        );
    }
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    logged(&log, &source, &["make", "ARCH=um", &format!("--jobs={jobs}"), "linux"])?;
    fs::rename(source.join("linux"), directory.join("linux"))?;
    fs::rename(config, directory.join("config"))?;
    println!("built the guest's kernel in {} s", begin.elapsed().as_secs());
    Ok(())
}

fn logged(log: &Path, directory: &Path, words: &[&str]) -> Result<()> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let output = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    let status = command.stderr(output.try_clone()?).stdout(output).status();
    let status = status.with_context(|| format!("{program} cannot be started"))?;
    ensure!(status.success(), "{} ended with {status}; see {}", words.join(" "), log.display());
    Ok(())
}

/// FNV-1a: short, and the same for ever.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
