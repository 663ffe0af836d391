//! How keys come and go: real keyboards of Linux, and simulated ones.
//!
//! A platform owns the loop and asks a `Handler` what is to become of each key. Every platform has the same shape:
//! `run` reads keyboards until the handler says stop, a `Waker` interrupts it, `list` tells what keyboards there are.

mod error;
mod handler;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod simulated;

pub use error::Error;
pub use handler::{Event, Handler, Next};
