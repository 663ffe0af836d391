//! What is left of a keyrx that went wrong, and how it is shown: a real keyrx with simulated keyboards.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use support::{Daemon, keyrx, state_dir};

fn crashes(home: &Path, arguments: &[&str]) -> Output {
    keyrx(home).arg("crashes").args(arguments).output().unwrap()
}

/// What the command says of them, without a running keyrx or with one.
fn list(home: &Path) -> Vec<Value> {
    let output = crashes(home, &["list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let list = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    list["crashes"].as_array().unwrap().clone()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Another keyrx in the same place, once this one has ended.
fn again(mut it: Daemon) -> Daemon {
    let home = std::mem::take(&mut it.home);
    drop(it);
    Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"])
}

#[test]
fn a_panic_leaves_a_report_that_can_be_listed_shown_and_exported() {
    let mut it = Daemon::start("crash-panic");
    assert_eq!(text(&crashes(&it.home, &["list"])).trim(), "no crash is known");
    it.arm("compile", None);
    it.call("POST", "/api/reload", "");
    it.wait("health to show it", |it| it.checks() == ["panics"]);
    assert_eq!(it.health()["status"], "degraded");
    let list = list(&it.home);
    let [crash] = &list[..] else { panic!("{list:?}") };
    let fields = crash.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    let expected = [
        "id", "time", "cause", "thread", "location", "message", "version", "uptime_s", "pid", "run", "mode",
        "dump",
    ];
    assert_eq!(fields, expected);
    assert_eq!([&crash["cause"], &crash["thread"], &crash["mode"]], ["panic", "compile", "normal"]);
    assert_eq!((&crash["pid"], &crash["dump"]), (&json!(it.child.id()), &Value::Null));
    assert!(crash["location"].as_str().unwrap().contains("chaos.rs:"), "{crash}");
    assert_eq!(crash["run"].as_str().unwrap().len(), 16);
    assert_eq!(it.ask("GET", "/api/crashes", "")["crashes"], json!(list));
    assert_eq!(it.get("/api/crashes").status, 401, "not for everybody");
    assert!(it.stop().success());

    let id = crash["id"].as_str().unwrap();
    let line = text(&crashes(&it.home, &["list"]));
    assert!(line.starts_with(id) && line.contains("panic") && line.contains("compile"), "{line}");
    assert!(text(&crashes(&it.home, &["show", id])).contains("a test has asked for this"));
    let shown = serde_json::from_str::<Value>(&text(&crashes(&it.home, &["show", id, "--json"]))).unwrap();
    assert_eq!(shown, *crash);
    assert_eq!(crashes(&it.home, &["show", "../token"]).status.code(), Some(1));
    assert!(crashes(&it.home, &["export", "--output", "out"]).status.success());
    assert!(it.home.join("out").join(format!("{id}.json")).exists());
}

#[test]
fn who_was_killed_is_known_from_the_next_start_on() {
    let mut it = Daemon::start("crash-killed");
    let pid = it.child.id();
    it.child.kill().unwrap();
    it.child.wait().unwrap();
    let mut it = again(it);
    it.wait("health to show it", |it| it.checks() == ["supervisor"]);
    let health = it.health();
    assert_eq!(health["status"], "degraded");
    assert!(health["checks"][0]["reason"].as_str().unwrap().starts_with("1 crash"), "{health}");
    let list = list(&it.home);
    let [crash] = &list[..] else { panic!("{list:?}") };
    assert_eq!((&crash["cause"], &crash["pid"]), (&json!("died"), &json!(pid)));
    assert!(it.stop().success());
    let mut it = again(it);
    assert_eq!(crate::list(&it.home).len(), 1, "one that ended in order leaves none");
    assert!(it.stop().success());
}

#[test]
fn who_hangs_for_good_leaves_its_own_report_and_no_other() {
    let mut it = Daemon::start("crash-hang");
    it.arm("session", Some(60_000));
    it.type_keys("+Q");
    assert_eq!(it.ended().code(), Some(70));
    let mut it = again(it);
    let list = list(&it.home);
    let [crash] = &list[..] else { panic!("{list:?}") };
    assert_eq!([&crash["cause"], &crash["thread"]], ["stalled", "session"]);
    assert!(it.stop().success());
}

#[test]
fn a_torn_report_is_left_out_and_told_of() {
    let mut it = Daemon::start("crash-torn");
    it.arm("compile", None);
    it.call("POST", "/api/reload", "");
    it.wait("it to be known", |it| list(&it.home).len() == 1);
    let directory = state_dir(&it.home).join("crashes");
    fs::write(directory.join("torn.json"), "{\"time\":").unwrap();
    let output = crashes(&it.home, &["list"]);
    assert_eq!(text(&output).lines().count(), 1);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("torn.json"), "{told}");
    let answer = it.ask("GET", "/api/crashes", "");
    let damaged = answer["damaged"].as_array().unwrap();
    assert!(damaged.len() == 1 && damaged[0].as_str().unwrap().ends_with("torn.json"), "{answer}");
    assert!(it.stop().success());
}
