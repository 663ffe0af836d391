//! Keys as SendInput takes them, and the thread that sends them.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use keyrx_engine::{Key, Motion};
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{
    INPUT, INPUT_0, INPUT_KEYBOARD, INPUT_MOUSE, KEYBDINPUT, KEYEVENTF_EXTENDEDKEY, KEYEVENTF_KEYUP,
    KEYEVENTF_SCANCODE, MOUSE_EVENT_FLAGS, MOUSEEVENTF_LEFTDOWN, MOUSEEVENTF_LEFTUP, MOUSEEVENTF_MIDDLEDOWN,
    MOUSEEVENTF_MIDDLEUP, MOUSEEVENTF_RIGHTDOWN, MOUSEEVENTF_RIGHTUP, MOUSEEVENTF_XDOWN, MOUSEEVENTF_XUP,
    MOUSEINPUT, SendInput,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{XBUTTON1, XBUTTON2};

use super::chaos::Chaos;
use super::desktop::Ours;
use super::keycodes;
use super::output::{Act, BATCH, Inlet, Shared};
use super::priority;
use super::pump;
use super::waker::Waker;
use crate::threads::Threads;

/// How long the end waits for keys to be released. Nothing that SendInput does takes longer, unless another program's
/// hook hangs.
const UNTIL_RELEASED: Duration = Duration::from_secs(1);

const BETWEEN_PUMPS: Duration = Duration::from_millis(1);

/// How our own keys are known when they come to the hook, and what is tapped as the mask key.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub nonce: usize,
    pub mask_key: u8,
}

/// What the running output thread holds, for those who cannot ask it.
static RUNNING: Mutex<Option<(Arc<Shared>, Stamp)>> = Mutex::new(None);

/// Releases every key that is down because of us. For the end of the process when nothing else can be relied on: it
/// waits for nobody.
pub fn release_everything() {
    let Ok(running) = RUNNING.try_lock() else { return };
    if let Some((shared, stamp)) = &*running {
        for key in shared.held().iter() {
            send(&[Act::Key(key, Motion::Release)], *stamp);
        }
    }
}

/// The output thread.
#[derive(Debug)]
pub struct Sender {
    thread: thread::Thread,
    threads: Threads,
}

impl Sender {
    /// Starts the thread that sends what comes out of `inlet`; it sets `news` when a canary has come through.
    pub fn start(mut inlet: Inlet, stamp: Stamp, news: Waker, chaos: Chaos) -> io::Result<Sender> {
        let shared = inlet.shared().clone();
        if let Ok(mut running) = RUNNING.try_lock() {
            *running = Some((shared.clone(), stamp));
        }
        let mut threads = Threads::with_patience(UNTIL_RELEASED);
        let desktop = Ours::here();
        let thread = threads.start(
            "output",
            || {},
            move |stop| {
                desktop.enter();
                priority::raise_this_thread();
                let mut send = |acts: &[Act]| {
                    chaos.stall();
                    let is_alt_gr = acts.contains(&Act::Key(Key::RAlt, Motion::Press))
                        || acts.contains(&Act::Key(Key::RAlt, Motion::Release));
                    shared.sends_alt_gr.store(is_alt_gr, Ordering::Release);
                    let taken = send(acts, stamp);
                    shared.sends_alt_gr.store(false, Ordering::Release);
                    taken
                };
                loop {
                    if inlet.turn(&mut send) {
                        if shared.is_delivered.load(Ordering::Acquire) {
                            news.wake();
                        }
                        continue;
                    }
                    if stop.is_requested() {
                        break;
                    }
                    thread::park();
                }
                inlet.release_all(&mut send);
            },
        )?;
        Ok(Sender { thread, threads })
    }

    /// The thread, to be woken.
    pub fn thread(&self) -> thread::Thread {
        self.thread.clone()
    }
}

/// Everything is sent and released. The hook must be gone by now: keys that are sent would wait for it.
impl Drop for Sender {
    fn drop(&mut self) {
        // A key that was being sent when the hook went waits for an answer of the hook's thread all the same. A thread
        // that hangs in another program's hook ends with the process.
        self.threads.stop_while(BETWEEN_PUMPS, pump);
    }
}

/// Sends acts; says how many of them the system has taken.
pub fn send(acts: &[Act], stamp: Stamp) -> usize {
    let mut inputs = [INPUT::default(); 2 * BATCH];
    let mut places = inputs.iter_mut();
    // By act: how many inputs there are up to its end.
    let mut ends = [0; BATCH];
    let mut count = 0;
    for (act, end) in acts.iter().zip(&mut ends) {
        // A key that Windows does not know is no input, and the mask key is two.
        let pair = match *act {
            Act::Key(key, motion) => [input(key, motion, stamp.nonce), None],
            Act::Mask => [0, KEYEVENTF_KEYUP].map(|up| Some(mask(stamp, up))),
            Act::Canary => [None, None],
        };
        for (input, place) in pair.into_iter().flatten().zip(&mut places) {
            *place = input;
            count += 1;
        }
        *end = count;
    }
    if count == 0 {
        return acts.len();
    }
    // SAFETY: `inputs` has at least `count` elements, which is at most two for each act of a batch, and each is as
    // large as is said.
    let taken = unsafe { SendInput(count, inputs.as_ptr(), size_of::<INPUT>() as i32) };
    ends.iter().take(acts.len()).take_while(|end| **end <= taken).count()
}

/// The input that moves a key or a mouse button.
fn input(key: Key, motion: Motion, nonce: usize) -> Option<INPUT> {
    let is_up = motion == Motion::Release;
    if let Some((down, up, data)) = mouse_button(key) {
        let flags = if is_up { up } else { down };
        let mi = MOUSEINPUT { dx: 0, dy: 0, mouseData: data, dwFlags: flags, time: 0, dwExtraInfo: nonce };
        return Some(INPUT { r#type: INPUT_MOUSE, Anonymous: INPUT_0 { mi } });
    }
    let code = keycodes::code(key)?;
    let mut flags = if is_up { KEYEVENTF_KEYUP } else { 0 };
    if code.is_extended {
        flags |= KEYEVENTF_EXTENDEDKEY;
    }
    if !code.is_sent_by_virtual_key() {
        flags |= KEYEVENTF_SCANCODE;
    }
    Some(keyboard(code.virtual_key, code.scan, flags, nonce))
}

fn mask(stamp: Stamp, flags: u32) -> INPUT {
    keyboard(stamp.mask_key, 0, flags, stamp.nonce)
}

fn keyboard(virtual_key: u8, scan: u8, flags: u32, nonce: usize) -> INPUT {
    let ki = KEYBDINPUT {
        wVk: virtual_key.into(),
        wScan: scan.into(),
        dwFlags: flags,
        time: 0,
        dwExtraInfo: nonce,
    };
    INPUT { r#type: INPUT_KEYBOARD, Anonymous: INPUT_0 { ki } }
}

/// How a mouse button is pressed and released.
fn mouse_button(key: Key) -> Option<(MOUSE_EVENT_FLAGS, MOUSE_EVENT_FLAGS, u32)> {
    Some(match key {
        Key::MouseLeft => (MOUSEEVENTF_LEFTDOWN, MOUSEEVENTF_LEFTUP, 0),
        Key::MouseRight => (MOUSEEVENTF_RIGHTDOWN, MOUSEEVENTF_RIGHTUP, 0),
        Key::MouseMiddle => (MOUSEEVENTF_MIDDLEDOWN, MOUSEEVENTF_MIDDLEUP, 0),
        Key::MouseBack => (MOUSEEVENTF_XDOWN, MOUSEEVENTF_XUP, XBUTTON1.into()),
        Key::MouseForward => (MOUSEEVENTF_XDOWN, MOUSEEVENTF_XUP, XBUTTON2.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: Key, motion: Motion, expected: (u16, u16, u32)) {
        let input = input(key, motion, 7).unwrap();
        assert_eq!(input.r#type, INPUT_KEYBOARD);
        // SAFETY: so says the type.
        let ki = unsafe { input.Anonymous.ki };
        assert_eq!(
            (ki.wVk, ki.wScan, ki.dwFlags, ki.dwExtraInfo),
            (expected.0, expected.1, expected.2, 7),
            "{key}"
        );
    }

    #[test]
    fn keys_are_sent_by_scan_code_with_the_virtual_key_beside_it() {
        check(Key::A, Motion::Press, (0x41, 0x1E, KEYEVENTF_SCANCODE));
        check(Key::A, Motion::Repeat, (0x41, 0x1E, KEYEVENTF_SCANCODE));
        check(Key::A, Motion::Release, (0x41, 0x1E, KEYEVENTF_SCANCODE | KEYEVENTF_KEYUP));
        check(Key::NumpadEnter, Motion::Press, (0x0D, 0x1C, KEYEVENTF_SCANCODE | KEYEVENTF_EXTENDEDKEY));
    }

    #[test]
    fn keys_without_a_scan_code_of_their_own_are_sent_by_virtual_key() {
        check(Key::Pause, Motion::Press, (0x13, 0x45, 0));
        check(Key::NumLock, Motion::Press, (0x90, 0x45, KEYEVENTF_EXTENDEDKEY));
        check(Key::Select, Motion::Release, (0x29, 0, KEYEVENTF_KEYUP));
    }

    #[test]
    fn unnamed_keys_are_sent_as_they_came() {
        check(
            Key::unnamed(0x16F).unwrap(),
            Motion::Press,
            (0, 0x6F, KEYEVENTF_SCANCODE | KEYEVENTF_EXTENDEDKEY),
        );
        check(Key::unnamed(0x2F9).unwrap(), Motion::Press, (0xF9, 0, 0));
    }

    #[test]
    fn a_key_that_windows_does_not_know_is_not_sent() {
        assert!(input(Key::Fn, Motion::Press, 7).is_none());
        assert!(input(Key::MouseBack, Motion::Press, 7).is_some());
    }
}
