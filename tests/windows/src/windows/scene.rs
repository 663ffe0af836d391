//! A scene: a keyboard, keyrx, and the window that has the focus, each a process of its own.
//!
//! Real time is the subject here: the order of keys is compared exactly, their times widely.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic::panic_any;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{Key, Motion, Time};

use super::process::{Process, Says};
use super::record::{Record, Source};
use super::time::{ms, now};
use super::{state, unix};

/// How late a key may be typed before a failure of the case says nothing.
const TYPING_TOLERANCE: Duration = ms(25);
/// How much later or earlier than said a key may arrive.
const TOLERANCE: Duration = ms(80);
/// The window has seen everything when it has seen nothing new for so long.
const SETTLING: Duration = ms(250);

/// When it has not come by now, it will not come, on whatever machine.
const SETTLED: Duration = ms(2000);

/// The cause of a panic when the right keys came in the right order, but too early or too late.
pub struct Late(pub String);

pub struct Scene {
    /// The case's own directory.
    home: PathBuf,
    program: PathBuf,
    keyboard: Process,
    receiver: Process,
    /// Whether the window may lose the focus.
    may_lose_focus: bool,
    keyrx: Option<Process>,
    /// What keyrx has said, and how far the tests have taken note of it.
    log: String,
    noted: usize,
    /// What was seen since `begin`.
    records: Vec<Record>,
    /// The keys that are down for the window.
    down: Vec<Key>,
    /// Whether the machine was too busy to type in time.
    was_late: bool,
    /// The time zero of what is typed and seen; none until the first key is typed.
    start: Option<Duration>,
}

impl Scene {
    /// Opens a window, with no key down.
    pub fn new(keyrx: &Path) -> Scene {
        state::release_all();
        // Unique on this machine: by this name the process is found on the Linux below.
        let home = std::env::temp_dir().join(format!("keyrx-{}", now().as_micros()));
        fs::create_dir_all(&home).unwrap();
        let mut scene = Scene {
            home,
            program: keyrx.to_owned(),
            keyboard: Process::role(&["keyboard"]),
            receiver: Process::role(&["receiver"]),
            may_lose_focus: false,
            keyrx: None,
            log: String::new(),
            noted: 0,
            records: Vec::new(),
            down: Vec::new(),
            was_late: false,
            start: None,
        };
        let mut has_focus = false;
        scene.wait(ms(10_000), "the window to have the focus", |scene| {
            while let Some(line) = scene.receiver.line() {
                has_focus |= line == "focus";
                if line == "ready" {
                    return has_focus;
                }
            }
            false
        });
        scene
    }

    // keyrx.

    /// Writes a keymap, starts keyrx with it and waits until it is ready. It maps the tests' keyboard, whose keys are
    /// injected.
    pub fn keyrx(&mut self, keymap: &str) {
        self.keyrx_with(keymap, &[("KEYRX_INJECTED", "map")]);
    }

    /// As `keyrx`, with these variables in its environment.
    pub fn keyrx_with(&mut self, keymap: &str, variables: &[(&str, &str)]) {
        self.start(keymap, &[], variables);
        self.wait_for("ready");
    }

    /// As `keyrx`, with faults on demand, and waits until it can be asked for them.
    pub fn keyrx_with_faults(&mut self, keymap: &str) {
        self.start(keymap, &["--chaos", "--port", "0"], &[("KEYRX_INJECTED", "map")]);
        self.wait_until_served();
    }

    fn wait_until_served(&mut self) {
        self.wait(ms(10_000), "keyrx to serve and to be ready", |scene| {
            scene.listen();
            scene.log.contains("ready") && scene.place().is_some()
        });
        self.noted = self.log.len();
    }

    /// The number of keyrx's process.
    pub fn keyrx_id(&self) -> u32 {
        self.keyrx.as_ref().expect("keyrx has been started").id()
    }

    /// As `keyrx_with_faults`, with all the time it takes Wine to write a dump: it looks at each function of the program.
    pub fn keyrx_with_dumps(&mut self, keymap: &str) {
        self.start(keymap, &["--chaos", "--port", "0", "--dump-wait", "60"], &[("KEYRX_INJECTED", "map")]);
        self.wait_until_served();
    }

    fn start(&mut self, keymap: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        self.keymap(keymap);
        let mut command = self.program();
        command.arg("run").arg("--config").arg(self.keymap_path()).current_dir(&self.home);
        command.args(arguments).env_remove("KEYRX_INJECTED").envs(variables.iter().copied());
        self.keyrx = Some(Process::start(&mut command, Says::Stderr));
    }

    /// The port of the running keyrx, and its token.
    fn place(&self) -> Option<(u16, String)> {
        let state = self.home.join("state");
        let files = fs::read_dir(&state).ok()?.flatten().map(|entry| entry.path());
        let pid = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "pid"))?;
        let who = fs::read_to_string(pid).ok()?;
        let port = who.split("\"port\":").nth(1)?.trim_end_matches(['}', '\n', '\r']).parse().ok()?;
        Some((port, fs::read_to_string(state.join("token")).ok()?.trim().to_owned()))
    }

    /// Has something go wrong in keyrx: where, and how, as JSON.
    pub fn fault(&mut self, fault: &str) {
        let (port, token) = self.place().expect("keyrx serves");
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = format!("POST /api/chaos HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
        let rest = format!("Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{fault}", fault.len());
        socket.write_all((head + &rest).as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Runs keyrx with other arguments to its end: its exit code, and what it said on its standard output.
    pub fn command(&mut self, arguments: &[&str]) -> (Option<i32>, String) {
        Process::start(self.program().args(arguments), Says::Stdout).end()
    }

    /// keyrx, which keeps its state in the case's own directory: no case knows of another.
    fn program(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KEYRX_STATE_DIR", self.home.join("state"));
        command
    }

    /// The executable.
    pub fn keyrx_exe(&self) -> &Path {
        &self.program
    }

    /// The case's own directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Writes the keymap.
    pub fn keymap(&self, text: &str) {
        fs::write(self.keymap_path(), text).unwrap();
    }

    fn keymap_path(&self) -> PathBuf {
        self.home.join("keymap.rhai")
    }

    /// Writes another keymap and waits for what keyrx has to say of it.
    pub fn reload(&mut self, keymap: &str, word: &str) {
        self.listen();
        self.noted = self.log.len();
        self.keymap(keymap);
        self.wait_for(word);
    }

    /// Waits until keyrx says a word that it has not said before.
    pub fn wait_for(&mut self, word: &str) {
        self.wait(ms(10_000), &format!("keyrx to say {word:?}"), |scene| {
            let status = scene.status();
            scene.listen();
            let new = &scene.log[scene.noted..];
            let line = new.lines().find(|line| line.contains(word)).map(str::len);
            match line {
                Some(_) => scene.noted = scene.log.len(),
                None => assert!(status.is_none(), "keyrx ended ({status:?}) before it said {word:?}"),
            }
            line.is_some()
        });
    }

    /// Presses Ctrl+C for keyrx and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        unix::interrupt(&self.keymap_path().to_string_lossy());
        self.ended()
    }

    /// Waits for the end of keyrx.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(ms(8000))
    }

    pub fn ended_within(&mut self, limit: Duration) -> ExitStatus {
        self.wait(limit, "keyrx to end", |scene| scene.status().is_some());
        let status = self.status().unwrap();
        self.listen();
        self.keyrx = None;
        status
    }

    /// Ends keyrx on the spot.
    pub fn kill(&mut self) {
        self.listen();
        self.keyrx = None;
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.keyrx.as_mut().expect("keyrx has been started").status()
    }

    /// All that keyrx has said in this scene.
    pub fn log(&mut self) -> &str {
        self.listen();
        &self.log
    }

    /// Another window is going to have the focus: nothing more is seen of keys.
    pub fn give_focus_away(&mut self) {
        self.may_lose_focus = true;
    }

    // Typing and watching.

    /// Types A until the window gets B instead, which keyrx makes of it.
    pub fn until_mapped(&mut self, limit: Duration) {
        let maps = |scene: &mut Scene| {
            scene.begin();
            scene.type_keys("+A 2 -A");
            let begin = now();
            let mut keys = Vec::new();
            while now() - begin < ms(100) && keys.len() < 2 {
                scene.watch(ms(1));
                keys = scene.seen_by(Source::Window).records.iter().map(Record::key).collect();
            }
            keys == [Key::B, Key::B]
        };
        self.wait(limit, "A to come out as B", maps);
    }

    /// Sets the time to zero and forgets what was seen.
    pub fn begin(&mut self) {
        self.listen();
        self.records.clear();
        self.start = None;
    }

    /// Types a text in real time and returns at its end, which may be a wait.
    pub fn type_keys(&mut self, text: &str) {
        let (moments, end) = parse(text);
        // A text without a wait is typed as fast as it goes, however long that takes.
        let limit =
            ms(30_000) + Duration::from_micros(end.micros()) + ms(10) * u32::try_from(moments.len()).unwrap();
        self.keyboard.tell(&text.replace('\n', " "));
        let mut answer = None;
        self.wait(limit, "the keyboard to type", |scene| {
            answer = scene.keyboard.line();
            let status = scene.keyboard.status();
            assert!(answer.is_some() || status.is_none(), "the keyboard ended: {status:?}");
            answer.is_some()
        });
        let answer = answer.unwrap();
        let words: Vec<&str> = answer.split(' ').collect();
        let ["typed", begin, late] = words[..] else { panic!("the keyboard said {answer:?}") };
        let micros = |word: &str| Duration::from_micros(word.parse().unwrap());
        self.start.get_or_insert(micros(begin));
        self.was_late |= micros(late) > TYPING_TOLERANCE;
    }

    /// Whether a key was typed too late.
    pub fn was_late(&self) -> bool {
        self.was_late
    }

    /// What the window has seen since `begin`, when everything has settled.
    pub fn seen(&mut self) -> Seen {
        let mut quiet_since = now();
        let mut known = 0;
        while now() - quiet_since < SETTLING {
            self.watch(ms(5));
            if self.records.len() != known {
                (known, quiet_since) = (self.records.len(), now());
            }
        }
        self.seen_by(Source::Window)
    }

    /// What was seen by a certain way since `begin`.
    pub fn seen_by(&mut self, source: Source) -> Seen {
        self.listen();
        let records = self.records.iter().filter(|record| record.source == source).copied().collect();
        Seen { start: self.start.unwrap_or_default(), records }
    }

    /// Types and tells what the window has seen.
    pub fn play(&mut self, text: &str) -> Seen {
        self.begin();
        self.type_keys(text);
        self.seen()
    }

    /// Typed, a text comes out of keyrx as another; all of it is sent by keyrx.
    #[track_caller]
    pub fn check(&mut self, text: &str, output: &str) {
        let seen = self.play(text);
        seen.is(output);
        seen.native("");
    }

    /// Typed, a text comes out as it is, and not by way of keyrx.
    #[track_caller]
    pub fn check_native(&mut self, text: &str) {
        let seen = self.play(text);
        seen.is(text);
        seen.sent("");
    }

    /// No key is down for the window, whatever is held on the keyboard.
    #[track_caller]
    pub fn nothing_is_down(&mut self) {
        self.nothing_is_down_but("");
    }

    /// These keys are down for the window, and no others.
    #[track_caller]
    pub fn nothing_is_down_but(&mut self, keys: &str) {
        let down = |scene: &Scene| scene.down.iter().map(Key::to_string).collect::<Vec<_>>().join(" ");
        let begin = now();
        while down(self) != keys && now() - begin < SETTLED {
            self.watch(ms(5));
        }
        self.watch(ms(60)); // and so it stays
        assert_eq!(down(self), keys, "the keys that are down for the window");
    }

    pub fn watch(&mut self, time: Duration) {
        thread::sleep(time);
        self.listen();
    }

    /// Watches until something holds.
    pub fn wait(&mut self, limit: Duration, what: &str, mut holds: impl FnMut(&mut Scene) -> bool) {
        let begin = now();
        while !holds(self) {
            assert!(now() - begin < limit, "waited {} ms for {what}", limit.as_millis());
            thread::sleep(ms(2));
        }
    }

    /// Takes in what has been said so far.
    fn listen(&mut self) {
        while let Some(line) = self.receiver.line() {
            match Record::parse(&line) {
                Some(record) => {
                    if record.source == Source::Window {
                        self.down.retain(|key| *key != record.key());
                        if record.motion != Motion::Release {
                            self.down.push(record.key());
                        }
                    }
                    self.records.push(record);
                }
                None if self.may_lose_focus && line.starts_with("focus") => {}
                None => panic!("the receiver said {line:?}"),
            }
        }
        while let Some(line) = self.keyrx.as_ref().and_then(Process::line) {
            self.log.push_str(&line);
            self.log.push('\n');
        }
    }

    /// Ends the scene: whatever happened in it, no key may be left down, and keyrx must still stop when asked to.
    pub fn close(&mut self) {
        self.nothing_is_down();
        let down = state::keys_down();
        assert!(down.is_empty(), "keys were left down for the system: {}", down.join(" "));
        if self.keyrx.is_some() {
            let status = self.status();
            assert!(status.is_none(), "keyrx ended by itself: {status:?}");
            let status = self.stop();
            assert_eq!(status.code(), Some(0), "keyrx stopped with {status}");
        }
        let mut panics = self.log.lines().filter(|line| line.contains("panicked"));
        assert!(panics.all(|line| line.contains("a test has asked for this")), "keyrx panicked");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.keyrx = None;
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// What was seen of keys.
pub struct Seen {
    start: Duration,
    pub records: Vec<Record>,
}

impl Seen {
    /// These keys in this order, at about these times, and nothing else.
    #[track_caller]
    pub fn is(&self, expected: &str) {
        compare("of all", expected, &self.moments(|_| true), Some(TOLERANCE));
    }

    /// These keys in this order, at whatever times, and nothing else.
    #[track_caller]
    pub fn is_in_order(&self, expected: &str) {
        compare("of all", expected, &self.moments(|_| true), None);
    }

    /// These keys were sent by keyrx, in this order, and no others.
    #[track_caller]
    pub fn sent(&self, expected: &str) {
        compare(
            "of the keys that a program has marked",
            expected,
            &self.moments(|record| record.extra != 0),
            None,
        );
    }

    /// These keys came as the keyboard sent them, in this order, and no others.
    #[track_caller]
    pub fn native(&self, expected: &str) {
        compare("of the keyboard's own keys", expected, &self.moments(|record| record.extra == 0), None);
    }

    /// Only what was seen of these keys.
    pub fn only(&self, of: impl Fn(Key) -> bool) -> Seen {
        let records = self.records.iter().filter(|record| of(record.key())).copied().collect();
        Seen { start: self.start, records }
    }

    /// In the notation, to the millisecond.
    fn moments(&self, of: impl Fn(&Record) -> bool) -> Vec<Moment> {
        let moment = |record: &Record| {
            let millis = (record.at.saturating_sub(self.start).as_micros() + 500) / 1000;
            let time = Time::from_millis(u64::try_from(millis).unwrap());
            Moment { time, motion: record.motion, key: record.key() }
        };
        self.records.iter().filter(|record| of(record)).map(moment).collect()
    }

    /// Every press has its release.
    #[track_caller]
    pub fn is_balanced(&self) {
        let mut down: Vec<&Record> = Vec::new();
        for record in &self.records {
            down.retain(|other| other.key() != record.key());
            if record.motion != Motion::Release {
                down.push(record);
            }
        }
        let down: Vec<String> = down.iter().map(|record| record.key().to_string()).collect();
        assert!(down.is_empty(), "the window has seen no release of {}", down.join(" "));
    }
}

/// So many keys around a difference are shown.
const SHOWN: usize = 12;

#[track_caller]
fn compare(which: &str, expected: &str, got: &[Moment], tolerance: Option<Duration>) {
    let (expected, _) = parse(expected);
    let same = |(want, have): (&Moment, &Moment)| {
        let off = Duration::from_micros(want.time.micros().abs_diff(have.time.micros()));
        (want.key, want.motion) == (have.key, have.motion)
            && tolerance.is_none_or(|tolerance| off <= tolerance)
    };
    let equal = expected.iter().zip(got).take_while(|pair| same(*pair)).count();
    if equal == expected.len() && equal == got.len() {
        return;
    }
    let key = |moment: &Moment| (moment.key, moment.motion);
    let are_same_keys = expected.iter().map(key).eq(got.iter().map(key));
    let first = equal.saturating_sub(SHOWN);
    let show = |moments: &[Moment]| {
        let shown = &moments[first.min(moments.len())..(equal + SHOWN).min(moments.len())];
        let text = match tolerance {
            Some(_) => notation::print(shown.iter().copied()),
            None => notation::print(shown.iter().map(|moment| Moment { time: Time::ZERO, ..*moment })),
        };
        let dots = |is_cut| if is_cut { " ... " } else { "" };
        format!("{}{text}{} ({} in all)", dots(first > 0), dots(equal + SHOWN < moments.len()), moments.len())
    };
    let (expected, got) = (show(&expected), show(got));
    if are_same_keys {
        panic_any(Late(format!(
            "{which}, key {equal} is late or early\nexpected {expected}\ngot      {got}"
        )));
    }
    panic!("{which}, key {equal} is another\nexpected {expected}\ngot      {got}");
}

fn parse(text: &str) -> (Vec<Moment>, Time) {
    notation::parse(text, Time::ZERO).unwrap_or_else(|error| panic!("in {text:?}: {error}"))
}
