//! The web server: health for everybody on this machine, and everything else for who has the token.
//!
//! It has a thread and a runtime of its own, so that nothing that waits for a disk or a compiler holds up a question
//! about health. It serves 127.0.0.1 and ::1 only. There is a limit to everything that a client can ask for.

mod access;
mod api;
mod assets;
mod connections;
mod exposition;
mod keymaps;
mod live;
mod openapi;
mod routes;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use keyrx_platform::lock::Guarded;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::control::{Cause, Job};
use crate::daemon::Daemon;
use crate::health::{Report, WebState};
use crate::instance::PidFile;
use crate::phase::Phase;
use crate::tap::Records;
pub use access::{Access, read_token};

#[cfg(windows)]
pub use api::health_response;
pub use connections::Connections;
use live::Live;

/// So many ports are tried, one after the other.
const PORTS: u16 = 10;

/// How long until the ports are tried again when none could be had.
const RETRY: Duration = Duration::from_secs(10);

/// How long clients have to go in the end, a little less than the control thread waits for it.
const DRAIN: Duration = Duration::from_millis(2800);

/// So old may an answer about health be.
const FRESH: Duration = Duration::from_millis(100);

/// Connections that may wait to be taken.
const BACKLOG: u32 = 1024;

/// Where a page is that is let in by a code.
pub fn page(port: u16, code: &str) -> String {
    format!("http://127.0.0.1:{port}/#code={code}")
}

/// The web server, with what it answers from.
pub struct Web {
    server: Arc<Server>,
    port: u16,
    pid_file: Option<PidFile>,
}

/// What requests are answered from.
pub struct Server {
    pub daemon: Arc<Daemon>,
    pub causes: Sender<Cause>,
    pub jobs: SyncSender<Job>,
    pub live: Live,
    health: Guarded<Option<(Instant, Arc<Report>)>>,
}

impl Server {
    /// Something has changed: whoever asks next is to know.
    pub fn forget_health(&self) {
        self.health.with(|known| *known = None);
    }

    /// How keyrx is, or was a moment ago: whoever asks all the time costs no more than that.
    pub fn health(&self) -> Arc<Report> {
        self.health.with(|known| match known {
            Some((at, report)) if at.elapsed() < FRESH => report.clone(),
            _ => {
                let report = Arc::new(self.daemon.assess());
                *known = Some((Instant::now(), report.clone()));
                report
            }
        })
    }
}

impl Web {
    pub fn new(
        daemon: Arc<Daemon>,
        causes: Sender<Cause>,
        jobs: SyncSender<Job>,
        records: Records,
        port: u16,
        pid_file: Option<PidFile>,
    ) -> Web {
        let live = Live::new(records);
        let health = Guarded::new(None, |known| *known = None);
        Web { server: Arc::new(Server { daemon, causes, jobs, live, health }), port, pid_file }
    }

    /// Serves until the end begins, and is there until it has come for all. The thread `web`.
    pub fn run(&self) {
        let phase = self.server.daemon.metrics.phases().follow();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.serve(phase)),
            Err(error) => {
                self.set_state(WebState::Failed);
                tracing::error!(event = "web_failed", error = %error, "the web server cannot run: {error}");
            }
        }
    }

    async fn serve(&self, mut phase: watch::Receiver<Phase>) {
        let is_ending = |phase: &Phase| phase.reason().is_some();
        self.server.daemon.access.token(); // before anybody can ask for it
        let listeners = loop {
            match self.bind() {
                Some(listeners) => break listeners,
                None => self.set_state(WebState::Failed),
            }
            tokio::select! {
                _ = phase.wait_for(is_ending) => {
                    let _ = self.server.causes.send(Cause::Drained);
                    return;
                }
                () = tokio::time::sleep(RETRY) => {}
            }
        };
        let connections = Connections::new(routes::router(self.server.clone()));
        let pulse = live::pulse(self.server.clone());
        tokio::select! {
            () = connections.accept(&listeners) => {}
            () = pulse => {}
            _ = phase.wait_for(is_ending) => {}
        }
        drop(listeners);
        if let Some(pid_file) = &self.pid_file {
            pid_file.write(None);
        }
        self.server.live.say_goodbye();
        let gone = async { tokio::join!(connections.drain(), self.server.live.gone()) };
        let _ = tokio::time::timeout(DRAIN, gone).await;
        // The control thread may have gone on without us.
        let _ = self.server.causes.send(Cause::Drained);
        let _ = phase.wait_for(|phase| phase.is_over()).await;
    }

    fn bind(&self) -> Option<Vec<TcpListener>> {
        let last = if self.port == 0 { 0 } else { self.port.saturating_add(PORTS - 1) };
        let bound = (self.port..=last).find_map(|port| listen(port).ok());
        let port =
            bound.as_ref().and_then(|listeners| listeners.first()?.local_addr().ok()).map(|it| it.port());
        match port {
            Some(port) => {
                self.set_state(WebState::Serving(port));
                if let Some(pid_file) = &self.pid_file {
                    pid_file.write(Some(port));
                }
                let instead = self.port != 0 && port != self.port;
                let why = if instead { format!(", for {} is taken", self.port) } else { String::new() };
                tracing::info!(
                    event = "web_serving",
                    port,
                    "the web server is at http://127.0.0.1:{port}{why}"
                );
            }
            None if self.server.daemon.view().web != WebState::Failed => tracing::error!(
                event = "web_unreachable",
                first = self.port,
                last,
                "the ports {} to {last} are taken: there is no web page, and no command reaches this keyrx; keys are \
                 mapped, and it is tried again every {} s",
                self.port,
                RETRY.as_secs()
            ),
            None => {}
        }
        bound
    }

    fn set_state(&self, state: WebState) {
        self.server.daemon.change_view(|view| view.web = state);
    }
}

/// Listens on both loopback addresses, or on the one where there is no IPv6.
pub fn listen(port: u16) -> io::Result<Vec<TcpListener>> {
    let first = bind(IpAddr::V4(Ipv4Addr::LOCALHOST), port)?;
    let port = first.local_addr()?.port();
    match bind(IpAddr::V6(Ipv6Addr::LOCALHOST), port) {
        Ok(second) => Ok(vec![first, second]),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // This machine has no IPv6.
        Err(_) => Ok(vec![first]),
    }
}

fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // On Unix this lets a new keyrx have the port of one that has just ended; on Windows it would let anybody have it.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(BACKLOG)
}

// The clock of Windows begins with the machine: there may be no moment twelve hours ago.
#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::mpsc::{channel, sync_channel};
    use std::thread;

    use axum::http::StatusCode;
    use keyrx_platform::threads::Threads;
    use keyrx_platform::{native, simulated};
    use tungstenite::client::IntoClientRequest;
    use tungstenite::{Message, WebSocket};

    use super::*;
    use crate::daemon::{Desk, KeymapSource, View};
    use crate::health::KeymapState;
    use crate::lifecycle::Lifecycle;
    use crate::logging::LogSwitch;
    use crate::metrics::Metrics;
    use crate::paths::{Directories, Paths};
    use crate::phase::Reason;
    use crate::profiles::Profiles;
    use crate::tap;
    use crate::testing::directory;

    /// The web server on real sockets, with no other part of keyrx beside it.
    struct Serving {
        daemon: Arc<Daemon>,
        port: u16,
        _threads: Threads,
    }

    impl Serving {
        fn start(test: &str) -> Serving {
            let home = directory(test);
            let paths = Paths::of(&Directories::with_state(Some(home.clone())));
            let metrics = Arc::new(Metrics::new());
            let view = View {
                source: KeymapSource::File(home.join("keymap.rhai")),
                state: KeymapState::Missing,
                diagnostics: Arc::default(),
                loaded: None,
                earlier: Arc::new(metrics.snapshot().latency),
                rate: 0.0,
                figures: Arc::new(native::figures()),
                web: WebState::Starting,
            };
            let daemon = Arc::new(Daemon {
                log: LogSwitch::of_nobody(metrics.clone()),
                metrics,
                profiles: Profiles::new(&[home]),
                access: Access::new(paths.token()),
                paths,
                desk: Desk::Simulated(simulated::stage().0),
                keyboards: Default::default(),
                lifecycle: Arc::new(Lifecycle::begin(None)),
                has_chaos: false,
                view: Guarded::new(view, |_| {}),
            });
            let web = Web::new(daemon.clone(), channel().0, sync_channel(1).0, tap::live().1, 0, None);
            let ending = daemon.metrics.clone();
            let end = move || _ = ending.phases().end(Reason::Command);
            let mut threads = Threads::default();
            threads.start("web", end, move |_| web.run()).unwrap();
            let begin = Instant::now();
            let port = loop {
                match daemon.view().web {
                    WebState::Serving(port) => break port,
                    state => assert!(begin.elapsed() < Duration::from_secs(30), "{state:?}"),
                }
                thread::sleep(Duration::from_millis(5));
            };
            Serving { daemon, port, _threads: threads }
        }

        /// The status of the answer, and the answer.
        fn request(&self, method: &str, path: &str, field: &str, body: &str) -> (u16, String) {
            let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n{field}\r\nContent-Length: {}\r\n\r\n",
                self.port,
                body.len()
            );
            socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
        }

        /// A WebSocket as a page asks for it, or how that is answered.
        fn websocket(&self, session: &str) -> Result<WebSocket<TcpStream>, StatusCode> {
            let mut request = format!("ws://127.0.0.1:{}/ws", self.port).into_client_request().unwrap();
            let offer = format!("keyrx, keyrx.session.{session}");
            request.headers_mut().insert("sec-websocket-protocol", offer.parse().unwrap());
            let socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            match tungstenite::client(request, socket) {
                Ok((socket, _)) => Ok(socket),
                Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                    Err(answer.status())
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_session_and_a_code_that_are_too_old_are_refused_on_every_way() {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let it = Serving::start("web-expiry");
        let access = &it.daemon.access;
        let ago = |age: Duration| Instant::now().checked_sub(age).unwrap();
        for (age, status) in [(HOUR * 11, 200), (HOUR * 12, 401), (HOUR * 24, 401)] {
            let then = ago(age);
            let session = access.begin_session(&access.code(then).unwrap(), then).unwrap();
            let bearer = format!("Authorization: Bearer {session}");
            assert_eq!(it.request("GET", "/api/version", &bearer, "").0, status, "{age:?}");
            let known = it.request("GET", "/api/session", &bearer, "").1.contains(r#"{"known":true}"#);
            assert_eq!(known, status == 200, "{age:?}");
            let refused = (status != 200).then_some(StatusCode::UNAUTHORIZED);
            assert_eq!(it.websocket(&session).err(), refused, "{age:?}");
        }
        for (age, status) in [(30, 200), (60, 401)] {
            let code = access.code(ago(Duration::from_secs(age))).unwrap();
            let begun =
                it.request("POST", "/api/session", "X-Nothing: 0", &format!(r#"{{"code":"{code}"}}"#));
            assert_eq!(begun.0, status, "{age} s: {}", begun.1);
        }
    }

    #[test]
    fn a_websocket_ends_with_its_session() {
        let it = Serving::start("web-session-end");
        let access = &it.daemon.access;
        let begin = |age: Duration| {
            let then = Instant::now().checked_sub(age).unwrap();
            access.begin_session(&access.code(then).unwrap(), then).unwrap()
        };
        let mut young = it.websocket(&begin(Duration::ZERO)).unwrap();
        let mut old = it.websocket(&begin(Duration::from_secs(12 * 60 * 60 - 3))).unwrap();
        let frame = loop {
            if let Message::Close(frame) = old.read().unwrap() {
                break frame.unwrap();
            }
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1008, "the session is over"));
        young.send(Message::text("nonsense")).unwrap();
        while !young.read().unwrap().to_text().unwrap().contains("bad_message") {}
    }
}
