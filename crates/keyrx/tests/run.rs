//! `keyrx run` before any key: settings, files, the log, and what happens when something is in the way.
//!
//! No keyboard is touched, whatever this machine allows: the keymaps are for a keyboard that nobody has.
//! It ends keyrx by signals, which Windows has not: there, the end-to-end cases do what this does.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const NOBODYS: &str = r#"device("a keyboard that nobody has", || { map("A", "B"); });"#;
const BROKEN: &str = "map(\"A\", \"Nonsense\");";

/// A directory of the test's own, with a keymap in it.
fn home(test: &str) -> PathBuf {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{test}"));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("keymap.rhai"), NOBODYS).unwrap();
    home
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyrx"));
    command.args(["run", "--config", "keymap.rhai"]).current_dir(home).stdin(Stdio::null());
    command.env_clear().env("HOME", home).env("LOCALAPPDATA", home).env("APPDATA", home);
    // Windows programs need these.
    for name in ["SystemRoot", "PATH", "WINEPREFIX"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// Runs it to its end, or for a while where it finds all that it needs.
fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while child.try_wait().unwrap().is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn state_dir(home: &Path) -> PathBuf {
    if cfg!(windows) { home.join("keyrx") } else { home.join(".local/state/keyrx") }
}

/// The events that were logged, with their levels and contexts.
fn log(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("keyrx.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn has(log: &[Value], event: &str) -> bool {
    log.iter().any(|line| line["event"] == event)
}

#[test]
fn the_log_is_written_as_json_into_the_state_directory() {
    let home = home("log");
    let output = run(&mut command(&home));
    let log = log(&state_dir(&home));
    assert!(has(&log, "started") && has(&log, "keymap_loaded"), "{log:?}");
    for line in &log {
        let names = line.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(names, ["timestamp", "level", "service", "event", "context"]);
        assert!(line["service"] == "keyrx_daemon" && line["context"].is_object(), "{line}");
    }
    let loaded = log.iter().find(|line| line["event"] == "keymap_loaded").unwrap();
    assert!(loaded["context"]["path"].as_str().unwrap().ends_with("keymap.rhai"));
    assert!(stderr(&output).contains("INFO  keymap loaded: "), "{}", stderr(&output));
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_settings_file() {
    let home = home("settings");
    let state = home.join("elsewhere");
    fs::create_dir(home.join("config")).unwrap();
    fs::write(home.join("config/keyrx.toml"), "log_level = \"error\"\nlog_format = \"json\"\n").unwrap();
    let mut by_file = command(&home);
    by_file.env("KEYRX_CONFIG_DIR", home.join("config")).arg("--state-dir").arg(&state);
    let output = run(&mut by_file);
    assert!(!has(&log(&state), "started"), "{:?}", log(&state));
    assert!(stderr(&output).lines().all(|line| line.starts_with('{')), "{}", stderr(&output));
    let mut by_environment = command(&home);
    by_environment
        .env("KEYRX_STATE_DIR", &state)
        .env("KEYRX_LOG_LEVEL", "info")
        .env("KEYRX_LOG_FORMAT", "text");
    let output = run(by_environment.args(["--config-dir", "config", "--log-format", "json"]));
    assert!(has(&log(&state), "started"));
    assert!(stderr(&output).lines().all(|line| line.starts_with('{')), "{}", stderr(&output));
    assert!(!state_dir(&home).exists());
}

#[test]
fn mistakes_in_the_settings_are_told_and_end_it() {
    let home = home("mistakes");
    fs::write(home.join("keyrx.toml"), "\nlog_levle = \"info\"\nlog_format = 5\n").unwrap();
    let output = run(command(&home).args(["--config-dir", "."]));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["keyrx.toml:2: ", "is `log_level` meant?", "keyrx.toml:3: ", "\"text\" or \"json\""] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

#[test]
fn a_second_one_says_who_runs_already() {
    let home = home("second");
    let state = home.join("state");
    fs::create_dir(&state).unwrap();
    run(command(&home).args(["--state-dir", "state"])); // to learn the names
    let lock = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let lock = lock.into_iter().find(|path| path.extension().is_some_and(|end| end == "lock")).unwrap();
    let before = fs::read(state.join("keyrx.log")).unwrap();
    let holder = File::options().write(true).open(&lock).unwrap();
    holder.try_lock().unwrap();
    let started = r#"{"pid":4711,"started":"2026-01-30T12:00:00Z"}"#;
    fs::write(lock.with_extension("pid"), started).unwrap();
    let output = run(command(&home).args(["--state-dir", "state"]));
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("running already (process 4711, since 2026-01-30T12:00:00Z)"), "{said}");
    assert_eq!(fs::read(state.join("keyrx.log")).unwrap(), before, "it wrote into the log of the other");
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told_and_no_more() {
    let home = home("no-state");
    fs::write(home.join("file"), "").unwrap();
    let output = run(command(&home).args(["--state-dir", "file/state"]));
    let said = stderr(&output);
    assert!(said.contains("nothing is kept on the disk") && said.contains("keymap loaded"), "{said}");
}

#[test]
fn a_damaged_state_is_set_aside() {
    let home = home("damaged");
    let state = state_dir(&home);
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("state"), "keyrx-state-1 00000000 2\n{}").unwrap();
    run(&mut command(&home));
    assert!(has(&log(&state), "state_damaged") && has(&log(&state), "keymap_loaded"));
    assert!(state.join("state.damaged.1").exists());
}

#[test]
fn a_keymap_that_was_broken_meanwhile_is_the_one_of_before() {
    let home = home("last-good");
    let keymap = home.join("keymap.rhai");
    fs::write(home.join("more.rhai"), NOBODYS).unwrap();
    fs::write(&keymap, "load(\"more.rhai\");").unwrap();
    run(&mut command(&home));
    assert!(!has(&log(&state_dir(&home)), "keymap_last_good"));
    fs::write(&keymap, BROKEN).unwrap();
    fs::remove_file(home.join("more.rhai")).unwrap();
    let output = run(&mut command(&home));
    let log = log(&state_dir(&home));
    assert!(has(&log, "keymap_rejected") && has(&log, "keymap_last_good"), "{log:?}");
    assert!(stderr(&output).contains("Nonsense"), "{}", stderr(&output));
}

#[test]
#[cfg(target_os = "linux")]
fn the_journal_gets_priorities_and_no_times() {
    use std::io::Read;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    let home = home("journal");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let link = fs::read_link(format!("/proc/self/fd/{}", theirs.as_raw_fd())).unwrap();
    let inode = link.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    fs::write(home.join("keymap.rhai"), BROKEN).unwrap();
    let mut command = command(&home);
    command.env("JOURNAL_STREAM", format!("8:{inode}")).stderr(OwnedFd::from(theirs)).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    thread::sleep(Duration::from_millis(500));
    let _ = child.kill();
    child.wait().unwrap();
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert!(said.lines().all(|line| line.starts_with('<')), "{said}");
    assert!(said.contains("<3>keymap rejected: ") && said.contains("<6>keyrx "), "{said}");
}
