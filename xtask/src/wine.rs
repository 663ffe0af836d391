//! Wine: Windows programs on this machine, without a display.
//!
//! A prefix is one Windows: a desktop, a registry, a service manager. It is made once and kept in the cache; each run
//! gets a copy, a server of its own, and a limit for everything it starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, setup};

pub const PACKAGES: &[&str] = &["wine", "wine64"];

/// What starts a Windows program, without a shell script around it.
pub const LOADER: &str = "/usr/lib/wine/wine64";

const MINGW: &str = "x86_64-w64-mingw32-gcc";

/// Wine 8 has no such library, and Rust's standard library needs it.
const SHIM: &str = "tests/windows/bcryptprimitives.c";

/// Changes when a prefix is made in another way.
const RECIPE: u32 = 1;

const MAKING_LIMIT_S: u32 = 180;
const START_LIMIT_S: u32 = 60;
const CASES_LIMIT_S: u32 = 900;

/// How long the server lives on when nothing runs any more: so it ends by itself when we are killed.
const LINGER_S: u32 = 60;

/// A running Windows: it ends when dropped.
pub struct Wine {
    prefix: PathBuf,
    /// Drops after the server has ended.
    _copy: Option<Folder>,
}

impl Wine {
    /// Starts one. Services inherit the output of the first program, so this one has none.
    pub fn start() -> Result<Wine> {
        let prefix = std::env::temp_dir().join(format!("keyrx-wine-{}", std::process::id()));
        let folder = Folder(prefix.clone());
        copy(&made()?, &prefix)?;
        let wine = Wine { prefix, _copy: Some(folder) };
        wine.server(&[&format!("-p{LINGER_S}")])?;
        wine.quietly(&["cmd", "/c", "exit"], START_LIMIT_S)?;
        Ok(wine)
    }

    /// Runs the cases whose names contain one of the words; without a word all of them.
    pub fn cases(&self, tests: &Path, keyrx: &Path, installers: &Path, words: &[&str]) -> Result<()> {
        println!("\ncases under Wine");
        let mut command = self.command(CASES_LIMIT_S);
        command.arg(tests).arg("cases").arg(windows_path(keyrx)?).args(words);
        command.env("KEYRX_INSTALLERS", windows_path(installers)?);
        let status = command.stdin(Stdio::null()).status().context("Wine cannot be started")?;
        match status.code() {
            Some(0) => Ok(()),
            Some(124 | 137) => bail!("the cases under Wine were still running after {CASES_LIMIT_S} s"),
            _ => bail!("cases under Wine failed ({status})"),
        }
    }

    /// Makes a command run in this Windows whatever it starts.
    pub fn settings(&self, command: &mut Command) {
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all");
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml="); // it would ask for Mono and Gecko
        command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    }

    /// The beginning of a command: the Windows program and its arguments are to follow.
    fn command(&self, limit_s: u32) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &limit_s.to_string(), LOADER]);
        self.settings(&mut command);
        command
    }

    fn quietly(&self, words: &[&str], limit_s: u32) -> Result<()> {
        let mut command = self.command(limit_s);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().context("Wine cannot be started")?;
        ensure!(status.success(), "{} ended with {status} under Wine", words.join(" "));
        Ok(())
    }

    fn server(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("timeout");
        command.args([&START_LIMIT_S.to_string(), "wineserver"]).args(arguments);
        self.settings(&mut command);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "wineserver {} ended with {status}", arguments.join(" "));
        Ok(())
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // The second one waits for the end that the first one has asked for. There may be none any more.
        let _ = self.server(&["-k"]);
        let _ = self.server(&["-w"]);
    }
}

/// A directory, gone when dropped.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The prefix to copy, made now if it is not in the cache.
fn made() -> Result<PathBuf> {
    ensure!(Path::new(LOADER).is_file(), "{LOADER} is not there: this chore needs Debian's Wine");
    let shim = fs::read_to_string(cargo::workspace().join(SHIM))?;
    let cache = setup::cache()?;
    let finished =
        cache.join(format!("wine-prefix-{RECIPE}-{}", setup::version("wine64")?.replace(':', "_")));
    fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("wine-prefix.lock"))?;
    lock.lock()?; // for one maker at a time; the system opens it again when we die
    let known = finished.join("bcryptprimitives.c");
    if fs::read_to_string(&known).is_ok_and(|known| known == shim) {
        return Ok(finished);
    }
    println!("making a Wine prefix, once");
    let making = cache.join("wine-prefix.making");
    for old in [&making, &finished] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    fs::create_dir(&making)?;
    make(&making)?;
    fs::write(making.join("bcryptprimitives.c"), shim)?;
    fs::rename(&making, &finished)?;
    Ok(finished)
}

fn make(directory: &Path) -> Result<()> {
    let wine = Wine { prefix: directory.to_owned(), _copy: None };
    wine.quietly(&["wineboot", "--init"], MAKING_LIMIT_S)?;
    let key = r"HKCU\Software\Wine\Drivers";
    wine.quietly(&["reg", "add", key, "/v", "Graphics", "/d", "null", "/f"], START_LIMIT_S)?;
    drop(wine); // what it knows is written when its server ends
    let library = directory.join("drive_c/windows/system32/bcryptprimitives.dll");
    let mut mingw = Command::new(MINGW);
    mingw.args(["-Wall", "-Werror", "-O1", "-shared", "-o"]).arg(library);
    mingw.arg(cargo::workspace().join(SHIM)).arg("-ladvapi32");
    let status = mingw.status().with_context(|| format!("{MINGW} cannot be started"))?;
    ensure!(status.success(), "{MINGW} ended with {status}");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to);
    let status = cp.status().context("cp cannot be started")?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}

/// A path of ours as programs under Wine know it.
fn windows_path(path: &Path) -> Result<String> {
    let path = std::path::absolute(path)?;
    Ok(format!("Z:{}", path.to_str().context("a path that is no text")?.replace('/', "\\")))
}
