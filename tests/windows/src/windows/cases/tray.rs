//! The tray: its window is told what a taskbar and the menu would tell it, and a taskbar of ours is told of its icon.

use std::ptr::null;

use windows_sys::Win32::Foundation::HWND;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    FindWindowW, PostMessageW, WM_APP, WM_CLOSE, WM_COMMAND, WM_CONTEXTMENU,
};
use windows_sys::core::PCWSTR;
use windows_sys::w;

use super::Case;
use crate::windows::scene::Scene;
use crate::windows::taskbar::{Asked, Taskbar};
use crate::windows::time::ms;

const KEYMAP: &str = r#"map("A", "B"); map("F", "LShift");"#;

/// The numbers of what can be chosen, and the message by which the taskbar tells what was done to the icon.
const PAUSE: usize = 1;
const RESUME: usize = 2;
const RELOAD: usize = 3;
const EXIT: usize = 5;
const ICON: u32 = WM_APP + 3;

pub const CASES: &[Case] = &[
    Case {
        name: "tray: what is chosen from the menu pauses and resumes mapping, reads the keymap again, and ends keyrx",
        run: |scene| {
            let tray = start(scene);
            scene.check("+A 50 -A", "+B @50 -B");
            tray.choose(PAUSE);
            scene.wait_for("mapping is paused, as asked for");
            scene.check_native("+A 50 -A");
            tray.choose(RESUME);
            scene.wait_for("mapping is resumed, as asked for");
            scene.check("+A 50 -A", "+B @50 -B");
            tray.choose(RELOAD);
            scene.wait_for("keymap loaded");
            tray.choose(EXIT);
            assert_eq!(scene.ended().code(), Some(0));
            scene.check_native("+A 50 -A");
        },
    },
    Case {
        name: "tray: paused with a key held, keyrx releases it",
        run: |scene| {
            let tray = start(scene);
            scene.begin();
            scene.type_keys("+F 50");
            tray.choose(PAUSE);
            scene.wait_for("mapping is paused");
            scene.seen().is_in_order("+LShift -LShift");
            scene.type_keys("-F 20");
            scene.nothing_is_down();
        },
    },
    Case {
        name: "tray: a taskbar that comes later, or again, gets the icon, and how keyrx is, and loses it at the end",
        run: |scene| {
            let tray = start(scene);
            for _ in 0..2 {
                let taskbar = Taskbar::start();
                taskbar.wait_for(Asked::Add);
                taskbar.wait_for(Asked::SetVersion);
                tray.choose(PAUSE);
                taskbar.wait_for(Asked::Modify);
                tray.choose(RESUME);
                taskbar.wait_for(Asked::Modify);
            }
            let taskbar = Taskbar::start();
            taskbar.wait_for(Asked::Add);
            assert_eq!(scene.stop().code(), Some(0));
            taskbar.wait_for(Asked::Delete);
        },
    },
    Case {
        name: "tray: an open menu keeps nothing from going on, nor from ending",
        run: |scene| {
            let tray = start(scene);
            scene.give_focus_away();
            tray.post(ICON, 0x0010_0010, WM_CONTEXTMENU as isize);
            scene.wait(ms(10_000), "the menu to open", |_| is_there(w!("#32768")));
            tray.choose(PAUSE);
            scene.wait_for("mapping is paused");
            assert_eq!(scene.stop().code(), Some(0));
        },
    },
    Case {
        name: "tray: asked to close, as taskkill does, keyrx ends in order",
        run: |scene| {
            let tray = start(scene);
            scene.begin();
            scene.type_keys("+F 50");
            tray.post(WM_CLOSE, 0, 0);
            assert_eq!(scene.ended().code(), Some(0));
            scene.seen().is_in_order("+LShift -LShift");
            scene.type_keys("-F 20");
        },
    },
];

/// The tray's window.
struct Tray(HWND);

/// Starts keyrx with a tray.
fn start(scene: &mut Scene) -> Tray {
    scene.keyrx_with(KEYMAP, &[("KEYRX_INJECTED", "map"), ("KEYRX_TRAY", "true")]);
    scene.wait(ms(10_000), "the tray", |_| is_there(w!("keyrx tray")));
    Tray(find(w!("keyrx tray")))
}

impl Tray {
    fn choose(&self, number: usize) {
        self.post(WM_COMMAND, number, 0);
    }

    fn post(&self, message: u32, wparam: usize, lparam: isize) {
        // SAFETY: no condition; a window that is gone fails.
        assert_ne!(unsafe { PostMessageW(self.0, message, wparam, lparam) }, 0, "the tray is gone");
    }
}

fn is_there(class: PCWSTR) -> bool {
    !find(class).is_null()
}

fn find(class: PCWSTR) -> HWND {
    // SAFETY: the class ends with a zero.
    unsafe { FindWindowW(class, null()) }
}
