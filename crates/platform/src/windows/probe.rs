//! Both ends of the way of keys, for a test on somebody's machine: keys are sent as any program sends them, and a hook
//! behind that of keyrx sees what comes out.
//!
//! That hook swallows all it watches, so no window sees the keys of a test. It leaves alone whatever comes from a
//! keyboard.

use std::cell::RefCell;
use std::io;
use std::os::windows::io::OwnedHandle;
use std::panic::catch_unwind;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender as Tell, channel};
use std::time::{Duration, Instant};

use keyrx_engine::{DeviceInfo, Key, Motion};
use windows_sys::Win32::Foundation::{LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::System::Threading::GetCurrentThreadId;
use windows_sys::Win32::UI::Input::HRAWINPUT;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CallNextHookEx, DispatchMessageW, GetMessageW, HC_ACTION, KBDLLHOOKSTRUCT, LLKHF_EXTENDED,
    LLKHF_INJECTED, LLKHF_UP, MSG, PostThreadMessageW, RI_KEY_E0, WM_INPUT, WM_QUIT,
};

use super::chaos::Chaos;
use super::hook::Hook;
use super::output::Act;
use super::send_input::{self, Stamp};
use super::waker::{self, Reset};
use super::window::{self, Window};
use super::{Waker, doing, keycodes, pump, run_with};
use crate::live::Counted;
use crate::threads::{Stop, Threads};
use crate::{Error, Handler, Injected, Options, Seen};

/// What stands beside the keys that are sent: the letters "test".
const MARK: usize = 0x7465_7374;

/// How long raw input may take to tell of a key.
const UNTIL_RAW: Duration = Duration::from_millis(500);

/// Types, and sees what comes out.
#[derive(Debug)]
pub struct Probe {
    watcher: Watcher,
    unhook: Arc<Counted<OwnedHandle>>,
    sees_swallowed: bool,
}

/// What drives the platform while a probe watches, on another thread.
#[derive(Clone, Debug)]
pub struct Driver(Chaos);

impl Driver {
    /// As `run`, for keys that programs send.
    pub fn run(&self, handler: &mut dyn Handler, waker: &Waker) -> Result<(), Error> {
        let options = Options { injected: Injected::Map, ..Options::USUAL };
        run_with(handler, waker, &options, &self.0)
    }
}

impl Probe {
    /// Whether keys that are not mapped keep a way of their own.
    pub const HAS_NATIVE_WAY: bool = true;

    /// Puts the hook in; that of keyrx will come before it.
    pub fn open() -> Result<Probe, Error> {
        let sees_swallowed = is_swallowed_key_seen()?;
        let unhook = waker::event(null(), Reset::ByTheWait).map_err(doing("make an event"))?;
        Ok(Probe { watcher: Watcher::start(false)?, unhook: Arc::new(unhook), sees_swallowed })
    }

    /// Keys that are sent come from no keyboard.
    pub fn is_source(_: &DeviceInfo) -> bool {
        true
    }

    /// What drives the platform.
    pub fn driver(&self) -> Driver {
        Driver(Chaos::of_probe(self.unhook.clone()))
    }

    /// Nothing is left to do when the platform works.
    pub fn attach(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Sends a key.
    pub fn send(&self, key: Key, motion: Motion) -> Result<(), Error> {
        match send_input::send(&[Act::Key(key, motion)], Stamp { nonce: MARK, mask_key: 0 }) {
            1 => Ok(()),
            _ => Err(Error::OutputFailed(io::Error::last_os_error())),
        }
    }

    /// What has come out next, if it does within `limit`.
    pub fn next(&mut self, limit: Duration) -> Option<Seen> {
        self.watcher.next(limit)
    }

    /// Has the hook of keyrx removed without its knowing.
    pub fn unhook(&self) -> Option<()> {
        waker::set(&self.unhook);
        Some(())
    }

    /// Whether raw input tells of keys that a hook has swallowed.
    pub fn sees_swallowed(&self) -> Option<bool> {
        Some(self.sees_swallowed)
    }
}

/// A key is sent and swallowed: does raw input tell of it? While no other window of ours listens.
fn is_swallowed_key_seen() -> Result<bool, Error> {
    let watcher = Watcher::start(true)?;
    let taken = [Motion::Press, Motion::Release]
        .map(|motion| send_input::send(&[Act::Key(Key::F24, motion)], Stamp { nonce: MARK, mask_key: 0 }));
    let begin = Instant::now();
    while let Some(left) = UNTIL_RAW.checked_sub(begin.elapsed()) {
        match watcher.said.recv_timeout(left) {
            Ok(Said::Raw(Key::F24)) => return Ok(true),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    if taken == [1, 1] { Ok(false) } else { Err(Error::OutputFailed(io::Error::last_os_error())) }
}

/// What a watcher says.
#[derive(Clone, Copy, Debug)]
enum Said {
    Seen(Seen),
    /// Raw input told of this key.
    Raw(Key),
}

/// A thread with a hook, and with a window for raw input if so wished.
#[derive(Debug)]
struct Watcher {
    _threads: Threads,
    said: Receiver<Said>,
}

impl Watcher {
    fn start(with_raw_input: bool) -> Result<Watcher, Error> {
        let (tell, said) = channel();
        let (start, started) = channel();
        let id = Arc::new(AtomicU32::new(0));
        let own_id = id.clone();
        let body = move |_: &Stop| {
            SAID.set(Some(tell.clone()));
            match watch(with_raw_input) {
                Ok((hook, window)) => {
                    // SAFETY: no condition.
                    own_id.store(unsafe { GetCurrentThreadId() }, Ordering::Release);
                    let _ = start.send(Ok(()));
                    take_messages(&tell);
                    drop((hook, window));
                }
                Err(error) => drop(start.send(Err(error))),
            }
        };
        let wake = move || {
            let id = id.load(Ordering::Acquire);
            // SAFETY: no condition; the thread has a queue of messages, and ends no earlier than by this. There is none
            // with the number 0.
            unsafe { PostThreadMessageW(id, WM_QUIT, 0, 0) };
        };
        let mut threads = Threads::default();
        threads.start("watcher", wake, body).map_err(doing("start a thread"))?;
        started.recv().map_err(|_| Error::HandlerFailed)??;
        Ok(Watcher { _threads: threads, said })
    }

    fn next(&self, limit: Duration) -> Option<Seen> {
        match self.said.recv_timeout(limit) {
            Ok(Said::Seen(seen)) => Some(seen),
            _ => None,
        }
    }
}

thread_local! {
    /// Where the hook of this thread says what it sees.
    static SAID: RefCell<Option<Tell<Said>>> = const { RefCell::new(None) };
}

fn watch(with_raw_input: bool) -> Result<(Hook, Option<Window>), Error> {
    pump(); // makes the queue of messages
    let mut window = with_raw_input.then(Window::open).transpose().map_err(doing("make a window"))?;
    if let Some(window) = &mut window {
        window.listen_to_keyboards().map_err(doing("listen to raw input"))?;
    }
    Ok((Hook::install_as(Some(on_key)).map_err(Error::Hook)?, window))
}

/// Until somebody says quit; meanwhile the system calls the hook.
fn take_messages(tell: &Tell<Said>) {
    let mut message = MSG::default();
    // SAFETY: a message is written to where it is said; no window means all of this thread's.
    while unsafe { GetMessageW(&mut message, null_mut(), 0, 0) } > 0 {
        if message.message == WM_INPUT
            && let Some((_, raw)) = window::raw_key(message.lParam as HRAWINPUT)
        {
            let is_extended = u32::from(raw.Flags) & RI_KEY_E0 != 0;
            let key = keycodes::key(raw.MakeCode.into(), is_extended, raw.VKey.into());
            let _ = key.map(|key| tell.send(Said::Raw(key)));
        }
        // SAFETY: the message was just taken from the queue.
        unsafe { DispatchMessageW(&message) };
    }
}

unsafe extern "system" fn on_key(code: i32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    if code == HC_ACTION.cast_signed() {
        // SAFETY: with this code the parameter points to such a structure, which lives until we return.
        let event = unsafe { &*(lparam as *const KBDLLHOOKSTRUCT) };
        let tell = |seen| SAID.with_borrow(|said| said.as_ref().map(|tell| tell.send(Said::Seen(seen))));
        if let Ok(Some(_)) = catch_unwind(|| seen(event).and_then(tell)) {
            return 1;
        }
    }
    // SAFETY: these are the parameters that we were called with; the hook is not looked at.
    unsafe { CallNextHookEx(null_mut(), code, wparam, lparam) }
}

/// A key of F13 to F24 that a program has sent: that is what tests use, and no keyboard has them.
fn seen(event: &KBDLLHOOKSTRUCT) -> Option<Seen> {
    let key = keycodes::key(event.scanCode, event.flags & LLKHF_EXTENDED != 0, event.vkCode)?;
    let is_ours = event.flags & LLKHF_INJECTED != 0 && event.dwExtraInfo != 0;
    let motion = if event.flags & LLKHF_UP != 0 { Motion::Release } else { Motion::Press };
    let seen = Seen { key, motion, is_native: event.dwExtraInfo == MARK };
    (is_ours && (Key::F13..=Key::F24).contains(&key)).then_some(seen)
}
