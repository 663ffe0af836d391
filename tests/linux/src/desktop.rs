//! The desktop's side: every input device is open, as a compositor has it, and what it reports is written down.
//!
//! A grabbed keyboard reports nothing here, so what is written down under a keyboard's own name was not mapped, and
//! what is written down under keyrx's was.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use input_linux::EvdevHandle;
use input_linux::sys::{EV_KEY, EV_LED, EV_SYN, SYN_DROPPED, SYN_REPORT};
use nix::libc::{CLOCK_MONOTONIC, O_NONBLOCK};

use crate::keyboard::event;
use crate::time::now;

/// The name of the keyboard that keyrx types on.
pub const OUTPUT: &str = "keyrx virtual keyboard";

/// All devices there are or were.
#[derive(Default)]
pub struct Desktop {
    pub devices: Vec<Device>,
}

/// One input device, as the desktop knows it.
pub struct Device {
    pub name: String,
    pub node: PathBuf,
    handle: EvdevHandle<File>,
    /// What it reported since the record was last cleared, without the ends of reports.
    pub record: Vec<Record>,
    /// When it was seen to have gone.
    pub gone: Option<Duration>,
}

#[derive(Clone, Copy)]
pub struct Record {
    pub at: Duration,
    pub kind: i32,
    pub code: u16,
    pub value: i32,
}

impl Desktop {
    /// Opens what is new.
    pub fn refresh(&mut self) {
        self.read();
        for entry in fs::read_dir("/dev/input").into_iter().flatten() {
            let node = entry.unwrap().path();
            let known = |device: &Device| device.gone.is_none() && device.node == node;
            if node.to_string_lossy().contains("/event") && !self.devices.iter().any(known) {
                self.devices.push(Device::open(&node));
            }
        }
    }

    /// Takes in what all devices have to report; does not wait.
    pub fn read(&mut self) {
        for device in &mut self.devices {
            device.read();
        }
    }

    /// Forgets what was written down so far.
    pub fn clear(&mut self) {
        self.read();
        for device in &mut self.devices {
            device.record.clear();
        }
    }

    /// What can be waited for.
    pub fn waitable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.devices
            .iter()
            .filter(|device| device.gone.is_none())
            .map(|device| device.handle.as_inner().as_fd())
    }

    /// keyrx's keyboard, if it is there now.
    pub fn output(&self) -> Option<&Device> {
        self.devices.iter().find(|device| device.gone.is_none() && device.name == OUTPUT)
    }
}

impl Device {
    fn open(node: &Path) -> Device {
        let file = File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(node).unwrap();
        let handle = EvdevHandle::new(file);
        handle.set_clock_id(CLOCK_MONOTONIC).unwrap();
        let name = String::from_utf8(handle.device_name().unwrap()).unwrap();
        let name = name.trim_end_matches('\0').to_owned();
        Device { name, node: node.to_owned(), handle, record: Vec::new(), gone: None }
    }

    fn read(&mut self) {
        let mut events = [event(0, 0, 0); 64];
        while self.gone.is_none() {
            match self.handle.read(&mut events) {
                Ok(count) => {
                    for event in &events[..count] {
                        let (kind, code) = (i32::from(event.type_), i32::from(event.code));
                        assert!(
                            (kind, code) != (EV_SYN, SYN_DROPPED),
                            "the test itself has lost events of {}",
                            self.name
                        );
                        if (kind, code) != (EV_SYN, SYN_REPORT) {
                            let seconds = Duration::from_secs(event.time.tv_sec.unsigned_abs());
                            let at = seconds + Duration::from_micros(event.time.tv_usec.unsigned_abs());
                            self.record.push(Record { at, kind, code: event.code, value: event.value });
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.gone = Some(now()),
            }
        }
    }

    /// The keys that are down on it, as the kernel knows it.
    pub fn down(&self) -> Vec<u16> {
        let mut bits = [0; 96];
        self.handle.key_state(&mut bits).unwrap();
        (0..768).filter(|&code| bits[usize::from(code / 8)] & (1 << (code % 8)) != 0).collect()
    }

    /// Switches a light on it, as a desktop does.
    pub fn light(&self, code: i32, on: bool) {
        self.handle.write(&[event(EV_LED, code, i32::from(on)), event(EV_SYN, SYN_REPORT, 0)]).unwrap();
    }

    /// The movements of its keys.
    pub fn keys(&self) -> impl Iterator<Item = &Record> {
        self.record.iter().filter(|record| record.kind == EV_KEY)
    }
}
