//! Keyboards of Linux: evdev in, uinput out, one loop between them.
//!
//! The loop sleeps in one place, until a keyboard speaks, a device comes or goes, the system sets LEDs, somebody
//! wakes it, or a moment comes that was asked for. Keys that can be read are read before a deadline is called out.
//! Nothing is grabbed before keys can be sent, and when they no longer can, everything is let go.

mod bits;
pub mod boot;
mod devices;
pub mod dump;
pub mod event_log;
mod examination;
mod figures;
mod keyboard;
mod keycodes;
mod probe;
pub mod process;
mod record;
mod tray;
mod uinput;
mod waker;

use std::ffi::OsStr;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use keyrx_engine::{DeviceId, KeyEvent, Motion, Time};
use rustix::event::epoll;
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub use devices::list;
pub use examination::examine;
pub use figures::figures;
pub use probe::{Driver, Probe};
pub use tray::Tray;
pub use waker::Waker;

use crate::live::{Counted, Kind};
use crate::{Aid, Device, Error, Event, Handler, Interruption, Next, Options};
use keyboard::{Keyboard, Moved};
use uinput::Output;

/// How long a keyboard that appears may have keys down, or rights that udev has yet to give.
const PATIENCE_MS: u16 = 2000;

/// How long until a keyboard is tried again that could not even be taken by force: a key went down just then.
const RETRY_MS: u16 = 50;

/// How often the list of devices is read where the system does not tell of changes.
const RELIST_MS: u16 = 1000;

/// How long the desktop may need to open our keyboard when it appears: what is typed on it before is lost.
const UNTIL_OPENED: Duration = Duration::from_millis(100);

/// How long the desktop may need to read our last releases: what it has not read when a device goes it never will
/// (evdev answers ENODEV before it looks into the queue).
const UNTIL_READ: Duration = Duration::from_millis(50);

/// Shorter is no sleep.
const SLEEP_MICROS: u64 = 500_000;

/// Reads the keyboards that `handler` wants, and does with their keys what it says, until it says stop.
///
/// An error means that nothing is read any more: the keyboards work as they do without keyrx.
pub fn run(handler: &mut dyn Handler, waker: &Waker, options: &Options) -> Result<(), Error> {
    let mut this = Loop::new(handler, waker, options)?;
    this.watch_devices();
    thread::sleep(UNTIL_OPENED);
    this.look_around()?;
    loop {
        let lived = this.live();
        if !waker.take_let_go() {
            lived?;
            break;
        }
        this.take_again()?;
        if this.stopped {
            break;
        }
    }
    this.tell(Event::Stopping(now()));
    this.output.flush()?;
    this.slots.clear(); // the keyboards are plain ones from here on
    thread::sleep(UNTIL_READ);
    Ok(())
}

/// All that the loop has. The fields are dropped in this order: keyboards are let go before our own is taken away.
struct Loop<'a> {
    slots: Vec<Option<Slot>>,
    output: Output,
    handler: &'a mut dyn Handler,
    waker: &'a Waker,
    options: &'a Options,
    epoll: Counted<OwnedFd>,
    news: News,
    /// The moment that the handler has asked for.
    deadline: Option<Time>,
    /// Whether the kernel can wait for whole milliseconds only (Linux before 5.11).
    whole_millis: bool,
    stopped: bool,
    /// Whether `Event::Ready` has been told.
    is_ready: bool,
    /// What has been read and is to be told.
    heard: Vec<Heard>,
    /// Whether `Event::Delivered` is to be told after the next write.
    owes_delivery: bool,
    /// By how much the clock that goes on while the machine sleeps is ahead of the one that does not.
    lead: u64,
}

/// How it is learned that devices come and go.
enum News {
    /// The system tells.
    Told(Counted<OwnedFd>),
    /// The list is read again, at this moment.
    Sought { at: Time },
}

/// A keyboard that may be read. Its place in `Loop::slots` is its `DeviceId`.
struct Slot {
    device: Device,
    stage: Stage,
    /// Whether the handler knows that it cannot be read.
    is_refusal_known: bool,
}

enum Stage {
    /// The handler does not want it.
    Unwanted,
    /// We have no right to open it; udev may be about to give it, so the handler is told only then.
    Forbidden { tell_at: Time },
    /// It could not be opened or taken.
    Refused,
    /// Open, waiting for its keys to come up, at longest until then.
    Waiting(Keyboard, Time),
    /// Ours.
    Reading(Keyboard),
}

/// What a keyboard has told, and when.
struct Heard {
    time: Time,
    slot: u16,
    what: What,
}

enum What {
    Moved(Moved),
    Gone,
}

/// What a readiness of the epoll means: the number of a slot, or one of these.
const OUTPUT: u64 = u64::MAX;
const INOTIFY: u64 = OUTPUT - 1;
const WAKER: u64 = OUTPUT - 2;

/// How much can be ready at once; what there is beyond that is ready again at the next wait.
const READY: usize = 32;

type ReadyBuffer = [MaybeUninit<epoll::Event>; READY];

impl<'a> Loop<'a> {
    fn new(handler: &'a mut dyn Handler, waker: &'a Waker, options: &'a Options) -> Result<Loop<'a>, Error> {
        // First: it must be known that keys can be sent. It also sees to it that /dev/input is there to be watched.
        let output = Output::create()?;
        waker.holds_output(output.files());
        let epoll = system("make an epoll", epoll::create(epoll::CreateFlags::CLOEXEC))?;
        let epoll = Counted::new(Kind::Epoll, epoll);
        listen(&epoll, &output, OUTPUT)?;
        listen(&epoll, waker, WAKER)?;
        Ok(Loop {
            slots: Vec::new(),
            output,
            handler,
            waker,
            options,
            epoll,
            news: News::Sought { at: Time::ZERO },
            deadline: None,
            whole_millis: false,
            stopped: false,
            is_ready: false,
            heard: Vec::new(),
            owes_delivery: false,
            lead: lead(),
        })
    }

    /// Does what there is to do until the handler says stop, or the keyboards were let go.
    fn live(&mut self) -> Result<(), Error> {
        loop {
            self.tell_ready();
            self.output.flush()?;
            if mem::take(&mut self.owes_delivery) {
                self.tell(Event::Delivered(now()));
            }
            if self.stopped || self.waker.was_let_go() {
                return Ok(());
            }
            self.turn()?;
        }
    }

    /// After the keyboards were let go: makes everything anew, and tells what there was as gone. What the handler
    /// releases has come up by itself.
    fn take_again(&mut self) -> Result<(), Error> {
        let is_read = |slot: &Option<Slot>| matches!(slot, Some(Slot { stage: Stage::Reading(_), .. }));
        let read = (0..).zip(&self.slots).filter(|(_, slot)| is_read(slot)).map(|(number, _)| number);
        let read = read.collect::<Vec<u16>>();
        self.slots.clear();
        self.heard.clear();
        for number in read {
            self.tell(Event::Disconnected(now(), DeviceId(number)));
        }
        self.tell(Event::Interrupted(now(), Interruption::LetGo));
        self.output = Output::create()?;
        self.waker.holds_output(self.output.files());
        listen(&self.epoll, &self.output, OUTPUT)?;
        thread::sleep(UNTIL_OPENED);
        self.rescan()
    }

    /// Takes up every keyboard there is. If we have rights to none of those that are wanted, that is an error: it
    /// will hardly be meant so.
    fn look_around(&mut self) -> Result<(), Error> {
        self.rescan()?;
        let stages = || self.slots.iter().flatten().map(|slot| &slot.stage);
        if stages().any(|stage| matches!(stage, Stage::Waiting(..) | Stage::Reading(_) | Stage::Refused)) {
            return Ok(());
        }
        let forbidden =
            self.slots.iter().flatten().find(|slot| matches!(slot.stage, Stage::Forbidden { .. }));
        forbidden.map_or(Ok(()), |slot| Err(slot.forbidden()))
    }

    /// Says once that the start is over: no keyboard is waited for any more.
    fn tell_ready(&mut self) {
        if !self.is_ready && self.slots.iter().flatten().all(|slot| slot.patience_ends().is_none()) {
            self.is_ready = true;
            self.tell(Event::Ready);
        }
    }

    /// Sleeps until there is something to do, and does it.
    fn turn(&mut self) -> Result<(), Error> {
        let mut buffer = [const { MaybeUninit::uninit() }; READY];
        let moment = if self.heard.is_empty() { self.next_moment() } else { Some(Time::ZERO) };
        let ready = self.wait(&mut buffer, moment)?;
        self.see_whether_it_slept();
        self.listen_to(ready);
        if ready.is_empty() && self.heard.is_empty() {
            self.time_has_come();
            return Ok(());
        }
        self.tell_heard()?;
        self.output.flush()?; // before anything that may take time
        self.handler.carried_out(now());
        for event in ready {
            match event.data.u64() {
                OUTPUT => self.pass_leds()?,
                INOTIFY => self.follow_devices()?,
                WAKER => {
                    self.waker.clear();
                    self.wake();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until something is ready, or `moment` has come: then nothing is; or a signal was handled. The wait
    /// itself is the timer, so that a deadline costs no system call.
    fn wait<'b>(
        &mut self,
        buffer: &'b mut ReadyBuffer,
        moment: Option<Time>,
    ) -> Result<&'b [epoll::Event], Error> {
        let timeout = moment.map(|moment| {
            let micros = moment.micros().saturating_sub(now().micros());
            let micros = if self.whole_millis { micros.next_multiple_of(1000) } else { micros };
            Timespec { tv_sec: (micros / 1_000_000) as i64, tv_nsec: (micros % 1_000_000 * 1000) as _ }
        });
        match epoll::wait(&*self.epoll, buffer.as_mut_slice(), timeout.as_ref()) {
            Ok((ready, _)) => Ok(ready),
            Err(Errno::INTR) => Ok(&[]),
            Err(Errno::NOSYS) if !self.whole_millis => {
                self.whole_millis = true;
                Ok(&[])
            }
            Err(error) => system("wait for keys", Err(error)),
        }
    }

    /// Hands an event to the handler; after it has said stop, only the last one.
    fn tell(&mut self, event: Event<'_>) {
        if self.stopped && !matches!(event, Event::Stopping(_)) {
            return;
        }
        match self.handler.handle(event, &mut self.output) {
            Next::Wait(deadline) => self.deadline = deadline,
            Next::Stop => self.stopped = true,
        }
    }

    // ---- keys ----

    /// Reads the keyboards that are ready.
    fn listen_to(&mut self, ready: &[epoll::Event]) {
        for number in ready.iter().filter_map(|event| u16::try_from(event.data.u64()).ok()) {
            let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else { continue };
            let heard = &mut self.heard;
            match &mut slot.stage {
                Stage::Reading(keyboard) => {
                    let result = keyboard.read(|time, moved| {
                        heard.push(Heard { time, slot: number, what: What::Moved(moved) });
                    });
                    if result.is_err() {
                        heard.push(Heard { time: now(), slot: number, what: What::Gone });
                    }
                }
                Stage::Waiting(keyboard, _) => match keyboard.read(|_, _| {}) {
                    Ok(()) => self.settle(number),
                    Err(_) => self.remove(number),
                },
                Stage::Unwanted | Stage::Forbidden { .. } | Stage::Refused => {}
            }
        }
    }

    /// Hands on what the keyboards have told, in the order in which it happened.
    ///
    /// Where one keyboard told several things, the last may have come after the wait, and after something of another
    /// keyboard that was not ready then. So everything is read once more, up to the latest moment that is known by
    /// now; what is later stays for the next turn.
    fn tell_heard(&mut self) -> Result<(), Error> {
        let mut due = self.heard.len();
        if self.is_order_open() {
            let horizon = self.heard.iter().map(|heard| heard.time).max();
            let mut buffer = [const { MaybeUninit::uninit() }; READY];
            let ready = self.wait(&mut buffer, Some(Time::ZERO))?;
            self.listen_to(ready);
            due = put_in_order(&mut self.heard, horizon);
        }
        let mut heard = mem::take(&mut self.heard);
        for Heard { time, slot, what } in heard.drain(..due) {
            let device = DeviceId(slot);
            match what {
                What::Moved(Moved::Key(key, motion)) => {
                    self.tell(Event::Key(KeyEvent { time, device, key, motion }));
                }
                What::Moved(Moved::Axis(axis, distance)) => self.output.push_axis(axis, distance),
                What::Moved(Moved::Frame) => self.output.end_frame(),
                What::Gone => self.remove(slot),
            }
        }
        self.heard = heard;
        Ok(())
    }

    /// Whether the order of what has been heard is not yet certain: several keyboards are read, and several things
    /// have happened.
    fn is_order_open(&self) -> bool {
        let reading = self.slots.iter().flatten().filter(|slot| matches!(slot.stage, Stage::Reading(_)));
        let frames = self.heard.iter().filter(|heard| matches!(heard.what, What::Moved(Moved::Frame)));
        reading.take(2).count() == 2 && frames.take(2).count() == 2
    }

    fn pass_leds(&mut self) -> Result<(), Error> {
        let leds = self.output.read_leds()?;
        for slot in self.slots.iter().flatten() {
            if let Stage::Reading(keyboard) = &slot.stage {
                // A keyboard that fails here is gone, which reading it will tell.
                let _ = keyboard.set_leds(leds);
            }
        }
        Ok(())
    }

    // ---- keyboards coming and going ----

    /// Has the system tell of devices from now on. Where it does not, which a system with many watchers may do, the
    /// list is read instead.
    fn watch_devices(&mut self) {
        let is_first = matches!(self.news, News::Sought { at: Time::ZERO });
        let watched = watch_nodes().and_then(|inotify| {
            listen(&self.epoll, &*inotify, INOTIFY)?;
            Ok(inotify)
        });
        match watched {
            Ok(inotify) => {
                self.news = News::Told(inotify);
                if !is_first {
                    self.tell(Event::Aid(Aid::DeviceWatch, None));
                }
            }
            Err(error) => {
                self.news = News::Sought { at: now().plus_millis(RELIST_MS) };
                if is_first {
                    self.tell(Event::Aid(Aid::DeviceWatch, Some(&error)));
                }
            }
        }
    }

    /// Finds out what has come and gone, where the system does not tell.
    fn seek_devices(&mut self) {
        self.watch_devices(); // first: what comes after the list was read is told, if that works by now
        let Ok(names) = devices::names() else { return };
        let is_gone = |slot: &Slot| {
            let node = slot.device.node.file_name();
            !names.iter().any(|name| node == Some(OsStr::new(name)))
        };
        let gone = (0_u16..).zip(&self.slots).filter(|(_, slot)| slot.as_ref().is_some_and(is_gone));
        for number in gone.map(|(number, _)| number).collect::<Vec<_>>() {
            self.remove(number);
        }
        names.iter().for_each(|name| self.appeared(name));
    }

    fn follow_devices(&mut self) -> Result<(), Error> {
        let News::Told(inotify) = &self.news else { return Ok(()) };
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 4096];
        let mut changes = Vec::new();
        let mut reader = inotify::Reader::new(&**inotify, &mut buffer);
        while let Ok(change) = reader.next() {
            let name = change.file_name().map(|name| name.to_string_lossy().into_owned());
            changes.push((name, change.events()));
        }
        for (name, what) in changes {
            match name {
                Some(name) if what.contains(inotify::ReadFlags::DELETE) => self.vanished(&name),
                Some(name) => self.appeared(&name),
                // The queue ran over.
                None => self.rescan()?,
            }
        }
        Ok(())
    }

    fn rescan(&mut self) -> Result<(), Error> {
        for name in devices::names()? {
            self.appeared(&name);
        }
        Ok(())
    }

    /// A device file is new, or its rights have changed.
    fn appeared(&mut self, name: &str) {
        if let Some((number, slot)) = self.slot_of(name) {
            if matches!(slot.stage, Stage::Forbidden { .. } | Stage::Refused) {
                self.begin(number);
            }
            return;
        }
        let Some(device) = devices::find(name, self.options) else { return };
        if device.excluded.is_some() {
            return;
        }
        let wanted = self.handler.wants(&device.info);
        let slot = Some(Slot { device, stage: Stage::Unwanted, is_refusal_known: false });
        let number = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.slots.push(None);
                self.slots.len().saturating_sub(1)
            }
        };
        if let Some(place) = self.slots.get_mut(number) {
            *place = slot;
        }
        if wanted {
            self.begin(number as u16);
        }
    }

    fn vanished(&mut self, name: &str) {
        if let Some((number, _)) = self.slot_of(name) {
            self.remove(number);
        }
    }

    fn slot_of(&self, name: &str) -> Option<(u16, &Slot)> {
        let mut slots = (0_u16..).zip(&self.slots);
        slots.find_map(|(number, slot)| {
            let slot = slot.as_ref()?;
            (slot.device.node.file_name() == Some(OsStr::new(name))).then_some((number, slot))
        })
    }

    /// Opens a keyboard, and takes it if no key is down.
    fn begin(&mut self, number: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else { return };
        let opened = Keyboard::open(&slot.device.node);
        match opened {
            Ok(keyboard) => {
                if let Err(error) = listen(&self.epoll, &keyboard, number.into()) {
                    self.refuse(number, &error);
                    return;
                }
                slot.stage = Stage::Waiting(keyboard, now().plus_millis(PATIENCE_MS));
                self.settle(number);
            }
            Err(Errno::ACCESS | Errno::PERM) => {
                if matches!(slot.stage, Stage::Unwanted) {
                    slot.stage = Stage::Forbidden { tell_at: now().plus_millis(PATIENCE_MS) };
                }
            }
            Err(Errno::NODEV | Errno::NOENT | Errno::NXIO) => self.remove(number),
            Err(error) => {
                let doing = format!("open {}", slot.device.node.display());
                self.refuse(number, &Error::System { doing, source: error.into() });
            }
        }
    }

    /// Takes a keyboard that waits for its keys to come up, if they have, or if it has waited long enough.
    fn settle(&mut self, number: u16) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else { return };
        let Stage::Waiting(mut keyboard, until) = mem::replace(&mut slot.stage, Stage::Unwanted) else {
            return;
        };
        let now = now();
        match keyboard.take(now >= until) {
            Ok(true) => {
                let _ = keyboard.set_leds(self.output.leds());
                self.waker.holds_keyboard(keyboard.file());
                slot.stage = Stage::Reading(keyboard);
                slot.is_refusal_known = false;
                let info = slot.device.info.clone();
                self.tell(Event::Connected(DeviceId(number), &info));
            }
            Ok(false) => slot.stage = Stage::Waiting(keyboard, until.max(now.plus_millis(RETRY_MS))),
            Err(Errno::BUSY) => {
                let error = Error::KeyboardTaken {
                    node: slot.device.node.clone(),
                    name: slot.device.info.name.clone(),
                };
                self.refuse(number, &error);
            }
            Err(_) => self.remove(number),
        }
    }

    fn refuse(&mut self, number: u16, error: &Error) {
        let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else { return };
        slot.stage = Stage::Refused;
        if mem::replace(&mut slot.is_refusal_known, true) {
            return;
        }
        let info = slot.device.info.clone();
        self.tell(Event::Refused(&info, error));
    }

    fn remove(&mut self, number: u16) {
        let Some(place) = self.slots.get_mut(usize::from(number)) else { return };
        if let Some(Slot { stage: Stage::Reading(_), .. }) = place.take() {
            self.disconnected(number);
        }
    }

    fn disconnected(&mut self, number: u16) {
        self.heard.retain(|heard| heard.slot != number);
        self.tell(Event::Disconnected(now(), DeviceId(number)));
    }

    // ---- time, and other threads ----

    /// The machine may have slept, with keys moving unseen: everything is released, and keys that have come up
    /// meanwhile are known to be up.
    fn see_whether_it_slept(&mut self) {
        let before = mem::replace(&mut self.lead, lead());
        if !has_slept(before, self.lead) && !self.waker.take_pretended_sleep() {
            return;
        }
        self.tell(Event::Interrupted(now(), Interruption::Resumed));
        let mut up = Vec::new();
        for (slot, number) in self.slots.iter_mut().zip(0..) {
            if let Some(Slot { stage: Stage::Reading(keyboard), .. }) = slot {
                // A keyboard that fails here is gone, which reading it will tell.
                let _ = keyboard.find_releases(|key| up.push((number, key)));
            }
        }
        for (number, key) in up {
            let device = DeviceId(number);
            self.tell(Event::Key(KeyEvent { time: now(), device, key, motion: Motion::Release }));
        }
    }

    fn wake(&mut self) {
        self.tell(Event::Woken(now()));
        self.owes_delivery = true;
        for number in 0..self.slots.len() as u16 {
            let Some(Some(slot)) = self.slots.get_mut(usize::from(number)) else { continue };
            let wanted = self.handler.wants(&slot.device.info);
            match (&slot.stage, wanted) {
                (Stage::Unwanted | Stage::Forbidden { .. } | Stage::Refused, true) => self.begin(number),
                (Stage::Reading(_), false) => {
                    slot.stage = Stage::Unwanted;
                    self.disconnected(number);
                }
                (_, false) => slot.stage = Stage::Unwanted,
                (Stage::Waiting(..) | Stage::Reading(_), true) => {}
            }
        }
    }

    /// The moment at which something is to be done though nothing happens.
    fn next_moment(&self) -> Option<Time> {
        let list_at = match self.news {
            News::Told(_) => None,
            News::Sought { at } => Some(at),
        };
        self.slots.iter().flatten().filter_map(Slot::patience_ends).chain(self.deadline).chain(list_at).min()
    }

    fn time_has_come(&mut self) {
        let now = now();
        if matches!(self.news, News::Sought { at } if at <= now) {
            self.seek_devices();
        }
        for number in 0..self.slots.len() as u16 {
            let Some(Some(slot)) = self.slots.get(usize::from(number)) else { continue };
            if slot.patience_ends().is_none_or(|end| end > now) {
                continue;
            }
            match slot.stage {
                Stage::Forbidden { .. } => self.refuse(number, &slot.forbidden()),
                _ => self.settle(number),
            }
        }
        if let Some(deadline) = self.deadline.take_if(|deadline| *deadline <= now) {
            self.tell(Event::Deadline(deadline));
        }
    }
}

impl Slot {
    /// When the wait for keys to come up, or for rights, is over.
    fn patience_ends(&self) -> Option<Time> {
        match self.stage {
            Stage::Waiting(_, until) => Some(until),
            Stage::Forbidden { tell_at } => Some(tell_at),
            Stage::Unwanted | Stage::Refused | Stage::Reading(_) => None,
        }
    }

    fn forbidden(&self) -> Error {
        Error::KeyboardForbidden { node: self.device.node.clone(), name: self.device.info.name.clone() }
    }
}

/// Puts what several keyboards told into the order in which it happened, and counts what was up to `horizon`.
fn put_in_order(heard: &mut [Heard], horizon: Option<Time>) -> usize {
    heard.sort_by_key(|heard| heard.time);
    heard.partition_point(|heard| Some(heard.time) <= horizon)
}

/// The time of the clock that stamps the records.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (now.tv_sec as u64, now.tv_nsec as u64);
    Time::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}

/// By how many microseconds the clock that counts sleep is ahead of the one that does not.
fn lead() -> u64 {
    let boot = clock_gettime(ClockId::Boottime);
    let boot = (boot.tv_sec as u64).saturating_mul(1_000_000).saturating_add(boot.tv_nsec as u64 / 1000);
    boot.saturating_sub(now().micros())
}

/// Whether the machine slept between two readings of the lead. Readings differ by what lies between two calls.
fn has_slept(before: u64, after: u64) -> bool {
    after.saturating_sub(before) > SLEEP_MICROS
}

/// An inotify of the directory of device files.
fn watch_nodes() -> Result<Counted<OwnedFd>, Error> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let inotify = Counted::new(Kind::Inotify, system("make an inotify", inotify::init(flags))?);
    let watched = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::ATTRIB
        | inotify::WatchFlags::DELETE;
    system("watch /dev/input", inotify::add_watch(&*inotify, devices::NODES, watched))?;
    Ok(inotify)
}

fn listen(epoll: &OwnedFd, fd: impl AsFd, number: u64) -> Result<(), Error> {
    system("listen", epoll::add(epoll, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN))
}

/// Says what was tried when the system fails.
fn system<T>(doing: &str, result: rustix::io::Result<T>) -> Result<T, Error> {
    result.map_err(|error| Error::System { doing: doing.into(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::tests::{alone, present};

    fn check(told: &[(u64, u16)], horizon: u64, due: &[(u64, u16)], later: &[(u64, u16)]) {
        let heard = |(millis, slot): &(u64, u16)| Heard {
            time: Time::from_millis(*millis),
            slot: *slot,
            what: What::Gone,
        };
        let mut heard = told.iter().map(heard).collect::<Vec<_>>();
        let count = put_in_order(&mut heard, Some(Time::from_millis(horizon)));
        let order = heard.iter().map(|it| (it.time.micros() / 1000, it.slot)).collect::<Vec<_>>();
        assert_eq!((&order[..count], &order[count..]), (due, later));
    }

    #[test]
    fn keys_of_several_keyboards_are_told_in_the_order_in_which_they_moved() {
        check(&[(5, 0), (9, 0), (3, 1), (7, 1)], 9, &[(3, 1), (5, 0), (7, 1), (9, 0)], &[]);
        check(&[(5, 1), (5, 0), (5, 1)], 5, &[(5, 1), (5, 0), (5, 1)], &[]);
    }

    #[test]
    fn a_machine_has_slept_when_its_clocks_drift_apart() {
        assert!(has_slept(1_000, 60_000_000));
        assert!(!has_slept(1_000, 1_400) && !has_slept(1_400, 1_000));
        assert!(!has_slept(lead(), lead()));
    }

    #[test]
    fn what_came_after_the_horizon_waits_for_what_may_have_come_before_it() {
        check(&[(5, 0), (7, 0), (6, 1), (8, 1)], 7, &[(5, 0), (6, 1), (7, 0)], &[(8, 1)]);
    }

    /// Wants no keyboard, and looks what there is when all is running.
    #[derive(Default)]
    struct Looks(Vec<(Kind, u64)>);

    impl Handler for Looks {
        fn wants(&self, _: &keyrx_engine::DeviceInfo) -> bool {
            false
        }

        fn handle(&mut self, event: Event<'_>, _: &mut dyn keyrx_engine::Effects) -> Next {
            if matches!(event, Event::Ready) {
                self.0 = present();
            }
            Next::Stop
        }
    }

    /// Whether it can run depends on the machine; in the guest of the end-to-end tests it can.
    #[test]
    fn no_resource_is_left_whether_it_could_run_or_not() {
        let _alone = alone();
        let waker = Waker::new().unwrap();
        assert_eq!(present(), [(Kind::Waker, 1)]);
        let mut looks = Looks::default();
        if run(&mut looks, &waker.clone(), &Options::default()).is_ok() {
            let all = [(Kind::Waker, 1), (Kind::Uinput, 2), (Kind::Epoll, 1), (Kind::Inotify, 1)];
            assert_eq!(looks.0, all);
        }
        drop(waker);
        assert_eq!(present(), []);
    }

    #[test]
    fn a_file_that_is_no_keyboard_does_not_stay_open() {
        let _alone = alone();
        assert_eq!(Keyboard::open("/dev/null".as_ref()).err(), Some(Errno::NOTTY));
        assert_eq!(present(), []);
    }
}
