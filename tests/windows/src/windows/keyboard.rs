//! The keyboard: types what it is told, in the scenario notation, at the times that stand there.
//!
//! Virtual key and scan code are sent together, without KEYEVENTF_SCANCODE: Wine 8 does not find the key of a scan
//! code. Windows would take these events as they are meant as well.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use keyrx_engine::notation::{self, Moment};
use keyrx_engine::{Key, Motion, Time};
use windows_sys::Win32::Media::timeBeginPeriod;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{
    INPUT, INPUT_0, INPUT_KEYBOARD, KEYBDINPUT, KEYEVENTF_EXTENDEDKEY, KEYEVENTF_KEYUP, SendInput,
};

use super::keycodes::{self, EXTENDED};
use super::time::now;

/// Types each line of the standard input. Answers a line with `typed BEGIN LATE`: when it began, and by how much the
/// latest key was late, in microseconds.
pub fn serve() {
    for line in io::stdin().lock().lines() {
        let (begin, late) = type_text(&line.unwrap());
        println!("typed {} {}", begin.as_micros(), late.as_micros());
    }
}

/// Types a text and returns at its end, which may be a wait.
pub fn type_text(text: &str) -> (Duration, Duration) {
    let (moments, end) =
        notation::parse(text, Time::ZERO).unwrap_or_else(|error| panic!("in {text:?}: {error}"));
    // SAFETY: has no conditions.
    unsafe { timeBeginPeriod(1) };
    let begin = now();
    let (mut reached, mut late) = (Time::ZERO, Duration::ZERO);
    for Moment { time, motion, key } in moments {
        if time != reached {
            reached = time;
            late = late.max(sleep_until(begin + Duration::from_micros(time.micros())));
        }
        send(key, motion);
    }
    sleep_until(begin + Duration::from_micros(end.micros()));
    (begin, late)
}

/// Sleeps, and says by how much too long.
fn sleep_until(due: Duration) -> Duration {
    if let Some(left) = due.checked_sub(now()).filter(|left| !left.is_zero()) {
        thread::sleep(left);
    }
    now().saturating_sub(due)
}

/// One motion of one key; a repeat is a press of a key that is down.
pub fn send(key: Key, motion: Motion) {
    let code = keycodes::code(key);
    let mut flags = 0;
    if motion == Motion::Release {
        flags |= KEYEVENTF_KEYUP;
    }
    if code.scan & EXTENDED != 0 {
        flags |= KEYEVENTF_EXTENDEDKEY;
    }
    let scan = code.scan & !EXTENDED;
    inject(KEYBDINPUT { wVk: code.vk, wScan: scan, dwFlags: flags, time: 0, dwExtraInfo: 0 });
}

pub fn inject(event: KEYBDINPUT) {
    let input = INPUT { r#type: INPUT_KEYBOARD, Anonymous: INPUT_0 { ki: event } };
    // SAFETY: one input, of the size given.
    let sent = unsafe { SendInput(1, &input, i32::try_from(size_of::<INPUT>()).unwrap()) };
    assert_eq!(sent, 1, "SendInput: {}", io::Error::last_os_error());
}
