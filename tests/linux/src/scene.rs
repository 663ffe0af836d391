//! A scene: keyboards, keyrx between them and the desktop, and one loop that types, watches and keeps the time.
//!
//! The loop is the only place that waits, and whatever it waits for, it goes on taking in what devices and keyrx say.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::panic::panic_any;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{Motion, Time};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::Signal;

use crate::daemon::{self, Daemon, User};
use crate::desktop::{Desktop, Device, OUTPUT, Record};
use crate::keyboard::{Keyboard, Model};
use crate::keycodes;
use crate::time::{Clock, ms, now};
use crate::web;

/// How late a key may be typed before the case has to be tried again.
const TYPING_TOLERANCE: Duration = ms(20);

/// The cause of a panic when the machine was too busy to type in time.
pub struct Disturbed;

pub struct Scene {
    pub clock: Clock,
    pub desktop: Desktop,
    /// The case's own directory, writable for everybody.
    pub home: PathBuf,
    /// Whether keys must be typed at their times, or may all be late as long as none comes closer to the one before.
    pub is_punctual: bool,
    daemon: Option<Daemon>,
    /// The time zero of what is typed and seen.
    start: Duration,
    old_log: String,
}

impl Scene {
    pub fn new(clock: Clock) -> Scene {
        let home = PathBuf::from("/tmp/home");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, Permissions::from_mode(0o777)).unwrap();
        allow("/dev/uinput", false);
        Scene {
            clock,
            desktop: Desktop::default(),
            home,
            is_punctual: true,
            daemon: None,
            start: now(),
            old_log: String::new(),
        }
    }

    // Keyboards.

    /// Plugs in a USB keyboard.
    pub fn plug(&mut self, name: &str) -> Keyboard {
        self.plug_model(Model::usb(name))
    }

    pub fn plug_model(&mut self, model: Model<'_>) -> Keyboard {
        let keyboard = Keyboard::plug(model);
        self.desktop.refresh();
        keyboard
    }

    /// Waits until keyrx has taken a keyboard for itself.
    pub fn wait_grabbed(&mut self, keyboard: &Keyboard) {
        self.wait(ms(5000), &format!("{} to be grabbed", keyboard.name), |scene| scene.is_grabbed(keyboard));
    }

    /// Whether nothing of a keyboard reaches the desktop directly.
    pub fn is_grabbed(&mut self, keyboard: &Keyboard) -> bool {
        let seen = |scene: &Scene| scene.device(keyboard).record.len();
        let before = seen(self);
        keyboard.probe();
        self.watch(ms(5));
        seen(self) == before
    }

    fn device(&self, keyboard: &Keyboard) -> &Device {
        let mut devices = self.desktop.devices.iter().rev();
        devices.find(|device| device.node == keyboard.node).expect("a keyboard of this scene")
    }

    // keyrx.

    /// Writes the keymap that `start` takes.
    pub fn keymap(&self, text: &str) {
        fs::write(self.keymap_path(), text).unwrap();
    }

    pub fn keymap_path(&self) -> PathBuf {
        self.home.join("keymap.rhai")
    }

    /// Writes a keymap, starts keyrx with it and waits until it is ready.
    pub fn keyrx(&mut self, keymap: &str) {
        self.keymap(keymap);
        self.start(User::Root);
        self.wait_for("ready");
    }

    /// As `keyrx`, with faults on demand, and waits until it answers.
    pub fn keyrx_with_faults(&mut self, keymap: &str) {
        self.keymap(keymap);
        self.start_with(User::Root, &["--chaos"], &[]);
        self.wait_for("ready");
        self.wait(ms(5000), "keyrx to serve", |scene| web::place(&scene.state()).is_some());
    }

    /// Where keyrx keeps its state.
    pub fn state(&self) -> PathBuf {
        self.home.join(".local/state/keyrx")
    }

    /// Asks the running keyrx, with its token: the status and the body of the answer.
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (port, token) = web::place(&self.state()).expect("keyrx serves");
        web::request(port, &token, method, path, body)
    }

    /// As `request`, for what must succeed.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) {
        let (status, answer) = self.request(method, path, body);
        assert!(status < 300, "{method} {path}: {status} {answer}");
    }

    /// It has ended by itself, as it was to.
    pub fn forget_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.read();
            self.old_log.push_str(&daemon.log);
        }
    }

    /// Starts keyrx and does not wait.
    pub fn start(&mut self, user: User) {
        self.start_with(user, &[], &[]);
    }

    /// As `start`, with these arguments, and these variables in its environment.
    pub fn start_with(&mut self, user: User, arguments: &[&str], variables: &[(&str, &str)]) {
        if let Some(mut old) = self.daemon.take() {
            old.read();
            self.old_log.push_str(&old.log);
        }
        self.daemon = Some(Daemon::start(&self.home, &self.keymap_path(), user, arguments, variables));
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("keyrx has been started")
    }

    /// Waits until keyrx says a word that it has not said before, and a moment longer: one thread says it, another
    /// does it.
    pub fn wait_for(&mut self, word: &str) {
        self.wait(ms(5000), &format!("keyrx to say {word:?}"), |scene| {
            let daemon = scene.daemon();
            let said = daemon.said(word);
            let status = daemon.status();
            assert!(said || status.is_none(), "keyrx ended with {status:?} before it said {word:?}");
            said
        });
        self.watch(ms(20));
        self.desktop.refresh();
    }

    /// Writes a new keymap and waits for what keyrx has to say of it.
    pub fn reload(&mut self, keymap: &str, word: &str) {
        self.daemon().forget();
        self.keymap(keymap);
        self.wait_for(word);
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.daemon().signal(signal);
        self.wait_end()
    }

    /// Waits for the end, which was asked for in another way.
    pub fn wait_end(&mut self) -> ExitStatus {
        self.wait(ms(6000), "keyrx to end", |scene| scene.daemon().status().is_some());
        let mut daemon = self.daemon.take().expect("keyrx has been started");
        daemon.read();
        self.old_log.push_str(&daemon.log);
        self.desktop.read();
        daemon.status().unwrap()
    }

    /// Runs `keyrx` with other arguments to its end: its exit code, and all it said.
    pub fn run(&mut self, arguments: &[&str], user: User) -> (Option<i32>, String) {
        let mut command = daemon::keyrx(&self.home, user);
        let out = self.home.join("out");
        let file = fs::File::create(&out).unwrap();
        let mut child =
            command.args(arguments).stderr(file.try_clone().unwrap()).stdout(file).spawn().unwrap();
        let mut status = None;
        self.wait(ms(5000), &format!("keyrx {} to end", arguments.join(" ")), |_| {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap().code(), fs::read_to_string(out).unwrap())
    }

    /// All that keyrx has said in this scene.
    pub fn log(&mut self) -> String {
        let log = self.daemon.as_mut().map(|daemon| {
            daemon.read();
            daemon.log.clone()
        });
        self.old_log.clone() + &log.unwrap_or_default()
    }

    // Typing and watching.

    /// Sets the time to zero and forgets what was seen.
    pub fn begin(&mut self) {
        self.desktop.refresh();
        self.desktop.clear();
        self.start = now();
    }

    /// Types on a keyboard from now on and returns at the end of the text, which may be a wait.
    pub fn type_on(&mut self, keyboard: &Keyboard, text: &str) {
        self.type_together(&[(keyboard, text)]);
    }

    /// Types on several keyboards at once; all texts begin now.
    pub fn type_together(&mut self, tracks: &[(&Keyboard, &str)]) {
        let mut begin = now();
        let mut strokes: Vec<(&Keyboard, Moment)> = Vec::new();
        let mut end = Time::ZERO;
        for (keyboard, text) in tracks {
            let (track, length) = parse(text);
            strokes.extend(track.into_iter().map(|stroke| (*keyboard, stroke)));
            end = end.max(length);
        }
        strokes.sort_by_key(|(_, stroke)| stroke.time);
        for (keyboard, stroke) in strokes {
            let due = begin + Duration::from_micros(stroke.time.micros());
            self.watch_until(due);
            keyboard.key(stroke.key, stroke.motion);
            let late = now() - due;
            match self.is_punctual {
                true if late > TYPING_TOLERANCE => panic_any(Disturbed),
                true => {}
                false => begin += late,
            }
        }
        self.watch_until(begin + Duration::from_micros(end.micros()));
    }

    /// What the desktop has seen since `begin`, when everything has settled.
    pub fn seen(&mut self) -> Seen {
        self.watch(self.clock.settling());
        self.seen_so_far()
    }

    pub fn seen_so_far(&self) -> Seen {
        let records =
            self.desktop.devices.iter().map(|device| (device.name.clone(), device.keys().copied().collect()));
        let tolerance = if self.is_punctual { self.clock.tolerance() } else { Duration::MAX };
        Seen { start: self.start, tolerance, records: records.collect() }
    }

    /// Types and tells what the desktop has seen.
    pub fn play(&mut self, keyboard: &Keyboard, text: &str) -> Seen {
        self.begin();
        self.type_on(keyboard, text);
        self.seen()
    }

    /// Typed on a keyboard, a text comes out of keyrx as another, and nothing comes from the keyboard itself.
    #[track_caller]
    pub fn check(&mut self, keyboard: &Keyboard, text: &str, output: &str) {
        let seen = self.play(keyboard, text);
        seen.output(output);
        seen.native(keyboard, "");
    }

    /// The keys that are down on keyrx's keyboard, in the notation.
    pub fn output_down(&mut self) -> String {
        let down = self.desktop.output().map(Device::down).unwrap_or_default();
        let press = |code| Moment { time: Time::ZERO, motion: Motion::Press, key: keycodes::key(code) };
        notation::print(down.into_iter().map(press))
    }

    pub fn watch(&mut self, time: Duration) {
        self.watch_until(now() + time);
    }

    fn watch_until(&mut self, until: Duration) {
        loop {
            self.desktop.read();
            self.daemon.iter_mut().for_each(Daemon::read);
            let Some(left) = until.checked_sub(now()).filter(|left| !left.is_zero()) else {
                return;
            };
            let daemon = self.daemon.as_ref().and_then(Daemon::waitable);
            let mut waitable: Vec<PollFd<'_>> =
                self.desktop.waitable().chain(daemon).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            ppoll(&mut waitable, Some(left.into()), None).unwrap();
        }
    }

    /// Watches until something holds.
    pub fn wait(&mut self, limit: Duration, what: &str, mut holds: impl FnMut(&mut Scene) -> bool) {
        let begin = now();
        while !holds(self) {
            assert!(now() - begin < limit, "waited {} ms for {what}", limit.as_millis());
            self.watch(ms(2));
        }
    }

    /// Ends the scene: whatever happened in it, no key may be left down, and keyrx must still stop when asked to.
    pub fn close(&mut self) {
        if self.daemon.is_some() {
            self.watch(ms(100));
            let status = self.daemon().status();
            assert!(status.is_none(), "keyrx ended by itself: {status:?}");
            self.desktop.refresh();
            assert_eq!(self.output_down(), "", "keys were left down");
            let status = self.end(Signal::SIGTERM);
            assert_eq!(status.code(), Some(0), "keyrx stopped with {status}");
        }
        assert!(!self.old_log.contains("panicked"), "keyrx panicked");
    }
}

/// What the desktop has seen of keys, by the name of the device.
pub struct Seen {
    start: Duration,
    tolerance: Duration,
    records: Vec<(String, Vec<Record>)>,
}

impl Seen {
    /// This came out of keyrx's keyboard, and nothing else.
    #[track_caller]
    pub fn output(&self, expected: &str) {
        compare("keyrx's keyboard", expected, &self.strokes(|name| name == OUTPUT), self.tolerance);
    }

    /// As `output`, with times that may be off.
    #[track_caller]
    pub fn output_about(&self, expected: &str, tolerance: Duration) {
        compare("keyrx's keyboard", expected, &self.strokes(|name| name == OUTPUT), tolerance);
    }

    /// This came from a keyboard past keyrx, and nothing else.
    #[track_caller]
    pub fn native(&self, keyboard: &Keyboard, expected: &str) {
        compare(&keyboard.name, expected, &self.strokes(|name| name == keyboard.name), self.tolerance);
    }

    /// What came from a keyboard past keyrx.
    pub fn text(&self, keyboard: &Keyboard) -> String {
        notation::print(self.strokes(|name| name == keyboard.name))
    }

    /// This is what was typed as far as the desktop can tell, by whichever way it came.
    #[track_caller]
    pub fn anywhere(&self, expected: &str) {
        compare("all keyboards together", expected, &self.strokes(|_| true), self.tolerance);
    }

    /// As `anywhere`, with times that may be off.
    #[track_caller]
    pub fn anywhere_about(&self, expected: &str, tolerance: Duration) {
        compare("all keyboards together", expected, &self.strokes(|_| true), tolerance);
    }

    fn strokes(&self, from: impl Fn(&str) -> bool) -> Vec<Moment> {
        let records = self.records.iter().filter(|(name, _)| from(name)).flat_map(|(_, records)| records);
        let mut strokes: Vec<Moment> = records.map(|record| self.stroke(record)).collect();
        strokes.sort_by_key(|stroke| stroke.time);
        strokes
    }

    /// A record in the notation, to the millisecond.
    fn stroke(&self, record: &Record) -> Moment {
        let millis = (record.at.saturating_sub(self.start).as_micros() + 500) / 1000;
        let motion = [Motion::Release, Motion::Press, Motion::Repeat][usize::try_from(record.value).unwrap()];
        Moment {
            time: Time::from_millis(u64::try_from(millis).unwrap()),
            motion,
            key: keycodes::key(record.code),
        }
    }
}

#[track_caller]
fn compare(place: &str, expected: &str, got: &[Moment], tolerance: Duration) {
    let (expected, _) = parse(expected);
    let same = |(want, have): (&Moment, &Moment)| {
        let off = want.time.micros().abs_diff(have.time.micros());
        (want.key, want.motion) == (have.key, have.motion) && Duration::from_micros(off) <= tolerance
    };
    let equal = expected.iter().zip(got).take_while(|pair| same(*pair)).count();
    if equal < expected.len().max(got.len()) {
        let [expected, got] = [&expected, got].map(|moments| around(moments, equal));
        panic!("on {place}\nexpected {expected}\ngot      {got}");
    }
}

/// The moments around one of them; the whole story where it is short.
fn around(moments: &[Moment], index: usize) -> String {
    let (from, to) = (index.saturating_sub(10).min(moments.len()), (index + 20).min(moments.len()));
    let cut = |is_cut| if is_cut { "..." } else { "" };
    let text = notation::print(moments[from..to].iter().copied());
    format!("{}{text}{}", cut(from > 0), cut(to < moments.len()))
}

fn parse(text: &str) -> (Vec<Moment>, Time) {
    notation::parse(text, Time::ZERO).unwrap_or_else(|error| panic!("in {text:?}: {error}"))
}

/// Lets everybody read and write a device node, or root alone.
pub fn allow(node: impl AsRef<Path>, everybody: bool) {
    fs::set_permissions(node, Permissions::from_mode(if everybody { 0o666 } else { 0o600 })).unwrap();
}
