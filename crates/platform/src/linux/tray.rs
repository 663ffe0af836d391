//! The tray of Linux: a StatusNotifierItem on the session bus, with a menu by com.canonical.dbusmenu.
//!
//! A thread of its own waits for the bus and shows the latest look. Panels come and go: where there is none, the item
//! waits for one; only without a session bus there is no tray.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ksni::menu::{MenuItem, StandardItem};
use ksni::{Icon, Status, ToolTip, TrayMethods};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Error;
use crate::live::{Kind, Live};
use crate::tray::{Choice, Look, State};

/// How long the start waits for the bus. If it answers later, the icon appears later.
const UNTIL_STARTED: Duration = Duration::from_secs(1);

/// How long a panel may keep us from going on.
const UNTIL_ANSWERED: Duration = Duration::from_millis(500);

/// The sizes in which panels want icons, in pixels.
const SIZES: [u16; 3] = [16, 24, 48];

/// An icon of the panel with a menu. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tray {
    /// Closed to end the thread.
    looks: Option<watch::Sender<Look>>,
    thread: Option<JoinHandle<()>>,
}

impl Tray {
    /// Shows the icon, now or as soon as there is a panel, and tells what is chosen from its menu. `tell` is called on
    /// another thread and should not wait.
    pub fn start(tell: impl Fn(Choice) + Send + 'static) -> Result<Tray, Error> {
        let (looks, looked) = watch::channel(Look::default());
        let (start, started) = sync_channel(1);
        let item = Item { look: Look::default(), tell: Box::new(tell) };
        let live = [Live::new(Kind::Thread), Live::new(Kind::Tray)];
        let body = move || {
            let _live = live;
            match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(item, looked, &start)),
                Err(error) => drop(start.try_send(Err(error))),
            }
        };
        let thread = thread::Builder::new().name("tray".into()).spawn(body).map_err(Error::Tray)?;
        let tray = Tray { looks: Some(looks), thread: Some(thread) };
        match started.recv_timeout(UNTIL_STARTED) {
            Ok(Ok(())) | Err(RecvTimeoutError::Timeout) => Ok(tray),
            Ok(Err(error)) => Err(Error::Tray(error)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Tray(io::Error::other("its thread has ended"))),
        }
    }

    /// Shows how keyrx is. It costs nothing if that is shown already.
    pub fn show(&mut self, look: &Look) {
        if let Some(looks) = self.looks.as_ref().filter(|looks| *looks.borrow() != *look) {
            looks.send_replace(look.clone());
        }
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        self.looks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Shows each look until there are no more.
async fn serve(item: Item, mut looks: watch::Receiver<Look>, start: &SyncSender<io::Result<()>>) {
    // Whoever has started this may have given up waiting.
    let begin = |result| drop(start.try_send(result));
    let spawn = item.assume_sni_available(true).spawn();
    let shown = tokio::select! {
        spawned = spawn => match spawned {
            Ok(shown) => shown,
            Err(ksni::Error::Dbus(error)) => {
                let said = format!("there is no desktop, or its session bus cannot be reached: {error}");
                return begin(Err(io::Error::other(said)));
            }
            Err(error) => return begin(Err(io::Error::other(error))),
        },
        () = closed(looks.clone()) => return,
    };
    begin(Ok(()));
    loop {
        let look = looks.borrow_and_update().clone();
        let _ = timeout(UNTIL_ANSWERED, shown.update(|item: &mut Item| item.look = look)).await;
        if looks.changed().await.is_err() {
            break;
        }
    }
    let _ = timeout(UNTIL_ANSWERED, shown.shutdown()).await;
}

/// Waits until there are no more looks.
async fn closed(mut looks: watch::Receiver<Look>) {
    while looks.changed().await.is_ok() {}
}

/// What the bus sees.
struct Item {
    look: Look,
    tell: Box<dyn Fn(Choice) + Send>,
}

impl ksni::Tray for Item {
    const MENU_ON_ACTIVATE: bool = true;

    fn id(&self) -> String {
        "keyrx".into()
    }

    fn title(&self) -> String {
        "keyrx".into()
    }

    fn status(&self) -> Status {
        match self.look.state {
            State::Healthy | State::Degraded | State::Paused => Status::Active,
            State::Unhealthy => Status::NeedsAttention,
        }
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        let icon = |size: u16| Icon {
            width: size.into(),
            height: size.into(),
            data: self.look.state.icon(size.into()).into_iter().flat_map(u32::to_be_bytes).collect(),
        };
        SIZES.map(icon).into()
    }

    fn attention_icon_pixmap(&self) -> Vec<Icon> {
        self.icon_pixmap()
    }

    fn tool_tip(&self) -> ToolTip {
        // Panels read it as HTML.
        let text = self.look.text.replace('&', "&amp;").replace('<', "&lt;");
        ToolTip { title: text, ..ToolTip::default() }
    }

    fn menu(&self) -> Vec<MenuItem<Item>> {
        let line = |label: &str| StandardItem { label: label.replace('_', "__"), ..StandardItem::default() };
        let state = StandardItem { enabled: false, ..line(&self.look.text) };
        let choices = self.look.menu().map(|(choice, label)| {
            let activate = Box::new(move |item: &mut Item| (item.tell)(choice));
            MenuItem::from(StandardItem { activate, ..line(label) })
        });
        [state.into(), MenuItem::Separator].into_iter().chain(choices).collect()
    }
}
