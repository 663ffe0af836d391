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
