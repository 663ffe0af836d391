//! What goes wrong in and around a running keyrx, and what is to be seen of it: a real keyrx with simulated keyboards.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Daemon, KEYMAP, config_dir, home, keyrx, state_dir};

#[test]
fn panics_cost_one_answer_and_show_in_health() {
    let mut it = Daemon::start("panics");
    it.arm("request", None);
    let answer = it.get("/health");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (500, &json!("internal_error")));
    it.wait("it to show", |it| it.checks() == ["panics"]);
    it.arm("compile", None);
    let answer = it.call("POST", "/api/reload", "");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (409, &json!("refused")), "{answer:?}");
    assert_eq!(it.ask("POST", "/api/reload", "")["success"], true);
    it.arm("watcher", None);
    fs::write(it.home.join("keymap.rhai"), "map(\"A\", \"X\");").unwrap();
    it.wait("the change to be noticed all the same", |it| {
        it.log().iter().filter(|line| line["event"] == "keymap_in_force").count() >= 2
    });
    it.arm("control", None);
    it.wait("the control thread to be back", |it| it.call("POST", "/api/pause", "").status == 200);
    it.ask("POST", "/api/resume", "");
    it.check("+A 5 -A", "+X -X");
    assert!(it.log().iter().filter(|line| line["event"] == "panic").count() >= 4);
    assert!(it.get("/metrics").body.contains("keyrx_panics_total 4"), "{}", it.get("/metrics").body);
}

#[test]
fn a_session_that_hangs_leaves_a_plain_keyboard_and_comes_back() {
    let mut it = Daemon::start("stall");
    it.check("+CapsLock 250 +A", "+LCtrl +B");
    it.arm("session", Some(1200));
    it.type_keys("+Q");
    let begin = Instant::now();
    it.wait("the keys to come up", |it| {
        it.output() == "+LCtrl +B -LCtrl -B" || it.output() == "+LCtrl +B -B -LCtrl"
    });
    assert!(begin.elapsed() < Duration::from_millis(1100), "{:?}", begin.elapsed());
    it.type_keys("+S -S");
    assert!(it.output().ends_with("+S -S"), "{}", it.output());
    assert!(it.checks().contains(&"engine".into()), "{:?}", it.checks());
    it.wait("it to be back", |it| it.has_logged("stall_over"));
    let before = it.output();
    it.check("-Q -A -CapsLock +A 5 -A", &format!("{before} -Q -A -CapsLock +B -B"));
    it.wait("it to be well", |it| it.checks().is_empty());
}

#[test]
fn a_session_that_hangs_for_good_makes_keyrx_end_with_a_plain_keyboard() {
    let mut it = Daemon::start("hang");
    it.check("+A", "+B");
    it.arm("session", Some(60_000));
    it.type_keys("+Q");
    let begin = Instant::now();
    assert_eq!(it.ended().code(), Some(70));
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(it.has_logged("stalled") && it.has_logged("gave_up"));
    let home = std::mem::take(&mut it.home);
    drop(it);
    Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]).check("+A 5 -A", "+B -B");
}

#[test]
fn a_session_that_panics_makes_keyrx_end_in_order() {
    let mut it = Daemon::start("session-panic");
    it.check("+A", "+B");
    it.arm("session", None);
    it.type_keys("+Q");
    assert_eq!(it.ended().code(), Some(70));
    let log = it.log();
    assert!(log.iter().any(|line| line["event"] == "panic"));
    assert_eq!(log.last().unwrap()["event"], "stopped");
}

#[test]
fn a_control_thread_that_hangs_shows_in_health_and_keys_are_mapped() {
    let mut it = Daemon::start("control-hang");
    it.arm("control", Some(8000));
    it.wait("it to show", |it| it.checks() == ["control"]);
    it.check("+A 5 -A", "+B -B");
    it.wait("it to be unhealthy", |it| it.get("/livez").status == 503 && it.get("/health").status == 503);
    it.wait("it to be back", |it| it.checks().is_empty());
}

#[test]
fn keys_that_moved_while_the_machine_slept_are_released() {
    let mut it = Daemon::start("sleep");
    it.check("+A", "+B");
    it.arm("sleep", None);
    it.wait("the key to come up", |it| it.output() == "+B -B");
    assert!(it.has_logged("interrupted"));
    it.check("-A +A 5 -A", "+B -B -A +B -B");
}

#[test]
fn taken_ports_are_passed_over_and_without_any_keys_are_mapped_all_the_same() {
    let home = home("ports");
    fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
    // Ten ports in a row that are free now.
    let first = (20_000_u16..30_000).step_by(10).find(|first| {
        (*first..first + 10).all(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
    });
    let first = first.unwrap();
    let taken = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    let port = first.to_string();
    let arguments = ["--config", "keymap.rhai", "--port", &port];
    let mut it = Daemon::with(home.clone(), &arguments);
    assert_eq!(it.port, first + 1);
    assert_eq!(it.ask("GET", "/api/status", "")["port"], first + 1);
    it.stop();
    let others =
        (first + 1..first + 10).map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    let others = others.collect::<Vec<_>>();
    let mut it = Daemon::begin(home, &arguments);
    it.wait("it to be told", |it| it.said().contains("are taken"));
    it.wait("it to show", |it| it.said().contains("control_plane_down"));
    let output = keyrx(&it.home).arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    drop((taken, others));
    it.reach();
    it.check("+A 5 -A", "+B -B");
}

#[test]
fn mistakes_in_the_settings_are_told_with_their_place_and_a_running_keyrx_keeps_those_of_before() {
    const WRONG: &str = "\nlog_levle = \"info\"\nlog_format = 5\nport = \"http\"\n[nonsense]\n";
    let mut it = Daemon::start("settings");
    let settings = config_dir(&it.home).join("keyrx.toml");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(&settings, WRONG).unwrap();
    let told =
        ["keyrx.toml:2: ", "is `log_level` meant?", "keyrx.toml:3: ", "keyrx.toml:4: ", "keyrx.toml:5: "];
    it.wait("all of it to be told", |it| told.iter().all(|told| it.said().contains(told)));
    it.check("+A 5 -A", "+B -B");
    let status = it.ask("GET", "/api/status", "");
    assert_eq!(status["status"], "healthy", "those of before are in force: {status}");
    assert!(it.stop().success());
    // At a start there are none of before.
    let output = keyrx(&it.home).args(["run", "--platform", "simulated", "--port", "0"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(told.iter().all(|told| said.contains(told)), "{said}");
    // What is no TOML, and what is no text.
    for (what, bytes) in [("nonsense", &b"= = ="[..]), ("no text", b"\xff\xfe\x00")] {
        fs::write(&settings, bytes).unwrap();
        let output =
            keyrx(&it.home).args(["run", "--platform", "simulated", "--port", "0"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert!(said.contains("keyrx.toml"), "{what}: {said}");
    }
}

#[test]
fn a_keymap_that_vanishes_or_becomes_something_else_stays_in_force() {
    let mut it = Daemon::start("vanishing");
    let keymap = it.home.join("keymap.rhai");
    fs::remove_file(&keymap).unwrap();
    it.wait("it to show", |it| it.checks() == ["keymap"]);
    let reason = it.health()["checks"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("config_last_good") && reason.contains("keymap.rhai"), "{reason}");
    let told =
        |it: &Daemon| it.ask("GET", "/api/status", "")["keymap"]["diagnostics"][0]["message"].to_string();
    let vanished = told(&it);
    assert!(vanished.contains("cannot be read"), "{vanished}");
    it.check("+A 5 -A", "+B -B");
    fs::create_dir(&keymap).unwrap();
    it.wait("it to be called something else", |it| told(it) != vanished);
    assert!(told(&it).contains("this is a directory"), "{}", told(&it));
    assert_eq!(it.checks(), ["keymap"]);
    fs::remove_dir(&keymap).unwrap();
    fs::write(&keymap, "//".repeat(5 << 19)).unwrap();
    it.wait("it to be called too large", |it| {
        it.ask("GET", "/api/status", "")["keymap"]["diagnostics"].to_string().contains("large")
    });
    // Twice within a moment: the last one counts.
    fs::write(&keymap, "map(\"A\", \"X\");").unwrap();
    fs::write(&keymap, "map(\"A\", \"Y\");").unwrap();
    it.wait("it to be well", |it| it.checks().is_empty());
    it.check("+A 5 -A", "+B -B +Y -Y");
}

/// Damages all that was kept, and sees a new keyrx map keys, and keep things again.
#[track_caller]
fn check_damaged(test: &str, damage: impl Fn(&fs::File)) {
    let mut it = Daemon::start(test);
    it.wait("a state to be kept", |it| state_dir(&it.home).join("state").exists());
    it.ask("POST", "/api/pause", "");
    it.wait("the state before to be kept, too", |it| state_dir(&it.home).join("state.1").exists());
    assert!(it.stop().success());
    let home = std::mem::take(&mut it.home);
    drop(it);
    let state = state_dir(&home);
    let mut damaged = Vec::new();
    for path in fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("state") || name.ends_with(".lifecycle") || name == "token" {
            damage(&fs::File::options().read(true).write(true).open(&path).unwrap());
            damaged.push(name);
        }
    }
    assert_eq!(damaged.len(), 4, "{damaged:?}");
    let mut it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    it.check("+A 5 -A", "+B -B");
    assert_eq!(it.health()["status"], "healthy", "it has forgotten that it was paused");
    let said = it.said();
    let told = damaged.iter().filter(|name| *name != "token").filter(|name| {
        let path = state.join(name).display().to_string();
        said.lines()
            .any(|line| line.contains("WARN") && line.ends_with(&format!("damaged, and not used: {path}")))
    });
    assert_eq!(told.count(), 3, "{said}");
    let aside = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(aside.filter(|name| name.contains(".damaged.")).count(), 3);
    it.ask("POST", "/api/pause", "");
    assert!(it.stop().success());
    let home = std::mem::take(&mut it.home);
    drop(it);
    let it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    assert_eq!(
        (it.ask("GET", "/api/status", "")["paused"].clone(), it.said().matches("not used").count()),
        (json!(true), 3)
    );
    #[cfg(target_os = "linux")]
    {
        let about = fs::read_to_string(format!("/proc/{}/status", it.child.id())).unwrap();
        let most = about.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
        let most_kib = most.strip_suffix(" kB").unwrap().parse::<u64>().unwrap();
        assert!(most_kib < 200 << 10, "{most}");
    }
}

#[test]
fn state_files_of_hundreds_of_megabytes_are_set_aside_and_keys_are_mapped() {
    check_damaged("huge", |file| file.set_len(700 << 20).unwrap());
}

#[test]
fn state_files_that_are_cut_short_are_set_aside_and_keys_are_mapped() {
    check_damaged("truncated", |file| file.set_len(20).unwrap());
}

#[test]
fn state_files_that_hold_something_else_are_set_aside_and_keys_are_mapped() {
    check_damaged("corrupt", |mut file| {
        let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
        file.write_all(&b"\xff\x00\n".repeat(length)[..length]).unwrap();
    });
}

/// Under Linux for it has a place where nobody may write, whoever runs the test, and a file that is always full.
#[cfg(target_os = "linux")]
mod disk {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_state_directory_without_permission_is_told_and_keyrx_runs() {
        for (place, is_there) in [("/sys/kernel", true), ("/sys/keyrx", false)] {
            assert_eq!(std::path::Path::new(place).exists(), is_there);
            let home = home("no-permission");
            fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
            let mut it =
                Daemon::begin(home, &["--config", "keymap.rhai", "--port", "0", "--state-dir", place]);
            let port = |it: &Daemon| {
                let said = it.said();
                said.split("the web server is at http://127.0.0.1:").nth(1)?.lines().next()?.parse().ok()
            };
            it.wait("it to serve", |it| port(it).is_some());
            it.port = port(&it).unwrap();
            it.wait("it to map keys", |it| it.get("/readyz").status == 200);
            let said = it.said();
            let told = format!("nothing is kept on the disk: {place} cannot be used: ");
            assert!(said.contains(&told) && said.contains("keymap loaded"), "{said}");
            assert!(said.contains(" not permitted") || said.contains("Permission denied"), "{said}");
            assert!(said.contains("no command and no page can be let in"), "{said}");
            it.wait("it to show", |it| it.checks() == ["log"]);
            assert!(it.health()["checks"][0]["reason"].as_str().unwrap().contains("logs_memory_only"));
            assert_eq!(it.health()["components"]["remapping_active"], "healthy");
            assert_eq!(it.request("POST", "/api/stop", &[("Authorization", "Bearer ")], "").status, 401);
            it.ask_to_stop();
            assert_eq!(it.ended().code(), Some(0));
        }
    }

    #[test]
    fn on_a_full_disk_keys_are_mapped_and_it_shows_until_there_is_room() {
        let home = home("full");
        fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
        let state = state_dir(&home);
        fs::create_dir_all(&state).unwrap();
        // What is written there finds no space left.
        for name in ["keyrx.log", "state.new", "run.lifecycle.new"] {
            symlink("/dev/full", state.join(name)).unwrap();
        }
        let mut it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
        it.wait("it to show", |it| it.checks() == ["log", "state"]);
        it.check("+A 5 -A", "+B -B");
        let said = it.said();
        for told in ["the log stays in memory", "the state cannot be written", "No space left on device"] {
            assert!(said.contains(told), "{told}: {said}");
        }
        assert_eq!((it.get("/health").status, &it.health()["status"]), (200, &json!("degraded")));
        let kept = it.ask("GET", "/api/logs", "")["lines"].to_string();
        assert!(kept.contains("keymap_loaded"), "{kept}");
        for name in ["keyrx.log", "state.new", "run.lifecycle.new"] {
            let _ = fs::remove_file(state.join(name));
        }
        it.ask("POST", "/api/pause", "");
        it.wait("the state to be kept", |it| !it.checks().contains(&"state".to_owned()));
        assert!(state.join("state").exists());
        assert!(it.stop().success());
    }
}

#[test]
fn a_file_that_is_loaded_may_come_later() {
    let home = home("include");
    fs::write(home.join("keymap.rhai"), "load(\"more.rhai\");").unwrap();
    let mut it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    it.wait("it to show", |it| it.get("/health").status == 503);
    assert_eq!(it.get("/readyz").status, 503);
    it.check("+A 5 -A", "+A -A");
    fs::write(it.home.join("more.rhai"), "map(\"A\", \"M\");").unwrap();
    it.wait("it to be well", |it| it.checks().is_empty());
    it.check("+A 5 -A", "+A -A +M -M");
}

#[test]
fn pause_outlives_a_restart_and_so_does_no_key() {
    let mut it = Daemon::start("restart");
    it.check("+CapsLock 250", "+LCtrl");
    it.ask("POST", "/api/pause", "");
    it.wait("what was held to come up", |it| it.output() == "+LCtrl -LCtrl");
    assert!(it.stop().success());
    let home = std::mem::take(&mut it.home);
    drop(it);
    let mut it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    it.wait("it to say so", |it| it.checks() == ["paused"]);
    it.check("+A 5 -A", "+A -A");
}
