//! The guest: our own Linux kernel with real keyboards (uinput), as an ordinary process on this machine.
//!
//! Its root directory is a directory of the host that holds the release keyrx, the test program as `/init`, and the
//! libraries of both. It boots twice: with virtual time, which repeats exactly and waits for free, for all cases;
//! and in real time, where races and busy loops show, for those that ask for it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{self, Profile};
use crate::kernel;
use crate::setup::{self, Packages};
use crate::test::Outcome;

/// How long a guest may take by the clock on the wall before it counts as hung.
const LIMIT_S: u32 = 300;

/// Runs the cases whose names contain one of the words; without a word all of them.
pub fn run(words: &[&str]) -> Result<Outcome> {
    if let Packages::Missing(command) = setup::debian(&[kernel::PACKAGES, &["dbus"]].concat())? {
        return Ok(Outcome::Unprepared(format!("please run: {command}")));
    }
    let kernel = kernel::get()?;
    let root = Root::fill(words)?;
    let exact = boot(&kernel, &root, "virtual");
    let racing = boot(&kernel, &root, "real");
    ensure!(exact? + racing? > 0, "no case has such a name");
    Ok(Outcome::Passed)
}

/// Boots the guest, shows what it prints and counts the cases that passed. It must end by itself, with a closing line
/// in which none failed.
fn boot(kernel: &Path, root: &Root, time: &str) -> Result<u32> {
    println!("\nguest with {time} time");
    let mut guest = Command::new("timeout");
    guest.args(["--kill-after=5", &LIMIT_S.to_string()]).arg(kernel);
    guest.args(["mem=256M", "rootfstype=hostfs", "root=/dev/root", "rw", "init=/init"]);
    guest.arg(format!("rootflags={}", root.path.display()));
    guest.arg(format!("uml_dir={}", root.path.display())); // what it writes down while it runs, by default in $HOME
    guest.args(["con=null", "con0=fd:0,fd:1", "quiet"]);
    if time == "virtual" {
        guest.arg("time-travel=inf-cpu");
    }
    guest.args(["--", time]).stdin(Stdio::null()).stdout(Stdio::piped());
    if Path::new("/dev/shm").is_dir() {
        guest.env("TMPDIR", "/dev/shm"); // the guest's memory is a file: on a disk it would be slow
    }
    let mut guest = guest.spawn().context("the guest cannot be started")?;
    let console = guest.stdout.take().context("the guest has no console")?;
    let mut closing = None;
    for line in BufReader::new(console).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end().to_owned();
        println!("{line}");
        closing = counts(&line).or(closing);
    }
    let status = guest.wait()?;
    if status.code() == Some(124) || status.code() == Some(137) {
        let case = fs::read_to_string(root.path.join("running")).unwrap_or_default();
        bail!("the guest with {time} time was still running after {LIMIT_S} s, in the case \"{case}\"");
    }
    ensure!(status.success(), "the guest with {time} time ended with {status}");
    match closing {
        Some((passed, 0)) => Ok(passed),
        Some((_, failed)) => bail!("{failed} cases failed in the guest with {time} time"),
        None => bail!("the guest with {time} time ended without a result"),
    }
}

/// The numbers of `N passed, N failed`.
fn counts(line: &str) -> Option<(u32, u32)> {
    let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

/// The guest's root directory, gone when dropped.
struct Root {
    path: PathBuf,
}

impl Root {
    fn fill(words: &[&str]) -> Result<Root> {
        let keyrx = cargo::build("keyrx", Profile::Release)?;
        let tests = cargo::build("keyrx-linux-tests", Profile::Dev)?;
        let root = Root { path: std::env::temp_dir().join(format!("keyrx-guest-{}", std::process::id())) };
        for folder in ["dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.path.join(folder))?;
        }
        fs::write(root.path.join("words"), words.join("\n"))?;
        root.install(&keyrx, "keyrx")?;
        root.install(&tests, "init")?;
        let [bus, send] = ["/usr/bin/dbus-daemon", "/usr/bin/dbus-send"].map(Path::new);
        for program in [bus, send] {
            root.install(program, program.strip_prefix("/")?)?;
        }
        for library in libraries(&[&keyrx, &tests, bus, send])? {
            root.install(Path::new(&library), library.trim_start_matches('/'))?;
        }
        Ok(root)
    }

    fn install(&self, file: &Path, place: impl AsRef<Path>) -> Result<()> {
        let place = self.path.join(place);
        fs::create_dir_all(place.parent().context("a file has a parent")?)?;
        fs::copy(file, &place).with_context(|| format!("copying {}", file.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The shared libraries of programs, by their absolute paths.
fn libraries(programs: &[&Path]) -> Result<Vec<String>> {
    let ldd = Command::new("ldd").args(programs).output().context("ldd cannot be started")?;
    let text = String::from_utf8(ldd.stdout)?;
    Ok(text
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect())
}
