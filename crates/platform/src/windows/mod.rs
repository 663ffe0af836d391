//! Keyboards of Windows: a low-level hook in, SendInput out.
//!
//! The thread that calls `run` is the hook thread. The system calls the hook while that thread looks for messages
//! (`hook.rs`, `desk.rs`), the handler decides inside of that call (`gate.rs`), and what is to be sent goes through a
//! ring to the output thread (`output.rs`, `send_input.rs`). Nothing on the way of a key waits, locks, allocates or
//! asks the system anything. `witness.rs` sees to it that the hook is not lost without our knowing.

pub mod boot;
mod chaos;
mod clock;
pub mod console;
mod correlator;
mod desk;
mod desktop;
mod devices;
pub mod dump;
pub mod event_log;
mod examination;
mod figures;
mod focus;
pub mod folders;
mod gate;
mod hatch;
mod hook;
mod keyboards;
mod keycodes;
mod output;
pub mod pipe;
mod priority;
mod probe;
pub mod process;
mod registry;
pub mod scm;
pub mod security;
mod send_input;
pub mod sessions;
mod timer;
mod tray;
mod waker;
pub mod wer;
mod window;
mod witness;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem;
use std::ptr::null_mut;
use std::sync::mpsc::{Receiver, Sender as Tell, channel};

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Threading::INFINITE;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    DispatchMessageW, MSG, MWMO_INPUTAVAILABLE, MsgWaitForMultipleObjectsEx, PM_REMOVE, PeekMessageW,
    QS_ALLINPUT,
};

pub use clock::now;
pub use devices::list;
pub use examination::examine;
pub use figures::figures;
pub use probe::{Driver, Probe};
pub use tray::Tray;
pub use waker::Waker;

use crate::{Aid, Error, Event, Focus, Handler, Options};
use chaos::Chaos;
use desk::Desk;
use devices::{Listed, Lister};
use focus::Follower;
use hook::{Current, DesktopSwitches};
use send_input::{Sender, Stamp};
use timer::Timer;
use window::Window;

/// Maps the keys of all keyboards as `handler` says, until it says stop.
///
/// An error means that no key is touched any more: the keyboards work as they do without keyrx.
pub fn run(handler: &mut dyn Handler, waker: &Waker, options: &Options) -> Result<(), Error> {
    run_with(handler, waker, options, &Chaos::from_environment())
}

fn run_with(handler: &mut dyn Handler, waker: &Waker, options: &Options, chaos: &Chaos) -> Result<(), Error> {
    priority::keep_process_at_full_speed();
    priority::raise_this_thread();
    let stamp = Stamp { nonce: nonce(), mask_key: options.mask_key };
    let hatch = waker.hatch();
    let (mut outlet, inlet) = output::ring(hatch.clone());
    // What is declared first goes last: keys are sent until the hook is out, and then released.
    let news = Waker::new()?;
    let sender = Sender::start(inlet, stamp, news.clone(), chaos.clone()).map_err(doing("start a thread"))?;
    outlet.wakes(sender.thread());
    let desk = Desk::new(handler, outlet, hatch.clone(), stamp.nonce, options, chaos.programs_are_witnesses);
    let _current = Current::set(&desk);
    let mut this = Loop::new(&desk, news)?;
    pump(); // makes the queue of messages, without which the hook would be dead from the start
    this.listen_to_keyboards(chaos); // first: what comes after the list was made is told
    desk.found(devices::listed().unwrap_or_default());
    desk.hook()?;
    desk.tell(Event::Ready);
    let result = loop {
        if let Err(error) = this.turn(waker, chaos) {
            break Err(error);
        }
        if desk.is_stopped() {
            break Ok(());
        }
    };
    desk.tell(Event::Stopping(clock::now()));
    desk.unhook(); // the keyboards are plain ones from here on
    result
}

/// What the loop has beside the desk.
struct Loop<'a, 'b> {
    desk: &'a Desk<'b>,
    timer: Timer,
    /// Set when one of our threads has something to tell.
    news: Waker,
    /// Lists the keyboards, once that is needed.
    lister: Option<Lister>,
    listed: (Tell<Vec<Listed>>, Receiver<Vec<Listed>>),
    focused: (Tell<Focus>, Receiver<Focus>),
    /// Follows the focus, if the handler needs that.
    follower: Option<Follower>,
    window: Window,
    /// Whether raw input is refused.
    is_deaf: bool,
    _switches: DesktopSwitches,
}

impl<'a, 'b> Loop<'a, 'b> {
    fn new(desk: &'a Desk<'b>, news: Waker) -> Result<Loop<'a, 'b>, Error> {
        let window = Window::open().map_err(doing("make a window"))?;
        window.listen_to_sessions();
        Ok(Loop {
            desk,
            timer: Timer::new().map_err(doing("make a timer"))?,
            news,
            lister: None,
            listed: channel(),
            focused: channel(),
            follower: None,
            window,
            is_deaf: false,
            _switches: DesktopSwitches::follow(),
        })
    }

    /// Has raw input tell of the keys of each keyboard, and of keyboards that come and go. Keys are mapped without.
    fn listen_to_keyboards(&mut self, chaos: &Chaos) {
        let heard = match chaos.refuses_raw_input() {
            true => Err(io::Error::other("as was asked for")),
            false => self.window.listen_to_keyboards(),
        };
        let was_deaf = mem::replace(&mut self.is_deaf, heard.is_err());
        match heard.map_err(doing("listen to raw input")) {
            Err(error) if !was_deaf => self.desk.tell(Event::Aid(Aid::RawInput, Some(&error))),
            Ok(()) if was_deaf => self.desk.tell(Event::Aid(Aid::RawInput, None)),
            _ => {}
        }
    }

    /// Does what there is to do, and sleeps until there is more.
    fn turn(&mut self, waker: &Waker, faults: &Chaos) -> Result<(), Error> {
        pump(); // keys first, then what is due
        self.desk.follow_up()?;
        self.desk.fire_deadline();
        if self.desk.take_other_keyboards() {
            self.list_keyboards();
        }
        self.follow_focus();
        if self.desk.is_stopped() {
            return Ok(());
        }
        self.timer.set(self.desk.next_moment());
        let chaos = faults.unhook();
        let handles = [waker.handle(), self.news.handle(), self.timer.handle(), chaos.unwrap_or_default()];
        let count = if chaos.is_some() { 4 } else { 3 };
        // SAFETY: as many handles as are said, each open as long as its owner, who outlives the call.
        let woken = unsafe {
            MsgWaitForMultipleObjectsEx(count, handles.as_ptr(), INFINITE, QS_ALLINPUT, MWMO_INPUTAVAILABLE)
        };
        match woken.wrapping_sub(WAIT_OBJECT_0) {
            0 => {
                self.desk.woken();
                if self.is_deaf {
                    self.listen_to_keyboards(faults);
                    self.list_keyboards();
                }
            }
            1 => self.take_news(),
            2 => self.timer.went_off(),
            3 if chaos.is_some() => self.desk.unhook(),
            _ => {}
        }
        Ok(())
    }

    /// Has the keyboards listed, by a thread that may take its time.
    fn list_keyboards(&mut self) {
        if self.lister.is_none() {
            // Without the thread the list stays as it is until a keyboard comes or goes again.
            self.lister = Lister::start(self.listed.0.clone(), self.news.clone()).ok();
        }
        if let Some(lister) = &self.lister {
            lister.list();
        }
    }

    fn follow_focus(&mut self) {
        let was_pressed = self.desk.take_pressed();
        match (&self.follower, self.desk.needs().focus) {
            (Some(follower), true) if was_pressed => follower.look_again(),
            (None, true) => self.follower = Follower::start(self.focused.0.clone(), self.news.clone()).ok(),
            (Some(_), false) => self.follower = None,
            _ => {}
        }
    }

    fn take_news(&mut self) {
        self.desk.tell_delivered();
        while let Ok(focus) = self.focused.1.try_recv() {
            self.desk.tell(Event::Focus(clock::now(), &focus));
        }
        while let Ok(listed) = self.listed.1.try_recv() {
            self.desk.found(listed);
        }
    }
}

/// Takes all messages there are; meanwhile the system calls the hook.
fn pump() {
    let mut message = MSG::default();
    // SAFETY: a message is written to where it is said; no window means all of this thread's.
    while unsafe { PeekMessageW(&mut message, null_mut(), 0, 0, PM_REMOVE) } != 0 {
        // SAFETY: the message was just taken from the queue.
        unsafe { DispatchMessageW(&message) };
    }
}

/// What stands beside our keys, so that we know them: random, so that no other program has it by chance.
fn nonce() -> usize {
    RandomState::new().hash_one("keyrx") as usize | 1
}

/// Says what was tried when the system fails.
fn doing(what: &str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { doing: what.into(), source }
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::OwnedHandle;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use keyrx_engine::{DeviceInfo, Effects};

    use super::*;
    use crate::live::tests::{alone, present};
    use crate::live::{Counted, Kind};
    use crate::{Needs, Next};

    /// Looks what there is when all is running.
    struct Looks {
        seen: Vec<(Kind, u64)>,
        fails: bool,
    }

    impl Handler for Looks {
        fn wants(&self, _: &DeviceInfo) -> bool {
            true
        }

        fn needs(&self) -> Needs {
            Needs { keyboards: true, focus: true }
        }

        fn handle(&mut self, event: Event<'_>, _: &mut dyn Effects) -> Next {
            assert!(!self.fails, "as is meant");
            match event {
                // By then the loop has followed the focus.
                Event::Focus(..) => {
                    self.seen = present();
                    Next::Stop
                }
                _ => Next::Wait(None),
            }
        }
    }

    /// What it is told of raw input and of keyboards; it stops at the end of the lack, which it brings about.
    struct Blind {
        give: Arc<Counted<OwnedHandle>>,
        waker: Waker,
        told: Vec<&'static str>,
    }

    impl Handler for Blind {
        fn wants(&self, _: &DeviceInfo) -> bool {
            true
        }

        fn needs(&self) -> Needs {
            Needs { keyboards: true, focus: false }
        }

        fn handle(&mut self, event: Event<'_>, _: &mut dyn Effects) -> Next {
            match event {
                Event::Aid(Aid::RawInput, Some(_)) => self.told.push("refused"),
                Event::Aid(Aid::RawInput, None) => {
                    self.told.push("given");
                    return Next::Stop;
                }
                Event::Ready => {
                    self.told.push("ready");
                    self.waker.wake();
                }
                // Once while it is refused still, and then no more.
                Event::Woken(_) => {
                    self.told.push("woken");
                    self.waker.wake();
                    if self.told.iter().filter(|told| **told == "woken").count() == 2 {
                        waker::set(&self.give);
                    }
                }
                _ => {}
            }
            Next::Wait(None)
        }
    }

    #[test]
    fn without_raw_input_it_runs_and_says_so_once_and_asks_again_when_it_is_woken() {
        let _alone = alone();
        let give = Arc::new(waker::event(std::ptr::null(), waker::Reset::ByHand).unwrap());
        let waker = Waker::new().unwrap();
        let mut blind = Blind { give: give.clone(), waker: waker.clone(), told: Vec::new() };
        run_with(&mut blind, &waker, &Options::default(), &Chaos::without_raw_input(give)).unwrap();
        assert_eq!(blind.told, ["refused", "ready", "woken", "woken", "given"]);
    }

    #[test]
    fn every_resource_is_counted_while_keys_are_read_and_none_is_left() {
        let _alone = alone();
        for fails in [false, true] {
            let waker = Waker::new().unwrap();
            let mut looks = Looks { seen: Vec::new(), fails };
            let result = catch_unwind(AssertUnwindSafe(|| run(&mut looks, &waker, &Options::default())));
            drop(waker);
            assert_eq!(result.is_err(), fails, "{result:?}");
            if !fails {
                let all = [
                    (Kind::Thread, 2), // output and focus; the list of keyboards is not asked for
                    (Kind::Waker, 3),  // the loop's own, and one of the thread that follows the focus
                    (Kind::Hook, 1),
                    (Kind::Window, 1),
                    (Kind::RawInput, 1),
                    (Kind::WinEventHook, 2), // of switches of the desktop, and of the focus
                    (Kind::Timer, 1),
                ];
                assert_eq!(looks.seen, all);
            }
            assert_eq!(present(), [], "left behind");
        }
    }
}
