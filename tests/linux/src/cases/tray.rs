//! The tray on a session bus, where a program clicks on the lines of its menu.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::{Case, Clocks};
use crate::daemon::User;
use crate::scene::Scene;
use crate::time::ms;

const KEYMAP: &str = r#"map("A", "B"); map("F", "LShift");"#;

const ADDRESS: &str = "unix:path=/tmp/bus";

const CONFIG: &str = r#"<busconfig>
<type>session</type><listen>unix:path=/tmp/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"#;

/// The lines of the menu, from the top.
const PAUSE_OR_RESUME: u8 = 3;
const RELOAD: u8 = 4;
const EXIT: u8 = 6;

pub const CASES: &[Case] = &[
    Case {
        name: "tray: what is chosen from the menu pauses and resumes mapping, reads the keymap again, and ends keyrx",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            let _bus = Bus::start(scene);
            start(scene);
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            scene.begin();
            scene.type_on(&keyboard, "+F 50");
            click(scene, PAUSE_OR_RESUME);
            scene.wait_for("mapping is paused, as asked for");
            assert_eq!(scene.output_down(), "", "a key that was held is released");
            scene.type_on(&keyboard, "-F 50");
            scene.check(&keyboard, "+A 50 -A", "+A @50 -A");
            // Within a second the menu offers to resume.
            scene.watch(ms(1500));
            click(scene, PAUSE_OR_RESUME);
            scene.wait_for("mapping is resumed, as asked for");
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
            click(scene, RELOAD);
            scene.wait_for("keymap loaded");
            click(scene, EXIT);
            assert_eq!(scene.wait_end().code(), Some(0));
        },
    },
    Case {
        name: "tray: without a desktop keyrx says so and maps keys",
        clocks: Clocks::Both,
        run: |scene| {
            let keyboard = scene.plug("Keychron K2");
            scene.keymap(KEYMAP);
            scene.start_with(
                User::Root,
                &[],
                &[("KEYRX_TRAY", "true"), ("DBUS_SESSION_BUS_ADDRESS", ADDRESS)],
            );
            scene.wait_for("ready");
            let said = "no icon can be shown in the tray: there is no desktop";
            scene.wait(ms(5000), "keyrx to say so", |scene| scene.log().contains(said));
            scene.check(&keyboard, "+A 50 -A", "+B @50 -B");
        },
    },
];

/// Starts keyrx with a tray.
fn start(scene: &mut Scene) {
    scene.keymap(KEYMAP);
    scene.start_with(User::Root, &[], &[("KEYRX_TRAY", "true"), ("DBUS_SESSION_BUS_ADDRESS", ADDRESS)]);
    scene.wait_for("ready");
    scene.wait(ms(5000), "the tray", |scene| send(scene, &["org.freedesktop.DBus.Peer.Ping"]));
}

fn click(scene: &mut Scene, line: u8) {
    let line = format!("int32:{line}");
    let event = ["com.canonical.dbusmenu.Event", &line, "string:clicked", "variant:int32:0", "uint32:0"];
    assert!(send(scene, &event), "the tray does not answer");
}

/// Calls the menu of the tray; whether it answers.
fn send(scene: &mut Scene, message: &[&str]) -> bool {
    let item = format!("--dest=org.kde.StatusNotifierItem-{}-1", scene.daemon().id());
    let mut command = Command::new("/usr/bin/dbus-send");
    command.args(["--bus=unix:path=/tmp/bus", "--print-reply", &item, "/MenuBar"]).args(message);
    command.output().unwrap().status.success()
}

/// A session bus.
struct Bus(Child);

impl Bus {
    fn start(scene: &mut Scene) -> Bus {
        fs::create_dir_all("/etc").unwrap();
        fs::write("/etc/passwd", "root:x:0:0::/:/bin/false\n").unwrap();
        fs::write("/tmp/bus.conf", CONFIG).unwrap();
        let mut command = Command::new("/usr/bin/dbus-daemon");
        let bus =
            Bus(command.args(["--config-file=/tmp/bus.conf", "--nofork", "--nopidfile"]).spawn().unwrap());
        scene.wait(ms(5000), "the bus", |_| Path::new("/tmp/bus").exists());
        bus
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file("/tmp/bus");
    }
}
