//! The tray of Windows: an icon in the taskbar's notification area, with a menu.
//!
//! A thread of its own has a window that nobody sees, to which the taskbar and the menu tell what the user does. The
//! taskbar comes and goes with the Explorer: the icon is added again whenever it is not there. While the system works
//! on a call of ours it may call the window; so nothing is borrowed across such a call.

use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, WPARAM};
use windows_sys::Win32::Graphics::Gdi::{BI_RGB, BITMAPINFOHEADER};
use windows_sys::Win32::UI::Shell::{
    NIF_ICON, NIF_MESSAGE, NIF_SHOWTIP, NIF_TIP, NIM_ADD, NIM_DELETE, NIM_MODIFY, NIM_SETVERSION, NIN_SELECT,
    NOTIFYICON_VERSION_4, NOTIFYICONDATAW, NOTIFYICONDATAW_0, Shell_NotifyIconW,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    AppendMenuW, ChangeWindowMessageFilterEx, CreateIconFromResourceEx, CreatePopupMenu, DefWindowProcW,
    DestroyIcon, DestroyMenu, DestroyWindow, DispatchMessageW, EndMenu, GetMessageW, GetSystemMetrics, HICON,
    HMENU, KillTimer, LR_DEFAULTCOLOR, MF_GRAYED, MF_SEPARATOR, MF_STRING, MSG, MSGFLT_ALLOW, PostMessageW,
    PostQuitMessage, RegisterWindowMessageW, SM_CXSMICON, SetForegroundWindow, SetTimer, TPM_RIGHTBUTTON,
    TrackPopupMenuEx, WM_APP, WM_CLOSE, WM_COMMAND, WM_CONTEXTMENU, WM_NULL, WM_TIMER,
};
use windows_sys::w;

use super::window;
use crate::Error;
use crate::live::{Kind, Live};
use crate::threads::{Stop, Threads};
use crate::tray::{Choice, Look, State};

/// Messages of our own: another look is there; this is the end; something was done to the icon.
const LOOK: u32 = WM_APP + 1;
const END: u32 = WM_APP + 2;
const ICON: u32 = WM_APP + 3;

/// `NIN_SELECT` by the keyboard, in the headers `NIN_SELECT | NINF_KEY`.
const NIN_KEYSELECT: u32 = NIN_SELECT | 1;

/// How often it is tried to add an icon that could not be added: at logon the taskbar may be too busy to take it.
const RETRY_MS: u32 = 5000;
const RETRY: usize = 1;

/// How many units of UTF-16 a tooltip may have.
const TIP: usize = 127;

/// An icon with a menu. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tray {
    looks: Sender<Look>,
    shown: Look,
    /// Our window, which lives as long as the thread; 0 before.
    window: Arc<AtomicUsize>,
    /// Its end may have to wait for a taskbar that hangs.
    _threads: Threads,
}

impl Tray {
    /// Shows the icon, now or as soon as there is a taskbar, and tells what is chosen from its menu. `tell` is called
    /// on another thread and should not wait.
    pub fn start(tell: impl Fn(Choice) + Send + 'static) -> Result<Tray, Error> {
        let (looks, looked) = channel();
        let (start, started) = sync_channel(1);
        let window = Arc::new(AtomicUsize::new(0));
        let (own, of_end) = (window.clone(), window.clone());
        // What a panic has cost is not there a second time: then there is no icon any more.
        let mut parts = Some((Box::new(tell), looked, start, Live::new(Kind::Tray)));
        let work = move |_: &Stop| {
            if let Some((tell, looked, start, _live)) = parts.take() {
                serve(tell, looked, &start, &own);
            }
        };
        let mut threads = Threads::default();
        threads.start("tray", move || post(&of_end, END), work).map_err(Error::Tray)?;
        let begun = started.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended")));
        begun.map_err(Error::Tray)?;
        Ok(Tray { looks, shown: Look::default(), window, _threads: threads })
    }

    /// Shows how keyrx is. It costs nothing if that is shown already.
    pub fn show(&mut self, look: &Look) {
        if self.shown == *look {
            return;
        }
        self.shown = look.clone();
        // The thread may have ended by a panic, which has been told.
        let _ = self.looks.send(look.clone());
        post(&self.window, LOOK);
    }
}

/// Tells the window, if there is one.
fn post(window: &AtomicUsize, message: u32) {
    let window = window.load(Ordering::Acquire);
    if window != 0 {
        // SAFETY: no condition; a window that is gone fails.
        unsafe { PostMessageW(window as HWND, message, 0, 0) };
    }
}

thread_local! {
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

/// Works until the end has been asked for.
fn serve(
    tell: Box<dyn Fn(Choice)>,
    looks: Receiver<Look>,
    start: &SyncSender<io::Result<()>>,
    own: &AtomicUsize,
) {
    let begin = |result| drop(start.try_send(result));
    let window = match Hidden::open() {
        Ok(window) => window,
        Err(error) => return begin(Err(error)),
    };
    // SAFETY: the name ends with a zero.
    let taskbar_created = unsafe { RegisterWindowMessageW(w!("TaskbarCreated")) };
    // SAFETY: the window is ours. The Explorer has lower rights than a keyrx that runs as administrator.
    unsafe { ChangeWindowMessageFilterEx(window.0, taskbar_created, MSGFLT_ALLOW, null_mut()) };
    let desk = Rc::new(Desk { window: window.0, taskbar_created, tell, looks, look: RefCell::default() });
    DESK.set(Some(desk.clone()));
    desk.put_icon();
    own.store(window.0 as usize, Ordering::Release);
    begin(Ok(()));
    let mut message = MSG::default();
    // SAFETY: a message is written to where it is said; no window means all of this thread's. It fails for a bad
    // window only, and says 0 at the end.
    while unsafe { GetMessageW(&mut message, null_mut(), 0, 0) } > 0 {
        // SAFETY: the message was just taken from the queue.
        unsafe { DispatchMessageW(&message) };
    }
    desk.take_icon_away();
    DESK.set(None);
}

/// The window to which the taskbar speaks. It is a top-level one: others are not told of a new taskbar.
struct Hidden(HWND, #[expect(dead_code, reason = "it counts")] Live);

impl Hidden {
    fn open() -> io::Result<Hidden> {
        let window = window::create(w!("keyrx tray"), on_message)?;
        Ok(Hidden(window, Live::new(Kind::Window)))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // SAFETY: the window is ours, and made by this thread: it is not `Send`.
        unsafe { DestroyWindow(self.0) };
    }
}

unsafe extern "system" fn on_message(window: HWND, message: u32, wparam: WPARAM, lparam: LPARAM) -> LRESULT {
    // A panic has been told by the panic hook; the icon stays.
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let desk = DESK.with_borrow(Clone::clone)?;
        desk.on_message(message, wparam, lparam).then_some(0)
    }));
    // SAFETY: these are the parameters that we were called with.
    answer.ok().flatten().unwrap_or_else(|| unsafe { DefWindowProcW(window, message, wparam, lparam) })
}

/// What the window works on.
struct Desk {
    window: HWND,
    /// The message that says that there is a new taskbar.
    taskbar_created: u32,
    tell: Box<dyn Fn(Choice)>,
    looks: Receiver<Look>,
    look: RefCell<Look>,
}

impl Desk {
    /// Whether the message was for us.
    fn on_message(&self, message: u32, wparam: WPARAM, lparam: LPARAM) -> bool {
        match message {
            LOOK => {
                if let Some(look) = self.looks.try_iter().last() {
                    self.look.replace(look);
                    self.put_icon();
                }
            }
            END => {
                // A menu that is open has a loop of its own.
                // SAFETY: no condition.
                unsafe {
                    EndMenu();
                    PostQuitMessage(0);
                }
            }
            // What is done is in the low word, and where in the two words of the other parameter.
            ICON if matches!(low(lparam as usize), WM_CONTEXTMENU | NIN_SELECT | NIN_KEYSELECT) => {
                self.open_menu(low(wparam) as i16, low(wparam >> 16) as i16);
            }
            WM_COMMAND => {
                let choice = (low(wparam) as usize).checked_sub(1).and_then(|at| Choice::ALL.get(at));
                choice.into_iter().for_each(|choice| (self.tell)(*choice));
            }
            // Nobody sees the window: it is `taskkill`, or an installer, that asks the whole program to end.
            WM_CLOSE => (self.tell)(Choice::Exit),
            WM_TIMER if wparam == RETRY => self.put_icon(),
            message if message == self.taskbar_created => self.put_icon(),
            _ => return false,
        }
        true
    }

    /// Shows the icon as it is to be, whether it is there or not.
    fn put_icon(&self) {
        let look = self.look.borrow().clone();
        let icon = Icon::draw(look.state);
        let mut about = self.about();
        about.uFlags = NIF_MESSAGE | NIF_TIP | NIF_SHOWTIP;
        if let Some(icon) = &icon {
            about.uFlags |= NIF_ICON;
            about.hIcon = icon.0;
        }
        about.szTip.iter_mut().zip(shorten(&look.text, TIP).encode_utf16()).for_each(|(to, from)| *to = from);
        // SAFETY: the structure says its size, and lives for each call; the icon is copied by the system.
        let is_there = unsafe {
            (Shell_NotifyIconW(NIM_MODIFY, &about) != 0 || Shell_NotifyIconW(NIM_ADD, &about) != 0)
                && Shell_NotifyIconW(NIM_SETVERSION, &about) != 0
        };
        // SAFETY: the window is ours. There is one timer with this number, or none.
        unsafe {
            if is_there {
                KillTimer(self.window, RETRY);
            } else {
                SetTimer(self.window, RETRY, RETRY_MS, None);
            }
        }
    }

    fn take_icon_away(&self) {
        // SAFETY: the structure says its size, and lives for the call.
        unsafe { Shell_NotifyIconW(NIM_DELETE, &self.about()) };
    }

    /// By window and number the taskbar knows an icon.
    fn about(&self) -> NOTIFYICONDATAW {
        NOTIFYICONDATAW {
            cbSize: size_of::<NOTIFYICONDATAW>() as u32,
            hWnd: self.window,
            uID: 1,
            uCallbackMessage: ICON,
            Anonymous: NOTIFYICONDATAW_0 { uVersion: NOTIFYICON_VERSION_4 },
            ..NOTIFYICONDATAW::default()
        }
    }

    /// Opens the menu, and returns when it is closed.
    fn open_menu(&self, x: i16, y: i16) {
        let look = self.look.borrow().clone();
        let Some(menu) = Menu::make(&look) else { return };
        // SAFETY: window and menu are ours. Only a menu of the window in front closes when one clicks elsewhere, and
        // only if a message follows (a quirk since Windows 95). What is chosen comes as WM_COMMAND.
        unsafe {
            SetForegroundWindow(self.window);
            TrackPopupMenuEx(menu.0, TPM_RIGHTBUTTON, x.into(), y.into(), self.window, null());
            PostMessageW(self.window, WM_NULL, 0, 0);
        }
    }
}

fn low(parameter: usize) -> u32 {
    (parameter & 0xFFFF) as u32
}

/// A drawn icon.
struct Icon(HICON, #[expect(dead_code, reason = "it counts")] Live);

impl Icon {
    /// An icon of the size that the taskbar wants. Without one, an icon has only its tooltip.
    fn draw(state: State) -> Option<Icon> {
        // SAFETY: no condition.
        let size = unsafe { GetSystemMetrics(SM_CXSMICON) }.clamp(16, 256);
        let image = image(&state.icon(size as usize), size);
        // SAFETY: as many bytes as are said, an icon as resources have it.
        let icon = unsafe {
            let version = 0x0003_0000;
            CreateIconFromResourceEx(
                image.as_ptr(),
                image.len() as u32,
                1,
                version,
                size,
                size,
                LR_DEFAULTCOLOR,
            )
        };
        (!icon.is_null()).then(|| Icon(icon, Live::new(Kind::Icon)))
    }
}

impl Drop for Icon {
    fn drop(&mut self) {
        // SAFETY: the icon is ours.
        unsafe { DestroyIcon(self.0) };
    }
}

/// Pixels as resources have them: a header for twice the height, the rows from the bottom up, each blue, green, red,
/// alpha; then a mask of a bit for each pixel, the rows of full 32 bits, which alpha makes needless.
fn image(pixels: &[u32], size: i32) -> Vec<u8> {
    let header = [size_of::<BITMAPINFOHEADER>() as u32, size as u32, size as u32 * 2, 1 | 32 << 16, BI_RGB];
    let header = header.into_iter().chain([0; 5]);
    let rows = pixels.chunks(size as usize).rev().flatten().copied();
    let mask = [0].into_iter().cycle().take((size as usize).div_ceil(32) * size as usize);
    header.chain(rows).chain(mask).flat_map(u32::to_le_bytes).collect()
}

/// A menu that can be opened.
struct Menu(HMENU, #[expect(dead_code, reason = "it counts")] Live);

impl Menu {
    /// The state, which cannot be chosen, and what can.
    fn make(look: &Look) -> Option<Menu> {
        // SAFETY: no condition.
        let menu = unsafe { CreatePopupMenu() };
        if menu.is_null() {
            return None;
        }
        let menu = Menu(menu, Live::new(Kind::Menu));
        let append = |flags, number, text: &str| {
            // `&` would underline what follows.
            let text = text.replace('&', "&&").encode_utf16().chain([0]).collect::<Vec<_>>();
            // SAFETY: the menu is ours; the text ends with a zero and is copied.
            unsafe { AppendMenuW(menu.0, flags, number, text.as_ptr()) };
        };
        append(MF_STRING | MF_GRAYED, 0, &shorten(&look.text, TIP));
        append(MF_SEPARATOR, 0, "");
        for (choice, label) in look.menu() {
            append(MF_STRING, choice as usize + 1, label);
        }
        Some(menu)
    }
}

impl Drop for Menu {
    fn drop(&mut self) {
        // SAFETY: the menu is ours, and no longer open.
        unsafe { DestroyMenu(self.0) };
    }
}

/// The beginning of a text that has at most so many units of UTF-16, never half a character.
fn shorten(text: &str, most: usize) -> String {
    let mut units = 0;
    let fits = |character: &char| {
        units += character.len_utf16();
        units <= most
    };
    text.chars().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use windows_sys::Win32::UI::WindowsAndMessaging::{FindWindowW, HWND_BROADCAST, SendMessageW};

    use super::*;
    use crate::live::{
        count,
        tests::{alone, present},
    };

    #[test]
    fn what_is_chosen_is_told_and_nothing_is_left_at_the_end() {
        let _alone = alone();
        let (choose, chosen) = channel();
        let mut tray = Tray::start(move |choice| choose.send(choice).unwrap()).unwrap();
        let here = [(Kind::Thread, 1), (Kind::Tray, 1), (Kind::Window, 1)];
        assert_eq!(present(), here);
        tray.show(&Look { state: State::Degraded, text: "keyrx: a && b \u{1F600}".repeat(30) });
        for number in 0..=5 {
            // SAFETY: no condition.
            unsafe { SendMessageW(tray.window.load(Ordering::Acquire) as HWND, WM_COMMAND, number, 0) };
        }
        // SAFETY: no condition.
        unsafe { SendMessageW(tray.window.load(Ordering::Acquire) as HWND, WM_CLOSE, 0, 0) };
        let told = [&Choice::ALL[..], &[Choice::Exit]].concat();
        assert_eq!(chosen.try_iter().collect::<Vec<_>>(), told);
        assert_eq!(present(), here, "icons are let go when the taskbar has them");
        // SAFETY: the name ends with a zero.
        assert!(!unsafe { FindWindowW(w!("keyrx tray"), null()) }.is_null());
        drop(tray);
        assert_eq!(present(), []);
        // SAFETY: as above.
        assert!(unsafe { FindWindowW(w!("keyrx tray"), null()) }.is_null());
    }

    #[test]
    fn a_panic_of_the_listener_does_not_end_it() {
        let _alone = alone();
        let (choose, chosen) = channel();
        let tray = Tray::start(move |choice| {
            assert_ne!(choice, Choice::Pause, "as is meant");
            choose.send(choice).unwrap();
        });
        let tray = tray.unwrap();
        for number in [1, 3] {
            // SAFETY: no condition.
            unsafe { SendMessageW(tray.window.load(Ordering::Acquire) as HWND, WM_COMMAND, number, 0) };
        }
        assert_eq!(chosen.try_iter().collect::<Vec<_>>(), [Choice::Reload]);
    }

    #[test]
    fn a_new_taskbar_and_an_open_menu_are_no_trouble() {
        let _alone = alone();
        let tray = Tray::start(|_| ()).unwrap();
        // SAFETY: the name ends with a zero; no other condition.
        unsafe { PostMessageW(HWND_BROADCAST, RegisterWindowMessageW(w!("TaskbarCreated")), 0, 0) };
        // SAFETY: no condition.
        unsafe {
            PostMessageW(
                tray.window.load(Ordering::Acquire) as HWND,
                ICON,
                0x0010_0010,
                WM_CONTEXTMENU as LPARAM,
            )
        };
        let begin = Instant::now();
        while count(Kind::Menu) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "no menu is opened");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(tray);
        assert_eq!(present(), []);
    }

    #[test]
    fn every_state_has_an_icon() {
        let _alone = alone();
        for state in [State::Healthy, State::Degraded, State::Unhealthy, State::Paused] {
            let icon = Icon::draw(state).unwrap();
            assert_eq!(count(Kind::Icon), 1);
            drop(icon);
        }
        assert_eq!(count(Kind::Icon), 0);
    }

    #[test]
    fn a_text_is_shortened_between_characters() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abc", 2), "ab");
        assert_eq!(shorten("a\u{1F600}b", 2), "a");
        assert_eq!(shorten("a\u{1F600}b", 3), "a\u{1F600}");
    }

    #[test]
    fn an_image_is_header_pixels_and_mask() {
        let image = image(&State::Paused.icon(20), 20);
        assert_eq!(image.len(), 40 + 20 * 20 * 4 + 20 * 4);
    }
}
