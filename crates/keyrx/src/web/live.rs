//! WebSockets: how keyrx is, as soon as that changes, and keys as they move for who asks to see them.
//!
//! Everything is put together once for all clients. Who is too slow misses something and is told so; who stays too
//! slow is let go. While somebody watches keys, that is in the status and in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use keyrx_engine::notation::{self, Moment};
use keyrx_platform::Queue;
use keyrx_platform::lock::Guarded;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;

use super::access::{PROTOCOL, Stay};
use super::api::fail;
use super::{Server, api, exposition};
use crate::explain;
use crate::tap::{Record, Records};

/// So many at once.
const MOST_CLIENTS: usize = 128;

/// A message of a client has at most so many bytes.
const MOST_BYTES: usize = 64 << 10;

/// So many messages may wait for a client.
const BACKLOG: usize = 256;

/// How often it is looked for news of each kind.
const KEYS_EVERY: Duration = Duration::from_millis(20);
const STATUS_EVERY: Duration = Duration::from_millis(250);
const METRICS_EVERY: Duration = Duration::from_secs(1);

/// How long a client may take to take a message, or to say goodbye.
const PATIENCE: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_millis(1000);

pub struct Live {
    records: Guarded<Records>,
    clients: AtomicUsize,
    viewers: AtomicUsize,
    /// A client has come, or wants to see keys.
    attention: Notify,
    news: broadcast::Sender<News>,
    /// Whether the end has come. Whoever has a receiver is still there.
    end: watch::Sender<bool>,
}

/// Something to be told to all who want to know.
#[derive(Clone)]
struct News {
    kind: Kind,
    text: Utf8Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Status,
    Metrics,
    Keys,
}

/// What a client may say.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Wish {
    /// To see keys, or no longer.
    Watch { keys: bool },
}

impl Live {
    pub fn new(records: Records) -> Live {
        Live {
            records: Guarded::new(records, |_| {}),
            clients: AtomicUsize::new(0),
            viewers: AtomicUsize::new(0),
            attention: Notify::new(),
            news: broadcast::channel(BACKLOG).0,
            end: watch::channel(false).0,
        }
    }

    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// How many of them see keys.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// How much of what is shown live waits to be shown.
    pub fn queue(&self) -> Queue {
        self.records.with(|records| Queue {
            depth: records.ring.slots() as u64,
            capacity: records.ring.buffer().capacity() as u64,
        })
    }

    /// Tells all clients that it is over.
    pub fn say_goodbye(&self) {
        self.end.send_replace(true);
    }

    /// Waits until no client is left.
    pub async fn gone(&self) {
        self.end.closed().await;
    }

    fn take_records(&self) -> Vec<Record> {
        self.records.with(|records| std::iter::from_fn(|| records.ring.pop().ok()).collect())
    }

    fn tell(&self, kind: Kind, text: String) {
        // There may be nobody to hear it.
        let _ = self.news.send(News { kind, text: text.into() });
    }
}

/// Looks for news while there are clients; it does not end.
pub async fn pulse(server: Arc<Server>) {
    let live = &server.live;
    let mut status = String::new();
    let mut metrics_at = Instant::now();
    let mut status_at = Instant::now();
    loop {
        if live.clients() == 0 {
            live.attention.notified().await;
        }
        let pause = if live.viewers() > 0 { KEYS_EVERY } else { STATUS_EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = live.attention.notified() => {}
        }
        let records = live.take_records();
        if !records.is_empty() && live.viewers() > 0 {
            live.tell(Kind::Keys, keys(&server, &records));
        }
        let now = Instant::now();
        if now >= status_at {
            status_at = now + STATUS_EVERY;
            let new = message("status", api::status_of(&server));
            if api::is_other_status(&status, &new) {
                live.tell(Kind::Status, new.clone());
                status = new;
            }
        }
        if now >= metrics_at {
            metrics_at = now + METRICS_EVERY;
            live.tell(Kind::Metrics, message("metrics", exposition::json(&server)));
        }
    }
}

fn message(kind: &str, payload: Value) -> String {
    json!({ "type": kind, "payload": payload }).to_string()
}

/// Keys and what came of them, in the notation and in words.
fn keys(server: &Server, records: &[Record]) -> String {
    let loaded = server.daemon.view().loaded;
    let name = |device| {
        let known = server.daemon.keyboards.with(|known| known.get(&device).map(|info| info.name.clone()));
        known.unwrap_or_default()
    };
    let written = |moment: Moment| {
        let text = notation::print([moment]);
        text.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let events = records.iter().map(|record| match record {
        Record::Key(event) => json!({
            "time_us": event.time.micros(),
            "device": name(event.device),
            "in": written(Moment { time: event.time, motion: event.motion, key: event.key }),
        }),
        Record::Effect(effect) => json!({
            "time_us": effect.time.micros(),
            "device": name(effect.cause.device),
            "out": written((*effect).into()),
            "cause": loaded.as_ref().map(|loaded| explain::cause(effect, loaded)),
        }),
    });
    message("keys", events.collect::<Vec<_>>().into())
}

/// `GET /ws`
pub async fn upgrade(
    State(server): State<Arc<Server>>,
    Extension(stay): Extension<Stay>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if server.live.clients() >= MOST_CLIENTS {
        let message = "there are as many clients as there may be";
        return fail(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", message);
    }
    let client = Client::new(server, stay);
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MOST_BYTES).max_frame_size(MOST_BYTES);
    upgrade.on_upgrade(move |socket| client.serve(socket)).into_response()
}

/// A client, from its first request to its end.
struct Client {
    server: Arc<Server>,
    stay: Stay,
    sees_keys: bool,
    news: broadcast::Receiver<News>,
    end: watch::Receiver<bool>,
}

impl Client {
    fn new(server: Arc<Server>, stay: Stay) -> Client {
        server.live.clients.fetch_add(1, Ordering::Relaxed);
        let (news, end) = (server.live.news.subscribe(), server.live.end.subscribe());
        Client { server, stay, sees_keys: false, news, end }
    }

    async fn serve(mut self, mut socket: WebSocket) {
        self.server.live.attention.notify_one();
        let first = [
            message("status", api::status_of(&self.server)),
            message("metrics", exposition::json(&self.server)),
        ];
        for text in first {
            if !send(&mut socket, Message::Text(text.into())).await {
                return;
            }
        }
        loop {
            let next = tokio::select! {
                _ = self.end.wait_for(|end| *end) => Next::End,
                () = over(self.stay) => Next::Over,
                news = self.news.recv() => Next::News(news),
                said = socket.recv() => Next::Said(said),
            };
            let answer = match next {
                Next::End => return goodbye(socket, close(close_code::AWAY, "keyrx ends")).await,
                Next::Over => {
                    return goodbye(socket, close(close_code::POLICY, "the session is over")).await;
                }
                Next::News(Ok(News { kind: Kind::Keys, .. })) if !self.sees_keys => continue,
                Next::News(Ok(news)) => Message::Text(news.text),
                Next::News(Err(RecvError::Lagged(missed))) => {
                    Message::Text(error("missed", &format!("{missed} messages were missed")))
                }
                Next::Said(Some(Ok(Message::Text(text)))) => match self.hear(&text) {
                    Some(answer) => Message::Text(answer),
                    None => continue,
                },
                Next::Said(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
                Next::Said(Some(Ok(Message::Binary(_)))) => close(close_code::UNSUPPORTED, "text only"),
                // It may be gone, or does not speak the protocol.
                Next::Said(Some(Err(_))) => close(close_code::PROTOCOL, ""),
                Next::Said(Some(Ok(Message::Close(_))) | None) | Next::News(Err(RecvError::Closed)) => return,
            };
            let is_last = matches!(answer, Message::Close(_));
            if !send(&mut socket, answer).await || is_last {
                return;
            }
        }
    }

    fn hear(&mut self, text: &str) -> Option<Utf8Bytes> {
        match serde_json::from_str(text) {
            Ok(Wish::Watch { keys }) => {
                self.see_keys(keys);
                None
            }
            Err(fault) => {
                let example = r#"{"type":"watch","keys":true}"#;
                Some(error("bad_message", &format!("{fault}; a message is such as {example}")))
            }
        }
    }

    fn see_keys(&mut self, sees_keys: bool) {
        if std::mem::replace(&mut self.sees_keys, sees_keys) == sees_keys {
            return;
        }
        let live = &self.server.live;
        let viewers = match sees_keys {
            true => live.viewers.fetch_add(1, Ordering::Relaxed).saturating_add(1),
            false => live.viewers.fetch_sub(1, Ordering::Relaxed).saturating_sub(1),
        };
        live.records.with(|records| records.is_watched.store(viewers > 0, Ordering::Relaxed));
        let what = if sees_keys { "live_view_begins" } else { "live_view_ends" };
        tracing::warn!(event = what, viewers, "keys are shown to {viewers} viewers of the live view");
        live.attention.notify_one();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.see_keys(false);
        self.server.live.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client waits for.
enum Next {
    End,
    /// The client's session is over.
    Over,
    News(Result<News, RecvError>),
    Said(Option<Result<Message, axum::Error>>),
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

/// Whether the client took it.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(PATIENCE, socket.send(message)).await, Ok(Ok(())))
}

/// Waits until a client may stay no longer.
async fn over(Stay(until): Stay) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}

/// Says why it ends, and waits a moment for the client to say that it has heard it.
async fn goodbye(mut socket: WebSocket, why: Message) {
    let goodbye = async {
        if socket.send(why).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

fn error(code: &str, text: &str) -> Utf8Bytes {
    message("error", json!({ "code": code, "message": text })).into()
}
