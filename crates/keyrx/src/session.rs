//! The session: what stands between a platform and the engine.
//!
//! It watches the emergency chord on the physical keys before anything else sees them, and lets new keymaps in.

use std::sync::mpsc::{Receiver, TryRecvError};

use keyrx_engine::{DeviceId, DeviceInfo, Effects, Engine, Input, Key, KeyEvent, Keymap, Motion, Time};
use keyrx_platform::{Event, Focus, Handler, Needs, Next};

use crate::chaos::{self, Point};

/// What other threads ask of a session. They wake its platform after they have sent it.
pub enum Command {
    /// Another keymap.
    Keymap(Keymap),
    /// Whether keys are to pass.
    Pause(bool),
    /// The end.
    Stop,
}

/// One keymap at work.
pub struct Session {
    engine: Engine,
    chord: EmergencyChord,
    /// The chord has been pressed, and the log does not know yet.
    is_pause_untold: bool,
    commands: Option<Receiver<Command>>,
    /// How many keymaps it was offered, and the number of the one in force.
    offered: u64,
    in_force: u64,
}

impl Session {
    /// A session that nobody commands.
    pub fn new(keymap: Keymap) -> Session {
        Session {
            engine: Engine::new(keymap),
            chord: EmergencyChord::default(),
            is_pause_untold: false,
            commands: None,
            offered: 0,
            in_force: 0,
        }
    }

    /// A session that takes commands when it is woken.
    pub fn commanded(keymap: Keymap, commands: Receiver<Command>) -> Session {
        Session { commands: Some(commands), ..Session::new(keymap) }
    }

    /// With mapping paused from the start, or not.
    pub fn paused(mut self, is_paused: bool) -> Session {
        if is_paused {
            // No key is down yet: there are no effects.
            self.engine.step(Input::Pause(Time::ZERO), &mut Vec::new());
        }
        self
    }

    /// Whether keys pass through because somebody wanted it so.
    pub fn is_paused(&self) -> bool {
        self.engine.is_paused()
    }

    /// How many events wait for a key that is undecided, its own included.
    pub fn waiting(&self) -> usize {
        self.engine.waiting()
    }

    /// The number of the keymap in force, among those that it was offered; 0 is the one it began with.
    pub fn keymap_in_force(&self) -> u64 {
        self.in_force
    }

    /// What is not a key's event: there is time for more than the engine.
    fn step(&mut self, input: Input, effects: &mut dyn Effects) {
        self.engine.step(input, effects);
        self.drop_retired();
        if std::mem::take(&mut self.is_pause_untold) {
            let what = if self.engine.is_paused() { "paused" } else { "resumed" };
            tracing::warn!(event = what, "mapping is {what} by LCtrl + Space + Escape");
        }
    }

    fn drop_retired(&mut self) {
        if let Some(retired) = self.engine.take_retired() {
            drop(retired);
            self.in_force = self.offered;
            tracing::info!(event = "keymap_in_force", "keymap in force");
        }
    }

    fn key(&mut self, event: KeyEvent, effects: &mut dyn Effects) {
        chaos::strike(Point::Session);
        let input = match self.chord.is_completed_by(event) {
            false => Input::Key(event),
            // Its last key is swallowed: the system has a meaning for Ctrl+Escape.
            true => {
                self.is_pause_untold = true;
                if self.engine.is_paused() { Input::Resume(event.time) } else { Input::Pause(event.time) }
            }
        };
        self.engine.step(input, effects);
    }

    /// Pauses or resumes, if that is anything new.
    fn pause(&mut self, is_paused: bool, time: Time, effects: &mut dyn Effects) {
        if is_paused == self.engine.is_paused() {
            return;
        }
        self.engine.step(if is_paused { Input::Pause(time) } else { Input::Resume(time) }, effects);
        let what = if is_paused { "paused" } else { "resumed" };
        tracing::warn!(event = what, "mapping is {what}, as asked for");
    }

    fn release_all(&mut self, time: Time, effects: &mut dyn Effects) {
        self.chord = EmergencyChord::default();
        self.step(Input::ReleaseAll(time), effects);
    }

    /// Takes what other threads have sent. Whether to go on.
    fn take_commands(&mut self, time: Time, effects: &mut dyn Effects) -> bool {
        while let Some(commands) = &self.commands {
            match commands.try_recv() {
                Ok(Command::Keymap(keymap)) => {
                    self.drop_retired();
                    self.offered = self.offered.saturating_add(1);
                    drop(self.engine.offer(keymap, time));
                }
                Ok(Command::Pause(is_paused)) => self.pause(is_paused, time, effects),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => break,
            }
        }
        true
    }
}

impl Handler for Session {
    fn wants(&self, device: &DeviceInfo) -> bool {
        self.engine.latest_keymap().wants(device)
    }

    fn needs(&self) -> Needs {
        let keymaps = [self.engine.keymap(), self.engine.latest_keymap()];
        Needs {
            keyboards: keymaps.iter().any(|keymap| keymap.is_device_dependent()),
            focus: keymaps.iter().any(|keymap| keymap.is_focus_dependent()),
        }
    }

    fn handle(&mut self, event: Event<'_>, effects: &mut dyn Effects) -> Next {
        match event {
            Event::Key(event) => self.key(event, effects),
            Event::Deadline(time) => self.step(Input::Deadline(time), effects),
            Event::Connected(id, info) => {
                tracing::info!(
                    event = "keyboard_connected",
                    name = info.name,
                    "keyboard connected: {}",
                    info.name
                );
                self.engine.connect(id, info);
            }
            Event::Ready => tracing::info!(event = "ready", "ready"),
            Event::Refused(info, error) => {
                let (name, error) = (info.name.as_str(), error.to_string());
                tracing::warn!(
                    event = "keyboard_refused",
                    name,
                    error,
                    "cannot read the keyboard {name}: {error}"
                );
            }
            Event::Disconnected(time, id) => {
                tracing::info!(event = "keyboard_gone", "keyboard gone");
                self.chord.forget(id);
                self.step(Input::Disconnected(time, id), effects);
            }
            Event::Interrupted(time, why) => {
                let kind = why.name();
                tracing::warn!(event = "interrupted", kind, reason = %why, "all keys are released: {why}");
                self.release_all(time, effects);
            }
            Event::Stopping(time) => self.release_all(time, effects),
            Event::Focus(time, Focus { is_ime_open, layout, .. }) => {
                self.engine.set_layout(layout);
                self.step(Input::InputMethod(time, *is_ime_open), effects);
            }
            Event::Woken(time) => {
                if !self.take_commands(time, effects) {
                    return Next::Stop;
                }
                self.step(Input::Deadline(time), effects);
            }
            Event::Aid(aid, Some(error)) => {
                let (lack, error) = (aid.lack(), error.to_string());
                tracing::warn!(event = "aid_refused", aid = ?aid, error, "{error}: {lack}");
            }
            Event::Aid(aid, None) => {
                tracing::info!(event = "aid_given", aid = ?aid, "no longer so: {}", aid.lack());
            }
            Event::Delivered(_) => {}
        }
        // What a key's event has left to be done is done right after it.
        let is_work_left = self.is_pause_untold || self.engine.has_retired();
        let now = is_work_left.then_some(Time::ZERO);
        Next::Wait(now.or(self.engine.deadline()))
    }
}

/// LCtrl + Space + Escape, on whatever keyboards.
#[derive(Default)]
struct EmergencyChord {
    /// By key: the keyboards on which it is down, a bit each.
    down: [u64; 3],
}

impl EmergencyChord {
    const KEYS: [Key; 3] = [Key::LCtrl, Key::Space, Key::Escape];

    /// Notes the event, and says whether with it all three are down.
    fn is_completed_by(&mut self, event: KeyEvent) -> bool {
        let mut keys = Self::KEYS.iter().zip(&mut self.down);
        let Some((_, down)) = keys.find(|(key, _)| **key == event.key) else { return false };
        match event.motion {
            Motion::Release => *down &= !Self::bit(event.device),
            Motion::Press | Motion::Repeat => *down |= Self::bit(event.device),
        }
        event.motion == Motion::Press && self.down.iter().all(|down| *down != 0)
    }

    /// A keyboard is gone.
    fn forget(&mut self, device: DeviceId) {
        self.down.iter_mut().for_each(|down| *down &= !Self::bit(device));
    }

    /// Keyboards with high numbers share one.
    fn bit(device: DeviceId) -> u64 {
        1 << device.0.min(63)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use keyrx_engine::Effect;

    use super::*;

    /// What comes out after events of `A`, which is `B`, with commands in between.
    fn play(events: &[Result<Motion, bool>]) -> Vec<(Key, Motion)> {
        let (commands, commanded) = channel();
        let keymap = keyrx_config::load_text("test", r#"map("A", "B");"#, None).keymap.unwrap();
        let mut session = Session::commanded(keymap, commanded);
        let mut effects: Vec<Effect> = Vec::new();
        for (millis, event) in (0..).zip(events) {
            let time = Time::from_millis(millis);
            let event = match *event {
                Ok(motion) => Event::Key(KeyEvent { time, device: DeviceId(0), key: Key::A, motion }),
                Err(is_paused) => {
                    commands.send(Command::Pause(is_paused)).unwrap();
                    Event::Woken(time)
                }
            };
            assert!(matches!(session.handle(event, &mut effects), Next::Wait(_)));
        }
        effects.into_iter().map(|effect| (effect.key, effect.motion)).collect()
    }

    #[test]
    fn told_to_pause_it_releases_what_is_held_and_lets_keys_pass_until_it_is_told_to_resume() {
        use Motion::{Press, Release};
        let effects = play(&[
            Ok(Press),
            Err(true),
            Ok(Release),
            Ok(Press),
            Ok(Release),
            Err(false),
            Ok(Press),
            Ok(Release),
        ]);
        let (a, b) = ([(Key::A, Press), (Key::A, Release)], [(Key::B, Press), (Key::B, Release)]);
        // A release that nobody waits for any more passes as well.
        assert_eq!(effects, [&b[..], &[(Key::A, Release)], &a, &b].concat());
    }

    #[test]
    fn told_what_is_so_already_it_does_nothing() {
        let held = [(Key::B, Motion::Press)];
        assert_eq!(play(&[Err(false), Ok(Motion::Press), Err(false)]), held);
        assert_eq!(play(&[Err(true), Err(true), Ok(Motion::Press)]), [(Key::A, Motion::Press)]);
    }
}
