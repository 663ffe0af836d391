//! What Linux installs beside the program is what systemd understands, and the service is shut in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo;
use crate::setup::{self, Packages};
use crate::test::Outcome;

/// From 0 to 100: how much harm the service could do to the system, as systemd reckons.
const MOST_EXPOSED: &str = "--threshold=20";

/// The targets that the unit has to do with. What others there are is this machine's affair.
const TARGETS: [&str; 4] = ["basic.target", "multi-user.target", "shutdown.target", "sysinit.target"];

/// Has systemd's own programs read the files, in a root of their own.
pub fn test() -> Result<Outcome> {
    if let Packages::Missing(command) = setup::debian(&["systemd"])? {
        return Ok(Outcome::Unprepared(format!("please run: {command}")));
    }
    let files = cargo::workspace().join("packaging/linux");
    let root = cargo::target().join("packaging-root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let units = root.join("usr/lib/systemd/system");
    copy(&files.join("keyrx.service"), &units)?;
    for target in TARGETS {
        copy(&Path::new("/usr/lib/systemd/system").join(target), &units)?;
    }
    // It is only looked whether they are there and may be run.
    for program in ["usr/bin/keyrx", "bin/kill"] {
        let program = root.join(program);
        fs::create_dir_all(program.parent().context("it has a parent")?)?;
        fs::write(&program, "")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let in_root = format!("--root={}", root.display());
    let said = run("systemd-analyze", &["verify", &in_root, "keyrx.service"])?;
    ensure!(said.is_empty(), "systemd has something to say about the unit:\n{said}");
    let unit = files.join("keyrx.service").display().to_string();
    let exposed = run("systemd-analyze", &["security", "--offline=true", "--no-pager", MOST_EXPOSED, &unit])?;
    println!("{}", exposed.lines().find(|line| line.contains("exposure")).unwrap_or_default());

    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/group"), "input:x:104:\n")?;
    run("systemd-sysusers", &[&in_root, &files.join("keyrx.sysusers.conf").display().to_string()])?;
    let groups = fs::read_to_string(root.join("etc/group"))?;
    ensure!(groups.contains("input:x:104:keyrx"), "the service may not read keyboards:\n{groups}");
    if !setup::is_root() {
        println!("whose the directories are was not checked: that takes root");
        return Ok(Outcome::Passed);
    }
    run(
        "systemd-tmpfiles",
        &[&in_root, "--create", &files.join("keyrx.tmpfiles.conf").display().to_string()],
    )?;
    let profiles = fs::metadata(root.join("etc/keyrx/profiles"))?.permissions().mode();
    ensure!(profiles & 0o7777 == 0o2775, "the directory of profiles has the mode {profiles:o}");
    Ok(Outcome::Passed)
}

fn copy(file: &Path, directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let to = directory.join(file.file_name().context("it is a file")?);
    fs::copy(file, &to).with_context(|| format!("{} is missing", file.display()))?;
    Ok(to)
}

/// What a program says; an error if it is not content.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    println!("$ {program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program} cannot be started"))?;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} ended with {}:\n{said}", output.status);
    Ok(said)
}
