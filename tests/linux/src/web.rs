//! Requests to the keyrx under test, by plain sockets, and the loopback interface that they need.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The address of the loopback interface can be used once it is up.
pub fn bring_loopback_up() {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None).unwrap();
    // SAFETY: it holds numbers and characters only, for which zero is a value.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *byte as _;
    }
    request.ifr_ifru.ifru_flags = (nix::libc::IFF_UP | nix::libc::IFF_RUNNING) as _;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: SIOCSIFFLAGS reads such a structure, which is ours.
    let done = unsafe { nix::libc::ioctl(fd, nix::libc::SIOCSIFFLAGS as _, &raw const request) };
    assert_eq!(done, 0, "lo cannot be brought up");
}

/// Where a keyrx with this state directory serves, and its token.
pub fn place(state: &Path) -> Option<(u16, String)> {
    let who = fs::read_to_string(state.join("run.pid")).ok()?;
    let port = who.split("\"port\":").nth(1)?.trim_end_matches(['}', '\n']).parse().ok()?;
    Some((port, fs::read_to_string(state.join("token")).ok()?.trim().to_owned()))
}

/// The status and the body of the answer.
pub fn request(port: u16, token: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    let token = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    socket
        .write_all(format!("{head}{token}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
