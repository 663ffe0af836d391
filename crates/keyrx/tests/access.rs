//! Who is let in by a running keyrx, and what becomes of clients that misbehave: a real keyrx, over real sockets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Daemon, LONG, next, state_dir};
use tungstenite::Message;

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
}

#[test]
fn who_sends_a_byte_now_and_then_is_let_go_all_the_same() {
    let it = Daemon::start("trickle");
    let head = format!(
        "POST /api/check HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n",
        it.port, it.token
    );
    // A head that does not end, and a body.
    let endless = format!("{head}X-Slow: ");
    let body = format!("{head}Content-Length: 1000\r\n\r\n");
    let trickle = |begun: &str| {
        let mut socket = it.socket();
        socket.write_all(begun.as_bytes()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let begin = Instant::now();
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        // The time that it waits for an answer is the time between two bytes.
        loop {
            assert!(begin.elapsed() < LONG, "it is still served: {begun:?}");
            match socket.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
                Err(_) => break,
            }
            let _ = socket.write_all(b"x");
        }
        String::from_utf8(answer).unwrap()
    };
    let answers = std::thread::scope(|scope| {
        let slow = [&endless, &body].map(|begun| scope.spawn(|| trickle(begun)));
        slow.map(|slow| slow.join().unwrap())
    });
    assert!(answers[0].is_empty() || answers[0].starts_with("HTTP/1.1 408"), "{answers:?}");
    assert!(
        answers[1].starts_with("HTTP/1.1 408") && answers[1].contains(r#""code":"timeout""#),
        "{answers:?}"
    );
    assert!(it.checks().is_empty(), "{:?}", it.checks());
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
