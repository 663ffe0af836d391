//! The tray on a session bus of the test's own, where the test is the panel.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use keyrx_platform::live::{Kind, count};
use keyrx_platform::native::Tray;
use keyrx_platform::tray::{Choice, Look, State};
use zbus::blocking::fdo::DBusProxy;
use zbus::blocking::proxy::Builder;
use zbus::blocking::{Connection, Proxy, connection};
use zbus::proxy::CacheProperties;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

const WATCHER: &str = "org.kde.StatusNotifierWatcher";

const LIMIT: Duration = Duration::from_secs(20);

/// By the environment the tray knows its bus: one test at a time.
fn on_bus(address: &str) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: nothing else is at work in this process that reads the environment.
    unsafe { std::env::set_var("DBUS_SESSION_BUS_ADDRESS", address) };
    one
}

struct Bus {
    daemon: Child,
    address: String,
}

impl Bus {
    fn start() -> Bus {
        let mut command = Command::new("dbus-daemon");
        command.args(["--session", "--nofork", "--print-address=1"]).stdout(Stdio::piped());
        let daemon = command.spawn();
        let mut daemon = daemon.unwrap_or_else(|error| panic!("this needs Debian's package dbus: {error}"));
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Bus { daemon, address: address.trim().to_owned() }
    }

    /// Has a panel come: it tells of the items that register with it, and goes when the connection does.
    fn panel(&self) -> (Connection, Receiver<String>) {
        let (tell, told) = channel();
        let panel = connection::Builder::address(&*self.address).unwrap();
        let panel = panel.serve_at("/StatusNotifierWatcher", Watcher { tell }).unwrap();
        (panel.name(WATCHER).unwrap().build().unwrap(), told)
    }

    /// Waits until nobody has the name any more.
    fn wait_for_the_end_of(&self, name: &str) {
        let bus = connection::Builder::address(&*self.address).unwrap().build().unwrap();
        let names = DBusProxy::new(&bus).unwrap();
        let is_gone = || !names.name_has_owner(name.try_into().unwrap()).unwrap();
        wait(&format!("the end of {name}"), || is_gone().then_some(()));
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

struct Watcher {
    tell: Sender<String>,
}

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, service: &str) {
        let _ = self.tell.send(service.to_owned());
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
}

/// A tray, and what is chosen there.
fn tray() -> (Tray, Receiver<Choice>) {
    let (choose, chosen) = channel();
    (Tray::start(move |choice| choose.send(choice).unwrap()).unwrap(), chosen)
}

#[track_caller]
fn wait<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        match get() {
            Some(value) => return value,
            None if begin.elapsed() > LIMIT => panic!("waited too long for {what}"),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The item as a panel sees it.
struct Item {
    item: Proxy<'static>,
    menu: Proxy<'static>,
}

type Pixmaps = Vec<(i32, i32, Vec<u8>)>;

/// A part of a menu: its number, what it is like, and its parts.
type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

impl Item {
    fn of(panel: &Connection, name: &str) -> Item {
        let proxy = |path: &str, interface: &'static str| {
            let proxy = Builder::<Proxy<'static>>::new(panel).cache_properties(CacheProperties::No);
            let proxy = proxy.destination(name.to_owned()).unwrap().path(path.to_owned()).unwrap();
            proxy.interface(interface).unwrap().build().unwrap()
        };
        let item = proxy("/StatusNotifierItem", "org.kde.StatusNotifierItem");
        let menu = item.get_property::<OwnedObjectPath>("Menu").unwrap();
        Item { item, menu: proxy(menu.as_str(), "com.canonical.dbusmenu") }
    }

    fn text(&self, property: &str) -> String {
        self.item.get_property(property).unwrap()
    }

    fn icons(&self) -> Pixmaps {
        self.item.get_property("IconPixmap").unwrap()
    }

    fn tooltip(&self) -> String {
        self.item.get_property::<(String, Pixmaps, String, String)>("ToolTip").unwrap().2
    }

    /// The lines of the menu: number, label, whether it can be chosen.
    fn lines(&self) -> Vec<(i32, String, bool)> {
        let all: &[&str] = &[];
        let (_, root): (u32, Layout) = self.menu.call("GetLayout", &(0, -1, all)).unwrap();
        let line = |line: OwnedValue| {
            let (number, about, _) = Layout::try_from(line).unwrap();
            let label = about.get("label").map(|label| label.downcast_ref().unwrap());
            let is_enabled = about.get("enabled").is_none_or(|is| is.downcast_ref().unwrap());
            (number, label.unwrap_or_default(), is_enabled)
        };
        root.2.into_iter().map(line).collect()
    }

    /// Clicks on a line as soon as there is such a one.
    fn click(&self, label: &str) {
        let line = || self.lines().into_iter().find(|line| line.1 == label);
        let (number, ..) = wait(label, line);
        self.menu.call::<_, _, ()>("Event", &(number, "clicked", Value::from(0), 0_u32)).unwrap();
    }
}

#[test]
fn a_panel_shows_how_keyrx_is_and_tells_what_is_chosen() {
    let bus = Bus::start();
    let _one = on_bus(&bus.address);
    let (panel, registered) = bus.panel();
    let (mut tray, chosen) = tray();
    assert_eq!((count(Kind::Tray), count(Kind::Thread)), (1, 1));
    let name = registered.recv_timeout(LIMIT).unwrap();
    let item = Item::of(&panel, &name);
    assert_eq!((item.text("Id"), item.text("Status")), ("keyrx".into(), "Active".into()));
    let healthy = item.icons();
    for (width, height, data) in &healthy {
        assert_eq!((*width, data.len()), (*height, usize::try_from(width * height * 4).unwrap()));
    }

    let look = Look { state: State::Unhealthy, text: "keyrx: <a_key> & more".into() };
    tray.show(&look);
    wait("the tooltip", || (item.tooltip() == "keyrx: &lt;a_key> &amp; more").then_some(()));
    assert!(item.text("Status") == "NeedsAttention" && item.icons() != healthy);
    let lines = item.lines().into_iter().filter(|line| !line.1.is_empty());
    let lines = lines.map(|(_, label, is_enabled)| (label, is_enabled)).collect::<Vec<_>>();
    let expected = [
        ("keyrx: <a__key> & more", false),
        ("Pause mapping", true),
        ("Reload the keymap", true),
        ("Open the page", true),
        ("Exit keyrx", true),
    ];
    assert_eq!(lines, expected.map(|(label, is_enabled)| (label.to_owned(), is_enabled)));

    for (label, choice) in [
        ("Pause mapping", Choice::Pause),
        ("Reload the keymap", Choice::Reload),
        ("Open the page", Choice::Open),
        ("Exit keyrx", Choice::Exit),
    ] {
        item.click(label);
        assert_eq!(chosen.recv_timeout(LIMIT).unwrap(), choice);
    }
    tray.show(&Look { state: State::Paused, ..look });
    item.click("Resume mapping");
    assert_eq!(chosen.recv_timeout(LIMIT).unwrap(), Choice::Resume);

    drop(tray);
    assert_eq!((count(Kind::Tray), count(Kind::Thread)), (0, 0));
    bus.wait_for_the_end_of(&name);
}

#[test]
fn a_panel_that_comes_later_or_again_gets_the_item() {
    let bus = Bus::start();
    let _one = on_bus(&bus.address);
    let (mut tray, _chosen) = tray();
    tray.show(&Look { state: State::Degraded, text: "before any panel".into() });
    for _ in 0..3 {
        let (panel, registered) = bus.panel();
        let name = registered.recv_timeout(LIMIT).unwrap();
        let item = Item::of(&panel, &name);
        wait("the tooltip", || (item.tooltip() == "before any panel").then_some(()));
        drop(item);
        panel.close().unwrap();
        bus.wait_for_the_end_of(WATCHER);
    }
}

#[test]
fn without_a_session_bus_it_says_so() {
    let _one = on_bus("unix:path=/nonexistent/bus");
    let error = Tray::start(|_| ()).unwrap_err();
    let said = format!("{error}: {}", error.source().unwrap());
    assert!(said.starts_with("no icon can be shown in the tray: there is no desktop"), "{said}");
    wait("the end of its thread", || (count(Kind::Thread) == 0).then_some(()));
}

#[test]
fn a_bus_that_does_not_answer_holds_up_nobody_for_long() {
    let path = std::env::temp_dir().join(format!("keyrx-silent-bus-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let silent = UnixListener::bind(&path).unwrap();
    let _one = on_bus(&format!("unix:path={}", path.display()));
    let begin = Instant::now();
    let (mut tray, _chosen) = tray();
    tray.show(&Look { text: "unseen".into(), ..Look::default() });
    drop(tray);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(count(Kind::Tray), 0);
    drop(silent);
    std::fs::remove_file(&path).unwrap();
}
