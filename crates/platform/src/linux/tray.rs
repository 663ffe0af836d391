//! The tray of Linux: a StatusNotifierItem on the session bus, with a menu by com.canonical.dbusmenu.
//!
//! A thread of its own waits for the bus and shows the latest look. Panels come and go: where there is none, the item
//! waits for one; only without a session bus there is no tray.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ksni::menu::{MenuItem, StandardItem};
use ksni::{Icon, Status, ToolTip, TrayMethods};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::Error;
use crate::live::{Kind, Live};
use crate::threads::{Stop, Threads};
use crate::tray::{Choice, Look, State};

/// How long the start waits for the bus. If it answers later, the icon appears later.
const UNTIL_STARTED: Duration = Duration::from_secs(1);

/// How long a panel may keep us from going on.
const UNTIL_ANSWERED: Duration = Duration::from_millis(500);

/// How long its end may take: an answer that does not come, and another one.
const UNTIL_ENDED: Duration = Duration::from_secs(2);

/// The sizes in which panels want icons, in pixels.
const SIZES: [u16; 3] = [16, 24, 48];

/// An icon of the panel with a menu. It is gone when this is dropped.
#[derive(Debug)]
pub struct Tray {
    /// What is to be shown; nothing, when the thread is to end.
    looks: Arc<watch::Sender<Option<Look>>>,
    _threads: Threads,
}

impl Tray {
    /// Shows the icon, now or as soon as there is a panel, and tells what is chosen from its menu. `tell` is called on
    /// another thread and should not wait.
    pub fn start(tell: impl Fn(Choice) + Send + 'static) -> Result<Tray, Error> {
        let (looks, looked) = watch::channel(Some(Look::default()));
        let (looks, (start, started)) = (Arc::new(looks), sync_channel(1));
        // What a panic has cost is not there a second time: then there is no icon any more.
        let item = Item { look: Look::default(), tell: Box::new(tell) };
        let mut parts = Some((item, looked, start, Live::new(Kind::Tray)));
        let work = move |_: &Stop| {
            let Some((item, looked, start, _live)) = parts.take() else { return };
            match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve(item, looked, &start)),
                Err(error) => drop(start.try_send(Err(error))),
            }
        };
        let end = looks.clone();
        let mut threads = Threads::with_patience(UNTIL_ENDED);
        threads.start("tray", move || _ = end.send_replace(None), work).map_err(Error::Tray)?;
        let tray = Tray { looks, _threads: threads };
        match started.recv_timeout(UNTIL_STARTED) {
            Ok(Ok(())) | Err(RecvTimeoutError::Timeout) => Ok(tray),
            Ok(Err(error)) => Err(Error::Tray(error)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Tray(io::Error::other("its thread has ended"))),
        }
    }

    /// Shows how keyrx is. It costs nothing if that is shown already.
    pub fn show(&mut self, look: &Look) {
        self.looks.send_if_modified(|shown| {
            let is_other = shown.as_ref() != Some(look);
            *shown = Some(look.clone());
            is_other
        });
    }
}

/// Shows each look until there are no more.
async fn serve(item: Item, mut looks: watch::Receiver<Option<Look>>, start: &SyncSender<io::Result<()>>) {
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
        () = ended(looks.clone()) => return,
    };
    begin(Ok(()));
    loop {
        let Some(look) = looks.borrow_and_update().clone() else { break };
        let _ = timeout(UNTIL_ANSWERED, shown.update(|item: &mut Item| item.look = look)).await;
        if looks.changed().await.is_err() {
            break;
        }
    }
    let _ = timeout(UNTIL_ANSWERED, shown.shutdown()).await;
}

/// Waits until there are no more looks.
async fn ended(mut looks: watch::Receiver<Option<Look>>) {
    let _ = looks.wait_for(Option::is_none).await;
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
