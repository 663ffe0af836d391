//! How keys go out: one uinput keyboard and one uinput pointer, which live as long as the loop.
//!
//! The order of effects is kept: records are collected while they go to the same device, and written at once when
//! another device is meant or the step is over. Each effect is a report of its own, so that no reader may take two
//! of them for one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use keyrx_engine::{Effect, Effects, Key, Motion};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, NoArg, Opcode, Setter, ioctl, opcode};

use super::bits::{Bits, CODES};
use super::keycodes;
use super::record::{self, EV_KEY, EV_LED, EV_REL, EV_SYN, Record};
use crate::Error;
use crate::live::{Counted, Kind};

/// How the physical path of our devices begins: no keyrx reads the keys of another.
pub const PHYS: &str = "keyrx/";

/// What keys are sent through.
pub const NODE: &str = "/dev/uinput";

/// Room for the records of one write; more are written in several.
const BUFFER: usize = 64 * record::SIZE;

/// REL_X, REL_Y, REL_HWHEEL, REL_WHEEL. Without the high resolution axes libinput makes do with the others; with
/// them it would wait for them in vain where a source has none.
const AXES: [u16; 4] = [0x00, 0x01, 0x06, 0x08];

/// All LEDs of the kernel, LED_NUML to LED_CHARGING.
const LEDS: u16 = 11;

/// Our devices, and what is to be written to them.
#[derive(Debug)]
pub struct Output {
    keyboard: Arc<Counted<OwnedFd>>,
    pointer: Arc<Counted<OwnedFd>>,
    leds: Leds,
    buffer: [u8; BUFFER],
    filled: usize,
    to: Target,
    moved: bool,
    failed: Option<Errno>,
}

/// The LEDs as the system wants them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leds {
    /// Those of which it has said anything.
    pub known: Bits,
    /// Those of them that are lit.
    pub on: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Keyboard,
    Pointer,
}

impl Output {
    /// Makes the devices. They press nothing until something is pushed.
    pub fn create() -> Result<Output, Error> {
        Ok(Output {
            keyboard: Arc::new(made(create_keyboard(b"keyrx virtual keyboard", b"keyrx/keyboard\0", 1))?),
            pointer: Arc::new(made(create_pointer())?),
            leds: Leds::default(),
            buffer: [0; BUFFER],
            filled: 0,
            to: Target::Keyboard,
            moved: false,
            failed: None,
        })
    }

    /// Moves the pointer, or turns a wheel, in the frame that `end_frame` ends.
    pub fn push_axis(&mut self, axis: u16, distance: i32) {
        self.put(Target::Pointer, Record::new(EV_REL, axis, distance));
        self.moved = true;
    }

    /// Ends a frame of axes, if there is one.
    pub fn end_frame(&mut self) {
        if self.moved {
            self.put(Target::Pointer, Record::report());
            self.moved = false;
        }
    }

    /// Writes what has been pushed. An error is one that keeps anything from being written: of now or of before.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.end_frame();
        self.write();
        match self.failed {
            None => Ok(()),
            Some(error) => Err(Error::OutputFailed(io::Error::from(error))),
        }
    }

    /// Reads what the system has to say to our keyboard: its LEDs.
    pub fn read_leds(&mut self) -> Result<Leds, Error> {
        let mut buffer = [0; BUFFER];
        match rustix::io::read(&**self.keyboard, &mut buffer) {
            Ok(length) => {
                for record in Record::decode(buffer.get(..length).unwrap_or_default()) {
                    if record.kind == EV_LED {
                        self.leds.known.set(record.code, true);
                        self.leds.on.set(record.code, record.value != 0);
                    }
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(Error::OutputFailed(error.into())),
        }
        Ok(self.leds)
    }

    /// Its files, for those who may have to let it go.
    pub fn files(&self) -> [&Arc<Counted<OwnedFd>>; 2] {
        [&self.keyboard, &self.pointer]
    }

    /// The LEDs as they were read last.
    pub fn leds(&self) -> Leds {
        self.leds
    }

    fn put(&mut self, to: Target, record: Record) {
        if self.to != to || self.filled == BUFFER {
            self.write();
            self.to = to;
        }
        if let Some(place) = self.buffer.get_mut(self.filled..).and_then(|rest| rest.first_chunk_mut()) {
            *place = record.encode();
            self.filled = self.filled.saturating_add(record::SIZE);
        }
    }

    fn write(&mut self) {
        if self.filled == 0 {
            return;
        }
        let device = match self.to {
            Target::Keyboard => &self.keyboard,
            Target::Pointer => &self.pointer,
        };
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        // uinput takes all of it or fails.
        if let Err(error) = rustix::io::retry_on_intr(|| rustix::io::write(&***device, bytes)) {
            self.failed.get_or_insert(error);
        }
        self.filled = 0;
    }
}

impl Effects for Output {
    fn push(&mut self, effect: Effect) {
        let Some(code) = keycodes::code(effect.key) else { return };
        // The kernel repeats no keys of our keyboard (it has no EV_REP), and passes on a repeat that is written to
        // it: keys repeat just as the keyboard under the fingers does.
        self.end_frame();
        let to = if keycodes::is_mouse_button(code) { Target::Pointer } else { Target::Keyboard };
        self.put(to, Record::new(EV_KEY, code, value(effect.motion)));
        self.put(to, Record::report());
    }
}

/// Readable when the system has something to say to our keyboard.
impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.keyboard.as_fd()
    }
}

/// Says what it means that a device could not be made.
fn made(result: rustix::io::Result<Counted<OwnedFd>>) -> Result<Counted<OwnedFd>, Error> {
    result.map_err(|error| match error {
        Errno::ACCESS | Errno::PERM => Error::OutputForbidden(NODE.into()),
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Error::OutputMissing(NODE.into()),
        error => Error::System { doing: format!("make a keyboard with {NODE}"), source: error.into() },
    })
}

/// A keyboard that is typed on by a program; it is pulled out when dropped.
#[derive(Debug)]
pub struct Typist(Counted<OwnedFd>);

impl Typist {
    /// Plugs it in. Any keyrx may read it.
    pub fn create(name: &str) -> Result<Typist, Error> {
        made(create_keyboard(name.as_bytes(), b"\0", 3)).map(Typist)
    }

    /// Moves a key.
    pub fn send(&self, key: Key, motion: Motion) -> Result<(), Error> {
        let Some(code) = keycodes::code(key) else { return Ok(()) };
        let records = [Record::new(EV_KEY, code, value(motion)), Record::report()].map(Record::encode);
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&*self.0, records.as_flattened()));
        written.map(drop).map_err(|error| Error::OutputFailed(error.into()))
    }
}

/// What the kernel calls a motion.
fn value(motion: Motion) -> i32 {
    match motion {
        Motion::Release => 0,
        Motion::Press => 1,
        Motion::Repeat => 2,
    }
}

/// It has every key from the start: programs learn what keys a device has when it appears.
fn create_keyboard<const LENGTH: usize>(
    name: &[u8],
    phys: &[u8; LENGTH],
    product: u16,
) -> rustix::io::Result<Counted<OwnedFd>> {
    let device = open()?;
    enable::<UI_SET_EVBIT>(&device, [EV_SYN, EV_KEY, EV_LED])?;
    enable::<UI_SET_KEYBIT>(&device, (0..CODES).filter(|code| keycodes::is_keyboard_key(*code)))?;
    enable::<UI_SET_LEDBIT>(&device, 0..LEDS)?;
    create(device, name, phys, product)
}

/// It carries on the pointers of combined devices, and has the mouse buttons that keys may be mapped to.
fn create_pointer() -> rustix::io::Result<Counted<OwnedFd>> {
    let device = open()?;
    enable::<UI_SET_EVBIT>(&device, [EV_SYN, EV_KEY, EV_REL])?;
    enable::<UI_SET_KEYBIT>(&device, (0..CODES).filter(|code| keycodes::is_mouse_button(*code)))?;
    enable::<UI_SET_RELBIT>(&device, AXES)?;
    create(device, b"keyrx virtual pointer", b"keyrx/pointer\0", 2)
}

fn open() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(Path::new(NODE), OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

// From the kernel's `uinput.h`.
const UI_DEV_CREATE: Opcode = opcode::none(b'U', 1);
pub const UI_DEV_DESTROY: Opcode = opcode::none(b'U', 2);
const UI_DEV_SETUP: Opcode = opcode::write::<Setup>(b'U', 3);
const UI_SET_EVBIT: Opcode = opcode::write::<i32>(b'U', 100);
const UI_SET_KEYBIT: Opcode = opcode::write::<i32>(b'U', 101);
const UI_SET_RELBIT: Opcode = opcode::write::<i32>(b'U', 102);
const UI_SET_LEDBIT: Opcode = opcode::write::<i32>(b'U', 105);
const UI_SET_PHYS: Opcode = opcode::write::<*const u8>(b'U', 108);

const BUS_VIRTUAL: u16 = 0x06;

/// `struct uinput_setup`.
#[repr(C)]
struct Setup {
    bus: u16,
    vendor: u16,
    product: u16,
    version: u16,
    name: [u8; 80],
    force_feedback: u32,
}

/// Gives the device codes. `SET` is one of the `UI_SET_` numbers that take a code.
fn enable<const SET: Opcode>(
    device: &OwnedFd,
    codes: impl IntoIterator<Item = u16>,
) -> rustix::io::Result<()> {
    for code in codes {
        // SAFETY: the four `UI_SET_...BIT` numbers that this is called with take an integer, and any: the kernel
        // refuses one that is no code.
        unsafe { ioctl(device, IntegerSetter::<SET>::new_usize(code.into()))? };
    }
    Ok(())
}

/// Makes the device appear. `phys` ends with a zero byte.
fn create<const LENGTH: usize>(
    device: OwnedFd,
    name: &[u8],
    phys: &[u8; LENGTH],
    product: u16,
) -> rustix::io::Result<Counted<OwnedFd>> {
    let mut setup =
        Setup { bus: BUS_VIRTUAL, vendor: 0x6b78, product, version: 1, name: [0; 80], force_feedback: 0 };
    setup.name.iter_mut().zip(name).for_each(|(place, byte)| *place = *byte);
    debug_assert!(phys.ends_with(b"\0"));
    // SAFETY: UI_SET_PHYS reads a string through the pointer; `Setter` owns it for the call, and it ends with a
    // zero byte, as all callers see to. UI_DEV_SETUP reads a `struct uinput_setup`, which `Setup` is.
    // UI_DEV_CREATE takes no argument.
    unsafe {
        ioctl(&device, Setter::<UI_SET_PHYS, [u8; LENGTH]>::new(*phys))?;
        ioctl(&device, Setter::<UI_DEV_SETUP, Setup>::new(setup))?;
        ioctl(&device, NoArg::<UI_DEV_CREATE>::new())?;
    }
    Ok(Counted::new(Kind::Uinput, device))
}
