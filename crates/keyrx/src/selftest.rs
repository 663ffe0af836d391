//! `keyrx selftest`: whether keys come through on this very machine, by the way that they take in `keyrx run`.
//!
//! Keys F13 to F24 go in, the real platform and engine map them, and what comes out is compared. None of it reaches
//! a window, and the user's own keys stay as they are.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{
    Action, DeviceInfo, Effects, Flavor, Key, Keymap, KeymapBuilder, LayerId, Motion, TapHold, Time, TooMany,
};
use keyrx_platform::native::{self, Probe, Waker};
use keyrx_platform::{Error, Event, Excluded, Handler, Interruption, Needs, Next, Options, Seen};

use crate::cli::Exit;
use crate::instance::{AlreadyRunning, Instance};
use crate::paths::{self, Directories, Paths};
use crate::session::{Command, Session};
use keyrx_platform::threads::Threads;

/// How long the start and the end may take, and how long a key may.
const START: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);

/// Keys that may be under way at once: the queue of a keyboard in Linux holds 32.
const UNDER_WAY: usize = 16;

/// Keys that a failure shows.
const SHOWN: usize = 8;

/// After this nothing is under way any more.
const SETTLING: Duration = Duration::from_millis(250);

/// Keys that are less apart may be one for who watches the hook.
const BETWEEN_KEYS: Duration = Duration::from_millis(50);

/// What a key that is held long enough for its hold does, and what it needs for that.
const TERM_MS: u16 = 100;

pub fn selftest(directories: &Directories, json: bool) -> Result<Exit> {
    let paths = Paths::of(directories);
    // While this lasts no other keyrx starts. Where nothing can be written, none can hold the lock either.
    let _instance = match paths::create(paths.state_dir()) {
        Ok(()) => Some(Instance::acquire(paths.state_dir())?),
        Err(_) => None,
    };
    let is_output = |device: &keyrx_platform::Device| device.excluded == Some(Excluded::OurOutput);
    if native::list(&Options::default())?.iter().any(is_output) {
        return Err(AlreadyRunning::somewhere().into()); // as another user
    }
    let mut bench = Bench::start()?;
    let rows = CHECKS.iter().map(|(name, check)| (*name, check(&mut bench))).collect::<Vec<_>>();
    drop(bench);
    print(&rows, json)
}

/// What a check has found.
enum Verdict {
    /// All is well, and what else there is to say.
    Passed(String),
    Failed(String),
    /// It cannot be checked here: why.
    Skipped(String),
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Verdict::Passed(_) => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::Skipped(_) => "skipped",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Verdict::Passed(detail) | Verdict::Failed(detail) | Verdict::Skipped(detail)) = self;
        f.write_str(detail)
    }
}

impl From<Result<String>> for Verdict {
    fn from(result: Result<String>) -> Verdict {
        match result {
            Ok(detail) => Verdict::Passed(detail),
            Err(why) => Verdict::Failed(format!("{why:#}")),
        }
    }
}

fn print(rows: &[(&str, Verdict)], json: bool) -> Result<Exit> {
    let count = |word| rows.iter().filter(|(_, verdict)| verdict.word() == word).count();
    let (passed, failed, skipped) = (count("passed"), count("failed"), count("skipped"));
    let mut out = std::io::stdout().lock();
    if json {
        let row = |(name, verdict): &(&str, Verdict)| {
            serde_json::json!({
                "name": name,
                "outcome": verdict.word(),
                "detail": verdict.to_string(),
            })
        };
        let checks = rows.iter().map(row).collect::<Vec<_>>();
        let all = serde_json::json!({
            "checks": checks, "passed": passed, "failed": failed, "skipped": skipped
        });
        writeln!(out, "{all:#}")?;
    } else {
        for (name, verdict) in rows {
            writeln!(out, "{:<8}{name}", verdict.word())?;
            for line in verdict.to_string().lines() {
                writeln!(out, "        {line}")?;
            }
        }
        writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
    }
    Ok(if failed == 0 { Exit::Ok } else { Exit::BadInput })
}

type Check = fn(&mut Bench) -> Verdict;

/// In this order: the last ends what the others need.
const CHECKS: &[(&str, Check)] = &[
    ("a mapped key comes out as another", |bench| bench.play("+F13 -F13", "+F14 -F14").into()),
    ("a key that is not mapped comes out as it is", not_mapped),
    ("mapped and other keys at full speed keep their order", |bench| {
        bench.play(&"+F13 +F20 -F13 -F20 ".repeat(50), &"+F14 +F20 -F14 -F20 ".repeat(50)).into()
    }),
    ("a key that is mapped to nothing is swallowed", |bench| {
        bench.play("+F15 +F20 -F20 -F15", "+F20 -F20").into()
    }),
    ("a key that is held becomes its hold by time", |bench| bench.play("+F16 300 -F16", "+F18 -F18").into()),
    ("a key that is tapped is its tap", |bench| bench.play("+F16 -F16", "+F17 -F17").into()),
    ("raw input tells of keys that a hook has swallowed", raw_input),
    ("a hook that Windows drops is put in again", hook_lost),
    ("at the end every key is released", released),
];

fn not_mapped(bench: &mut Bench) -> Verdict {
    thread::sleep(SETTLING); // behind a key that is being sent, this one would be sent, too
    let played = bench.play("+F20 -F20", "+F20 -F20");
    let is_native = bench.seen.iter().all(|seen| seen.is_native);
    if played.is_ok() && Probe::HAS_NATIVE_WAY && !is_native {
        return Verdict::Failed("it was sent anew, and not let through".into());
    }
    played.into()
}

/// What Windows does is no merit and no fault of keyrx.
fn raw_input(bench: &mut Bench) -> Verdict {
    match bench.probe.sees_swallowed() {
        None => Verdict::Skipped("there is no raw input on this system".into()),
        Some(true) => Verdict::Passed("it does, at least of keys that programs send".into()),
        Some(false) => Verdict::Passed(
            "it does not, at least of keys that programs send: a keyboard is known only by keys that pass"
                .into(),
        ),
    }
}

fn hook_lost(bench: &mut Bench) -> Verdict {
    if bench.probe.sees_swallowed() == Some(false) {
        return Verdict::Skipped("raw input does not tell of keys that programs send".into());
    }
    if bench.probe.unhook().is_none() {
        return Verdict::Skipped("there is no hook on this system".into());
    }
    bench.lose_hook().into()
}

fn released(bench: &mut Bench) -> Verdict {
    bench.end().into()
}

/// A running platform, and the probe that sees both of its ends.
struct Bench {
    /// Goes first: the platform ends with it.
    _threads: Threads,
    probe: Probe,
    commands: Sender<Command>,
    waker: Waker,
    told: Receiver<Told>,
    /// What came out in the last check.
    seen: Vec<Seen>,
}

impl Bench {
    /// Starts the platform and waits until it maps.
    fn start() -> Result<Bench> {
        let mut probe = Probe::open()?;
        let (commands, commanded) = channel();
        let (tell, told) = channel();
        let waker = Waker::new()?;
        let mut handler =
            Some(Watched { session: Session::commanded(keymap()?, commanded), tell: tell.clone() });
        let (driver, awake, stop, wake) = (probe.driver(), waker.clone(), commands.clone(), waker.clone());
        let mut threads = Threads::default();
        let end = move || {
            let _ = stop.send(Command::Stop);
            wake.wake();
        };
        threads.start("platform", end, move |_| {
            if let Some(mut handler) = handler.take() {
                let ended = driver.run(&mut handler, &awake);
                let _ = tell.send(Told::Ended(ended));
            }
        })?;
        match told.recv_timeout(START) {
            Ok(Told::Ready) => {}
            Ok(Told::Ended(Err(error))) => return Err(error.into()),
            Ok(_) => bail!("keyrx ended at its start"),
            Err(_) => bail!("keyrx does not start within {} s", START.as_secs()),
        }
        probe.attach()?;
        Ok(Bench { _threads: threads, probe, commands, waker, told, seen: Vec::new() })
    }

    /// Types keys, and compares what comes out with what is expected. A key at the end says when all is out.
    fn play(&mut self, keys: &str, expected: &str) -> Result<String> {
        while self.probe.next(Duration::ZERO).is_some() {} // what an earlier check has not waited for
        self.seen.clear();
        let begin = Instant::now();
        for (number, moment) in parse(&format!("{keys} +F24 -F24"))?.iter().enumerate() {
            thread::sleep(Duration::from_micros(moment.time.micros()).saturating_sub(begin.elapsed()));
            self.probe.send(moment.key, moment.motion)?;
            let is_far_ahead = number > self.seen.len().saturating_add(UNDER_WAY);
            self.seen.extend(self.probe.next(if is_far_ahead { PATIENCE } else { Duration::ZERO }));
        }
        let is_last = |seen: &Seen| (seen.key, seen.motion) == (Key::F24, Motion::Release);
        while !self.seen.last().is_some_and(is_last)
            && let Some(seen) = self.probe.next(PATIENCE)
        {
            self.seen.push(seen);
        }
        let mut expected = parse(&format!("{expected} +F24 -F24"))?;
        expected.iter_mut().for_each(|moment| moment.time = Time::ZERO);
        let got =
            self.seen.iter().map(|seen| Moment { time: Time::ZERO, motion: seen.motion, key: seen.key });
        let got = got.collect::<Vec<_>>();
        if expected != got {
            let same = expected.iter().zip(&got).take_while(|(expected, got)| expected == got).count();
            let rest = |moments: Vec<Moment>| notation::print(moments.into_iter().skip(same).take(SHOWN));
            bail!("after {same} keys\nexpected {}\ngot      {}", rest(expected), rest(got));
        }
        Ok(String::new())
    }

    /// The hook is gone, or will be in a moment: a key that comes out unmapped shows it, and tells the witness.
    fn lose_hook(&mut self) -> Result<String> {
        let begin = Instant::now();
        let lost = loop {
            thread::sleep(BETWEEN_KEYS);
            self.probe.send(Key::F13, Motion::Press)?;
            self.probe.send(Key::F13, Motion::Release)?;
            let first = self.probe.next(PATIENCE);
            let _ = self.probe.next(PATIENCE);
            if first.is_some_and(|seen| seen.key == Key::F13) {
                break Instant::now();
            }
            if begin.elapsed() > PATIENCE {
                bail!("the hook could not be removed");
            }
        };
        loop {
            match self.told.recv_timeout(PATIENCE) {
                Ok(Told::Interrupted(Interruption::HookLost)) => break,
                Ok(Told::Ended(_)) => bail!("keyrx has ended"),
                Ok(_) => {}
                Err(_) => bail!("it was not put in again within {} s", PATIENCE.as_secs()),
            }
        }
        let millis = lost.elapsed().as_millis();
        self.play("+F13 -F13", "+F14 -F14")?;
        Ok(format!("after {millis} ms"))
    }

    /// Ends the platform while a key is held.
    fn end(&mut self) -> Result<String> {
        self.probe.send(Key::F13, Motion::Press)?;
        let pressed = self.probe.next(PATIENCE);
        let _ = self.commands.send(Command::Stop);
        self.waker.wake();
        let released = self.probe.next(PATIENCE);
        loop {
            match self.told.recv_timeout(PATIENCE) {
                Ok(Told::Ended(ended)) => break ended?,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => bail!("keyrx does not end within {} s", PATIENCE.as_secs()),
                Err(RecvTimeoutError::Disconnected) => bail!("keyrx has failed"),
            }
        }
        self.probe.send(Key::F13, Motion::Release)?;
        let moved = |seen: Option<Seen>| seen.map(|seen| (seen.key, seen.motion));
        if moved(pressed) != Some((Key::F14, Motion::Press)) {
            bail!("the key was not mapped");
        }
        if moved(released) != Some((Key::F14, Motion::Release)) {
            bail!("a key that was held when keyrx ended was not released");
        }
        Ok(String::new())
    }
}

fn parse(keys: &str) -> Result<Vec<Moment>> {
    let (moments, _) = notation::parse(keys, Time::ZERO).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(moments)
}

/// F13 is F14, F15 nothing, F16 taps F17 and holds F18.
fn keymap() -> Result<Keymap, TooMany> {
    let mut keymap = KeymapBuilder::new();
    let tap_hold = keymap.tap_hold(TapHold {
        tap: Action::Key(Key::F17),
        hold: Action::Key(Key::F18),
        term: TERM_MS,
        flavor: Flavor::TapPreferred,
        quick_tap: 0,
        flow_tap: 0,
        chordal: false,
        retro_tap: false,
    })?;
    for (key, action) in
        [(Key::F13, Action::Key(Key::F14)), (Key::F15, Action::Nothing), (Key::F16, tap_hold)]
    {
        keymap.map(LayerId::BASE, key, &[], None, action)?;
    }
    Ok(keymap.build())
}

/// What the platform tells beside keys.
enum Told {
    Ready,
    Interrupted(Interruption),
    Ended(Result<(), Error>),
}

/// A session on the test's keyboard alone, of which is told what happens to it.
struct Watched {
    session: Session,
    tell: Sender<Told>,
}

impl Handler for Watched {
    fn wants(&self, device: &DeviceInfo) -> bool {
        Probe::is_source(device)
    }

    fn needs(&self) -> Needs {
        self.session.needs()
    }

    fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
        let told = match event {
            Event::Ready => Some(Told::Ready),
            Event::Interrupted(_, why) => Some(Told::Interrupted(why)),
            _ => None,
        };
        let next = self.session.handle(event, effects);
        // Whoever was told may have given up.
        let _ = told.map(|told| self.tell.send(told));
        next
    }
}
