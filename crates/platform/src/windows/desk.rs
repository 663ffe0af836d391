//! The desk: all that the hook and the loop work on, and what each call of the system means for it.
//!
//! The hook is called while the loop looks for messages, and in principle at any other call into the system. So the
//! state is borrowed for each piece of work, never across such a call; should it be borrowed all the same, the key
//! passes, and everything is released when the loop comes back to it.

use std::cell::{Cell, RefCell, RefMut};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use keyrx_engine::{DeviceId, Key, Time};
use windows_sys::Win32::Foundation::{LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::SystemInformation::GetTickCount;
use windows_sys::Win32::UI::Input::HRAWINPUT;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{GetAsyncKeyState, VK_PACKET};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    GetMessageTime, KBDLLHOOKSTRUCT, LLKHF_EXTENDED, LLKHF_INJECTED, LLKHF_UP, PBT_APMRESUMEAUTOMATIC,
    PBT_APMRESUMESUSPEND, PBT_APMSUSPEND, RI_KEY_BREAK, RI_KEY_E0, RI_KEY_E1, WM_ENDSESSION, WM_INPUT,
    WM_INPUT_DEVICE_CHANGE, WM_POWERBROADCAST, WM_QUERYENDSESSION, WM_WTSSESSION_CHANGE, WTS_CONSOLE_CONNECT,
    WTS_CONSOLE_DISCONNECT, WTS_REMOTE_CONNECT, WTS_REMOTE_DISCONNECT, WTS_SESSION_LOCK, WTS_SESSION_UNLOCK,
};

use super::devices::Listed;
use super::gate::{Gate, Stroke, Verdict};
use super::hatch::Hatch;
use super::hook::Hook;
use super::keyboards::Keyboards;
use super::output::{Outlet, Shared};
use super::witness::Witness;
use super::{clock, desktop, keycodes, window};
use crate::{Error, Event, Handler, Injected, Interruption, Needs, Options};

/// A callback that takes longer may have cost us the hook: the system's limit is 300 ms at first.
const SLOW_MS: u16 = 200;

/// So many failures of the handler within `FAILURES_WITHIN_MS` are the end: it will not get better.
const FAILURES: usize = 3;
const FAILURES_WITHIN_MS: u16 = 60_000;

/// How long the end of a session waits for keys to be released.
const UNTIL_RELEASED: Duration = Duration::from_millis(500);

/// The scan codes of keys that Windows makes up: the LCtrl of AltGr, and the Shifts of NumLock.
const FAKE_LCTRL: u32 = 0x21D;
const FAKE_LSHIFT: u32 = 0x22A;
const FAKE_RSHIFT: u32 = 0x236;

/// All that the hook and the loop work on.
pub struct Desk<'a> {
    state: RefCell<State<'a>>,
    hook: RefCell<Option<Hook>>,
    shared: Arc<Shared>,
    hatch: Arc<Hatch>,
    nonce: usize,
    injected: Injected,
    /// Whether raw input of keys that come from no keyboard says something of the hook, too.
    programs_are_witnesses: bool,
    /// A key passed because the state was borrowed.
    was_busy: Cell<bool>,
    /// A callback was slow.
    was_slow: Cell<bool>,
    /// A key came although another desktop is in front, as far as we know.
    was_back: Cell<bool>,
    /// Keyboards came or went.
    has_other_keyboards: Cell<bool>,
    /// A key was pressed: the input method may be another.
    was_pressed: Cell<bool>,
}

struct State<'a> {
    gate: Gate<'a>,
    witness: Witness,
    keyboards: Keyboards,
    needs: Needs,
    /// Whether another desktop is in front.
    is_away: bool,
    /// When the handler failed.
    failures: Vec<Time>,
}

impl<'a> Desk<'a> {
    pub fn new(
        handler: &'a mut dyn Handler,
        outlet: Outlet,
        hatch: Arc<Hatch>,
        nonce: usize,
        options: &Options,
        programs_are_witnesses: bool,
    ) -> Desk<'a> {
        let shared = outlet.shared().clone();
        let needs = handler.needs();
        let state = State {
            gate: Gate::new(handler, outlet, options.mask_key != 0),
            witness: Witness::new(),
            keyboards: Keyboards::new(),
            needs,
            is_away: false,
            failures: Vec::with_capacity(FAILURES),
        };
        Desk {
            state: RefCell::new(state),
            hook: RefCell::new(None),
            shared,
            hatch,
            nonce,
            injected: options.injected,
            programs_are_witnesses,
            was_busy: Cell::new(false),
            was_slow: Cell::new(false),
            was_back: Cell::new(false),
            has_other_keyboards: Cell::new(false),
            was_pressed: Cell::new(false),
        }
    }

    // ---- called by the system ----

    /// A key came to the hook.
    pub fn on_key(&self, event: &KBDLLHOOKSTRUCT) -> Verdict {
        if self.hatch.is_open() {
            return Verdict::Pass;
        }
        let begin = clock::now();
        let Ok(mut state) = self.state.try_borrow_mut() else {
            self.was_busy.set(true);
            return Verdict::Pass;
        };
        let verdict = self.judge(&mut state, event, begin);
        if !clock::now().is_within(SLOW_MS, begin) {
            self.was_slow.set(true);
        }
        verdict
    }

    fn judge(&self, state: &mut State<'_>, event: &KBDLLHOOKSTRUCT, time: Time) -> Verdict {
        // First of all: what we send ourselves.
        if event.dwExtraInfo == self.nonce {
            state.gate.outlet().moves(time);
            return Verdict::Pass;
        }
        let is_injected = event.flags & LLKHF_INJECTED != 0;
        // SAFETY: no condition. Programs may give their keys any time.
        state.witness.hook(if is_injected { unsafe { GetTickCount() } } else { event.time });
        if state.is_away {
            self.was_back.set(true);
        }
        if is_injected && self.injected == Injected::Pass {
            return Verdict::Pass;
        }
        let is_up = event.flags & LLKHF_UP != 0;
        let is_extended = event.flags & LLKHF_EXTENDED != 0;
        let stroke = |state: &mut State<'_>, key| {
            self.was_pressed.set(true);
            let has_no_release = keycodes::has_no_release(event.scanCode, is_extended, event.vkCode);
            let device = match (state.needs.keyboards, is_up) {
                (false, _) => DeviceId::UNKNOWN,
                (true, false) => state.keyboards.correlator().device_of(key, event.time),
                (true, true) => {
                    state.keyboards.correlator().released(key);
                    DeviceId::UNKNOWN // the gate knows which keyboard has pressed it
                }
            };
            Stroke { time, key, is_up, has_no_release, device }
        };
        match event.scanCode {
            // A program types text: the scan code is a character.
            _ if event.vkCode == u32::from(VK_PACKET) => Verdict::Pass,
            // It goes with an AltGr that we send.
            FAKE_LCTRL if is_injected && self.shared.sends_alt_gr.load(Ordering::Acquire) => Verdict::Pass,
            FAKE_LCTRL => {
                let stroke = stroke(state, Key::RAlt);
                state.gate.fake_ctrl(stroke)
            }
            FAKE_LSHIFT | FAKE_RSHIFT => {
                let shift = if event.scanCode == FAKE_LSHIFT { Key::LShift } else { Key::RShift };
                state.gate.fake_shift(shift, is_up);
                Verdict::Pass
            }
            // The Shift that a PS/2 keyboard makes up (E0 2A, E0 AA). Windows drops it before the hook.
            0x2A if is_extended => Verdict::Pass,
            scan => match keycodes::key(scan, is_extended, event.vkCode) {
                Some(key) => {
                    let stroke = stroke(state, key);
                    state.gate.key(stroke)
                }
                None => Verdict::Pass,
            },
        }
    }

    /// The handler panicked inside a call of the system. The key has passed.
    pub fn on_panic(&self) {
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        let now = clock::now();
        state.failures.retain(|failure| now.is_within(FAILURES_WITHIN_MS, *failure));
        state.failures.push(now);
        state.gate.open(Interruption::Failed);
    }

    /// Another desktop is in front, or ours again.
    pub fn on_desktop_switch(&self) {
        if desktop::is_in_front() { self.came_back() } else { self.left(Interruption::Left) }
    }

    /// A message came to the window. `None`: the system does with it what it does.
    pub fn on_message(&self, message: u32, wparam: WPARAM, lparam: LPARAM) -> Option<LRESULT> {
        match (message, wparam as u32) {
            (WM_INPUT, _) => {
                // SAFETY: no condition; it belongs to the message that this thread has got last, which is this one.
                let stamp = unsafe { GetMessageTime() }.cast_unsigned();
                self.on_raw_input(lparam as HRAWINPUT, stamp);
                None // the system frees the raw input
            }
            (WM_INPUT_DEVICE_CHANGE, _) => {
                self.has_other_keyboards.set(true);
                Some(0)
            }
            (WM_POWERBROADCAST, PBT_APMSUSPEND) => {
                self.left(Interruption::Suspended);
                Some(1)
            }
            (WM_POWERBROADCAST, PBT_APMRESUMEAUTOMATIC | PBT_APMRESUMESUSPEND) => {
                self.want_hook(Interruption::Resumed);
                if desktop::is_in_front() {
                    self.came_back();
                }
                Some(1)
            }
            (WM_WTSSESSION_CHANGE, WTS_SESSION_LOCK | WTS_CONSOLE_DISCONNECT | WTS_REMOTE_DISCONNECT) => {
                self.left(Interruption::Left);
                Some(0)
            }
            (WM_WTSSESSION_CHANGE, WTS_SESSION_UNLOCK | WTS_CONSOLE_CONNECT | WTS_REMOTE_CONNECT) => {
                // Else the switch to our desktop is yet to come.
                if desktop::is_in_front() {
                    self.came_back();
                }
                Some(0)
            }
            (WM_QUERYENDSESSION, _) => Some(1),
            (WM_ENDSESSION, 1..) => {
                self.end_session();
                Some(0)
            }
            _ => None,
        }
    }

    fn on_raw_input(&self, message: HRAWINPUT, stamp: u32) {
        let Some((raw, key)) = window::raw_key(message) else { return };
        // Programs' keys come from no keyboard, but under Wine from one. 0xFF stands beside codes that are no keys:
        // fake Shifts, overruns.
        let is_ours = key.ExtraInformation == self.nonce as u32;
        if (raw == 0 && !self.programs_are_witnesses) || is_ours || key.VKey >= 0xFF {
            return;
        }
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        if !state.is_away {
            state.witness.raw(stamp, clock::now());
        }
        let flags = u32::from(key.Flags);
        if state.needs.keyboards && flags & RI_KEY_E1 == 0 {
            let is_extended = flags & RI_KEY_E0 != 0;
            let named = keycodes::key(key.MakeCode.into(), is_extended, key.VKey.into());
            if let (Some(device), Some(key)) = (state.keyboards.id(raw), named) {
                state.keyboards.correlator().raw(device, key, flags & RI_KEY_BREAK != 0, stamp);
            }
        }
    }

    /// Keys go elsewhere from now on.
    fn left(&self, why: Interruption) {
        let Some(mut state) = self.borrow() else { return };
        state.is_away = true;
        state.witness.look_away();
        state.gate.interrupt(why, clock::now());
    }

    /// Keys come to us again: keys of ours that are still down are lifted, and nothing is pressed.
    fn came_back(&self) {
        let Some(mut state) = self.borrow() else { return };
        if !state.is_away {
            return;
        }
        state.is_away = false;
        state.witness.want(Interruption::Returned);
        state.gate.lift_stale(|key| {
            let virtual_key = keycodes::code(key).map_or(0, |code| code.virtual_key);
            // SAFETY: no condition. The sign says whether the key is down.
            (unsafe { GetAsyncKeyState(virtual_key.into()) }) < 0
        });
    }

    fn want_hook(&self, why: Interruption) {
        if let Some(mut state) = self.borrow() {
            state.witness.want(why);
        }
    }

    /// The session ends; when this returns, the process may be killed.
    fn end_session(&self) {
        let Some(mut state) = self.borrow() else { return };
        let now = clock::now();
        state.gate.tell(Event::Stopping(now), now);
        state.gate.stop();
        drop(state);
        self.unhook();
        let begin = Instant::now();
        while begin.elapsed() < UNTIL_RELEASED
            && !self.borrow().is_none_or(|mut it| it.gate.outlet().is_idle())
        {
            super::pump(); // a key that was being sent when the hook went waits for an answer of this thread
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The state, for a call of the system that must not be missed.
    fn borrow(&self) -> Option<RefMut<'_, State<'a>>> {
        let state = self.state.try_borrow_mut().ok();
        if state.is_none() {
            self.was_busy.set(true);
        }
        state
    }

    // ---- called by the loop ----

    /// Puts the hook in, in front of all others; the one before goes.
    pub fn hook(&self) -> Result<(), Error> {
        // The new one first: so there is no moment without. Neither is called before this thread looks for messages.
        let hook = Hook::install().map_err(Error::Hook)?;
        self.hatch.set_hook(hook.handle());
        drop(self.hook.borrow_mut().replace(hook));
        Ok(())
    }

    /// Takes the hook out: keys pass.
    pub fn unhook(&self) {
        self.hatch.set_hook(null_mut());
        drop(self.hook.borrow_mut().take());
    }

    /// Does what the calls of the system have left to do.
    pub fn follow_up(&self) -> Result<(), Error> {
        if self.was_back.take() {
            self.came_back();
        }
        let now = clock::now();
        if self.hatch.close() {
            let mut state = self.state.borrow_mut();
            state.gate.open(Interruption::LetGo);
            state.witness.look_away(); // of keys that came while the hook was out
            drop(state);
            self.was_slow.set(false);
            self.hook()?;
        }
        if self.hatch.take_pretended_sleep() {
            self.left(Interruption::Suspended);
            self.want_hook(Interruption::Resumed);
            self.came_back();
        }
        let mut state = self.state.borrow_mut();
        if state.failures.len() >= FAILURES {
            return Err(Error::HandlerFailed);
        }
        state.gate.tell_open(now);
        if self.was_busy.take() {
            state.gate.interrupt(Interruption::Failed, now);
        }
        if self.was_slow.take() {
            state.witness.want(Interruption::HookSlow);
        }
        if !state.is_away
            && let Some(why) = state.witness.take_due(now)
        {
            drop(state);
            self.hook()?;
            self.state.borrow_mut().gate.interrupt(why, now);
        }
        Ok(())
    }

    /// Fires the handler's deadline, if it has come.
    pub fn fire_deadline(&self) {
        let now = clock::now();
        let mut state = self.state.borrow_mut();
        if let Some(deadline) = state.gate.deadline().filter(|deadline| *deadline <= now) {
            state.gate.tell(Event::Deadline(deadline), now);
            state.needs = state.gate.handler().needs();
        }
    }

    /// The moment at which something is to be done though nothing happens.
    pub fn next_moment(&self) -> Option<Time> {
        let state = self.state.borrow();
        let witness = state.witness.deadline().filter(|_| !state.is_away);
        [state.gate.deadline(), witness].into_iter().flatten().min()
    }

    /// Hands an event to the handler.
    pub fn tell(&self, event: Event<'_>) {
        self.state.borrow_mut().gate.tell(event, clock::now());
    }

    /// Somebody called `Waker::wake`.
    pub fn woken(&self) {
        let now = clock::now();
        let mut state = self.state.borrow_mut();
        let State { gate, keyboards, needs, .. } = &mut *state;
        gate.tell(Event::Woken(now), now);
        gate.outlet().send_canary(now);
        *needs = gate.handler().needs();
        keyboards.ask_again(gate, now);
    }

    /// Tells the handler that a canary has come through, if one has.
    pub fn tell_delivered(&self) {
        if self.shared.is_delivered.swap(false, Ordering::AcqRel) {
            self.tell(Event::Delivered(clock::now()));
        }
    }

    /// These keyboards are there.
    pub fn found(&self, listed: Vec<Listed>) {
        let mut state = self.state.borrow_mut();
        let State { gate, keyboards, .. } = &mut *state;
        keyboards.update(listed, gate, clock::now());
    }

    /// What the handler makes use of.
    pub fn needs(&self) -> Needs {
        self.state.borrow().needs
    }

    /// Whether the handler wants an end.
    pub fn is_stopped(&self) -> bool {
        self.state.borrow().gate.is_stopped()
    }

    /// Whether keyboards came or went since this was asked last.
    pub fn take_other_keyboards(&self) -> bool {
        self.has_other_keyboards.take()
    }

    /// Whether a key moved since this was asked last.
    pub fn take_pressed(&self) -> bool {
        self.was_pressed.take()
    }
}
