//! A daemon under load: keys as fast as nobody types, clients, and questions about health; then it is to end.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::Message;

use super::Daemon;

/// What is typed in a millisecond each, over and over, and what comes out of it.
const TYPED: [&str; 8] = ["+A", "-A", "+S", "-S", "+D", "+F", "-D", "-F"];
const OUT: &str = "+B -B +S -S +D +F -D -F";

/// How hard.
pub struct Load {
    pub seconds: u64,
    pub clients: usize,
    pub questions_per_second: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Figures {
    pub events: u64,
    /// Keys that did not come out, or not in their order.
    pub is_complete: bool,
    /// Sorted.
    pub health: Vec<Duration>,
    /// Questions about health that were not answered by 200.
    pub refused: usize,
    pub latency: serde_json::Value,
    /// From the word to its end.
    pub stop: Duration,
    /// How keyrx ended.
    pub exit: Option<i32>,
    /// Clients that were told that it ends.
    pub told: usize,
    /// Keys that were down for the system in the end.
    pub keys_held: u64,
}

impl Figures {
    /// Within what time so many of a thousand questions were answered.
    pub fn health_within(&self, permille: usize) -> Duration {
        let place = (self.health.len() * permille).div_ceil(1000).max(1) - 1;
        self.health[place]
    }
}

pub fn run(daemon: &mut Daemon, load: &Load) -> Figures {
    let is_over = Arc::new(AtomicBool::new(false));
    let clients = (0..load.clients).map(|_| watch(daemon)).collect::<Vec<_>>();
    let asking =
        (0..4).map(|_| ask(daemon.port, load.questions_per_second / 4, is_over.clone())).collect::<Vec<_>>();

    let events = load.seconds * 1000;
    daemon.type_keys(&TYPED.map(|key| format!("{key} 1 ")).concat().repeat(events as usize / 8));
    thread::sleep(Duration::from_secs(load.seconds));
    daemon.wait("all keys to be counted", |it| it.get("/api/metrics").json()["events"]["total"] == events);
    let is_complete = daemon.output() == vec![OUT; events as usize / 8].join(" ");
    let latency = daemon.get("/api/metrics").json()["latency_us"].clone();
    is_over.store(true, Ordering::Relaxed);
    let mut health = Vec::new();
    let mut refused = 0;
    for asking in asking {
        let (times, failed) = asking.join().unwrap();
        health.extend(times);
        refused += failed;
    }
    health.sort();

    // In the midst of typing, with keys held.
    daemon.type_keys(&format!("+A +CapsLock {}", "+S 1 -S 1 ".repeat(2000)));
    thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    daemon.ask_to_stop();
    let exit = daemon.ended().code();
    let stop = begin.elapsed();
    let told = clients.into_iter().map(|client| usize::from(client.join().unwrap())).sum();
    let log = daemon.log();
    let stopped = log.iter().find(|line| line["event"] == "stopped");
    let keys_held = stopped.and_then(|line| line["context"]["keys_held"].as_u64()).unwrap_or(u64::MAX);
    Figures { events, is_complete, health, refused, latency, stop, exit, told, keys_held }
}

/// A client that hears all there is until it is told that keyrx ends: whether it was.
fn watch(daemon: &Daemon) -> thread::JoinHandle<bool> {
    let mut socket = daemon.websocket();
    thread::spawn(move || {
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => {
                    let _ = socket.flush();
                    return frame.is_some_and(|frame| u16::from(frame.code) == 1001);
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    })
}

/// Asks how keyrx is, each time by a connection of its own: how long the answers took, and how many were refused.
fn ask(port: u16, per_second: u64, is_over: Arc<AtomicBool>) -> thread::JoinHandle<(Vec<Duration>, usize)> {
    use std::io::{Read, Write};

    thread::spawn(move || {
        let (mut times, mut refused) = (Vec::new(), 0);
        let begin = Instant::now();
        for number in 0.. {
            let at = begin + Duration::from_micros(number * 1_000_000 / per_second);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let asked = Instant::now();
            let mut answer = String::new();
            let done = TcpStream::connect(("127.0.0.1", port)).and_then(|mut socket| {
                let request =
                    format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
                socket.write_all(request.as_bytes())?;
                socket.read_to_string(&mut answer)
            });
            times.push(asked.elapsed());
            refused += usize::from(done.is_err() || !answer.starts_with("HTTP/1.1 200"));
        }
        (times, refused)
    })
}
