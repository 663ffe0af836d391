//! The way out when the hook thread hangs: another thread takes the hook out, and lifts every key that we hold.
//!
//! From then on keys pass, and nothing more of what is decided late is sent, until the hook thread is back and has
//! begun anew.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

use windows_sys::Win32::UI::WindowsAndMessaging::UnhookWindowsHookEx;

use super::output::Shared;
use super::send_input;
use crate::Queue;

/// What both sides see.
#[derive(Debug, Default)]
pub struct Hatch {
    is_open: AtomicBool,
    /// The hook that is in; null if there is none.
    hook: AtomicPtr<c_void>,
    /// What is known of the way of keys to the system.
    output: OnceLock<Arc<Shared>>,
    /// For tests: the machine is to be taken for one that slept.
    pretends_sleep: AtomicBool,
}

impl Hatch {
    /// Whether keys pass, and nothing is sent.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The hook thread is back: whether the hatch was open.
    pub fn close(&self) -> bool {
        self.is_open.swap(false, Ordering::AcqRel)
    }

    /// This hook is in now; null for none.
    pub fn set_hook(&self, hook: *mut c_void) {
        self.hook.store(hook, Ordering::Release);
    }

    /// Makes the keyboards plain ones, whatever the hook thread is at.
    pub fn let_go(&self) {
        self.is_open.store(true, Ordering::Release);
        let hook = self.hook.swap(null_mut(), Ordering::AcqRel);
        if !hook.is_null() {
            // SAFETY: the hook was ours when it was put there. Should its thread have taken it out meanwhile, this
            // fails.
            unsafe { UnhookWindowsHookEx(hook) };
        }
        send_input::release_everything();
    }

    /// Keys go to the system by this ring from now on. There is one for a hatch.
    pub fn set_output(&self, output: Arc<Shared>) {
        let _ = self.output.set(output);
    }

    /// What waits in the ring, if there is one.
    pub fn output_queue(&self) -> Option<Queue> {
        self.output.get().map(|output| output.queue())
    }

    pub fn pretend_sleep(&self) {
        self.pretends_sleep.store(true, Ordering::Release);
    }

    pub fn take_pretended_sleep(&self) -> bool {
        self.pretends_sleep.swap(false, Ordering::AcqRel)
    }
}
