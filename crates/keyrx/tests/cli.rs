//! The command line: what it prints, and the exit codes that scripts rely on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs keyrx in a directory of the test's own, with these files in it.
fn keyrx(test: &str, files: &[(&str, &str)], arguments: &[&str]) -> Output {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&home).unwrap();
    for (name, text) in files {
        fs::write(home.join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyrx"));
    command.args(arguments).current_dir(&home).stdin(Stdio::null()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

const GOOD: (&str, &str) =
    ("good.rhai", "map(\"A\", \"B\");\nmap(\"CapsLock\", tap_hold(\"Escape\", \"LCtrl\"));\n");
const BAD: (&str, &str) = ("bad.rhai", "map(\"A\", \"Bee\");\nmap(\"Foo\", \"B\");\n");
const WARNS: (&str, &str) = ("warns.rhai", "map(\"A\", \"B\");\nmap(\"A\", \"C\");\n");

#[test]
fn check_says_what_is_wrong_and_where() {
    let run = |arguments| keyrx("check", &[GOOD, BAD, WARNS], arguments);
    let good = run(&["check", "good.rhai"]);
    assert_eq!((code(&good), out(&good).as_str()), (0, "good.rhai: no errors, no warnings\n"));
    let warns = run(&["check", "warns.rhai"]);
    assert!(code(&warns) == 0 && out(&warns).contains("warns.rhai:2:1"), "{}", out(&warns));
    let bad = run(&["check", "bad.rhai"]);
    assert_eq!(code(&bad), 1);
    for part in
        ["--> bad.rhai:1:10", "map(\"A\", \"Bee\");\n  |          ^^^^^", "--> bad.rhai:2:5", "2 errors"]
    {
        assert!(out(&bad).contains(part), "{part} is missing in\n{}", out(&bad));
    }
    let data = json(&run(&["check", "--json", "bad.rhai"]));
    assert_eq!(data["ok"], false);
    assert_eq!((&data["diagnostics"][1]["line"], &data["diagnostics"][1]["column"]), (&2.into(), &5.into()));
}

#[test]
fn check_says_at_each_device_block_what_windows_can_promise() {
    let keymap = "device(\"*\", || { map(\"A\", \"B\"); });\ndevice(\"K2*\", || { map(\"C\", \"D\"); map(\"E\", \"F\"); });\n";
    let run = |system| keyrx("windows", &[("x.rhai", keymap)], &["check", "x.rhai", "--for", system]);
    let windows = out(&run("windows"));
    assert!(windows.contains("--> x.rhai:2:8") && windows.ends_with("no errors, 1 warning\n"), "{windows}");
    assert!(out(&run("linux")).ends_with("no errors, no warnings\n"));
}

#[test]
fn a_keymap_that_is_not_there_is_wrong_input() {
    for arguments in
        [&["check", "none.rhai"][..], &["simulate", "none.rhai", "--events", "+A"], &["test", "none"]]
    {
        let output = keyrx("missing", &[], arguments);
        let said = out(&output) + &String::from_utf8_lossy(&output.stderr);
        assert!(code(&output) == 1 && said.contains("none"), "{arguments:?}: {said}");
    }
}

#[test]
fn simulate_prints_effects_in_the_notation() {
    let run = |arguments| {
        keyrx("simulate", &[GOOD, ("events", "+CapsLock 10 # held\n+C 50 -C 10 -CapsLock\n")], arguments)
    };
    let line = run(&["simulate", "good.rhai", "--events", "+A 5.5 -A"]);
    assert_eq!((code(&line), out(&line).as_str()), (0, "+B @5.5 -B\n"));
    let file = run(&["simulate", "good.rhai", "--events-file", "events"]);
    assert_eq!(out(&file), "@10 +LCtrl +C @60 -C @70 -LCtrl\n");
    let releases_first = run(&["simulate", "good.rhai", "--events", "-A +A"]);
    assert_eq!(out(&releases_first), "-A +B\n");
}

#[test]
fn simulate_gives_every_effect_its_cause_as_data() {
    let arguments =
        ["simulate", "good.rhai", "--device", "K2", "--events", "+CapsLock 250 -CapsLock", "--json"];
    let data = json(&keyrx("simulate-json", &[GOOD], &arguments));
    let event = &data["events"][0];
    assert_eq!(
        (&event["time_us"], &event["device"], &event["effect"], &event["key"]),
        (&200_000.into(), &"K2".into(), &"press".into(), &"LCtrl".into())
    );
    let cause = event["cause"].as_str().unwrap();
    for part in ["CapsLock", "line 2", "tap_hold(\"Escape\", \"LCtrl\")", "hold", "tapping term"] {
        assert!(cause.contains(part), "{part} is missing in: {cause}");
    }
}

#[test]
fn wrong_events_are_told_with_their_place() {
    let run = |events| keyrx("events", &[GOOD], &["simulate", "good.rhai", "--events", events]);
    let output = run("+A 5 -A\n+Foo");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(code(&output) == 1 && said.contains("--events:2:1") && said.contains("+Foo"), "{said}");
}

#[test]
fn test_prints_the_first_difference_and_counts() {
    let cases = "keymap good.rhai\ncase right\n  in +A 5 -A\n  out +B @5 -B\ncase wrong\n  in +A 5 -A\n  out +B @6 -B\n";
    let run = |arguments| keyrx("test", &[GOOD, BAD, ("x.keytest", cases)], arguments);
    let output = run(&["test", "."]);
    assert_eq!(code(&output), 1);
    let said = out(&output);
    for part in ["x.keytest:5: wrong", "expected @6 -B, got @5 -B", "+B @5 -B"] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    assert_eq!(said.lines().last(), Some("1 passed, 1 failed"));
    let data = json(&run(&["test", ".", "--json"]));
    assert_eq!(
        (&data["passed"], &data["failed"], &data["failures"][0]["line"]),
        (&1.into(), &1.into(), &5.into())
    );
}

#[test]
fn a_link_back_to_a_directory_is_not_followed() {
    let cases = "keymap good.rhai\ncase right\n  in +A\n  out +B\n";
    let run = || keyrx("loops", &[GOOD, ("x.keytest", cases)], &["test", "."]);
    let first = out(&run());
    #[cfg(unix)]
    let _ = std::os::unix::fs::symlink(".", PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("loops/again"));
    assert_eq!((out(&run()), first.as_str()), (first.clone(), "1 passed, 0 failed\n"));
}

#[test]
fn with_json_what_is_wrong_is_data_too() {
    let run = |keymap, events| {
        json(&keyrx("json", &[GOOD, BAD], &["simulate", keymap, "--json", "--events", events]))
    };
    assert_eq!(run("bad.rhai", "+A")["diagnostics"][0]["code"], "unknown-key");
    assert!(run("good.rhai", "+Nope")["error"].as_str().unwrap().contains("--events:1:1"));
}

#[test]
fn a_scenario_whose_keymap_is_broken_fails() {
    let cases = "keymap bad.rhai\ncase one\n  in +A\n  out +A\ncase two\n  in +A\n  out +A\n";
    let output = keyrx("broken", &[BAD, ("x.keytest", cases)], &["test", "x.keytest"]);
    assert!(code(&output) == 1 && out(&output).contains("bad.rhai:1:10"), "{}", out(&output));
    assert_eq!(out(&output).lines().last(), Some("0 passed, 2 failed"));
}

#[test]
fn exit_codes_tell_usage_from_wrong_input() {
    let run = |arguments: &[&str]| code(&keyrx("usage", &[GOOD], arguments));
    assert_eq!(run(&["--help"]), 0);
    assert_eq!(run(&["--version"]), 0);
    assert_eq!(run(&[]), 2);
    assert_eq!(run(&["no-such-command"]), 2);
    assert_eq!(run(&["simulate", "good.rhai"]), 2);
    assert_eq!(run(&["simulate", "good.rhai", "--events", "+A", "--events-file", "x"]), 2);
}

#[test]
fn the_demo_plays_without_a_terminal() {
    let demo = keyrx("demo", &[], &["demo"]);
    assert!(code(&demo) == 0 && out(&demo).contains("layer_hold(\"nav\")"), "{}", out(&demo));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = keyrx("completions", &[], &["completions", shell]);
        assert!(code(&output) == 0 && out(&output).contains("simulate"), "{shell}");
    }
}
