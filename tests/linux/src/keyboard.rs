//! Keyboards to plug in: devices of the kernel (uinput) that look like the USB keyboards people have.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use input_linux::sys::{BUS_USB, BUS_VIRTUAL, EV_KEY, EV_LED, EV_MSC, EV_REL, EV_SYN, MSC_SCAN, SYN_REPORT};
use input_linux::sys::{input_event, timeval};
use input_linux::{EventKind, InputId, LedKind, MiscKind, RelativeAxis, UInputHandle};
use keyrx_engine::{Key, Motion};
use nix::libc::O_NONBLOCK;

use crate::keycodes;

/// What a keyboard tells the kernel about itself.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    pub name: &'a str,
    pub bus: u16,
    pub vendor: u16,
    pub product: u16,
    /// It is a mouse as well, as many gaming and wireless receivers are.
    pub pointer: bool,
    /// The kernel repeats its held keys.
    pub repeats: bool,
    /// It has media keys and no others: the second device of many USB keyboards.
    pub media: bool,
}

impl<'a> Model<'a> {
    pub fn usb(name: &'a str) -> Model<'a> {
        Model {
            name,
            bus: BUS_USB,
            vendor: 0x3434,
            product: 0x0280,
            pointer: false,
            repeats: false,
            media: false,
        }
    }

    pub fn virtual_one(name: &'a str) -> Model<'a> {
        Model { bus: BUS_VIRTUAL, ..Model::usb(name) }
    }
}

/// A plugged-in keyboard; dropped, it is pulled out.
pub struct Keyboard {
    handle: UInputHandle<File>,
    /// Its node below /dev/input.
    pub node: PathBuf,
    pub name: String,
}

impl Keyboard {
    pub fn plug(model: Model<'_>) -> Keyboard {
        let file =
            File::options().read(true).write(true).custom_flags(O_NONBLOCK).open("/dev/uinput").unwrap();
        let handle = UInputHandle::new(file);
        handle.set_evbit(EventKind::Key).unwrap();
        for code in (1..248).chain(440..448).filter(|code| !model.media || (113..=166).contains(code)) {
            handle.set_keybit(input_linux::Key::from_code(code).unwrap()).unwrap();
        }
        handle.set_evbit(EventKind::Misc).unwrap();
        handle.set_mscbit(MiscKind::Scancode).unwrap();
        handle.set_evbit(EventKind::Led).unwrap();
        for led in [LedKind::NumLock, LedKind::CapsLock, LedKind::ScrollLock] {
            handle.set_ledbit(led).unwrap();
        }
        if model.pointer {
            handle.set_evbit(EventKind::Relative).unwrap();
            handle.set_relbit(RelativeAxis::X).unwrap();
            handle.set_relbit(RelativeAxis::Y).unwrap();
            handle.set_keybit(input_linux::Key::ButtonLeft).unwrap();
            handle.set_keybit(input_linux::Key::ButtonRight).unwrap();
        }
        if model.repeats {
            handle.set_evbit(EventKind::Autorepeat).unwrap();
        }
        let Model { bus: bustype, vendor, product, .. } = model;
        let id = InputId { bustype, vendor, product, version: 0x0111 };
        handle.create(&id, model.name.as_bytes(), 0, &[]).unwrap();
        let node = handle.evdev_path().unwrap();
        Keyboard { handle, node, name: model.name.to_owned() }
    }

    /// One movement of a key, with the scan code before it, as USB keyboards report it.
    pub fn key(&self, key: Key, motion: Motion) {
        let code = keycodes::code(key);
        let value = match motion {
            Motion::Release => 0,
            Motion::Press => 1,
            Motion::Repeat => 2,
        };
        self.write(&[(EV_MSC, MSC_SCAN, i32::from(code) + 0x70000), (EV_KEY, i32::from(code), value)]);
    }

    /// A report that means nothing: it is seen on the keyboard's node as long as nobody grabs it.
    pub fn probe(&self) {
        self.write(&[(EV_MSC, MSC_SCAN, 0)]);
    }

    /// Moves the pointer.
    pub fn motion(&self, x: i32, y: i32) {
        self.write(&[(EV_REL, 0, x), (EV_REL, 1, y)]);
    }

    /// The lights that were switched since the last look, with what they are now.
    pub fn lights(&self) -> Vec<(u16, bool)> {
        let mut events = [event(0, 0, 0); 64];
        let count = self.handle.read(&mut events).unwrap_or(0);
        let lights = events[..count].iter().filter(|event| i32::from(event.type_) == EV_LED);
        lights.map(|event| (event.code, event.value != 0)).collect()
    }

    fn write(&self, events: &[(i32, i32, i32)]) {
        let mut report: Vec<input_event> =
            events.iter().map(|&(kind, code, value)| event(kind, code, value)).collect();
        report.push(event(EV_SYN, SYN_REPORT, 0));
        assert_eq!(self.handle.write(&report).unwrap(), report.len());
    }
}

/// An event as the kernel takes it; the kernel sets the time.
pub fn event(kind: i32, code: i32, value: i32) -> input_event {
    let number = |number| u16::try_from(number).unwrap();
    input_event { time: timeval { tv_sec: 0, tv_usec: 0 }, type_: number(kind), code: number(code), value }
}
