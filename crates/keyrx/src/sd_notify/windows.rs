//! A named pipe: words go one way, orders come the other. Both sides make sure who the other one is.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use keyrx_platform::lock::Guarded;
use keyrx_platform::native::pipe::{Connection, Listener};
use keyrx_platform::native::process::{Identity, Process};

use super::Message;
use super::frame::{Decoder, encode};
use crate::signals::Signal;
use crate::{instance, paths};
use keyrx_platform::threads::{Stop, Threads};

/// Where to tell it: the name of the pipe.
pub const SOCKET: &str = "KEYRX_SUPERVISOR";

/// The process at the other end of the pipe.
pub const SUPERVISOR_PID: &str = "KEYRX_SUPERVISOR_PID";

/// The service answers for those whom it watches.
pub const WANTS_HEALTH: bool = true;

/// Who does not take a word for so long is not told more.
const SEND_LIMIT: Duration = Duration::from_millis(200);

/// How often a supervisor that has gone is looked for.
const RETRY: Duration = Duration::from_millis(100);

/// So many may be connected at once.
const PLACES: usize = 8;

/// A way to whoever supervises us.
#[derive(Debug)]
pub struct Socket(Arc<Link>);

#[derive(Debug)]
struct Link {
    name: String,
    /// Who started us, and is to be at the other end.
    supervisor: Option<u32>,
    connection: Guarded<Option<Arc<Connection>>>,
    /// It has been said that we are ready: the next supervisor is to know.
    is_ready: AtomicBool,
}

impl Socket {
    pub fn open(name: &OsStr) -> Option<Socket> {
        let supervisor = std::env::var(SUPERVISOR_PID).ok().and_then(|pid| pid.parse().ok());
        let connection = Guarded::new(None, |connection| *connection = None);
        let link = Link {
            name: name.to_str()?.to_owned(),
            supervisor,
            connection,
            is_ready: AtomicBool::new(false),
        };
        Some(Socket(Arc::new(link)))
    }

    pub fn send(&self, text: &str) -> io::Result<()> {
        if text == "READY=1" {
            self.0.is_ready.store(true, Ordering::Release);
        }
        let connection = self.0.connection.with(|connection| connection.clone());
        // Whoever comes next is told then.
        connection.map_or(Ok(()), |connection| connection.write_all(&encode(text), SEND_LIMIT))
    }

    pub fn obey(
        &self,
        threads: &mut Threads,
        patience: Option<Duration>,
        tell: impl Fn(Signal) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let (link, ours) = (self.0.clone(), self.0.clone());
        let wake = move || {
            if let Some(connection) = link.connection.with(Option::take) {
                connection.close();
            }
        };
        threads.start("supervisor", wake, move |stop| ours.obey(stop, patience, &tell)).map(drop)
    }
}

impl Link {
    fn obey(&self, stop: &Stop, patience: Option<Duration>, tell: &impl Fn(Signal)) {
        let mut alone_since = Instant::now();
        let mut is_told = false;
        while !stop.is_requested() {
            if let Ok(connection) = self.connect() {
                if is_told {
                    tracing::info!(event = "supervised_again", "keyrx is supervised again");
                }
                is_told = false;
                self.hear(&connection, stop, tell);
                self.connection.with(|known| *known = None);
                alone_since = Instant::now();
            }
            if stop.is_requested() {
                return;
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!(
                    event = "supervisor_unreachable",
                    "whoever supervises keyrx is not there, and keyrx goes on"
                );
            }
            if patience.is_some_and(|patience| alone_since.elapsed() >= patience) {
                tracing::error!(event = "supervisor_gone", "nobody supervises keyrx any more: it ends");
                return tell(Signal::Stop);
            }
            std::thread::park_timeout(RETRY);
        }
    }

    fn connect(&self) -> io::Result<Arc<Connection>> {
        let connection = Arc::new(Connection::connect(&self.name)?);
        let pid = connection.peer()?;
        // Of a service that was started again everybody can read the number, and nobody else can write it.
        if self.supervisor != Some(pid) && service_pid() != Some(pid) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let ready = if self.is_ready.load(Ordering::Acquire) { "\nREADY=1" } else { "" };
        let hello = format!("X_KEYRX_HELLO={}{ready}", env!("CARGO_PKG_VERSION"));
        connection.write_all(&encode(&hello), SEND_LIMIT)?;
        self.connection.with(|known| *known = Some(connection.clone()));
        Ok(connection)
    }

    fn hear(&self, connection: &Connection, stop: &Stop, tell: &impl Fn(Signal)) {
        let mut decoder = Decoder::default();
        let mut bytes = [0; 256];
        while !stop.is_requested() {
            let read = match connection.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            let Ok(texts) = decoder.take(bytes.get(..read).unwrap_or_default()) else { return };
            for line in texts.iter().flat_map(|text| text.lines()) {
                match line {
                    "STOP=1" => tell(Signal::Stop),
                    "RELOAD=1" => tell(Signal::Reload),
                    _ => {} // of a later version
                }
            }
        }
    }
}

/// The service's process, if one runs.
fn service_pid() -> Option<u32> {
    instance::said_to_run(&paths::machine_dir(), crate::service::INSTANCE).map(|running| running.pid)
}

/// What a supervised process is told.
pub fn order(connection: &Connection, order: Signal) -> io::Result<()> {
    let text = match order {
        Signal::Stop => "STOP=1",
        Signal::Reload => "RELOAD=1",
    };
    connection.write_all(&encode(text), SEND_LIMIT)
}

/// The other end: where supervised processes connect.
pub struct Server {
    pub name: String,
}

/// Who has been let in.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub process: Identity,
    pub connection: Arc<Connection>,
}

/// What happens at the pipe.
#[derive(Debug)]
pub enum Heard {
    Connected(Admitted),
    Said(u32, Message),
    /// The process has closed the pipe, or has sent what is no frame.
    Gone(u32),
    /// Somebody was not let in, or is not listened to any more, and why.
    Refused(u32, String),
}

impl Server {
    /// Listens from now on. Only processes of our own program are let in; the rest is up to who hears of them.
    pub fn open(
        threads: &mut Threads,
        name: String,
        tell: impl Fn(Heard) + Clone + Send + Sync + 'static,
    ) -> io::Result<Server> {
        let listener = Arc::new(Listener::open(&name)?);
        for _ in 0..PLACES {
            let current = Arc::new(Guarded::new(None::<Arc<Connection>>, |current| *current = None));
            let (ours, mine, tell) = (listener.clone(), current.clone(), tell.clone());
            let close = listener.clone();
            let wake = move || {
                close.close();
                if let Some(connection) = current.with(Option::take) {
                    connection.close();
                }
            };
            threads.start("pipe", wake, move |stop| {
                while !stop.is_requested() {
                    let Ok(connection) = ours.accept() else {
                        std::thread::park_timeout(RETRY);
                        continue;
                    };
                    let connection = Arc::new(connection);
                    mine.with(|current| *current = Some(connection.clone()));
                    if !stop.is_requested() {
                        serve(&connection, &tell);
                    }
                    connection.close();
                    mine.with(|current| *current = None);
                }
            })?;
        }
        Ok(Server { name })
    }
}

fn serve(connection: &Arc<Connection>, tell: &impl Fn(Heard)) {
    let Ok(pid) = connection.peer() else { return };
    let process = match Process::open(pid).and_then(|process| process.identity()) {
        Ok(process) if is_ours(&process) => process,
        Ok(process) => {
            return tell(Heard::Refused(pid, format!("{} is another program", process.image.display())));
        }
        Err(error) => return tell(Heard::Refused(pid, format!("it cannot be seen who it is: {error}"))),
    };
    tell(Heard::Connected(Admitted { process, connection: connection.clone() }));
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 4096];
    loop {
        let read = match connection.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        match decoder.take(bytes.get(..read).unwrap_or_default()) {
            Ok(texts) => {
                for message in texts.iter().flat_map(|text| Message::parse(text)) {
                    tell(Heard::Said(pid, message));
                }
            }
            Err(error) => {
                tell(Heard::Refused(pid, format!("it sent {error}")));
                break;
            }
        }
    }
    tell(Heard::Gone(pid));
}

/// Whether it is the same program file as this one.
fn is_ours(process: &Identity) -> bool {
    std::env::current_exe().is_ok_and(|ours| same(&ours, &process.image))
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    let plain = |path: &std::path::Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    plain(one).as_os_str().eq_ignore_ascii_case(plain(other).as_os_str())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::super::{Notify, WATCHDOG};
    use super::*;
    use crate::lifecycle::random;

    const LONG: Duration = Duration::from_secs(60);

    fn server() -> (Threads, String, Receiver<Heard>) {
        let mut threads = Threads::default();
        let (tell, told) = channel();
        let name = format!("keyrx-test-{:016x}", random());
        let server = Server::open(&mut threads, name, move |heard| drop(tell.send(heard))).unwrap();
        (threads, server.name, told)
    }

    /// A client of our own program, which a test is as well.
    fn connected(name: &str, told: &Receiver<Heard>) -> (Connection, Admitted) {
        let client = Connection::connect(name).unwrap();
        match told.recv_timeout(LONG).unwrap() {
            Heard::Connected(admitted) => (client, admitted),
            heard => panic!("{heard:?}"),
        }
    }

    #[test]
    fn words_are_heard_in_order_and_the_end_after_them() {
        let (_threads, name, told) = server();
        let (client, admitted) = connected(&name, &told);
        assert_eq!(admitted.process.pid, std::process::id());
        client
            .write_all(
                &[encode("READY=1\nnonsense"), encode("X_LATER=1"), encode("STOPPING=1")].concat(),
                LONG,
            )
            .unwrap();
        drop(client);
        let me = std::process::id();
        let heard = [(); 3].map(|()| told.recv_timeout(LONG).unwrap());
        assert!(matches!(heard[0], Heard::Said(pid, Message::Ready) if pid == me), "{heard:?}");
        assert!(matches!(heard[1], Heard::Said(pid, Message::Stopping) if pid == me), "{heard:?}");
        assert!(matches!(heard[2], Heard::Gone(pid) if pid == me), "{heard:?}");
    }

    #[test]
    fn who_sends_what_is_no_frame_is_sent_away_and_others_are_heard() {
        let (_threads, name, told) = server();
        let oversized = 1_000_000_u32.to_le_bytes();
        let of_another_version = [9, 0, 0, 0, 77];
        let no_text = [3, 0, 0, 0, 1, 0xff, 0xfe];
        for bytes in [&oversized[..], &of_another_version, &no_text, b"GET / HTTP/1.1\r\n\r\n"] {
            let (client, _) = connected(&name, &told);
            client.write_all(bytes, LONG).unwrap();
            let refused = told.recv_timeout(LONG).unwrap();
            assert!(matches!(&refused, Heard::Refused(_, why) if why.starts_with("it sent ")), "{refused:?}");
            assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Gone(_)));
            assert_eq!(client.read(&mut [0; 1]).unwrap_or_default(), 0, "it is sent away");
        }
        let (client, _) = connected(&name, &told);
        client.write_all(&encode("READY=1"), LONG).unwrap();
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Said(_, Message::Ready)));
    }

    #[test]
    fn clients_that_say_nothing_do_not_keep_others_out() {
        let (_threads, name, told) = server();
        let silent = (0..PLACES - 1).map(|_| connected(&name, &told)).collect::<Vec<_>>();
        let (client, _) = connected(&name, &told);
        client.write_all(&encode("READY=1"), LONG).unwrap();
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Said(_, Message::Ready)));
        drop(silent);
    }

    fn notify(name: &str) -> Notify {
        let name = name.to_owned();
        Notify::new(move |asked| match asked {
            SOCKET => Some(name.clone().into()),
            WATCHDOG => Some("3000000".into()),
            _ => None,
        })
    }

    #[test]
    fn a_supervisor_that_is_not_who_it_is_to_be_is_told_nothing_and_not_obeyed() {
        let (_threads, name, told) = server();
        // Nobody has said that this process would be the supervisor.
        let notify = notify(&name);
        let mut threads = Threads::default();
        let (tell, ordered) = channel();
        notify
            .obey(&mut threads, Some(Duration::from_millis(300)), move |signal| tell.send(signal).unwrap())
            .unwrap();
        notify.ready();
        assert_eq!(ordered.recv_timeout(LONG).unwrap(), Signal::Stop, "it has no supervisor: it ends");
        drop(threads);
        let said = told.try_iter().filter(|heard| matches!(heard, Heard::Said(..))).count();
        assert_eq!(said, 0);
    }

    #[test]
    fn orders_reach_whoever_is_supervised_and_what_it_says_reaches_the_supervisor() {
        let (_threads, name, told) = server();
        let connection = Guarded::new(None, |connection| *connection = None);
        let link =
            Link { name, supervisor: Some(std::process::id()), connection, is_ready: AtomicBool::new(false) };
        let socket = Socket(Arc::new(link));
        let mut threads = Threads::default();
        let (tell, ordered) = channel();
        socket.send("READY=1").unwrap(); // before there is anybody
        socket.obey(&mut threads, None, move |signal| tell.send(signal).unwrap()).unwrap();
        let Heard::Connected(admitted) = told.recv_timeout(LONG).unwrap() else { panic!("nobody came") };
        assert!(
            matches!(told.recv_timeout(LONG).unwrap(), Heard::Said(_, Message::Ready)),
            "it is told late"
        );
        order(&admitted.connection, Signal::Reload).unwrap();
        order(&admitted.connection, Signal::Stop).unwrap();
        assert_eq!(ordered.recv_timeout(LONG).unwrap(), Signal::Reload);
        assert_eq!(ordered.recv_timeout(LONG).unwrap(), Signal::Stop);
        socket.send("WATCHDOG=1").unwrap();
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Said(_, Message::Watchdog)));
        // The supervisor goes away, and it is looked for again.
        admitted.connection.close();
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Gone(_)));
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Connected(_)));
        assert!(matches!(told.recv_timeout(LONG).unwrap(), Heard::Said(_, Message::Ready)));
    }
}
