//! The daemon, as its clients and its operators know it: a real keyrx with simulated keyboards, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Daemon, KEYMAP, LONG, config_dir, home, keyrx, load, next, state_dir};
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

// --- Who is let in ---------------------------------------------------------------------------------------------

#[test]
fn nobody_else_reads_or_changes_anything() {
    let mut it = Daemon::start("strangers");
    let host = format!("127.0.0.1:{}", it.port);
    let bearer = format!("Bearer {}", it.token);
    let secret =
        ["/api/status", "/api/keymap", "/api/config", "/api/logs", "/api/profiles", "/api/output", "/ws"];
    for path in secret {
        for token in ["", "Bearer ", "Bearer 0000", bearer.strip_suffix(|_: char| true).unwrap(), &it.token] {
            let answer = it.request("GET", path, &[("Authorization", token)], "");
            assert_eq!(answer.status, 401, "{path} {token:?}");
            assert!(!answer.body.contains("CapsLock"), "{path}: {answer:?}");
        }
        assert_eq!(it.get(path).status, 401, "{path}");
    }
    for path in ["/api/pause", "/api/stop", "/api/reload", "/api/input", "/api/chaos", "/api/session/code"] {
        assert_eq!(it.request("POST", path, &[], "{}").status, 401, "{path}");
    }
    // With the right token, but from elsewhere: a name that was pointed here, a page of another origin.
    for path in ["/health", "/metrics", "/api/status", "/", "/nothing"] {
        let evil = [("Host", "evil.example"), ("Authorization", &bearer)];
        assert_eq!(it.request("GET", path, &evil, "").status, 421, "{path}");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://evil.example"] {
            let foreign = [("Origin", origin), ("Authorization", bearer.as_str())];
            let answer = it.request("GET", path, &foreign, "");
            assert_eq!(answer.status, 403, "{path} {origin}");
            assert!(answer.field("access-control-allow-origin").is_none());
        }
    }
    let upgrade = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\nAuthorization: {bearer}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    assert_eq!(it.raw(&upgrade.replace("Connection: Upgrade", "Connection: close, Upgrade")).status, 403);
    assert_eq!(it.raw("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").status, 421, "without a host");
    let two =
        format!("GET /health HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert!([400, 421].contains(&it.raw(&two).status));
    assert_eq!(it.request("POST", "/api/session", &[], r#"{"code":"0"}"#).status, 401);
    it.check("+A 5 -A", "+B -B");
}

#[test]
fn a_session_lets_a_page_in_by_header_and_by_subprotocol_and_never_by_cookie() {
    let it = Daemon::start("session");
    let session = it.session();
    let bearer = format!("Bearer {session}");
    let known =
        |fields: &[(&str, &str)]| it.request("GET", "/api/session", fields, "").json()["known"] == true;
    assert!(known(&[("Authorization", &bearer)]) && !known(&[]));
    // A page says its origin, a program none: neither lets in, nor keeps out.
    let origin = format!("http://127.0.0.1:{}", it.port);
    for fields in
        [&[("Authorization", bearer.as_str())][..], &[("Authorization", &bearer), ("Origin", &origin)]]
    {
        assert_eq!(it.request("GET", "/api/status", fields, "").status, 200);
        assert_eq!(it.request("POST", "/api/pause", fields, "").status, 200);
    }
    let offer = format!("keyrx, keyrx.session.{session}");
    let opened = it.upgrade(&[("Sec-WebSocket-Protocol", &offer), ("Origin", &origin)]);
    assert_eq!((opened.status, opened.values("sec-websocket-protocol")), (101, vec!["keyrx"]), "{opened:?}");

    let cookie = format!("keyrx={session}; session={session}; token={}", it.token);
    let other = session.chars().rev().collect::<String>();
    let wrong = [
        ("Cookie", cookie.as_str()),
        ("Authorization", &format!("Bearer {other}")),
        ("Authorization", &session),
        ("Sec-WebSocket-Protocol", &format!("keyrx, keyrx.session.{other}")),
        ("Sec-WebSocket-Protocol", &format!("keyrx, keyrx.session.{}", it.token)),
        ("Sec-WebSocket-Protocol", "keyrx, keyrx.session."),
        ("Sec-WebSocket-Protocol", "keyrx"),
    ];
    for field in wrong {
        assert!(!known(&[field]), "{field:?}");
        assert_eq!(it.request("GET", "/api/status", &[field], "").status, 401, "{field:?}");
        assert_eq!(
            it.request("POST", "/api/stop", &[field, ("Origin", &origin)], "").status,
            401,
            "{field:?}"
        );
        assert_eq!(it.upgrade(&[field, ("Origin", &origin)]).status, 401, "{field:?}");
    }
    assert_eq!(it.upgrade(&[("Origin", &origin)]).status, 401);
}

#[test]
fn a_session_ends_with_its_keyrx() {
    let mut it = Daemon::start("session-end");
    let session = it.session();
    assert!(it.stop().success());
    let home = std::mem::take(&mut it.home);
    drop(it);
    let it = Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"]);
    let bearer = format!("Bearer {session}");
    assert_eq!(it.request("GET", "/api/status", &[("Authorization", &bearer)], "").status, 401);
    let offer = format!("keyrx, keyrx.session.{session}");
    assert_eq!(it.upgrade(&[("Sec-WebSocket-Protocol", &offer)]).status, 401);
}

#[test]
fn no_answer_sets_a_cookie_and_only_the_one_to_the_code_has_the_session() {
    let mut it = Daemon::start("answers");
    let level = it.call("PUT", "/api/log-level", r#"{"level":"trace"}"#);
    assert_eq!(level.status, 200, "{level:?}");
    let code = it.ask("POST", "/api/session/code", "")["code"].as_str().unwrap().to_owned();
    let code = json!({ "code": code }).to_string();
    let begun = it.request("POST", "/api/session", &[], &code);
    let session = begun.json()["session"].as_str().unwrap().to_owned();
    assert_eq!((session.len(), begun.values("cache-control")), (64, vec!["no-store"]));
    let bearer = format!("Bearer {session}");
    let offer = format!("keyrx, keyrx.session.{session}");
    let upgraded = it.upgrade(&[("Sec-WebSocket-Protocol", &offer)]);
    assert_eq!(upgraded.status, 101, "{upgraded:?}");
    let mut answers = vec![("PUT /api/log-level".to_owned(), level), ("GET /ws".to_owned(), upgraded)];
    let document = it.ask("GET", "/api/openapi.json", "");
    let described = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, about)| (method.to_uppercase(), path, about))
    });
    for (method, path, about) in
        described.filter(|(_, path, _)| !["/api/stop", "/api/log-level"].contains(&path.as_str()))
    {
        let example = &about["requestBody"]["content"]["application/json"]["example"];
        let body = if example.is_null() { String::new() } else { example.to_string() };
        let path = path.replace("{name}", "work");
        for fields in [&[("Authorization", bearer.as_str())][..], &[("Sec-WebSocket-Protocol", &offer)], &[]]
        {
            answers.push((format!("{method} {path}"), it.request(&method, &path, fields, &body)));
        }
    }
    assert!(answers.len() > 90, "all paths are described: {}", answers.len());
    for path in ["/", "/keyrx.js", "/keyrx.css", "/favicon.ico", "/nothing", &format!("/{session}")] {
        answers.push((path.to_owned(), it.request("GET", path, &[("Authorization", &bearer)], "")));
    }
    answers.push(("the code again".to_owned(), it.request("POST", "/api/session", &[], &code)));
    let stop = it.request("POST", "/api/stop", &[("Authorization", &bearer)], "");
    assert_eq!(stop.status, 202, "{stop:?}");
    answers.push(("POST /api/stop".to_owned(), stop));
    for (what, answer) in &answers {
        assert!(answer.status != 0 && answer.values("set-cookie").is_empty(), "{what}: {answer:?}");
        assert!(!answer.head.contains(&session) && !answer.body.contains(&session), "{what}: {answer:?}");
    }
    assert!(begun.values("set-cookie").is_empty() && !begun.head.contains(&session), "{begun:?}");
    assert!(it.ended().success());
    assert!(it.has_logged("stopped"));
    let kept = fs::read_dir(state_dir(&it.home)).unwrap().map(|entry| entry.unwrap().path());
    for path in kept.filter(|path| path.is_file()).chain([it.home.join("said")]) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(&session), "{}", path.display());
    }
}

#[test]
#[cfg(unix)]
fn another_user_cannot_read_what_keyrx_keeps() {
    use std::os::unix::fs::PermissionsExt;

    let it = Daemon::start("modes");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let state = state_dir(&it.home);
    assert_eq!((mode(&state), mode(&state.join("token"))), (0o700, 0o600));
}

// --- Clients that misbehave ------------------------------------------------------------------------------------

#[test]
fn slow_and_idle_clients_keep_nobody_out() {
    let mut it = Daemon::start("slow");
    let mut slow = Vec::new();
    for number in 0..400 {
        // A few may already be turned away, to make room.
        if let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", it.port)) {
            if number % 2 == 0 {
                let _ = socket.write_all(b"GET /health HTTP/1.1\r\nHost: 127");
            }
            slow.push(socket);
        }
    }
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(it.get("/health").status, 200);
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    it.check("+A 5 -A", "+B -B");
    // Whoever has sent no whole head is let go after a while.
    let mut idle = it.socket();
    idle.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert!(
        String::from_utf8(rest).unwrap().starts_with("HTTP/1.1 408")
            || begin.elapsed() > Duration::from_secs(4)
    );
}

#[test]
fn ten_thousand_connections_are_survived() {
    let mut it = Daemon::start("flood");
    let mut answered = 0;
    // As many are left open as a process usually may have, and more than there is room for.
    let mut open = std::collections::VecDeque::new();
    for number in 0..10_000 {
        open.push_back(std::net::TcpStream::connect(("127.0.0.1", it.port)));
        if open.len() > 600 {
            open.pop_front();
        }
        if number % 500 == 499 {
            answered += u32::from(it.get("/health").status == 200);
        }
    }
    assert_eq!(answered, 20);
    it.check("+A 5 -A", "+B -B");
    drop(open);
    assert!(it.checks().is_empty(), "{:?}", it.checks());
}

#[test]
fn bodies_and_heads_that_are_too_large_are_refused() {
    let mut it = Daemon::start("large");
    let bearer = format!("Bearer {}", it.token);
    let head = format!(
        "POST /api/check HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {bearer}\r\nConnection: close\r\n",
        it.port
    );
    assert_eq!(
        it.raw(&format!("{head}Content-Length: 104857600\r\n\r\n{}", "x".repeat(100_000))).status,
        413
    );
    // Without saying how much it will be: 100 MiB, of which little is taken.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let answer = it.raw(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(100)));
    assert!([413, 0].contains(&answer.status), "{answer:?}");
    let mut socket = it.socket();
    write!(socket, "{head}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    let taken = (0..100).take_while(|_| socket.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(taken < 100, "all of it was taken");
    let fields = format!("X-Long: {}\r\n", "x".repeat(1000));
    let answer = it.raw(&format!("{head}{}\r\n", fields.repeat(200)));
    assert!([431, 400, 0].contains(&answer.status), "{answer:?}");
    for nonsense in ["\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n"] {
        let answer = it.raw(nonsense);
        assert!([400, 0].contains(&answer.status), "{nonsense:?}: {answer:?}");
    }
    for body in ["", "{", "[]", "null", r#"{"sourec":""}"#, "\u{0}", &"[".repeat(100_000)] {
        let answer = it.call("POST", "/api/check", body);
        assert_eq!(answer.status, 400, "{body:.20}");
    }
    assert_eq!(it.call("PATCH", "/api/status", "").status, 405);
    assert_eq!(it.call("GET", "/api/nothing", "").status, 404);
    it.check("+A 5 -A", "+B -B");
}

#[test]
fn malformed_frames_end_their_websocket_and_no_other() {
    let mut it = Daemon::start("frames");
    let mut good = it.websocket();
    let long_ping = [&b"\x89\xfe\x00\xff\x00\x00\x00\x00"[..], &[0; 255]].concat();
    let frames: [(&str, &[u8]); 6] = [
        ("not masked", b"\x81\x05hello"),
        ("reserved bits", b"\xf1\x80\x00\x00\x00\x00"),
        ("a reserved kind", b"\x83\x80\x00\x00\x00\x00"),
        ("far too long", b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"),
        ("no UTF-8", b"\x81\x82\x00\x00\x00\x00\xff\xfe"),
        ("a ping that is too long", &long_ping),
    ];
    for (what, frame) in frames {
        let mut socket = it.socket();
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            it.port, it.token
        );
        socket.write_all(request.as_bytes()).unwrap();
        socket.write_all(frame).unwrap();
        // It ends; how is the server's choice.
        let begin = Instant::now();
        let mut rest = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(length @ 1..) = socket.read(&mut piece) {
            rest.extend_from_slice(&piece[..length]);
            assert!(begin.elapsed() < LONG, "{what}: it goes on");
        }
        assert!(rest.starts_with(b"HTTP/1.1 101"), "{what}: {:?}", String::from_utf8_lossy(&rest));
    }
    it.wait("the bad ones to be gone", |it| it.get("/api/metrics").json()["websocket_clients"] == 1);
    good.send(Message::text("x".repeat(1000))).unwrap();
    assert_eq!(next(&mut good, "error")["code"], "bad_message");
}

// --- Faults ----------------------------------------------------------------------------------------------------

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
