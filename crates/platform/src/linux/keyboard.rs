//! A keyboard that is being read: its evdev node, grabbed, so that nobody else sees its keys.
//!
//! The rule: what is told of a key always alternates, press and release, whatever the kernel's queue has lost. The
//! grab ends with the file: on every way out, even a kill, the kernel gives the keyboard back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use keyrx_engine::{Key, Motion, Time};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{IntegerSetter, Setter, Updater, ioctl, opcode};
use rustix::time::ClockId;

use super::bits::Bits;
use super::keycodes;
use super::record::{self, EV_KEY, EV_LED, EV_REL, EV_SYN, Record, SYN_DROPPED, SYN_REPORT};
use super::uinput::Leds;
use crate::live::{Counted, Kind, Live};

/// How many records are read at once: as many as the kernel's queue of a keyboard holds.
const BATCH: usize = 64;

pub const EVIOCGRAB: u32 = opcode::write::<i32>(b'E', 0x90);

/// An open keyboard.
#[derive(Debug)]
pub struct Keyboard {
    fd: Arc<Counted<OwnedFd>>,
    /// As long as it is grabbed.
    grab: Option<Live>,
    told: Told,
}

/// One thing that a keyboard tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// A key moved.
    Key(Key, Motion),
    /// A pointer or wheel of the same device moved along this axis by so much.
    Axis(u16, i32),
    /// What moved together is complete.
    Frame,
}

impl Keyboard {
    /// Opens a keyboard, ungrabbed; its records will carry monotonic time.
    pub fn open(node: &Path) -> Result<Keyboard> {
        // Writing sets LEDs, and lifts keys before a grab.
        let fd = rustix::fs::open(node, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        const EVIOCSCLOCKID: u32 = opcode::write::<i32>(b'E', 0xa0);
        let fd = Counted::new(Kind::Keyboard, fd);
        // SAFETY: EVIOCSCLOCKID reads one int through the pointer, which `Setter` owns for the call.
        unsafe { ioctl(&*fd, Setter::<EVIOCSCLOCKID, i32>::new(ClockId::Monotonic as i32))? };
        Ok(Keyboard { fd: Arc::new(fd), grab: None, told: Told::default() })
    }

    /// Takes the keyboard for us alone, unless a key is down: then it answers `false`, and wants to be tried again
    /// after the next record. With `by_force` keys that are down are lifted first.
    ///
    /// Programs that have seen a key's press on this keyboard must see its release on it, or the key stays down for
    /// them: libinput ignores a release by another device, and the kernel one by a device that has not pressed. No
    /// release passes a grab; so none may be taken in between.
    pub fn take(&mut self, by_force: bool) -> Result<bool> {
        let down = self.keys_down()?;
        if !down.is_empty() {
            if !by_force {
                return Ok(false);
            }
            self.lift(down)?;
        }
        self.grab(true)?;
        // A key that went down in the meantime may have been seen by others.
        if !self.keys_down()?.is_empty() {
            self.grab(false)?;
            return Ok(false);
        }
        self.told = Told::default();
        Ok(true)
    }

    /// Reads all there is and tells it. An error means that the keyboard is gone.
    pub fn read(&mut self, mut tell: impl FnMut(Time, Moved)) -> Result<()> {
        let mut buffer = [0; BATCH * record::SIZE];
        loop {
            let length = match rustix::io::read(&**self.fd, &mut buffer) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            for record in Record::decode(buffer.get(..length).unwrap_or_default()) {
                match (record.kind, record.code) {
                    (EV_KEY, code) => {
                        if let (Some(key), Some(motion)) =
                            (keycodes::key(code), self.told.accept(code, record.value))
                        {
                            tell(record.time, Moved::Key(key, motion));
                        }
                    }
                    (EV_REL, axis) => tell(record.time, Moved::Axis(axis, record.value)),
                    (EV_SYN, SYN_REPORT) => tell(record.time, Moved::Frame),
                    (EV_SYN, SYN_DROPPED) => {
                        // The kernel's queue was full and has been thrown away. What has been read behind this
                        // record is older than the state that is asked for now, which empties the queue as well.
                        let down = self.keys_down()?;
                        self.told.resync(down, |code, motion| {
                            if let Some(key) = keycodes::key(code) {
                                tell(record.time, Moved::Key(key, motion));
                            }
                        });
                        break;
                    }
                    _ => {}
                }
            }
            if length < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Tells of the releases that were lost while keys could move unseen. A key that went down is not told of: nobody
    /// would know what it was meant for.
    pub fn find_releases(&mut self, mut tell: impl FnMut(Key)) -> Result<()> {
        let down = self.keys_down()?;
        self.told.find_releases(down, |code| keycodes::key(code).into_iter().for_each(&mut tell));
        Ok(())
    }

    /// Its file, for those who may have to let it go.
    pub fn file(&self) -> &Arc<Counted<OwnedFd>> {
        &self.fd
    }

    /// Lights its LEDs; it ignores any that it has not.
    pub fn set_leds(&self, leds: Leds) -> Result<()> {
        self.write(leds.known.iter().map(|led| Record::new(EV_LED, led, leds.on.has(led).into())))
    }

    /// The keys that are down at this moment; the kernel forgets the key records that we have not read.
    fn keys_down(&self) -> Result<Bits> {
        const EVIOCGKEY: u32 = opcode::read::<Bits>(b'E', 0x18);
        let mut down = Bits::default();
        // SAFETY: EVIOCGKEY writes at most as many bytes as its number says, the size of `Bits`, any of which are
        // valid; `down` is ours alone for the call.
        unsafe { ioctl(&**self.fd, Updater::<EVIOCGKEY, Bits>::new(&mut down))? };
        Ok(down)
    }

    fn grab(&mut self, on: bool) -> Result<()> {
        // SAFETY: EVIOCGRAB takes an integer, and any.
        unsafe { ioctl(&**self.fd, IntegerSetter::<EVIOCGRAB>::new_usize(on.into()))? };
        self.grab = on.then(|| Live::new(Kind::Grab));
        Ok(())
    }

    /// Releases keys for everybody: a record that is written to an evdev node goes to all its readers. When the
    /// finger leaves the key, the kernel keeps that to itself, for it has the key as up already.
    fn lift(&self, keys: Bits) -> Result<()> {
        self.write(keys.iter().map(|code| Record::new(EV_KEY, code, 0)))
    }

    fn write(&self, records: impl Iterator<Item = Record>) -> Result<()> {
        let bytes = records.chain([Record::report()]).flat_map(Record::encode).collect::<Vec<_>>();
        rustix::io::retry_on_intr(|| rustix::io::write(&**self.fd, &bytes)).map(drop)
    }
}

impl AsFd for Keyboard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The keys of which a press has been told, and no release.
#[derive(Debug, Default)]
struct Told(Bits);

impl Told {
    /// What is to be told of a record: nothing if it is known already.
    fn accept(&mut self, code: u16, value: i32) -> Option<Motion> {
        match (value, self.0.has(code)) {
            (0, true) => {
                self.0.set(code, false);
                Some(Motion::Release)
            }
            (1, false) => {
                self.0.set(code, true);
                Some(Motion::Press)
            }
            (2, true) => Some(Motion::Repeat),
            _ => None,
        }
    }

    /// Tells of the keys that have come up, and of no others.
    fn find_releases(&mut self, down: Bits, mut tell: impl FnMut(u16)) {
        let up = self.0.without(down).collect::<Vec<_>>();
        for code in up {
            tell(code);
            self.0.set(code, false);
        }
    }

    /// Tells how the keys got to be as they are: what was lost, releases first.
    fn resync(&mut self, down: Bits, mut tell: impl FnMut(u16, Motion)) {
        self.0.without(down).for_each(|code| tell(code, Motion::Release));
        down.without(self.0).for_each(|code| tell(code, Motion::Press));
        self.0 = down;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn press_and_release_alternate_whatever_the_records_say() {
        let mut told = Told::default();
        let values = [0, 2, 1, 1, 2, 0, 0, 2, 7];
        let motions = values.map(|value| told.accept(30, value));
        let (press, repeat, release) = (Some(Motion::Press), Some(Motion::Repeat), Some(Motion::Release));
        assert_eq!(motions, [None, None, press, None, repeat, release, None, None, None]);
    }

    #[test]
    fn after_a_time_unseen_only_releases_are_told() {
        let mut told = Told::default();
        [30, 31].iter().for_each(|code| _ = told.accept(*code, 1));
        let mut down = Bits::default();
        [31, 32].iter().for_each(|code| down.set(*code, true));
        let mut up = Vec::new();
        told.find_releases(down, |code| up.push(code));
        assert_eq!(up, [30]);
        assert_eq!(told.accept(32, 0), None, "nobody knows of its press");
        assert_eq!([told.accept(30, 1), told.accept(31, 0)], [Some(Motion::Press), Some(Motion::Release)]);
    }

    #[test]
    fn what_was_lost_is_told_releases_first() {
        let mut told = Told::default();
        for code in [30, 42, 100] {
            told.accept(code, 1);
        }
        let mut lost = Vec::new();
        told.resync([16, 42].into_iter().collect(), |code, motion| lost.push((code, motion)));
        assert_eq!(lost, [(30, Motion::Release), (100, Motion::Release), (16, Motion::Press)]);
        // A press that was under way when the state was asked for comes a second time.
        assert_eq!((told.accept(16, 1), told.accept(16, 0)), (None, Some(Motion::Release)));
    }
}
