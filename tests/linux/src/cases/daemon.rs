//! What keyrx keeps: its log, and what it knows again after a restart.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use super::{Case, Clocks};
use crate::daemon::User;
use crate::time::ms;

const KEYMAP: &str = r#"map("A", "B");"#;
const CHORD: &str = "+LCtrl 20 +Space 20 +Escape 60 -Escape 20 -Space 20 -LCtrl 50";

pub const CASES: &[Case] = &[
    Case {
        name: "mapping that was paused is paused after kill -9, and resumes",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(KEYMAP);
            scene.type_on(&keyboard, CHORD);
            scene.watch(ms(2000));
            assert!(scene.log().contains("health: degraded: mapping is paused"));
            scene.end(Signal::SIGKILL);
            scene.keyrx(KEYMAP);
            scene.check(&keyboard, "+A 50 -A", "+A @50 -A");
            scene.type_on(&keyboard, CHORD);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "after five crashes the keyboard is left alone, after three more as well, and a changed keymap maps again",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            for crashes in 0..9 {
                scene.keyrx(KEYMAP);
                if crashes < 5 {
                    scene.wait_grabbed(&keyboard);
                } else {
                    scene.play(&keyboard, "+A 50 -A").native(&keyboard, "+A @50 -A");
                }
                if crashes < 8 {
                    scene.end(Signal::SIGKILL);
                }
            }
            assert!(scene.log().contains("safe mode") && scene.log().contains("rests for ten minutes"));
            scene.reload(r#"map("A", "C");"#, "keymap loaded");
            scene.wait_grabbed(&keyboard);
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "after ten minutes in safe mode, or of rest, keyrx maps again by itself",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            for crashes in [5, 8] {
                for _ in 0..crashes {
                    scene.keyrx(KEYMAP);
                    scene.end(Signal::SIGKILL);
                }
                scene.keyrx(KEYMAP);
                scene.watch(ms(590_000));
                assert!(!scene.is_grabbed(&keyboard));
                scene.watch(ms(20_000));
                scene.wait_grabbed(&keyboard);
                scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
                assert_eq!(scene.end(Signal::SIGTERM).code(), Some(0));
            }
        },
    },
    Case {
        name: "a keymap that was broken while keyrx was away is the one of before",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(KEYMAP);
            assert_eq!(scene.end(Signal::SIGTERM).code(), Some(0));
            scene.keyrx(r#"map("A", "Nonsense");"#);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.reload(r#"map("A", "C");"#, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
        },
    },
    Case {
        name: "what was done is counted, and told at the end",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keyrx(r#"map("A", "B"); map("CapsLock", tap_hold("Escape", "LCtrl"));"#);
            scene.check(&keyboard, "+A 50 -A 50 +Q 50 -Q", "+B @50 -B @100 +Q @150 -Q");
            scene.type_on(&keyboard, "+CapsLock 20 -CapsLock 20");
            scene.end(Signal::SIGTERM);
            let log = fs::read_to_string(scene.state().join("keyrx.log")).unwrap();
            let end = log.lines().find(|line| line.contains(r#""event":"stopped""#)).unwrap();
            for part in [r#""presses":3,"releases":3,"#, r#""passed":2,"mapped":4,"#, "key 1, ", "tap 1, "] {
                assert!(end.contains(part), "{part} is missing in {end}");
            }
            assert!(end.contains(r#""resources":"thread "#) && !end.contains("grab 1"), "{end}");
        },
    },
    Case {
        name: "the log's level changes with the settings",
        clocks: Clocks::Virtual,
        run: |scene| {
            let _keyboard = scene.plug("Keychron K2");
            let config = scene.home.join(".config/keyrx");
            fs::create_dir_all(&config).unwrap();
            scene.keyrx(KEYMAP);
            fs::write(config.join("keyrx.toml"), "log_level = \"debug\"\n").unwrap();
            scene.wait_for("the log's level is now DEBUG");
            fs::write(config.join("keyrx.toml"), "log_level = 5\n").unwrap();
            scene.wait_for("keyrx.toml:1: this must be");
        },
    },
    Case {
        name: "on a full disk keys are mapped as ever, and the log is written when there is room again",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            let full = PathBuf::from("/tmp/full");
            fs::create_dir_all(&full).unwrap();
            mount(Some("full"), &full, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
            fs::create_dir_all(scene.state().parent().unwrap()).unwrap();
            symlink(&full, scene.state()).unwrap();
            let ballast = full.join("ballast");
            let _ = fs::write(&ballast, vec![0; 1 << 20]);
            scene.keymap(KEYMAP);
            scene.start(User::Root);
            scene.wait_for("ready");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.watch(ms(2000));
            let log = scene.log();
            assert!(log.contains("the log stays in memory") && log.contains("the state cannot be written"));
            fs::remove_file(ballast).unwrap();
            scene.watch(ms(31_000));
            let log = fs::read_to_string(full.join("keyrx.log")).unwrap();
            for event in ["started", "ready", "log_file_failed", "state_not_saved", "log_file_resumed"] {
                assert!(log.contains(&format!(r#""event":"{event}""#)), "{event} is missing in {log}");
            }
            assert!(full.join("state").exists());
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
    Case {
        name: "without a word of the system about files, keyboards and keymaps are found all the same, a little later",
        clocks: Clocks::Virtual,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            let limit = "/proc/sys/fs/inotify/max_user_instances";
            let before = fs::read_to_string(limit).unwrap();
            fs::write(limit, "0").unwrap();
            scene.keyrx(KEYMAP);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            let late = scene.plug("Late");
            scene.wait_grabbed(&late);
            scene.check(&late, "+A 50 -A", "+B @50 -B");
            scene.reload(r#"map("A", "C");"#, "keymap loaded");
            scene.check(&keyboard, "+A 50 -A", "+C @50 -C");
            drop(late);
            scene.wait_for("keyboard gone");
            scene.watch(ms(2000));
            let (_, health) = scene.request("GET", "/health", "");
            for check in ["device_watch", "keymap_watch"] {
                assert!(health.contains(&format!(r#""name":"{check}","status":"degraded""#)), "{health}");
            }
            let log = scene.log();
            assert_eq!(log.matches("is found within a second, not at once").count(), 2, "{log}"); // and of the health
            assert_eq!(log.matches("does not tell of changes of the keymap").count(), 1, "{log}");
            fs::write(limit, before).unwrap();
            scene.watch(ms(4000));
            let (_, health) = scene.request("GET", "/health", "");
            assert!(!health.contains("_watch"), "{health}");
            scene.reload(KEYMAP, "keymap loaded");
            let last = scene.plug("Last");
            scene.wait_grabbed(&last);
            scene.check(&last, "+A 50 -A", "+B @50 -B");
        },
    },
];
