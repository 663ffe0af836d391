//! `keyrx demo`: a simulated keyboard in this terminal. What is typed goes through an example keymap, and each
//! effect is shown with its cause. Without a terminal it plays a short piece of typing.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use keyrx_config::Loaded;
use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{DeviceId, DeviceInfo, Effect, Key, Motion, Time};
use keyrx_platform::simulated::Simulated;

use crate::cli::Exit;
use crate::explain;
use crate::session::Session;

const KEYMAP: &str = include_str!("../../../keymaps/demo.rhai");

/// What is typed where nobody can.
const TYPING: &str = "+H 60 -H +I 60 -I 300 +Space 60 -Space 400 +Space 250 +J 60 -J +J 60 -J 100 -Space 400 \
    +F 50 +H 60 -H 50 -F 400 +F 50 +J 40 -J 60 -F";

/// A terminal tells that a key was typed, not for how long: so long, then.
const TAP_MILLIS: u16 = 60;

const GREETING: &str = "\
keyrx demo. A simulated keyboard: what you type here goes through the keymap keymaps/demo.rhai, nothing else on
this machine is touched. On the left what the keyboard says, on the right what comes out of it, and why.
";

const HOW_TO_TYPE: &str = "
A terminal does not tell when a key is released: each key that you type is down for 60 ms.
To hold a key, type Tab and then the key; type the key again to let it go. Try: Tab Space j j Space
Ctrl+C ends the demo.
";

pub fn demo() -> Result<Exit> {
    let mut loaded = keyrx_config::load_text("keymaps/demo.rhai", KEYMAP, None);
    let keymap = loaded.keymap.take().context("the keymap of the demo is broken")?;
    let mut session = Session::new(keymap);
    let mut simulated = Simulated::new(&mut session);
    let keyboard = simulated.connect(DeviceInfo::named("your terminal"));
    let stage = Stage { simulated, keyboard, loaded };
    print!("{GREETING}");
    if stdin().is_terminal() && stdout().is_terminal() {
        print!("{HOW_TO_TYPE}");
        stage.live()?;
    } else {
        println!();
        stage.play()?;
    }
    Ok(Exit::Ok)
}

struct Stage<'h> {
    simulated: Simulated<'h>,
    keyboard: DeviceId,
    loaded: Loaded,
}

impl Stage<'_> {
    /// Plays the typing, each event followed by what it causes.
    fn play(mut self) -> Result<()> {
        let (moments, _) = notation::parse(TYPING, Time::ZERO).context("the typing of the demo is broken")?;
        for Moment { time, motion, key } in moments {
            self.advance(time)?;
            self.key(key, motion)?;
        }
        println!("\nType yourself: run `keyrx demo` in a terminal.");
        Ok(())
    }

    /// Takes what is typed in the terminal, in real time.
    fn live(mut self) -> Result<()> {
        enable_raw_mode().context("this terminal gives no single keys")?;
        let ended = self.live_raw();
        disable_raw_mode()?;
        ended
    }

    fn live_raw(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut typing = Typing::default();
        loop {
            let now = Time::from_micros(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
            while let Some((due, key)) = typing.next_release(now) {
                self.advance(due)?;
                self.key(key, Motion::Release)?;
            }
            self.advance(now)?;
            let next =
                typing.due.first().map(|(due, _)| *due).into_iter().chain(self.simulated.deadline()).min();
            let wait = next.map_or(Duration::from_secs(3600), |next| {
                Duration::from_micros(next.micros().saturating_sub(now.micros()))
            });
            if !poll(wait)? {
                continue;
            }
            match typing.read(read()?) {
                Typed::End => return Ok(()),
                Typed::Nothing => {}
                Typed::Moves(moves) => {
                    for (key, motion) in moves {
                        self.key(key, motion)?;
                        if motion == Motion::Press && !typing.held.contains(&key) {
                            typing.due.push((now.plus_millis(TAP_MILLIS), key));
                        }
                    }
                }
            }
        }
    }

    /// Lets time pass, and shows what it brings.
    fn advance(&mut self, to: Time) -> Result<()> {
        self.simulated.advance(to);
        self.show("")
    }

    fn key(&mut self, key: Key, motion: Motion) -> Result<()> {
        self.simulated.key(self.keyboard, key, motion);
        self.show(&notation::print([Moment { time: Time::ZERO, motion, key }]))
    }

    /// A line for each effect; the event that brought them about stands in the first. A release has the cause of
    /// its press.
    fn show(&mut self, event: &str) -> Result<()> {
        let mut out = stdout().lock();
        let mut event = event;
        for effect in self.simulated.take_effects() {
            let cause = match effect.motion {
                Motion::Press => explain::cause(&effect, &self.loaded),
                Motion::Release | Motion::Repeat => String::new(),
            };
            let line = format!("{event:>12}  ->  {:<14} {cause}", written(effect));
            write!(out, "{}\r\n", line.trim_end())?;
            event = "";
        }
        if !event.is_empty() {
            write!(out, "{event:>12}\r\n")?;
        }
        Ok(out.flush()?)
    }
}

fn written(effect: Effect) -> String {
    notation::print([Moment { time: Time::ZERO, ..effect.into() }])
}

/// The simulated keyboard: which keys are down, and until when.
#[derive(Default)]
struct Typing {
    /// Tapped keys, by the time of their release.
    due: Vec<(Time, Key)>,
    held: Vec<Key>,
    /// The next key is to be held.
    hold_next: bool,
}

enum Typed {
    End,
    Nothing,
    Moves(Vec<(Key, Motion)>),
}

impl Typing {
    /// Takes out a release that is due.
    fn next_release(&mut self, now: Time) -> Option<(Time, Key)> {
        self.due.sort_by_key(|(due, _)| *due);
        let (due, _) = self.due.first().filter(|(due, _)| *due <= now)?;
        let due = *due;
        let at = self.due.iter().position(|(time, _)| *time == due)?;
        Some(self.due.remove(at))
    }

    fn read(&mut self, event: Event) -> Typed {
        let Event::Key(KeyEvent {
            code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, ..
        }) = event
        else {
            return Typed::Nothing;
        };
        if modifiers.contains(KeyModifiers::CONTROL) && matches!(code, KeyCode::Char('c' | 'd')) {
            return Typed::End;
        }
        if code == KeyCode::Tab {
            self.hold_next = true;
            return Typed::Nothing;
        }
        let Some((key, shifted)) = key_of(code) else { return Typed::Nothing };
        if let Some(at) = self.held.iter().position(|held| *held == key) {
            self.held.remove(at);
            return Typed::Moves(vec![(key, Motion::Release)]);
        }
        if std::mem::take(&mut self.hold_next) {
            self.held.push(key);
            return Typed::Moves(vec![(key, Motion::Press)]);
        }
        let mut moves = Vec::new();
        // Typed again before its time is up.
        if let Some(at) = self.due.iter().position(|(_, down)| *down == key) {
            self.due.remove(at);
            moves.push((key, Motion::Release));
        }
        if shifted && !self.due.iter().any(|(_, down)| *down == Key::LShift) {
            moves.push((Key::LShift, Motion::Press));
        }
        moves.push((key, Motion::Press));
        Typed::Moves(moves)
    }
}

/// The key that types a character on a US keyboard, and whether with Shift.
fn key_of(code: KeyCode) -> Option<(Key, bool)> {
    let key = match code {
        KeyCode::Char(' ') => Key::Space,
        KeyCode::Char(c) => return key_of_char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        KeyCode::Insert => Key::Insert,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::F(n) => Key::from_name(&format!("F{n}"))?,
        _ => return None,
    };
    Some((key, false))
}

fn key_of_char(c: char) -> Option<(Key, bool)> {
    const PLAIN: &str = "`1234567890-=[]\\;',./";
    const SHIFTED: &str = "~!@#$%^&*()_+{}|:\"<>?";
    const NAMES: [&str; 21] = [
        "Grave",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
        "0",
        "Minus",
        "Equal",
        "LeftBracket",
        "RightBracket",
        "Backslash",
        "Semicolon",
        "Quote",
        "Comma",
        "Period",
        "Slash",
    ];
    if c.is_ascii_alphabetic() {
        return Some((Key::from_name(&c.to_ascii_uppercase().to_string())?, c.is_ascii_uppercase()));
    }
    let place = |characters: &str| characters.chars().position(|other| other == c);
    let (place, shifted) = place(PLAIN).map(|p| (p, false)).or_else(|| place(SHIFTED).map(|p| (p, true)))?;
    Some((Key::from_name(NAMES.get(place)?)?, shifted))
}
