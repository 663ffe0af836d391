//! The daemon, as its clients and its operators know it: a real keyrx with simulated keyboards, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Daemon, KEYMAP, config_dir, home, keyrx, load, next, state_dir};
use tungstenite::Message;

// --- What it answers -------------------------------------------------------------------------------------------

#[test]
fn health_has_the_promised_body_and_both_forms() {
    let mut it = Daemon::start("health");
    it.check("+A 5 -A", "+B -B");
    let health = it.get("/health");
    assert_eq!(health.status, 200);
    let body = health.json();
    let names = body.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names, ["status", "timestamp", "uptime", "version", "components", "metrics", "checks"]);
    let components = json!({
        "web_server": "healthy", "platform_hooks": "healthy", "config_loaded": "healthy", "remapping_active": "healthy",
    });
    assert_eq!((&body["status"], &body["components"]), (&json!("healthy"), &components));
    let metrics = body["metrics"].as_object().unwrap().keys().collect::<Vec<_>>();
    assert_eq!(metrics, ["events_processed", "current_latency_p95", "error_count_5m"]);
    it.wait("both events to be counted", |it| it.health()["metrics"]["events_processed"] == 2);
    let ietf = it.request("GET", "/health", &[("Accept", "application/health+json")], "");
    assert!(ietf.field("content-type").unwrap().ends_with("application/health+json"), "{ietf:?}");
    assert_eq!((ietf.status, &ietf.json()["status"]), (200, &json!("pass")));
    assert_eq!([it.get("/livez").status, it.get("/readyz").status], [200, 200]);
}

#[test]
fn health_follows_pause_and_a_broken_keymap() {
    let mut it = Daemon::start("degraded");
    assert_eq!(it.ask("POST", "/api/pause", "")["paused"], true);
    it.wait("paused to show", |it| it.checks() == ["paused"]);
    assert_eq!((it.get("/health").status, &it.health()["status"]), (200, &json!("degraded")));
    it.check("+A 5 -A", "+A -A");
    assert_eq!(it.ask("POST", "/api/resume", "")["paused"], false);
    fs::write(it.home.join("keymap.rhai"), "map(\"A\", \"Nonsense\");").unwrap();
    it.wait("the mistake to show", |it| it.checks() == ["keymap"]);
    let reason = it.health()["checks"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("config_last_good") && reason.contains("keymap.rhai:1"), "{reason}");
    assert!(!reason.contains("Nonsense"), "everybody can read it: {reason}");
    let status = it.ask("GET", "/api/status", "");
    assert!(status["keymap"]["diagnostics"][0]["message"].as_str().unwrap().contains("Nonsense"), "{status}");
    it.check("+A 5 -A", "+A -A +B -B");
    fs::write(it.home.join("keymap.rhai"), "map(\"A\", \"C\");").unwrap();
    it.wait("it to be well", |it| it.checks().is_empty());
    it.check("+A 5 -A", "+A -A +B -B +C -C");
}

#[test]
fn metrics_are_the_same_for_prometheus_and_as_json() {
    let mut it = Daemon::start("metrics");
    it.check("+A 5 -A 5 +CapsLock 5 -CapsLock 5 +Q 5 -Q", "+B -B +Escape -Escape +Q -Q");
    it.wait("all to be counted", |it| it.health()["metrics"]["events_processed"] == 6);
    let text = it.get("/metrics");
    let json = it.get("/api/metrics").json();
    assert!(text.field("content-type").unwrap().contains("text/plain; version=0.0.4"));
    let value = |name: &str| {
        let line = text.body.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", text.body)).rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value(r#"keyrx_events_total{kind="press",path="mapped"}"#), "2");
    assert_eq!(value(r#"keyrx_events_total{kind="release",path="passed"}"#), "1");
    assert_eq!(value(r#"keyrx_mapping_hits_total{kind="tap"}"#), "1");
    assert_eq!(value("keyrx_event_latency_seconds_count"), "6");
    assert_eq!(json["events"]["total"], 6);
    assert_eq!(json["events"]["by_kind"], json!({ "press": 3, "release": 3, "repeat": 0 }));
    assert_eq!(json["events"]["by_path"], json!({ "passed": 2, "mapped": 4, "dropped": 0 }));
    assert_eq!((&json["mapping_hits"]["tap"], &json["mapping_hits"]["key"]), (&json!(1), &json!(1)));
    assert_eq!(json["latency_us"]["count"], 6);
    // No figure knows a key.
    assert!(!text.body.contains("CapsLock") && !json.to_string().contains("CapsLock"));
    let latency = it.ask("GET", "/api/metrics/latency", "");
    assert!(latency["min_us"].as_u64() <= latency["avg_us"].as_u64(), "{latency}");
}

#[test]
fn what_waits_for_an_undecided_key_is_counted_while_it_waits() {
    let home = home("pending");
    let keymap =
        r#"map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 10000, flavor: "tap-preferred" }));"#;
    fs::write(home.join("keymap.rhai"), keymap).unwrap();
    let mut it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    let pending = |it: &Daemon| it.get("/api/metrics").json()["queues"]["pending"].as_u64();
    assert_eq!(pending(&it), Some(0));
    it.type_keys("+CapsLock 10 +Q 10 +W");
    it.wait("three events to wait", |it| pending(it) == Some(3));
    let text = it.get("/metrics").body;
    for line in [
        r#"keyrx_queue_depth{queue="pending"} 3"#,
        r#"keyrx_queue_capacity{queue="pending"} 65"#,
        r#"keyrx_queue_depth{queue="live"} 0"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    it.type_keys("-CapsLock 10 -Q 10 -W");
    it.wait("none to wait", |it| pending(it) == Some(0));
}

#[test]
fn keys_can_be_watched_live_and_only_on_request() {
    let mut it = Daemon::start("live");
    let mut socket = it.websocket();
    assert_eq!(next(&mut socket, "status")["paused"], false);
    it.check("+A 5 -A", "+B -B");
    it.ask("POST", "/api/pause", "");
    assert_eq!(
        next(&mut socket, "status")["paused"],
        true,
        "news comes by itself, and no key has come before it"
    );
    it.ask("POST", "/api/resume", "");
    socket.send(Message::text(r#"{"type":"watch","keys":true}"#)).unwrap();
    it.wait("the view to be known", |it| it.ask("GET", "/api/status", "")["viewers"] == 1);
    it.type_keys("+A 20 -A");
    let mut seen = Vec::new();
    while seen.len() < 4 {
        for key in next(&mut socket, "keys").as_array().unwrap() {
            seen.push(key["in"].as_str().or(key["out"].as_str()).unwrap().to_owned());
            assert_eq!(key["device"], "simulated keyboard");
            if key["out"] == "+B" {
                assert!(key["cause"].as_str().unwrap().contains("line 2"), "{key}");
            }
        }
    }
    assert_eq!(seen, ["+A", "+B", "-A", "-B"]);
    assert!(it.has_logged("live_view_begins"));
    socket.send(Message::text("nonsense")).unwrap();
    assert_eq!(next(&mut socket, "error")["code"], "bad_message");
    drop(socket);
    it.wait("the view to end", |it| it.ask("GET", "/api/status", "")["viewers"] == 0);
    let logged = fs::read_to_string(state_dir(&it.home).join("keyrx.log")).unwrap();
    assert!(!logged.contains("+A") && !logged.contains("+B"), "{logged}");
}

#[test]
fn keymaps_are_checked_and_played_without_touching_a_key() {
    let it = Daemon::start("check");
    let verdict = it.ask("POST", "/api/check", r#"{"source":"map(\"A\", \"Bx\");"}"#);
    assert_eq!((&verdict["valid"], &verdict["errors"][0]["line"]), (&json!(false), &json!(1)));
    let play = json!({ "source": KEYMAP, "events": "+CapsLock 300 +A 5 -A -CapsLock" }).to_string();
    let played = it.ask("POST", "/api/simulate", &play);
    assert_eq!(played["effects"], "@200 +LCtrl @300 +B @305 -B -LCtrl");
    assert!(played["events"][0]["cause"].as_str().unwrap().contains("held for the tapping term"), "{played}");
    let rejected = it.call("POST", "/api/simulate", r#"{"source":"map(","events":""}"#);
    assert_eq!((rejected.status, &rejected.json()["error"]["code"]), (422, &json!("keymap_rejected")));
    let wrong = it.call("POST", "/api/simulate", r#"{"source":"","events":"+Nonsense"}"#);
    assert!(wrong.status == 400 && wrong.body.contains("Nonsense"), "{wrong:?}");
    assert_eq!(it.output(), "");
    let vocabulary = it.ask("GET", "/api/vocabulary", "");
    assert!(vocabulary["functions"].as_array().unwrap().iter().any(|it| it["name"] == "tap_hold"));
    assert!(it.ask("GET", "/api/openapi.json", "")["paths"]["/api/simulate"]["post"].is_object());
    assert_eq!(it.ask("GET", "/api/devices", "")["devices"][0]["name"], "simulated keyboard");
    let logs = it.ask("GET", "/api/logs?after=1", "");
    assert!(logs["next"].as_u64().unwrap() > 1 && logs["lines"][0]["event"] != "started", "{logs}");
    assert!(it.ask("GET", "/api/config", "")["content"].as_str().unwrap().contains("CapsLock"));
}

// --- Profiles --------------------------------------------------------------------------------------------------

#[test]
fn profiles_are_made_activated_and_kept() {
    let home = home("profiles");
    let mut it = Daemon::with(home.clone(), &["--port", "0"]);
    it.wait("it to say that there is none", |it| it.checks() == ["keymap"]);
    it.check("+A 5 -A", "+A -A");
    it.ask("POST", "/api/profiles", r#"{"name":"work","source":"map(\"A\", \"W\");"}"#);
    it.ask("POST", "/api/profiles", r#"{"name":"broken","source":"map(\"A\");"}"#);
    assert_eq!(it.ask("POST", "/api/profiles/work/activate", "")["profile"], "work");
    it.check("+A 5 -A", "+A -A +W -W");
    let broken = it.call("POST", "/api/profiles/broken/activate", "");
    assert_eq!(broken.status, 422);
    assert!(broken.json()["diagnostics"][0]["line"] == 1, "{broken:?}");
    assert_eq!(it.ask("GET", "/api/profiles/active", "")["active_profile"], "work");
    assert_eq!(it.call("DELETE", "/api/profiles/work", "").status, 409);
    let put = it.ask("PUT", "/api/profiles/work/config", r#"{"config":"map(\"A\", \"V\");"}"#);
    assert_eq!((&put["success"], &put["valid"]), (&json!(true), &json!(true)));
    it.wait("the change to take effect", |it| it.has_logged("keymap_in_force"));
    it.ask("POST", "/api/profiles/active/reload", "");
    it.check("+A 5 -A", "+A -A +W -W +V -V");
    it.ask("PUT", "/api/profiles/work/rename", r#"{"newName":"office"}"#);
    it.ask("POST", "/api/profiles/office/duplicate", r#"{"newName":"copy"}"#);
    let names = it.ask("GET", "/api/profiles", "");
    let names = names["profiles"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["broken", "copy", "office"]);
    assert!(it.stop().success());
    let mut it = Daemon::with(home.clone(), &["--port", "0"]);
    assert_eq!(it.ask("GET", "/api/status", "")["active_profile"], "office");
    it.check("+A 5 -A", "+V -V");
    it.stop();
    let mut it = Daemon::with(home, &["--port", "0", "--profile", "copy"]);
    it.check("+A 5 -A", "+V -V");
}

#[test]
fn names_of_profiles_that_are_paths_or_devices_are_refused_everywhere_and_touch_no_file() {
    let it = Daemon::start("profile-names");
    it.ask("POST", "/api/profiles", r#"{"name":"work","source":""}"#);
    // What a name that is a path would reach.
    let outside = config_dir(&it.home).join("outside.rhai");
    fs::write(&outside, "// untouched").unwrap();
    let absolute = outside.with_extension("").display().to_string();
    let long = "x".repeat(65);
    let reserved = ["con", "CON", "prn", "aux", "nul", "Nul", "com1", "COM9", "lpt1", "nul.rhai"];
    let paths =
        ["../outside", "..\\outside", "..", ".", "a/../../outside", "a:b", "work.rhai", "work ", "ä", &long];
    for name in reserved.into_iter().chain(paths).chain([absolute.as_str(), "a\0b"]) {
        let refused = |answer: support::Answer, what: &str| {
            assert_eq!(
                (answer.status, &answer.json()["error"]["code"]),
                (400, &json!("bad_name")),
                "{what} {name:?}"
            );
        };
        let encoded = name.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
        let here = |end: &str| format!("/api/profiles/{encoded}{end}");
        refused(it.call("GET", &here("/config"), ""), "read");
        refused(it.call("PUT", &here("/config"), r#"{"config":"// changed"}"#), "write");
        refused(it.call("DELETE", &here(""), ""), "delete");
        refused(it.call("POST", &here("/validate"), ""), "validate");
        refused(it.call("POST", &here("/activate"), ""), "activate");
        let new = json!({ "newName": name }).to_string();
        for body in [r#"{"newName":"other"}"#, &new] {
            let place = |end: &str| if body == new { format!("/api/profiles/work{end}") } else { here(end) };
            refused(it.call("POST", &place("/duplicate"), body), "duplicate");
            refused(it.call("PUT", &place("/rename"), body), "rename");
        }
        refused(
            it.call("POST", "/api/profiles", &json!({ "name": name, "source": "" }).to_string()),
            "create",
        );
        let play = json!({ "profile": name, "events": "" }).to_string();
        refused(it.call("POST", "/api/simulate", &play), "simulate");
    }
    // The path itself may be one, too.
    for path in ["/api/profiles/../../etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"] {
        assert_eq!(it.call("GET", path, "").status, 404, "{path}");
    }
    for name in ["../outside", "con"] {
        for words in
            [&["profile", "show", name][..], &["profile", "create", name], &["run", "--profile", name]]
        {
            let output = keyrx(&it.home).args(words).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
            assert!(said.contains(&format!("{name:?}")) && said.contains("letters"), "{words:?}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "// untouched");
    let made = fs::read_dir(config_dir(&it.home).join("profiles")).unwrap();
    assert_eq!(made.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["work.rhai"]);
}

#[test]
fn the_profile_that_keyrx_1x_had_active_is_taken_over() {
    let home = home("profile-1x");
    let profiles = config_dir(&home).join("profiles");
    fs::create_dir_all(&profiles).unwrap();
    let block = "device_start(\"*\");\nmap(\"A\", \"VK_Z\");\ndevice_end();\n";
    fs::write(profiles.join("mine.rhai"), block).unwrap();
    fs::write(config_dir(&home).join(".active"), r#"{"name":"mine","activated_at":1,"activated_by":"user"}"#)
        .unwrap();
    let mut it = Daemon::with(home, &["--port", "0"]);
    it.check("+A 5 -A", "+Z -Z");
    assert_eq!(it.ask("GET", "/api/status", "")["active_profile"], "mine");
}

#[test]
fn the_commands_speak_to_the_running_keyrx() {
    let mut it = Daemon::start("commands");
    let home = it.home.clone();
    let run = |words: &[&str], code: i32| {
        // Into a file: under Wine programs of the desktop, which the first command starts, would hold a pipe open.
        let out = fs::File::create(home.join("out")).unwrap();
        let status = keyrx(&home).args(words).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        let said = fs::read_to_string(home.join("out")).unwrap();
        assert_eq!(status.code(), Some(code), "{words:?}: {said}");
        said
    };
    assert!(run(&["status"], 0).contains("is healthy"));
    assert!(run(&["status", "--json"], 0).contains("\"status\": \"healthy\""));
    assert!(run(&["status", "--json"], 0).contains("\"phase\": \"running\""));
    assert!(run(&["health"], 0).contains("healthy"));
    assert!(run(&["metrics"], 0).contains("# TYPE keyrx_events_total counter"));
    run(&["pause"], 0);
    let health = run(&["health"], 0);
    assert!(health.contains("paused"), "{health}");
    run(&["resume"], 0);
    run(&["profile", "create", "work", "--from", "keymap.rhai"], 0);
    assert!(run(&["profile", "list"], 0).contains("work"));
    assert!(run(&["profile", "show", "work"], 0).contains("CapsLock"));
    run(&["profile", "activate", "work"], 0);
    assert!(run(&["profile", "activate", "nothing"], 1).contains("there are work"));
    assert!(run(&["profile", "delete", "work"], 1).contains("is active"));
    fs::write(home.join("broken.rhai"), "map(\"A\", \"Bx\");").unwrap();
    run(&["profile", "create", "broken", "--from", "broken.rhai"], 0);
    assert!(run(&["profile", "activate", "broken"], 1).contains("broken.rhai:1:"));
    assert!(run(&["reload"], 0).contains("in force"));
    // How it ends depends on the rights that there are.
    let out = fs::File::create(home.join("doctor")).unwrap();
    keyrx(&home).args(["doctor", "--json"]).stdout(out).status().unwrap();
    let doctor = fs::read_to_string(home.join("doctor")).unwrap();
    assert!(doctor.contains("keyrx is running, and is healthy"), "{doctor}");
    let url = run(&["ui", "--print"], 0);
    let code = url.trim().split("#code=").nth(1).unwrap().to_owned();
    let session = it.request("POST", "/api/session", &[], &json!({ "code": code }).to_string());
    let bearer = format!("Bearer {}", session.json()["session"].as_str().unwrap());
    assert_eq!(it.request("GET", "/api/status", &[("Authorization", &bearer)], "").status, 200);
    run(&["stop"], 0);
    assert!(it.ended().success());
    assert!(run(&["status"], 4).contains("not running"));
    run(&["profile", "activate", "broken"], 0);
    assert!(run(&["profile", "list"], 0).contains("* broken"));
}

// --- The end ---------------------------------------------------------------------------------------------------

#[test]
fn the_end_tells_every_client_and_finishes_what_was_asked() {
    let mut it = Daemon::start("end");
    it.check("+CapsLock 250 +A", "+LCtrl +B");
    let mut sockets = (0..5).map(|_| it.websocket()).collect::<Vec<_>>();
    // A request whose body is slow: it does not hold up the end for long.
    let mut slow = it.socket();
    let head = format!(
        "POST /api/check HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n",
        it.port, it.token
    );
    slow.write_all(head.as_bytes()).unwrap();
    let begin = Instant::now();
    it.ask("POST", "/api/stop", "");
    for socket in &mut sockets {
        let code = loop {
            match socket.read() {
                Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(code, Some(1001));
        // That it has heard it, which it says by itself.
        let _ = socket.flush();
    }
    drop(sockets);
    assert_eq!(it.ended().code(), Some(0));
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let log = it.log();
    assert_eq!(log.last().unwrap()["event"], "stopped");
    let stopping = log.iter().find(|line| line["event"] == "stopping").unwrap();
    assert_eq!(stopping["context"]["reason"], "command", "{stopping}");
    let pids = fs::read_dir(state_dir(&it.home)).unwrap().flatten();
    assert!(!pids.map(|it| it.path()).any(|path| path.extension().is_some_and(|end| end == "pid")));
}

#[test]
fn an_end_that_takes_too_long_is_cut_short() {
    let mut it = Daemon::start("cut-short");
    it.check("+A", "+B");
    it.arm("ending", Some(60_000));
    it.ask("POST", "/api/stop", "");
    let begin = Instant::now();
    assert_eq!(it.ended().code(), Some(75));
    assert!(begin.elapsed() > Duration::from_secs(4) && begin.elapsed() < Duration::from_secs(12));
    assert!(it.has_logged("gave_up"));
}

#[test]
fn under_load_nothing_is_lost_and_the_end_is_in_order() {
    let mut it = Daemon::start("load");
    let load = load::Load { seconds: 4, clients: 50, questions_per_second: 200 };
    let figures = load::run(&mut it, &load);
    assert!(figures.is_complete && figures.refused == 0, "{figures:?}");
    // Wide, for this machine may have other things to do; `cargo xtask bench daemon` has the figures.
    assert!(figures.health_within(999) < Duration::from_secs(2), "{figures:?}");
    assert!(figures.stop < Duration::from_secs(5), "{figures:?}");
    assert_eq!((figures.exit, figures.told, figures.keys_held), (Some(0), 50, 0), "{figures:?}");
}
