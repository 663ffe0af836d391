//! The keyrx under test: the release binary, run as its users run it.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Who runs it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum User {
    Root,
    Nobody,
}

impl User {
    pub const NOBODY_ID: u32 = 65534;
}

/// The command with the home directory of a case and nothing else in its environment.
pub fn keyrx(home: &Path, user: User) -> Command {
    let mut command = Command::new("/keyrx");
    command.env_clear().env("HOME", home).env("XDG_RUNTIME_DIR", home).current_dir(home).stdin(Stdio::null());
    if user == User::Nobody {
        command.uid(User::NOBODY_ID).gid(User::NOBODY_ID);
    }
    command
}

/// A running `keyrx run`.
pub struct Daemon {
    child: Child,
    /// Gone when it has closed it.
    stderr: Option<ChildStderr>,
    /// All it has said.
    pub log: String,
    /// How far its log has been looked at.
    seen: usize,
}

impl Daemon {
    /// Starts it with these arguments and these variables in its environment.
    pub fn start(
        home: &Path,
        keymap: &Path,
        user: User,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Daemon {
        let mut command = keyrx(home, user);
        command.envs(variables.iter().copied());
        command
            .args(["run", "--config"])
            .arg(keymap)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take();
        fcntl(stderr.as_ref().unwrap().as_raw_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        Daemon { child, stderr, log: String::new(), seen: 0 }
    }

    /// Takes in what it has said; does not wait.
    pub fn read(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut bytes) {
                Ok(0) => self.stderr = None,
                Ok(count) => self.log.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("reading what keyrx says: {error}"),
            }
        }
    }

    /// Whether it has said a word since the last one that was found; looks at each line once.
    pub fn said(&mut self, word: &str) -> bool {
        while let Some(length) = self.log[self.seen..].find('\n') {
            let line = &self.log[self.seen..self.seen + length];
            self.seen += length + 1;
            if line.contains(word) {
                return true;
            }
        }
        false
    }

    /// Takes what it has said so far as read.
    pub fn forget(&mut self) {
        self.read();
        self.seen = self.log.len();
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id()), signal).unwrap();
    }

    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn waitable(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
