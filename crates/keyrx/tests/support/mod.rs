//! A real keyrx with simulated keyboards, and plain sockets to it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "for tests, none of which needs all of it"
)]

pub mod load;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// Nothing here takes so long, on whatever machine.
pub const LONG: Duration = Duration::from_secs(30);

pub const KEYMAP: &str = r#"
map("A", "B");
map("CapsLock", tap_hold("Escape", "LCtrl", #{ term: 200 }));
"#;

/// A running keyrx; it is killed if it is still there in the end.
pub struct Daemon {
    pub home: PathBuf,
    pub child: Child,
    pub port: u16,
    pub token: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))
    }

    /// The values of all fields of a name.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// An empty directory of the test's own.
pub fn home(test: &str) -> PathBuf {
    // Built elsewhere, the directory has a path of there: for Wine the drive Z: is all of that.
    let drive = if cfg!(windows) { "Z:" } else { "" };
    let home = PathBuf::from(format!("{drive}{}/daemon-{test}", env!("CARGO_TARGET_TMPDIR")));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).unwrap();
    home
}

/// keyrx with its files in a directory, and nothing of the environment that it could heed.
pub fn keyrx(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyrx"));
    command.current_dir(home).stdin(Stdio::null()).env_clear();
    for name in ["HOME", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"] {
        command.env(name, home);
    }
    // Windows programs need these.
    for name in ["SystemRoot", "PATH", "WINEPREFIX", "WINEDEBUG", "TEMP", "TMP"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

pub fn state_dir(home: &Path) -> PathBuf {
    if cfg!(windows) { home.join("keyrx") } else { home.join(".local/state/keyrx") }
}

pub fn config_dir(home: &Path) -> PathBuf {
    if cfg!(windows) { home.join("keyrx") } else { home.join(".config/keyrx") }
}

impl Daemon {
    /// With a keymap in a file, at any port.
    pub fn start(test: &str) -> Daemon {
        let home = home(test);
        fs::write(home.join("keymap.rhai"), KEYMAP).unwrap();
        Daemon::with(home, &["--config", "keymap.rhai", "--port", "0"])
    }

    pub fn with(home: PathBuf, arguments: &[&str]) -> Daemon {
        let mut daemon = Daemon::begin(home, arguments);
        daemon.reach();
        daemon
    }

    /// Starts it, and does not wait.
    pub fn begin(home: PathBuf, arguments: &[&str]) -> Daemon {
        // What one that was killed has left would be taken for the word of this one.
        for file in fs::read_dir(state_dir(&home)).into_iter().flatten().flatten() {
            if file.path().extension().is_some_and(|end| end == "pid") {
                fs::remove_file(file.path()).unwrap();
            }
        }
        let said = fs::File::options().create(true).append(true).open(home.join("said")).unwrap();
        let mut command = keyrx(&home);
        command.args(["run", "--platform", "simulated"]).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(said).spawn().unwrap();
        Daemon { home, child, port: 0, token: String::new() }
    }

    /// Waits until it serves.
    pub fn reach(&mut self) {
        let state = state_dir(&self.home);
        let find = || {
            let files = fs::read_dir(&state).ok()?.flatten().map(|entry| entry.path());
            let mut pids = files.filter(|path| path.extension().is_some_and(|end| end == "pid"));
            let who = serde_json::from_str::<Value>(&fs::read_to_string(pids.next()?).ok()?).ok()?;
            who["port"].as_u64()
        };
        let mut port = None;
        self.wait("it to serve", |_| {
            port = find();
            port.is_some()
        });
        self.port = u16::try_from(port.unwrap()).unwrap();
        self.token = fs::read_to_string(state.join("token")).unwrap().trim().to_owned();
        self.wait("it to be ready", |it| {
            let ready = it.get("/readyz");
            ready.status != 0 && !ready.body.contains("starting")
        });
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Daemon) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}) while it was waited for {what}:\n{}", self.said());
            assert!(begin.elapsed() < LONG, "waited in vain for {what}:\n{}", self.said());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.home.join("said")).unwrap()
    }

    /// The events in its log.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(state_dir(&self.home).join("keyrx.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub fn has_logged(&self, event: &str) -> bool {
        self.log().iter().any(|line| line["event"] == event)
    }

    pub fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
    }

    /// Sends a request as it is, and reads the answer; status 0 if there is none.
    pub fn raw(&self, request: &str) -> Answer {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return Answer { status: 0, head: String::new(), body: String::new() };
        };
        socket.set_read_timeout(Some(LONG)).unwrap();
        // It may be turned away before all of it is sent.
        let _ = socket.write_all(request.as_bytes());
        let mut bytes = Vec::new();
        let _ = socket.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub fn request(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("Host: 127.0.0.1:{}\r\n", self.port);
        }
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.raw(&request)
    }

    /// Without the token.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], "")
    }

    /// With the token.
    pub fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.request(method, path, &[("Authorization", &format!("Bearer {}", self.token))], body)
    }

    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.call(method, path, body);
        assert!(answer.status < 300, "{method} {path}: {answer:?}");
        answer.json()
    }

    /// Types on the simulated keyboard.
    #[track_caller]
    pub fn type_keys(&self, events: &str) {
        self.ask("POST", "/api/input", &serde_json::json!({ "events": events }).to_string());
    }

    /// What has come out, without the times.
    pub fn output(&self) -> String {
        let output = self.ask("GET", "/api/output", "");
        let words = output["effects"].as_str().unwrap().split(' ').filter(|word| !word.starts_with('@'));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Types, and waits for what is to come out of it and all that came before.
    #[track_caller]
    pub fn check(&mut self, events: &str, output: &str) {
        self.type_keys(events);
        self.wait(&format!("{output:?} to come out of {events:?}"), |it| it.output() == output);
    }

    #[track_caller]
    pub fn arm(&self, point: &str, stall_ms: Option<u64>) {
        let fault = match stall_ms {
            Some(millis) => serde_json::json!({ "point": point, "stall_ms": millis }),
            None => serde_json::json!({ "point": point }),
        };
        self.ask("POST", "/api/chaos", &fault.to_string());
    }

    pub fn health(&self) -> Value {
        self.get("/health").json()
    }

    /// The names of what there is something to say about.
    pub fn checks(&self) -> Vec<String> {
        let health = self.health();
        let checks = health["checks"].as_array().unwrap().iter();
        checks.map(|check| check["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The secret of a session, as a page begins one.
    pub fn session(&self) -> String {
        let code = self.ask("POST", "/api/session/code", "")["code"].as_str().unwrap().to_owned();
        let body = serde_json::json!({ "code": code }).to_string();
        let begun = self.request("POST", "/api/session", &[], &body);
        begun.json()["session"].as_str().unwrap_or_else(|| panic!("{begun:?}")).to_owned()
    }

    /// Asks for a WebSocket, and reads the head of the answer, or all of one that says no.
    pub fn upgrade(&self, fields: &[(&str, &str)]) -> Answer {
        let mut request = format!("GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n", self.port);
        for (name, value) in fields {
            request += &format!("{name}: {value}\r\n");
        }
        request += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut socket = self.socket();
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.trim_end().to_owned(), body: String::new() }
    }

    pub fn websocket(&self) -> WebSocket<MaybeTlsStream<TcpStream>> {
        let socket = self.socket();
        let mut request = format!("ws://127.0.0.1:{}/ws", self.port).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        tungstenite::client(request, MaybeTlsStream::Plain(socket)).unwrap().0
    }

    /// Has it end in order, and says how.
    pub fn stop(&mut self) -> ExitStatus {
        self.ask("POST", "/api/stop", "");
        self.ended()
    }

    /// Has it end as the system does.
    pub fn ask_to_stop(&self) {
        if cfg!(unix) {
            let pid = self.child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        } else {
            self.ask("POST", "/api/stop", "");
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < LONG, "it does not end:\n{}", self.said());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next message of a kind.
pub fn next(socket: &mut WebSocket<MaybeTlsStream<TcpStream>>, kind: &str) -> Value {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < LONG, "no message of the kind {kind:?} comes");
        match socket.read().unwrap() {
            Message::Text(text) => {
                let message = serde_json::from_str::<Value>(&text).unwrap();
                if message["type"] == kind {
                    return message["payload"].clone();
                }
            }
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}
