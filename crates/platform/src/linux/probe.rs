//! Both ends of the way of keys, for a test on somebody's machine: a keyboard that is typed on, and the keyboard that
//! keyrx types on, read.
//!
//! Neither is seen by the desktop while keyrx works: it grabs the one, and this the other.

use std::thread;
use std::time::{Duration, Instant};

use keyrx_engine::{DeviceInfo, Key, Motion};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::keyboard::{Keyboard, Moved};
use super::uinput::Typist;
use super::{Waker, devices};
use crate::{Device, Error, Excluded, Handler, Options, Seen};

const NAME: &str = "keyrx selftest";

/// How long udev may take to give us the right to read a keyboard.
const UNTIL_ALLOWED: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Types, and sees what comes out.
#[derive(Debug)]
pub struct Probe {
    typist: Typist,
    output: Option<Keyboard>,
    seen: Vec<Seen>,
}

/// What drives the platform while a probe watches, on another thread.
#[derive(Clone, Debug)]
pub struct Driver;

impl Driver {
    /// As `run`.
    pub fn run(&self, handler: &mut dyn Handler, waker: &Waker) -> Result<(), Error> {
        super::run(handler, waker, &OPTIONS)
    }
}

/// The keyboard to be read is one that a program has made.
const OPTIONS: Options = Options { read_virtual: true, ..Options::USUAL };

impl Probe {
    /// Whether keys that are not mapped keep a way of their own.
    pub const HAS_NATIVE_WAY: bool = false;

    /// Plugs the keyboard in.
    pub fn open() -> Result<Probe, Error> {
        Ok(Probe { typist: Typist::create(NAME)?, output: None, seen: Vec::new() })
    }

    /// Whether this is the keyboard that is typed on.
    pub fn is_source(device: &DeviceInfo) -> bool {
        device.name == NAME
    }

    /// What drives the platform.
    pub fn driver(&self) -> Driver {
        Driver
    }

    /// The platform works: takes the keyboard that keyrx types on.
    pub fn attach(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            match take_output() {
                Ok(keyboard) => {
                    self.output = Some(keyboard);
                    return Ok(());
                }
                Err(error) if begin.elapsed() > UNTIL_ALLOWED => return Err(error),
                Err(_) => thread::sleep(BETWEEN_TRIES),
            }
        }
    }

    /// Moves a key of the keyboard.
    pub fn send(&self, key: Key, motion: Motion) -> Result<(), Error> {
        self.typist.send(key, motion)
    }

    /// What has come out next, if it does within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<Seen> {
        if self.seen.is_empty()
            && let Some(output) = &mut self.output
        {
            let wait = Timespec::try_from(limit).ok()?;
            poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&wait)).ok()?;
            let seen = &mut self.seen;
            let gone = output.read(|_, moved| {
                if let Moved::Key(key, motion) = moved {
                    seen.push(Seen { key, motion, is_native: false });
                }
            });
            if gone.is_err() {
                self.output = None;
            }
        }
        (!self.seen.is_empty()).then(|| self.seen.remove(0))
    }

    /// There is no hook that could be lost.
    pub fn unhook(&self) -> Option<()> {
        None
    }

    /// There is no raw input.
    pub fn sees_swallowed(&self) -> Option<bool> {
        None
    }
}

/// Opens the keyboard that keyrx types on, for us alone.
fn take_output() -> Result<Keyboard, Error> {
    let is_output = |device: &Device| device.excluded == Some(Excluded::OurOutput);
    let found = devices::list(&OPTIONS)?.into_iter().find(is_output);
    let (node, name) = found.map(|device| (device.node, device.info.name)).unwrap_or_default();
    let failed = |error| match error {
        Errno::ACCESS | Errno::PERM => Error::KeyboardForbidden { node: node.clone(), name: name.clone() },
        error => {
            Error::System { doing: "read the keyboard that keyrx types on".into(), source: error.into() }
        }
    };
    let mut keyboard = Keyboard::open(&node).map_err(failed)?;
    match keyboard.take(true) {
        Ok(true) => Ok(keyboard),
        Ok(false) => Err(failed(Errno::BUSY)),
        Err(error) => Err(failed(error)),
    }
}
