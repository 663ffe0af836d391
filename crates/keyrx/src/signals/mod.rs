//! How a running keyrx is told to stop, or to read its keymap again.

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod system;

pub use system::{listen, watch};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To end in order.
    Stop,
    /// To read the keymap again. The console of Windows has no way to say this.
    Reload,
}
