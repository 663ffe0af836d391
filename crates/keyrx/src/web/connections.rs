//! Connections: each is served until it is done, and there is a limit to how many there are.
//!
//! Who has connected and says nothing, or says it very slowly, loses its place to who comes after it: so nobody can
//! keep others from asking how keyrx is.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keyrx_platform::lock::Guarded;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tower_service::Service;

/// So many at once, beside those that have become WebSockets.
const MOST: usize = 256;

/// How long the head of a request may take to come.
const UNTIL_HEAD: Duration = Duration::from_secs(5);

/// How large the head of a request may be, and how many fields it may have.
const MOST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 64;

/// How long nothing is taken after that has failed, for want of files it may be.
const REST: Duration = Duration::from_millis(50);

pub struct Connections {
    router: Router,
    open: Arc<Guarded<Open>>,
    end: watch::Sender<bool>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, Connection>,
}

struct Connection {
    /// Whether a request is being answered.
    is_busy: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Connections {
    pub fn new(router: Router) -> Connections {
        let open = Guarded::new(Open::default(), |_| {});
        Connections { router, open: Arc::new(open), end: watch::channel(false).0 }
    }

    /// Takes connections; it does not end.
    pub async fn accept(&self, listeners: &[TcpListener]) {
        loop {
            match accept_any(listeners).await {
                Ok(stream) => self.take(stream),
                Err(_) => tokio::time::sleep(REST).await,
            }
        }
    }

    fn take(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let is_busy = Arc::new(AtomicBool::new(false));
        let number = self.open.with(|open| {
            if open.all.len() >= MOST {
                open.make_room();
            }
            open.next = open.next.saturating_add(1);
            open.next
        });
        let (open, busy) = (self.open.clone(), is_busy.clone());
        let serving = serve(stream, self.router.clone(), busy, self.end.subscribe());
        let task = tokio::spawn(async move {
            let _place = Place { open, number };
            serving.await;
        });
        let connection = Connection { is_busy, task: task.abort_handle() };
        self.open.with(|open| open.all.insert(number, connection));
    }

    /// Lets requests that are being answered finish, and waits until no connection is left.
    pub async fn drain(&self) {
        self.end.send_replace(true);
        self.end.closed().await;
    }
}

impl Open {
    /// The oldest that is not being answered goes; else the oldest of all.
    fn make_room(&mut self) {
        let is_idle = |it: &Connection| !it.is_busy.load(Ordering::Relaxed);
        let idle = self.all.iter().find(|(_, connection)| is_idle(connection)).map(|(number, _)| *number);
        let number = idle.or_else(|| self.all.keys().next().copied());
        if let Some(connection) = number.and_then(|number| self.all.remove(&number)) {
            connection.task.abort();
        }
    }
}

/// A connection's place, given back at its end.
struct Place {
    open: Arc<Guarded<Open>>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.with(|open| open.all.remove(&self.number));
    }
}

async fn accept_any(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    let accept = async |listener: Option<&TcpListener>| match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    };
    tokio::select! {
        stream = accept(listeners.first()) => stream,
        stream = accept(listeners.get(1)) => stream,
    }
}

async fn serve(stream: TcpStream, router: Router, is_busy: Arc<AtomicBool>, mut end: watch::Receiver<bool>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (mut router, busy) = (router.clone(), Busy::new(&is_busy));
        async move {
            let answer = router.call(request).await;
            drop(busy);
            Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(UNTIL_HEAD)
        .max_buf_size(MOST_HEAD)
        .max_headers(MOST_FIELDS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        // What is wrong with it is the client's business.
        _ = connection.as_mut() => return,
        _ = end.wait_for(|end| *end) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// While it lives, a request is being answered.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn new(is_busy: &Arc<AtomicBool>) -> Busy {
        is_busy.store(true, Ordering::Relaxed);
        Busy(is_busy.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
