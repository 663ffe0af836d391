//! Faults on demand, for tests: a switch that no manual mentions.
//!
//! `KEYRX_CHAOS=unhook`: when the event `Local\keyrx-chaos-unhook` is set, the hook is removed behind the back of all
//! that watches it. `KEYRX_CHAOS=stall-output`: the output thread sends only while the event
//! `Local\keyrx-chaos-stall-output` is set, which it is not at the start. `KEYRX_CHAOS=no-raw-input`: raw input is refused
//! as long as the event `Local\keyrx-chaos-no-raw-input` is not set.

use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::sync::Arc;

use windows_sys::Win32::Foundation::{HANDLE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{INFINITE, WaitForSingleObject};
use windows_sys::w;

use super::waker::{self, Reset};
use crate::live::Counted;

/// The fault that is asked for.
#[derive(Clone, Debug, Default)]
pub struct Chaos {
    unhook: Option<Arc<Counted<OwnedHandle>>>,
    stall: Option<Arc<Counted<OwnedHandle>>>,
    raw_input: Option<Arc<Counted<OwnedHandle>>>,
    /// Whether raw input of programs' keys is a witness, too: a test can send no others.
    pub programs_are_witnesses: bool,
}

impl Chaos {
    /// What the environment asks for.
    pub fn from_environment() -> Chaos {
        let asked = std::env::var("KEYRX_CHAOS").unwrap_or_default();
        let event = |is_asked: bool, name, reset| {
            is_asked.then(|| waker::event(name, reset).ok().map(Arc::new)).flatten()
        };
        Chaos {
            unhook: event(asked == "unhook", w!("Local\\keyrx-chaos-unhook"), Reset::ByTheWait),
            stall: event(asked == "stall-output", w!("Local\\keyrx-chaos-stall-output"), Reset::ByHand),
            raw_input: event(asked == "no-raw-input", w!("Local\\keyrx-chaos-no-raw-input"), Reset::ByHand),
            programs_are_witnesses: false,
        }
    }

    /// The hook is removed when this event is set.
    pub fn of_probe(unhook: Arc<Counted<OwnedHandle>>) -> Chaos {
        Chaos { unhook: Some(unhook), programs_are_witnesses: true, ..Chaos::default() }
    }

    /// Raw input is refused until this event is set.
    #[cfg(test)]
    pub fn without_raw_input(until: Arc<Counted<OwnedHandle>>) -> Chaos {
        Chaos { raw_input: Some(until), ..Chaos::default() }
    }

    /// Whether raw input is refused now.
    pub fn refuses_raw_input(&self) -> bool {
        self.raw_input.as_ref().is_some_and(|event| {
            // SAFETY: the handle is open as long as we are.
            (unsafe { WaitForSingleObject(event.as_raw_handle(), 0) }) != WAIT_OBJECT_0
        })
    }

    /// What is set when the hook is to be removed.
    pub fn unhook(&self) -> Option<HANDLE> {
        self.unhook.as_ref().map(|event| event.as_raw_handle())
    }

    /// Waits as long as sending is to stall.
    pub fn stall(&self) {
        if let Some(event) = &self.stall {
            // SAFETY: the handle is open as long as we are.
            unsafe { WaitForSingleObject(event.as_raw_handle(), INFINITE) };
        }
    }
}
