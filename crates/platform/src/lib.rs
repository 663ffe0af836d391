//! How keys come and go: real keyboards of Linux and of Windows, and simulated ones.
//!
//! A platform owns the loop and asks a `Handler` what is to become of each key. Every platform has the same shape:
//! `run` reads keyboards until the handler says stop, a `Waker` interrupts it, `list` tells what keyboards there are,
//! `examine` what is in the way, a `Probe` whether keys come through. Those of real systems tell by `figures` what the
//! process uses, and have a `Tray`. `native` is the platform of this system. All threads are started by `threads`.

mod device;
pub mod dump;
mod error;
mod figures;
mod finding;
mod handler;
pub mod idle;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod live;
pub mod lock;
mod options;
mod seen;
pub mod simulated;
pub mod threads;
pub mod tray;
#[cfg(windows)]
pub mod windows;

pub use device::{Device, Excluded, Kind};
pub use error::Error;
pub use figures::{Figures, Queue, ThreadFigures};
pub use finding::{Finding, State};
pub use handler::{Aid, Event, Focus, Handler, Interruption, Needs, Next};
pub use options::{Injected, Options};
pub use seen::Seen;

#[cfg(target_os = "linux")]
pub use linux as native;
#[cfg(windows)]
pub use windows as native;
