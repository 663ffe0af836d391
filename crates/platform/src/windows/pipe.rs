//! Named pipes: bytes both ways between two processes of this machine, each of which can see which one the other is.
//!
//! All transfers are overlapped: on a handle that is not, a write would wait for the read that is under way.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::time::Duration;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_OPERATION_ABORTED, ERROR_PIPE_BUSY,
    ERROR_PIPE_CONNECTED, ERROR_PIPE_NOT_CONNECTED, HANDLE, INVALID_HANDLE_VALUE, WAIT_OBJECT_0,
    WAIT_TIMEOUT,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_WRITE_DATA,
    OPEN_EXISTING, PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, DisconnectNamedPipe, GetNamedPipeClientProcessId,
    GetNamedPipeServerProcessId, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE,
    PIPE_UNLIMITED_INSTANCES, PIPE_WAIT, WaitNamedPipeW,
};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForMultipleObjects};

use super::security::{self, Descriptor};
use super::waker::{Reset, event, set};
use crate::live::{Counted, Kind};
use crate::lock::Guarded;

/// What the system keeps for each side until it is read.
const BUFFER: u32 = 64 << 10;

/// How long a client waits for a place.
const UNTIL_PLACE_MS: u32 = 500;

/// Users at this machine may read and write, and not make pipes of this name themselves: that would be FILE_APPEND_DATA.
const USERS: &str = "(A;;0x12019b;;;IU)";

/// Where clients come in.
#[derive(Debug)]
pub struct Listener {
    name: Vec<u16>,
    security: Descriptor,
    /// The first instance, made at once so that nobody else has the name.
    first: Guarded<Option<Counted<OwnedHandle>>>,
    /// Set when it is closed.
    closed: Counted<OwnedHandle>,
}

impl Listener {
    /// Takes the name; `PermissionDenied`: it is somebody else's. Our user, the system and administrators may do
    /// everything.
    pub fn open(name: &str) -> io::Result<Listener> {
        let name = full_name(name);
        let security = Descriptor::private(USERS)?;
        let first = instance(&name, &security, FILE_FLAG_FIRST_PIPE_INSTANCE).or_else(|error| match error
            .kind()
        {
            // A client of a process before us may still have its end, and with it the name: one that hangs, or one that
            // wants to keep us from it.
            io::ErrorKind::PermissionDenied => instance(&name, &security, 0),
            _ => Err(error),
        })?;
        // Whoever made the name first is its owner, and only we can name us as that.
        if security::owner(&first)? != security::own_user()? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let closed = event(null(), Reset::ByHand)?;
        Ok(Listener { name, security, first: Guarded::new(Some(first), |_| {}), closed })
    }

    /// Waits for the next client. Several threads may wait at once, each for another. While none waits and no client is
    /// there, clients find nobody, and have to try again.
    pub fn accept(&self) -> io::Result<Connection> {
        let pipe = match self.first.with(Option::take) {
            Some(first) => first,
            None => instance(&self.name, &self.security, 0)?,
        };
        let handle = pipe.as_raw_handle();
        let connected = transfer(handle, &self.closed, None, |overlapped| {
            // SAFETY: the pipe is open; the structure lives until the operation is over.
            unsafe { ConnectNamedPipe(handle, overlapped) }
        });
        match connected {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_CONNECTED.cast_signed()) => {}
            Err(error) => return Err(error),
        }
        Connection::new(pipe, Side::Server)
    }

    /// Ends all waiting, now and from now on.
    pub fn close(&self) {
        set(&self.closed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// One end of a pipe. One thread may read while others write.
#[derive(Debug)]
pub struct Connection {
    pipe: Counted<OwnedHandle>,
    side: Side,
    closed: Counted<OwnedHandle>,
    writing: Guarded<()>,
}

impl Connection {
    fn new(pipe: Counted<OwnedHandle>, side: Side) -> io::Result<Connection> {
        let closed = event(null(), Reset::ByHand)?;
        Ok(Connection { pipe, side, closed, writing: Guarded::new((), |()| {}) })
    }

    /// To whoever listens at this name. It learns who we are, and cannot act for us.
    pub fn connect(name: &str) -> io::Result<Connection> {
        let name = full_name(name);
        let open = || {
            // SAFETY: the name ends with a zero; no security, no template.
            unsafe {
                CreateFileW(
                    name.as_ptr(),
                    FILE_GENERIC_READ | FILE_WRITE_DATA,
                    0,
                    null(),
                    OPEN_EXISTING,
                    FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                    null_mut(),
                )
            }
        };
        let mut handle = open();
        if handle == INVALID_HANDLE_VALUE {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_PIPE_BUSY.cast_signed()) {
                return Err(error);
            }
            // SAFETY: the name ends with a zero.
            unsafe { WaitNamedPipeW(name.as_ptr(), UNTIL_PLACE_MS) };
            handle = open();
        }
        Connection::new(owned(handle)?, Side::Client)
    }

    /// The process at the other end.
    pub fn peer(&self) -> io::Result<u32> {
        let mut pid = 0;
        // SAFETY: the pipe is open; the number is written to.
        let done = unsafe {
            match self.side {
                Side::Server => GetNamedPipeClientProcessId(self.handle(), &mut pid),
                Side::Client => GetNamedPipeServerProcessId(self.handle(), &mut pid),
            }
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
    }

    /// Waits for bytes, and takes what is there; 0: the other side has gone, or we have closed.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let read = transfer(self.handle(), &self.closed, None, |overlapped| {
            // SAFETY: the pipe is open; there is as much room as is said; both live until the operation is over.
            unsafe { ReadFile(self.handle(), bytes.as_mut_ptr(), length, null_mut(), overlapped) }
        });
        match read {
            Err(error) if is_end(&error) => Ok(0),
            read => read,
        }
    }

    /// Writes all of it, or fails after `limit`; then nobody knows how much has gone, and the pipe is of no more use.
    pub fn write_all(&self, bytes: &[u8], limit: Duration) -> io::Result<()> {
        self.writing.with(|()| self.write(bytes, limit))
    }

    fn write(&self, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let written = transfer(self.handle(), &self.closed, Some(limit), |overlapped| {
                // SAFETY: the pipe is open; there are as many bytes as is said; both live until the operation is over.
                unsafe { WriteFile(self.handle(), bytes.as_ptr(), length, null_mut(), overlapped) }
            })?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the connection, and whatever waits for it.
    pub fn close(&self) {
        set(&self.closed);
        if self.side == Side::Server {
            // SAFETY: the pipe is open.
            unsafe { DisconnectNamedPipe(self.handle()) };
        }
    }

    fn handle(&self) -> HANDLE {
        self.pipe.as_raw_handle()
    }
}

/// Whether the other side has gone, or we.
fn is_end(error: &io::Error) -> bool {
    let code = error.raw_os_error().unwrap_or_default().cast_unsigned();
    matches!(code, ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED | ERROR_NO_DATA | ERROR_OPERATION_ABORTED)
}

/// Begins an operation and waits for its end. Where `closed` is set before, or the limit is over, it is cancelled; in
/// any case it is over when this returns.
fn transfer(
    handle: HANDLE,
    closed: &OwnedHandle,
    limit: Option<Duration>,
    begin: impl FnOnce(*mut OVERLAPPED) -> i32,
) -> io::Result<usize> {
    let done = event(null(), Reset::ByHand)?;
    let mut overlapped = OVERLAPPED { hEvent: done.as_raw_handle(), ..OVERLAPPED::default() };
    if begin(&mut overlapped) == 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
            return Err(error);
        }
    }
    let limit = limit.map_or(INFINITE, |limit| u32::try_from(limit.as_millis()).unwrap_or(INFINITE - 1));
    let handles = [done.as_raw_handle(), closed.as_raw_handle()];
    // SAFETY: both handles are open.
    let woken = unsafe { WaitForMultipleObjects(2, handles.as_ptr(), 0, limit) };
    if woken != WAIT_OBJECT_0 {
        // SAFETY: the operation was begun on this handle with this structure.
        unsafe { CancelIoEx(handle, &overlapped) };
    }
    let mut count = 0;
    // SAFETY: as above; it waits until the operation is over, so that nobody writes to what is gone.
    let is_done = unsafe { GetOverlappedResult(handle, &overlapped, &mut count, 1) };
    match is_done {
        0 if woken == WAIT_TIMEOUT => Err(io::ErrorKind::TimedOut.into()),
        0 => Err(io::Error::last_os_error()),
        _ => Ok(usize::try_from(count).unwrap_or_default()),
    }
}

fn instance(name: &[u16], security: &Descriptor, flags: u32) -> io::Result<Counted<OwnedHandle>> {
    let attributes = security.attributes();
    // SAFETY: the name ends with a zero; the attributes live as long as the call.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | flags,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            // Bounded by who accepts: the system would count those that have gone and keep their end.
            PIPE_UNLIMITED_INSTANCES,
            BUFFER,
            BUFFER,
            0,
            &attributes,
        )
    };
    owned(handle)
}

fn owned(handle: HANDLE) -> io::Result<Counted<OwnedHandle>> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is new, and nobody else's.
    Ok(Counted::new(Kind::Pipe, unsafe { OwnedHandle::from_raw_handle(handle) }))
}

fn full_name(name: &str) -> Vec<u16> {
    format!(r"\\.\pipe\{name}").encode_utf16().chain([0]).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the other sides are threads that end with their test")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn name() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("keyrx-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn pair() -> (Arc<Connection>, Arc<Connection>) {
        let name = name();
        let listener = Listener::open(&name).unwrap();
        let client = thread::spawn(move || Connection::connect(&name).unwrap());
        let server = listener.accept().unwrap();
        (Arc::new(server), Arc::new(client.join().unwrap()))
    }

    #[test]
    fn bytes_go_both_ways_while_each_side_waits_for_some() {
        let (server, client) = pair();
        let ours = server.clone();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 16];
            let read = ours.read(&mut bytes).unwrap();
            bytes[..read].to_vec()
        });
        thread::sleep(Duration::from_millis(50));
        server.write_all(b"order", LONG).unwrap();
        let mut bytes = [0; 3];
        assert_eq!((client.read(&mut bytes).unwrap(), &bytes), (3, b"ord"));
        assert_eq!((client.read(&mut bytes).unwrap(), &bytes[..2]), (2, &b"er"[..]));
        client.write_all(b"word", LONG).unwrap();
        assert_eq!(reader.join().unwrap(), b"word");
    }

    #[test]
    fn each_side_knows_the_process_of_the_other() {
        let (server, client) = pair();
        let me = std::process::id();
        assert_eq!((server.peer().unwrap(), client.peer().unwrap()), (me, me));
    }

    #[test]
    fn the_end_of_one_side_is_the_end_of_the_stream_for_the_other() {
        let (server, client) = pair();
        client.write_all(b"last", LONG).unwrap();
        drop(client);
        let mut bytes = [0; 16];
        assert_eq!(server.read(&mut bytes).unwrap(), 4);
        assert_eq!(server.read(&mut bytes).unwrap(), 0);
        let (server, client) = pair();
        server.close();
        assert_eq!(client.read(&mut bytes).unwrap(), 0);
        assert!(client.write_all(b"x", LONG).is_err());
    }

    #[test]
    fn a_wait_ends_when_another_thread_closes() {
        let (server, _client) = pair();
        let ours = server.clone();
        let reader = thread::spawn(move || ours.read(&mut [0; 16]).unwrap());
        thread::sleep(Duration::from_millis(50));
        server.close();
        assert_eq!(reader.join().unwrap(), 0);
        let listener = Arc::new(Listener::open(&name()).unwrap());
        let ours = listener.clone();
        let waiter = thread::spawn(move || ours.accept().is_err());
        thread::sleep(Duration::from_millis(50));
        listener.close();
        assert!(waiter.join().unwrap());
        assert!(listener.accept().is_err());
    }

    #[test]
    fn who_does_not_read_does_not_hold_up_a_writer_for_ever() {
        let (server, _client) = pair();
        let much = vec![0; 4 << 20];
        let error = server.write_all(&much, Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn clients_that_keep_their_end_keep_the_name_from_nobody() {
        let name = name();
        let listener = Listener::open(&name).unwrap();
        let keeps = Connection::connect(&name).unwrap();
        drop(listener.accept().unwrap());
        drop(listener);
        let next = Listener::open(&name).unwrap();
        let client = Connection::connect(&name).unwrap();
        let server = next.accept().unwrap();
        client.write_all(b"x", LONG).unwrap();
        assert_eq!(server.read(&mut [0; 4]).unwrap(), 1);
        drop(keeps);
    }

    #[test]
    fn without_a_listener_there_is_nobody() {
        assert_eq!(Connection::connect(&name()).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn several_clients_have_a_connection_each() {
        let name = name();
        let listener = Arc::new(Listener::open(&name).unwrap());
        let servers = [(); 3].map(|()| {
            let listener = listener.clone();
            thread::spawn(move || {
                let server = listener.accept().unwrap();
                let mut bytes = [0; 1];
                server.read(&mut bytes).unwrap();
                server.write_all(&bytes, LONG).unwrap();
                assert_eq!(server.read(&mut bytes).unwrap(), 0);
            })
        });
        for number in 0..3 {
            // The thread that is to have it may not wait yet.
            let begin = Instant::now();
            let client = loop {
                match Connection::connect(&name) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound && begin.elapsed() < LONG => {}
                    client => break client.unwrap(),
                }
            };
            client.write_all(&[number], LONG).unwrap();
            let mut bytes = [9; 1];
            client.read(&mut bytes).unwrap();
            assert_eq!(bytes, [number]);
        }
        servers.into_iter().for_each(|server| server.join().unwrap());
    }
}
