//! Sockets of the protocol: datagrams, under a path or an abstract name.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Message;
use crate::signals::Signal;
use keyrx_platform::threads::Threads;

/// Where to tell it.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// systemd shows the status, and has no place for more.
pub const WANTS_HEALTH: bool = false;

/// What is longer is no message.
const MAX_BYTES: usize = 4096;

/// A way to whoever listens.
#[derive(Debug)]
pub struct Socket {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Socket {
    /// A name that begins with `@` is an abstract one. One that is none of both is nobody's (systemd has `vsock:`).
    pub fn open(name: &OsStr) -> Option<Socket> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => return None,
        };
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Socket { socket, to: to.ok()? })
    }

    /// Orders are signals.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "Windows has a pipe for it")]
    pub fn obey(
        &self,
        _: &mut Threads,
        _: Option<Duration>,
        _: impl Fn(Signal) + Send + Sync + 'static,
    ) -> io::Result<()> {
        Ok(())
    }

    pub fn send(&self, text: &str) -> io::Result<()> {
        self.socket.send_to_addr(text.as_bytes(), &self.to).map(drop)
    }
}

/// The other end. Only this user can reach it: it lies in a directory of its own.
#[derive(Debug)]
pub struct Listener {
    socket: UnixDatagram,
    directory: PathBuf,
}

impl Listener {
    pub fn open() -> io::Result<Listener> {
        let place = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let place = place.filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir);
        Listener::open_in(&place)
    }

    fn open_in(place: &Path) -> io::Result<Listener> {
        // What a process of the same number has left behind stays there: it may be somebody else's.
        let mut names = (0..100).map(|number| format!("keyrx-supervise-{}.{number}", std::process::id()));
        let mut made = Err(io::ErrorKind::AlreadyExists.into());
        let directory = names.find_map(|name| {
            let directory = place.join(name);
            made = DirBuilder::new().mode(0o700).create(&directory);
            let is_taken = made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
            (!is_taken).then_some(directory)
        });
        made?;
        let directory = directory.unwrap_or_default();
        match UnixDatagram::bind(directory.join("notify")) {
            Ok(socket) => Ok(Listener { socket, directory }),
            Err(error) => {
                let _ = fs::remove_dir(&directory);
                Err(error)
            }
        }
    }

    /// What others are to be told as `SOCKET`.
    pub fn path(&self) -> PathBuf {
        self.directory.join("notify")
    }

    /// Waits for the next datagram.
    pub fn receive(&self) -> io::Result<Vec<Message>> {
        let mut bytes = [0; MAX_BYTES];
        let length = self.socket.recv(&mut bytes)?;
        Ok(Message::parse(&String::from_utf8_lossy(bytes.get(..length).unwrap_or_default())))
    }

    /// Puts a message of our own behind all that have been sent before.
    pub fn put(&self, text: &str) -> io::Result<()> {
        UnixDatagram::unbound()?.send_to(text.as_bytes(), self.path()).map(drop)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Notify, Reason, SOCKET, WATCHDOG, WATCHDOG_PID};
    use super::*;
    use crate::testing::directory;

    fn notify(name: &OsStr, more: &[(&str, String)]) -> Notify {
        let more = more.to_owned();
        let name = name.to_owned();
        Notify::new(move |asked| {
            let found =
                more.iter().find(|(known, _)| *known == asked).map(|(_, value)| OsString::from(value));
            found.or_else(|| (asked == SOCKET).then(|| name.clone()))
        })
    }

    #[test]
    fn what_is_told_is_heard() {
        let listener = Listener::open_in(&directory("sd-notify")).unwrap();
        let told = notify(listener.path().as_os_str(), &[(WATCHDOG, "3000000".into())]);
        assert_eq!(told.watchdog_interval(), Some(Duration::from_millis(1500)));
        told.ready();
        told.reloading(Duration::from_secs(1));
        told.watchdog();
        told.status("fine\nREADY=1");
        told.forgiven();
        told.stopping(Reason::Command);
        listener.put("").unwrap();
        let heard = (0..7).flat_map(|_| listener.receive().unwrap()).collect::<Vec<_>>();
        let status = Message::Status("fine READY=1".into());
        let expected = [Message::Ready, Message::Reloading, Message::Watchdog, status, Message::Forgiven];
        let end = [Message::Stopping, Message::Status("stopping (command)".into())];
        assert_eq!(heard, [&expected[..], &end].concat());
    }

    #[test]
    fn systemd_may_listen_at_an_abstract_name() {
        let name = format!("keyrx-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        notify(OsStr::new(&format!("@{name}")), &[]).reloading(Duration::from_millis(2));
        let mut bytes = [0; 100];
        let length = systemd.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"RELOADING=1\nMONOTONIC_USEC=2000");
    }

    #[test]
    fn the_watchdog_is_asked_for_by_name_and_process() {
        let listener = Listener::open_in(&directory("sd-notify-watchdog")).unwrap();
        let path = listener.path();
        let interval = |more: &[(&str, String)]| notify(path.as_os_str(), more).watchdog_interval();
        let micros = (WATCHDOG, "2000000".to_owned());
        let me = std::process::id();
        assert_eq!(interval(&[micros.clone(), (WATCHDOG_PID, me.to_string())]), Some(Duration::from_secs(1)));
        assert_eq!(interval(&[micros.clone(), (WATCHDOG_PID, (me + 1).to_string())]), None);
        assert_eq!(interval(&[micros, (WATCHDOG_PID, "x".into())]), None);
        assert_eq!(interval(&[(WATCHDOG, "0".into())]), None);
        assert_eq!(interval(&[]), None);
        notify(path.as_os_str(), &[]).watchdog();
        notify(path.as_os_str(), &[]).ready();
        assert_eq!(listener.receive().unwrap(), [Message::Ready], "no watchdog was asked for");
    }

    #[test]
    fn nobody_and_who_is_gone_are_told_nothing() {
        let nobody = Notify::new(|_| None);
        nobody.ready();
        assert_eq!(nobody.watchdog_interval(), None);
        notify(OsStr::new("vsock:2:1"), &[]).ready();
        let listener = Listener::open_in(&directory("sd-notify-gone")).unwrap();
        let path = listener.path();
        let gone = notify(path.as_os_str(), &[]);
        drop(listener);
        assert!(!path.parent().unwrap().exists());
        gone.ready();
        assert!(gone.is_lost.load(std::sync::atomic::Ordering::Relaxed));
    }

    #[test]
    fn each_listener_has_a_directory_of_its_own() {
        use std::os::unix::fs::PermissionsExt;
        let place = directory("sd-notify-own");
        let (first, second) = (Listener::open_in(&place).unwrap(), Listener::open_in(&place).unwrap());
        assert_ne!(first.path(), second.path());
        let mode = fs::metadata(&first.directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
